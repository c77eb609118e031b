"""The main job on suites that nobody here wrote: serial, pytest-xdist and ``windtunnel run``.

Each project's sdist is downloaded at a pinned version, unpacked and run inside bubblewrap: a
read-only root, a home and /tmp of its own, no network, a writable copy of the project. Every mode
is run the same number of times, interleaved.

    python benchmarks/foreign.py              # all projects, 10 runs a mode
    python benchmarks/foreign.py --quick      # knack alone, 3 runs a mode
    python benchmarks/foreign.py knack attrs --runs 5
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "foreign"
ISOLATION = "env,namespace"


@dataclasses.dataclass(frozen=True)
class Project:
    """A pinned sdist, what it needs besides, and where its tests are."""

    name: str
    version: str
    needs: tuple[str, ...] = ()
    tests: str = "tests"
    pytest: str = "pytest<9"


PROJECTS = {
    project.name: project
    for project in (
        Project("knack", "0.7.2", ("mock", "vcrpy", "six"), "tests"),
        Project("click", "8.1.7"),
        Project("structlog", "24.4.0", ("freezegun", "pretend", "pytest-asyncio", "twisted")),
        Project("marshmallow", "3.22.0", ("pytz", "simplejson")),
        Project("more-itertools", "10.5.0"),
        Project("itsdangerous", "2.2.0", ("freezegun",)),
        Project("tabulate", "0.9.0", (), "test"),
    )
}
MODES = {
    "serial": ["-m", "pytest", "-q", "-p", "no:windtunnel"],
    "xdist": ["-m", "pytest", "-q", "-p", "no:windtunnel", "-n", "4"],
    "windtunnel": ["-m", "windtunnel", "run", "-q", "-n", "4", "--isolation", ISOLATION],
    # In one copy again and again, so that the schedule follows the record of the runs before.
    "recorded": ["-m", "windtunnel", "run", "-q", "-n", "4", "--isolation", ISOLATION],
}


def prepare(project: Project) -> tuple[Path, Path]:
    """The project's unpacked source and the interpreter of its environment, made once."""
    home = CACHE / f"{project.name}-{project.version}"
    python = home / "venv" / "bin" / "python"
    done = home / "done"
    if done.exists():
        return next(path for path in (home / "src").iterdir() if path.is_dir()), python
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    # Building an sdist runs its code, so pip works in the sandbox too, with the network.
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    pip = [str(python), "-m", "pip"]
    requirement = f"{project.name}=={project.version}"
    boxed(home, [*pip, "download", "-q", "--no-deps", "--no-binary", ":all:", "-d", str(home),
                 requirement])  # fmt: skip
    archive = next(home.glob("*.tar.gz"))
    with tarfile.open(archive) as tar:
        tar.extractall(home / "src", filter="data")
    source = next(path for path in (home / "src").iterdir() if path.is_dir())
    boxed(home, [*pip, "install", "-q", project.pytest, "pytest-xdist", "rich", *project.needs])
    boxed(home, [*pip, "install", "-q", str(source)])
    done.touch()
    return source, python


def boxed(home: Path, command: list[str]) -> None:
    """Run a command that may write below ``home`` alone, and reach the network."""
    box = [
        "bwrap", "--die-with-parent", "--unshare-pid", "--ro-bind", "/", "/", "--dev", "/dev",
        "--proc", "/proc", "--tmpfs", "/tmp", "--bind", str(home), str(home),
        "--setenv", "HOME", "/tmp",
    ]  # fmt: skip
    subprocess.run([*box, *command], check=True, stdout=subprocess.DEVNULL)


def sandboxed(source: Path, python: Path, arguments: list[str]) -> list[str]:
    """The command that runs ``arguments`` in a throw-away world with the source writable."""
    return [
        "bwrap", "--die-with-parent", "--unshare-pid", "--unshare-net", "--unshare-ipc",
        "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
        "--tmpfs", "/tmp", "--tmpfs", "/root", "--tmpfs", "/home",
        "--ro-bind", str(Path(sys.base_prefix)), str(Path(sys.base_prefix)),
        "--bind", str(source), str(source), "--chdir", str(source),
        "--setenv", "HOME", "/home", "--setenv", "PYTHONDONTWRITEBYTECODE", "1",
        str(python), *arguments,
    ]  # fmt: skip


@dataclasses.dataclass
class Tally:
    """What the runs of one mode came to."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    failed: list[int] = dataclasses.field(default_factory=list)
    passed: list[int] = dataclasses.field(default_factory=list)


def run_once(source: Path, python: Path, mode: str, tests: str, tally: Tally) -> None:
    work = Path("/var/tmp")
    keep = mode == "recorded"
    copy = work / f"windtunnel-foreign-{os.getpid()}{'-recorded' if keep else ''}"
    if not (keep and tally.seconds):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(source, copy, symlinks=True)
    try:
        begun = time.perf_counter()
        result = subprocess.run(
            sandboxed(copy, python, [*MODES[mode], tests]), capture_output=True, text=True
        )
        tally.seconds.append(time.perf_counter() - begun)
    finally:
        if not keep:
            shutil.rmtree(copy)
    summary = result.stdout + result.stderr
    found = re.findall(r"(\d+) (passed|failed|error)", summary)
    counts = {word: int(number) for number, word in found}
    if not counts:
        raise SystemExit(f"{mode}: no summary\n{summary[-3000:]}")
    tally.passed.append(counts.get("passed", 0))
    tally.failed.append(counts.get("failed", 0) + counts.get("error", 0))
    if mode in ("windtunnel", "recorded") and tally.failed[-1]:
        names = re.findall(r"^(?:FAILED|ERROR) \S+", summary, re.MULTILINE)
        print("   ", *names[:8], sep="\n    ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("projects", nargs="*", metavar="PROJECT", help=", ".join(PROJECTS))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    names = options.projects or (["knack"] if options.quick else list(PROJECTS))
    runs = 3 if options.quick else options.runs
    print(f"{'project':<20} {'mode':<11} {'passed':>12} {'clean runs':>11} {'seconds':>16}")
    for name in names:
        project = PROJECTS[name]
        source, python = prepare(project)
        pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "--force-reinstall"]
        subprocess.run([*pip, str(ROOT)], check=True)
        tallies = {mode: Tally() for mode in MODES}
        for _ in range(runs):
            for mode, tally in tallies.items():
                run_once(source, python, mode, project.tests, tally)
        for folder in Path("/var/tmp").glob(f"windtunnel-foreign-{os.getpid()}-*"):
            shutil.rmtree(folder)
        for mode, tally in tallies.items():
            clean = sum(1 for failed in tally.failed if not failed)
            low, high = min(tally.seconds), max(tally.seconds)
            spread = f"{statistics.median(tally.seconds):.1f} ({low:.1f}-{high:.1f})"
            passed = f"{min(tally.passed)}-{max(tally.passed)}"
            title = f"{name} {project.version}"
            print(f"{title:<20} {mode:<11} {passed:>12} {clean:>6} of {runs:<2} {spread:>16}")


if __name__ == "__main__":
    main()

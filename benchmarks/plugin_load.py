"""What loading the plugin adds to `pytest --collect-only` of an empty folder.

The plugin is installed as a wheel, found by its entry point, with byte code cached, as a user
has it; beside it the same figure for pytest-xdist and pytest-asyncio. All are measured in turn,
round by round; a round's figure is its difference to bare pytest in the same round.

    python benchmarks/plugin_load.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROMISE_MS = 8.0
PLUGINS = {
    "pytest": [],
    "windtunnel": [],  # built from this checkout
    "pytest-xdist": ["pytest-xdist", "execnet"],
    "pytest-asyncio": ["pytest-asyncio", "typing-extensions"],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="10 rounds in place of 60")
    rounds = 10 if parser.parse_args().quick else 60
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python, places = install(folder)
        added = measure(python, places, folder / "empty", rounds)
    print(
        f"{'plugin':<16}{'wall ms, median':>17}{'quartiles':>16}{'CPU ms, median':>17}  n={rounds}"
    )
    for plugin, (wall, cpu) in added.items():
        low, middle, high = statistics.quantiles(wall, n=4)
        spread = f"{low:.1f} .. {high:.1f}"
        print(f"{plugin:<16}{middle:>17.1f}{spread:>16}{statistics.median(cpu):>17.1f}")
    return verdict(added["windtunnel"][0])


def verdict(wall: list[float]) -> int:
    """Say whether the promise is kept; a machine too noisy to tell is said to be that."""
    low, middle, high = statistics.quantiles(wall, n=4)
    if high - low > 2 * PROMISE_MS:
        word = "unknown: the machine is too noisy to tell"
    else:
        word = "kept" if middle < PROMISE_MS else "broken"
    print(f"promised: under {PROMISE_MS:.0f} ms; seen: {middle:.1f} ms: {word}")
    return 1 if word == "broken" else 0


def install(folder: Path) -> tuple[Path, dict[str, Path]]:
    """An interpreter that has pytest alone, and for each plugin a folder that holds only it."""
    (folder / "empty").mkdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    python = folder / "env" / "bin" / "python"
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "pytest>=8", "rich>=13.7"], check=True, stderr=subprocess.DEVNULL)
    places = {}
    for plugin, packages in PLUGINS.items():
        places[plugin] = folder / plugin
        places[plugin].mkdir()
        wanted = [str(ROOT)] if plugin == "windtunnel" else packages
        if wanted:
            target = [*pip, "--no-deps", "--target", str(places[plugin]), *wanted]
            subprocess.run(target, check=True, stderr=subprocess.DEVNULL)
    return python, places


def measure(
    python: Path, places: dict[str, Path], empty: Path, rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Milliseconds, wall and CPU, that each plugin adds to bare pytest, a round at a time."""
    added: dict[str, tuple[list[float], list[float]]] = {
        plugin: ([], []) for plugin in places if plugin != "pytest"
    }
    for number in range(-2, rounds):  # two rounds fill the caches and are not counted
        seen = {plugin: collect_only(python, place, empty) for plugin, place in places.items()}
        if number < 0:
            continue
        for plugin, (wall, cpu) in added.items():
            wall.append(seen[plugin][0] - seen["pytest"][0])
            cpu.append(seen[plugin][1] - seen["pytest"][1])
    return added


def collect_only(python: Path, place: Path, empty: Path) -> tuple[float, float]:
    """Milliseconds of wall and CPU time of one `pytest --collect-only`."""
    dropped = ("PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    environment = {k: v for k, v in os.environ.items() if k not in dropped}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [python, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"],
        cwd=empty,
        env=environment | {"PYTHONPATH": str(place)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 5:
        raise SystemExit(f"pytest ended with {done.returncode}, not with 5 for an empty folder")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000


if __name__ == "__main__":
    sys.exit(main())

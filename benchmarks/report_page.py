"""The page of a run of 10,000 tests: its size, and pytest-html's beside it.

Both write a self-contained page of the same suite, run by the same pytest, in turn; beside them
stand the same runs without a page, and what each run cost in processor time.

    python benchmarks/report_page.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PEER = "pytest-html==4.1.1"
PROMISE_MB = 5.0

SUITE = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_some_behaviour_of_a_module_with_a_name_of_usual_length(number):
    assert number % 50, "a message as failures have them"
"""

WAYS = {
    "bare pytest": ["-p", "no:windtunnel"],
    "pytest-html": ["-p", "no:windtunnel", "-p", "pytest_html", "--html=page.html",
                    "--self-contained-html"],
    "windtunnel, no page": ["-p", "windtunnel", "--wt-html="],
    "windtunnel": ["-p", "windtunnel", "--wt-html=page.html"],
}  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="2,000 tests and 1 round, not 3")
    quick = parser.parse_args().quick
    tests, rounds = (2_000, 1) if quick else (10_000, 3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_many.py").write_text(SUITE.format(tests=tests), encoding="utf-8")
        environment = install_peer(folder / "peer")
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        sizes: dict[str, int] = {}
        for _ in range(rounds):
            for way, arguments in WAYS.items():
                page = folder / "page.html"
                page.unlink(missing_ok=True)
                times[way].append(run(folder, arguments, environment))
                sizes[way] = page.stat().st_size if page.exists() else 0
    for way in WAYS:
        show(way, times, sizes)
    megabytes = sizes["windtunnel"] / 1e6
    kept = megabytes < PROMISE_MB
    print(
        f"{tests:,} tests, n={rounds}; promised: under {PROMISE_MB:.0f} MB; "
        f"seen: {megabytes:.1f} MB: {'kept' if kept else 'broken'}"
    )
    return 0 if kept else 1


def install_peer(folder: Path) -> dict[str, str]:
    """The environment in which pytest finds pytest-html as well."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", folder, "--no-deps", PEER, "pytest-metadata==3.1.1", "jinja2",
                    "markupsafe"], check=True)  # fmt: skip
    # -p pytest_metadata comes with pytest-html's need of it
    return os.environ | {"PYTHONPATH": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(folder: Path, arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds of processor time of one run of the suite: the wall's depend on the neighbours."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "--no-summary", "test_many.py"]
    if "pytest_html" in arguments:
        arguments = ["-p", "pytest_metadata.plugin", *arguments]
        arguments[arguments.index("pytest_html")] = "pytest_html.plugin"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode != 1:
        raise SystemExit(f"the run failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def show(way: str, times: dict[str, list[float]], sizes: dict[str, int]) -> None:
    """One line: the page's size, and what the whole run cost."""
    low, middle, high = min(times[way]), statistics.median(times[way]), max(times[way])
    size = f"{sizes[way] / 1e6:.1f} MB" if sizes[way] else "no page"
    print(f"{way:<20}{size:>8}   run {middle:.2f} s CPU ({low:.2f} .. {high:.2f})")


if __name__ == "__main__":
    sys.exit(main())

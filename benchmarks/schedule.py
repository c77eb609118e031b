"""Makespan against the lower bound, and the time an empty run takes to start, beside pytest-xdist.

200 sleeps drawn from a log-normal distribution (sigma 1) that total 60 s, at n=4 and n=8. The
figure is makespan / max(sum / n, longest), where the makespan is taken inside the tests: from the
first test's beginning to the last one's end. ``windtunnel`` runs with a warm history (one run
before that is not counted), and once without history; xdist runs in its modes. Sleeps need no
core, so the figure holds on two cores.

    python benchmarks/schedule.py            # 60 s of sleeps, 3 rounds: about 15 minutes
    python benchmarks/schedule.py --quick    # 12 s of sleeps, 1 round: about a minute
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SUITE = """
import time
import pytest

@pytest.mark.parametrize("seconds", {durations!r})
def test_sleep(seconds):
    begun = time.time()
    time.sleep(seconds)
    with open({log!r}, "a") as file:
        file.write(f"{{begun}} {{time.time()}}\\n")
"""
XDIST_MODES = ("load", "worksteal", "loadscope")
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "PYTHONDONT"))
}


def durations(total_s: float, count: int = 200) -> list[float]:
    rng = random.Random(2026)
    raw = [rng.lognormvariate(0, 1) for _ in range(count)]
    return [value * total_s / sum(raw) for value in raw]


def command(mode: str, workers: int) -> list[str]:
    if mode.startswith("windtunnel"):
        return ["-m", "windtunnel", "run", "-q", "-n", str(workers), "--wt-html="]
    return ["-m", "pytest", "-q", "-p", "no:windtunnel", "-n", str(workers), "--dist", mode[6:]]


def pytest_run(folder: Path, mode: str, workers: int) -> float:
    begun = time.perf_counter()
    result = subprocess.run(
        [sys.executable, *command(mode, workers), "-p", "no:cacheprovider"],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    if result.returncode not in (0, 5):
        raise SystemExit(result.stdout + result.stderr)
    return time.perf_counter() - begun


def makespan(log: Path) -> float:
    pairs = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    log.unlink()
    return max(end for _, end in pairs) - min(begin for begin, _ in pairs)


def measure_makespans(total_s: float, rounds: int) -> None:
    sleeps = durations(total_s)
    print(f"{len(sleeps)} sleeps, {total_s:.0f} s in all; makespan / lower bound, {rounds} rounds")
    modes = ["windtunnel", "windtunnel (no history)", *(f"xdist {mode}" for mode in XDIST_MODES)]
    for workers in (4, 8):
        bound = max(sum(sleeps) / workers, max(sleeps))
        ratios: dict[str, list[float]] = {mode: [] for mode in modes}
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            log = folder / "log.txt"
            (folder / "test_sleeps.py").write_text(
                SUITE.format(durations=sleeps, log=str(log)), encoding="utf-8"
            )
            (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
            for _ in range(rounds):
                for mode in modes:
                    if mode == "windtunnel (no history)":
                        for path in folder.glob(".windtunnel/record.db*"):
                            path.unlink()
                    elif mode == "windtunnel" and not (folder / ".windtunnel/record.db").exists():
                        pytest_run(folder, mode, workers)
                        log.unlink()
                    pytest_run(folder, mode, workers)
                    ratios[mode].append(makespan(log) / bound)
        print(f"n={workers}, lower bound {bound:.2f} s")
        for mode, values in ratios.items():
            spread = f"{min(values):.3f} to {max(values):.3f}"
            print(f"  {mode:<26} {statistics.median(values):.3f}  ({spread})")


def measure_starts(rounds: int) -> None:
    print(f"one empty test at n=8, seconds from command to prompt, {rounds} round(s)")
    figures: dict[str, list[float]] = {"windtunnel": [], "xdist load": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        (folder / "test_empty.py").write_text(
            "import pytest\n@pytest.mark.parametrize('i', range(8))\ndef test_it(i): pass\n",
            encoding="utf-8",
        )
        for number in range(rounds + 1):
            for mode, values in figures.items():
                seconds = pytest_run(folder, mode, 8)
                if number:  # the first round compiles
                    values.append(seconds)
    for mode, values in figures.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"  {mode:<26} {statistics.median(values):.2f} s  ({spread})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rounds = 1 if options.quick else options.rounds
    measure_starts(max(rounds, 3))
    measure_makespans(12.0 if options.quick else 60.0, rounds)


if __name__ == "__main__":
    main()

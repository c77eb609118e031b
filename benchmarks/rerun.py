"""What reruns cost: the same parallel run with and without them, ours and the peer's.

    python benchmarks/rerun.py [--quick]

2,000 tests on 2 workers, once all passing and once with one in twenty failing (it is then run
three times). Ours is ``windtunnel run -n 2 --reruns 2``, the peer pytest-rerunfailures under
pytest-xdist ``-n 2``. Rounds are interleaved; median and range are printed, of the time on the
clock and of the processor's time, which a busy machine disturbs less. The peer is installed once,
into ``.cache/rerunfailures``.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from windtunnel.core import REAL_CLOCK

ROOT = Path(__file__).parent.parent
VENV = ROOT / ".cache" / "rerunfailures"
SUITE = """\
import pytest

@pytest.mark.parametrize("number", range({count}))
def test_number(number):
    assert {passes}
"""
OURS = ["-m", "windtunnel", "run", "-n", "2"]
PEER = ["-m", "pytest", "-p", "no:windtunnel", "-n", "2"]
RERUN = ["--reruns", "2"]
WAYS = {
    "windtunnel run": [*OURS, "-p", "no:rerunfailures"],
    "windtunnel run --reruns 2": [*OURS, "-p", "no:rerunfailures", *RERUN],
    "xdist": [*PEER, "-p", "no:rerunfailures"],
    "xdist + rerunfailures --reruns 2": [*PEER, *RERUN],
}


def python() -> Path:
    """The interpreter that has both; made at the first call."""
    found = VENV / "bin" / "python"
    if not found.exists():
        print("installing pytest-rerunfailures into .cache ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        packages = ["pytest-rerunfailures", "pytest-xdist", "-e", str(ROOT)]
        subprocess.run([found, "-m", "pip", "install", "-q", *packages], check=True)
    return found


def processor_s() -> float:
    """Seconds that finished children, and theirs, have kept a processor busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def seconds(words: list[str], folder: Path) -> tuple[float, float]:
    begun, used = REAL_CLOCK.monotonic(), processor_s()
    done = subprocess.run(
        [python(), *words, "-q", "--tb=no", "-p", "no:cacheprovider"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode not in (0, 1):
        raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return REAL_CLOCK.monotonic() - begun, processor_s() - used


def measure(count: int, every: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    taken: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        passes = f"number % {every}" if every else "True"
        text = SUITE.format(count=count, passes=passes)
        (folder / "test_suite.py").write_text(text, encoding="utf-8")
        (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
        for _ in range(rounds):
            for way, words in WAYS.items():
                taken[way].append(seconds(words, folder))
    return taken


def show(title: str, taken: dict[str, list[tuple[float, float]]]) -> None:
    print(f"\n{title}")
    plain = (1.0, 1.0)
    for way, values in taken.items():
        clock = [value[0] for value in values]
        medians = statistics.median(clock), statistics.median(value[1] for value in values)
        line = f"  {way:34} {medians[0]:6.2f} s ({min(clock):.2f} to {max(clock):.2f})"
        line += f"  processor {medians[1]:6.2f} s"
        if "reruns" in way:
            line += f"   {medians[0] / plain[0]:.2f} x, processor {medians[1] / plain[1]:.2f} x"
        else:
            plain = medians
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="200 tests, 1 round")
    quick = parser.parse_args().quick
    count, rounds = (200, 1) if quick else (2000, 3)
    show(f"{count} tests, all passing", measure(count, 0, rounds))
    show(f"{count} tests, one in 20 failing", measure(count, 20, rounds))


if __name__ == "__main__":
    main()

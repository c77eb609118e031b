"""What it costs to start and to end a simulated test inside a warm worker.

    python benchmarks/sim_start.py [--quick]

An empty test runs under a few and under many seeds; the difference between the two runs, by seed,
is the cost of one: set-up, call and teardown of the item in a world of its own, all plugins
taking part; beside it what pytest-asyncio's own empty test costs without us. Interpreter,
collection and the fork of the process that runs the seeds (one for 200) are in both. Rounds are
interleaved; medians and quartiles are printed, of the time on the clock and of the processor's
time, which a busy machine disturbs less.
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

from windtunnel.core import REAL_CLOCK

PROMISE_MS = 2.0
FEW = 100
INI = "[pytest]\nasyncio_default_fixture_loop_scope = function\n"
EMPTY = "import windtunnel as wt\n@wt.simulated\nasync def test_empty():\n    pass\n"
FIXTURE = """\
import asyncio
import pytest_asyncio
import windtunnel as wt

@pytest_asyncio.fixture
async def queue():
    yield asyncio.Queue()

@wt.simulated
async def test_fixture(world, queue):
    queue.put_nowait(1)
    assert await queue.get() == 1
"""
NODE = """\
import asyncio
import windtunnel as wt

async def forever():
    await asyncio.Event().wait()

@wt.simulated
async def test_node(world):
    for name in ("a", "b", "c"):
        world.start(name, forever)
    await asyncio.sleep(1)
"""
STOCK = """\
import os
import pytest

@pytest.mark.parametrize("number", range(int(os.environ["SEEDS"])))
@pytest.mark.asyncio
async def test_empty(number):
    pass
"""
WAYS = {
    "no simulation: pytest-asyncio": (STOCK, ["-p", "no:windtunnel"]),
    "empty, own runner": (EMPTY, ["-p", "no:asyncio"]),
    "empty, pytest-asyncio": (EMPTY, []),
    "async fixture, pytest-asyncio": (FIXTURE, []),
    "three nodes, own runner": (NODE, ["-p", "no:asyncio"]),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 11")
    quick = parser.parse_args().quick
    rounds, many = (3, 600) if quick else (11, 2_100)
    seen: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folders = {way: project(Path(name) / str(at), way) for at, way in enumerate(WAYS)}
        for _ in range(rounds):
            for way, folder in folders.items():
                few, lots = (run(folder, way, seeds) for seeds in (FEW, many))
                seen[way].append(
                    tuple(1e3 * (b - a) / (many - FEW) for a, b in zip(few, lots, strict=True))  # type: ignore[arg-type]
                )
    print(f"{'one seed':<32}{'wall ms, median':>16}{'quartiles':>16}{'CPU ms':>8}  n={rounds}")
    for way, figures in seen.items():
        wall, cpu = zip(*figures, strict=True)
        low, middle, high = statistics.quantiles(wall, n=4)
        spread = f"{low:.2f} .. {high:.2f}"
        print(f"{way:<32}{middle:>16.2f}{spread:>16}{statistics.median(cpu):>8.2f}")
    return verdict([figures[1] for figures in seen["empty, pytest-asyncio"]])


def verdict(cpu: list[float]) -> int:
    """Judged by the processor's time: the machine may be busy."""
    middle = statistics.median(cpu)
    word = "kept" if middle < PROMISE_MS else "broken"
    if word == "broken" and os.getloadavg()[0] > (os.cpu_count() or 1) + 0.5:
        word = "unknown: the machine is busy"
    print(f"promised: under {PROMISE_MS:g} ms; seen: {middle:.2f} ms: {word}")
    return 1 if word == "broken" else 0


def project(folder: Path, way: str) -> Path:
    """A project with that way's test."""
    folder.mkdir()
    (folder / "pytest.ini").write_text(INI)
    (folder / "test_it.py").write_text(WAYS[way][0])
    return folder


def run(folder: Path, way: str, seeds: int) -> tuple[float, float]:
    """Wall and processor seconds of a run."""
    environment = {"SEEDS": str(seeds)} | {
        key: value for key, value in os.environ.items() if key[:7] != "PYTEST_"
    }
    begun, used = REAL_CLOCK.monotonic(), processor_s()
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", *WAYS[way][1]]
    if "no:windtunnel" not in words:
        words.append(f"--wt-seeds={seeds}")
    subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return REAL_CLOCK.monotonic() - begun, processor_s() - used


def processor_s() -> float:
    """Seconds that finished children, and theirs, have kept a processor busy."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    sys.exit(main())

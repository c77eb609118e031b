"""What the record's tests share: a place, quick events, waiting, and processes that write."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from windtunnel.core import REAL_CLOCK, RunStarted, TestFinished

WRITER = Path(__file__).with_name("writer.py")


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / ".windtunnel"


@pytest.fixture
def record_path(state_dir: Path) -> Path:
    return state_dir / "record.db"


@pytest.fixture
def started() -> Callable[..., RunStarted]:
    def make(run_id: str = "run-1", at: float = 1000.0, **facts: object) -> RunStarted:
        return RunStarted(**({"argv": "pytest", "root": "/p"} | facts), time=at, run_id=run_id)

    return make


@pytest.fixture
def finished() -> Callable[..., TestFinished]:
    def make(nodeid: str = "test_a.py::test_a", outcome: str = "passed", **facts: object):
        return TestFinished(
            nodeid=nodeid, outcome=outcome, **({"worker": "gw0", "time": 1001.0} | facts)
        )

    return make


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], str], None]:
    def wait(holds: Callable[[], object], what: str, within_s: float = 120.0) -> None:
        deadline = REAL_CLOCK.monotonic() + within_s
        while not holds():
            assert REAL_CLOCK.monotonic() < deadline, f"waited {within_s} s in vain for: {what}"
            select.select((), (), (), 0.01)

    return wait


class Writer:
    """A process that writes events into a spool and says after each that it has."""

    def __init__(self, state_dir: Path, run_id: str, role: str, tests: int, first: int) -> None:
        words = [str(state_dir), run_id, role, str(tests), str(first)]
        self.process = subprocess.Popen(
            [sys.executable, str(WRITER), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.said: list[str] = []
        self._rest = b""

    def listen(self, count: int) -> None:
        """Read what it says until it has said ``count`` things, or has ended."""
        assert self.process.stdout is not None
        while len(self.said) < count:
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                return
            *whole, self._rest = (self._rest + data).split(b"\n")
            self.said += [line.decode() for line in whole]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.listen(10**9)

    def end(self) -> None:
        self.listen(10**9)
        assert self.process.wait() == 0

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


@pytest.fixture
def writer(state_dir: Path) -> Iterator[Callable[..., Writer]]:
    writers: list[Writer] = []

    def start(run_id: str, role: str, tests: int, first: int = 0) -> Writer:
        writers.append(Writer(state_dir, run_id, role, tests, first))
        return writers[-1]

    yield start
    for one in writers:
        one.close()


def ingesters(record_path: Path) -> list[int]:
    """Process ids of the ingesters of that record."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if str(record_path).encode() in words and any(b"ingester.py" in w for w in words):
                found.append(int(entry.name))
    return found


@pytest.fixture
def ingesters_of() -> Callable[[Path], list[int]]:
    return ingesters

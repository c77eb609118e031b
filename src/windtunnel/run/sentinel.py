"""Ends a process whose test hangs where no Python code can run, having read its stacks.

A timer signal is handled by Python code, and C code that never returns keeps that from running.
Workers of ours are watched by their controller; any other process that runs tests under a time
limit has a sentinel: one small process that sleeps, and reads now and then from shared memory
until when the present test may take. It is no thread, since a thread would make every ``fork``
of a test warn, and no child, since a test may wait for all its children.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

from windtunnel.core import REAL_CLOCK
from windtunnel.run import stacks

_LAYOUT = struct.Struct("<dqd512s")  # when it ends, whose it is, its limit, its name
_TICK_S = 1.0
_STACKS_WITHIN_S = 2.0


class Sentinel:
    """The watched side. The process is started at the first :meth:`arm`.

    :param directory: where :func:`windtunnel.run.stacks.install` was told to tell stacks.
    :param worker: the name it was told.
    """

    def __init__(self, directory: Path, worker: str) -> None:
        self._directory = directory
        self._worker = worker
        self._memory: mmap.mmap | None = None

    def arm(self, within_s: float, limit_s: float, nodeid: str) -> None:
        """Have this process ended unless it arms again or disarms within that many seconds."""
        memory = self._memory
        if memory is None:
            memory = self._memory = self._start()
        name = nodeid.encode(errors="replace")[:512]
        until = REAL_CLOCK.monotonic() + within_s
        memory[:] = _LAYOUT.pack(until, os.getpid(), limit_s, name)

    def disarm(self) -> None:
        """Nothing is to be ended."""
        if self._memory is not None:
            self._memory[:] = bytes(_LAYOUT.size)

    def _start(self) -> mmap.mmap:
        with tempfile.TemporaryFile() as file:
            file.truncate(_LAYOUT.size)
            memory = mmap.mmap(file.fileno(), _LAYOUT.size)
            words = [str(file.fileno()), str(os.getpid()), str(self._directory), self._worker]
            # The fork before anything is imported makes it nobody's child of ours.
            code = (
                "import os, sys\nif os.fork(): os._exit(0)\n"
                f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
                "from windtunnel.run.sentinel import watch\nwatch(*sys.argv[1:])"
            )
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", code, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(file.fileno(),),
                start_new_session=True,
                check=True,
            )
        return memory


def watch(fd: str, owner: str, directory: str, worker: str) -> None:
    """The watching side: sleep until the owner is gone or a test's time is over."""
    memory = mmap.mmap(int(fd), _LAYOUT.size)
    leaving = _Leaving(int(owner))
    while True:
        until, pid, limit_s, name = _LAYOUT.unpack(memory[:])
        left = until - REAL_CLOCK.monotonic() if until else _TICK_S
        if left <= 0:
            nodeid = name.rstrip(b"\0").decode(errors="replace")
            _end(pid, limit_s, nodeid, Path(directory), worker)
            memory[:] = bytes(_LAYOUT.size)
        elif leaving.within(min(left, _TICK_S)):
            return


class _Leaving:
    """Waits for the end of a process that is not a child."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1
        if hasattr(os, "pidfd_open"):
            with contextlib.suppress(OSError):
                self._fd = os.pidfd_open(pid)

    def within(self, seconds: float) -> bool:
        if self._fd >= 0:
            return bool(select.select([self._fd], [], [], seconds)[0])
        REAL_CLOCK.sleep(seconds)
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        return False


def _end(pid: int, limit_s: float, nodeid: str, directory: Path, worker: str) -> None:
    text = stacks.collect(pid, directory, worker, _STACKS_WITHIN_S)
    whole = stacks.leave(directory, worker, limit_s, text)
    print(
        f"\nwindtunnel: {nodeid} hangs past its timeout in code that cannot be interrupted;"
        f" process {pid} is ended\n{whole}",
        file=sys.stderr,
        flush=True,
    )
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)

"""Which process is meant: a pid alone names another process once it has been used again.

A process is its pid, its start time in clock ticks since boot (field 22 of ``/proc/PID/stat``,
proc(5)), the boot, and the pid namespace the number counts in. It is signalled through a pidfd
opened before the identity is compared, so that the process compared is the process signalled.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from functools import cache
from pathlib import Path

_PROC = Path("/proc/self/stat").exists()
_TASKS = "/proc/self/task"


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process for all time.

    :param pid: its number.
    :param start: when it started: clock ticks since boot, on systems without ``/proc`` what
        ``ps`` calls ``lstart``.
    :param world: the boot and the pid namespace in which number and time count.

    >>> me = ProcessIdentity.of(os.getpid())
    >>> me.alive
    True
    >>> dataclasses.replace(me, start="0").alive
    False
    """

    pid: int
    start: str
    world: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity | None:
        """The identity of the process that has this number now; None where none has."""
        start, _ = _start_and_state(pid)
        return cls(pid, start, _world()) if start else None

    @classmethod
    def own(cls) -> ProcessIdentity:
        """The identity of this process."""
        pid = os.getpid()
        start, _ = _start_and_state(pid)
        return cls(pid, start, _world())

    @property
    def alive(self) -> bool:
        """Whether that very process still runs; a zombie does not."""
        if self.world != _world():
            return False
        start, state = _start_and_state(self.pid)
        return start == self.start and state not in ("Z", "X")

    def signal(self, number: int) -> bool:
        """Send a signal to that very process and to no other; False when it is gone."""
        if not hasattr(os, "pidfd_open"):
            if self.alive:
                os.kill(self.pid, number)
                return True
            return False
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            if not self.alive:
                return False
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(pidfd)
        return True


def _start_and_state(pid: int) -> tuple[str, str]:
    if not _PROC:
        shown = subprocess.run(
            ["ps", "-o", "lstart=,state=", "-p", str(pid)], capture_output=True, text=True
        ).stdout.strip()
        return shown[:-1].strip(), shown[-1:]
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return "", ""
    # The command stands in parentheses and may hold spaces and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    return fields[19], fields[0]


def child_pids() -> frozenset[int]:
    """The child processes of this process, whichever thread began them; none where the kernel
    does not tell.

    A thread that ends meanwhile cannot be asked any more, and leaves its children to another, which
    may have been asked already: then all are asked again.
    """
    for _ in range(100):
        try:
            return frozenset(
                int(pid)
                for number in os.listdir(_TASKS)
                for pid in _read(f"{_TASKS}/{number}/children").split()
            )
        except OSError:
            if not os.path.exists(f"{_TASKS}/{os.getpid()}/children"):
                break
    return frozenset()


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


@cache
def _world() -> str:
    if not _PROC:
        return os.uname().nodename
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"

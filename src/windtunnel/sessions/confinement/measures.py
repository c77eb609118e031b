"""What can be seen of a process from outside: its children, memory, processor time, files.

Everything comes from ``/proc`` (proc(5)); elsewhere than on Linux there is nothing to see, and the
canaries that rest on it stay alive.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

PROC = Path("/proc")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the state on; empty when it has gone."""
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def descendants() -> set[int]:
    """The processes below this one, zombies left out."""
    parents: dict[int, int] = {}
    for entry in PROC.glob("[0-9]*"):
        fields = _stat(int(entry.name))
        if fields and fields[0] not in "ZX":
            parents[int(entry.name)] = int(fields[1])
    found = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found - {os.getpid()}


def memory_bytes() -> int:
    """Resident memory of this process and of all below it."""
    total = 0
    for pid in {os.getpid(), *descendants()}:
        fields = _stat(pid)
        total += int(fields[21]) * _PAGE if fields else 0
    return total


def open_files() -> int:
    """How many files this process has open."""
    try:
        return len(os.listdir(PROC / "self" / "fd"))
    except OSError:
        return 0


def working_s() -> float:
    """Processor seconds used so far by the other threads of this process and by the processes
    below it that live."""
    total = 0.0
    own = threading.get_native_id()
    for entry in (PROC / "self" / "task").glob("[0-9]*"):
        if int(entry.name) != own:
            total += _ran_s(entry)
    for pid in descendants():
        fields = _stat(pid)
        total += (int(fields[11]) + int(fields[12])) * _TICK_S if fields else 0.0
    return total


def _ran_s(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        return 0.0


def carrying(marker: str) -> list[int]:
    """Live processes that have ``marker`` among their arguments."""
    found = []
    for entry in PROC.glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in arguments and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def end(pids: list[int]) -> None:
    """End processes that an attempt has left, known by their marker."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


__all__ = ["carrying", "descendants", "end", "memory_bytes", "open_files", "working_s"]

"""The reading end of a spool: its whole lines from a position on, and whether its owner lives."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

FORMAT = 1
"""Version of the spool's lines. A reader leaves spools of a later version alone."""


def process_identity(pid: int) -> dict[str, object]:
    """What tells a process from all others, also from those that get its number later.

    Empty beyond the number where there is no ``/proc``.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold spaces; the start time is the 20th word after it.
            start = int(file.read().rpartition(b")")[2].split()[19])
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as text:
            boot = text.read().strip()
        return {"pid": pid, "start": start, "boot": boot, "pidns": os.readlink("/proc/self/ns/pid")}
    except OSError:
        return {"pid": pid}


class Tail:
    """A spool being read. No descriptor is kept: there may be thousands of spools.

    :param name: its name in ``directory``, which is its name in the record as well.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.path = directory / name
        self.position = 0
        self.no_line_at = 0
        self._header: dict[str, object] | None = None

    @property
    def size(self) -> int:
        """Bytes in the file now; 0 once it has been deleted."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    @property
    def pending(self) -> bool:
        """Whether there may be whole lines that have not been read."""
        return self.size > max(self.position, self.no_line_at)

    def header(self) -> dict[str, object] | None:
        """The first line; None while it is not there whole.

        :raises ValueError: when it is no header.
        """
        if self._header is None:
            line, newline, _ = self._read(0, 65536).partition(b"\n")
            if not newline:
                return None
            header = json.loads(line)
            if not isinstance(header, dict) or "windtunnel_spool" not in header:
                raise ValueError("its first line is no header")
            self._header = header
        return self._header

    def lines(self, position: int, limit: int) -> bytes:
        """Whole lines from ``position`` on, at most about ``limit`` bytes, or one longer line."""
        data = self._read(position, limit)
        while len(data) == limit and b"\n" not in data:
            limit *= 4
            data = self._read(position, limit)
        return data[: data.rfind(b"\n") + 1]

    def owner_lives(self) -> bool:
        """Whether the process that writes it still has it open."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            # Held, or there are no locks on this file system. A process forked by C code may
            # have inherited the lock without ever writing here, so a dead owner is dead.
            return self._pid_lives() is not False
        finally:
            os.close(fd)
        return False

    def _read(self, position: int, limit: int) -> bytes:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(fd, limit, position)
        finally:
            os.close(fd)

    def _pid_lives(self) -> bool | None:
        """None when it cannot be told from here: another machine, another namespace."""
        try:
            header = self.header()
        except ValueError:
            return None
        here = process_identity(os.getpid())
        if header is None or "boot" not in header:
            return None
        if (header["boot"], header["pidns"]) != (here.get("boot"), here.get("pidns")):
            return None
        now = process_identity(int(str(header["pid"])))
        return now.get("start") == header["start"]

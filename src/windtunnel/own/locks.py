"""File locks that the kernel drops when their holder dies (flock(2)).

A lock is bound to the open file, not to the process, so two locks on one path exclude each other
also inside one process, and nothing needs to be cleaned up after a crash.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from windtunnel.own import forks
from windtunnel.own.waiting import wait_until


class FileLock:
    """One open lock file, locked or not.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lock"
    >>> mine, yours = FileLock(path), FileLock(path)
    >>> mine.take(), yours.take()
    (True, False)
    >>> mine.close()
    >>> yours.take()
    True
    >>> yours.close()
    """

    __slots__ = ("_fd", "_pid", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pid = os.getpid()
        self._fd = forks.claim(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def take(self, *, shared: bool = False) -> bool:
        """Lock now or not at all. A lock held already is turned into the kind asked for."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait(self, within: float) -> bool:
        """Lock, waiting at most ``within`` seconds."""
        return wait_until(self.take, within)

    def write(self, text: str) -> None:
        """Replace what the file says, as a rule about who holds it."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)

    @property
    def in_place(self) -> bool:
        """Whether the file locked is still the one found under the path."""
        try:
            there, here = os.stat(self.path), os.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def close(self) -> None:
        """Unlock and close; nothing more may be done with it."""
        # In a forked child the descriptor is closed already and its number may be another's.
        if self._fd >= 0 and self._pid == os.getpid():
            forks.give_up(self._fd)
        self._fd = -1


@contextlib.contextmanager
def locked(path: Path, within: float) -> Iterator[bool]:
    """Hold a lock on ``path`` for a block; yields whether it was got in time."""
    lock = FileLock(path)
    try:
        yield lock.wait(within)
    finally:
        lock.close()

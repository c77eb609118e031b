"""Folders of servers: in the user's own folder, each held by a lock on the folder itself.

They do not lie in a project, whose path may be too long for a unix socket and closed to the user
that PostgreSQL runs as. A project, and the inventory in it, may also be deleted before anyone
reaps; so a reaper also looks here, and removes the folders that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from windtunnel.own import forks
from windtunnel.own.home import home
from windtunnel.own.parts import Directory, remove_tree


class ServerFolder(Directory):
    """The folder of one server, removed with what is in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._lock = -1

    @classmethod
    def made(cls, prefix: str) -> ServerFolder:
        """Make one, held from the start."""
        while True:
            part = cls.make(prefix, server_folders(), mode=0o711)
            lock = _locked(part.path)
            if lock is not None and part.path.exists():
                part._lock = forks.claim(lock)
                return part
            part.release()  # a reaper was there before the lock

    def release(self) -> None:
        """Let go of it."""
        super().release()
        if self._lock >= 0 and self._owner_pid == os.getpid():
            forks.give_up(self._lock)
        self._lock = -1


def server_folders() -> Path:
    """Where they all are."""
    path = home() / "servers"
    path.mkdir(mode=0o711, exist_ok=True)
    return path


def remove_unheld() -> list[Path]:
    """Remove the folders whose holders are dead."""
    removed = []
    for path in server_folders().iterdir():
        lock = _locked(path)
        if lock is not None:
            if path.exists() and not remove_tree(path):
                removed.append(path)
            os.close(lock)
    return removed


def _locked(path: Path) -> int | None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd

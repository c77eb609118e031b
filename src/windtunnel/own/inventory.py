"""What this process holds that would outlive it, written down before it is used.

Each process that owns such a thing has one file under ``<state_dir>/own``, one JSON object a
line: who the owner is, then what was taken and what was given back. The owner holds the file
under flock for as long as it lives, so whoever can lock it knows that the owner is dead and may
clear what the file still lists (:mod:`windtunnel.own.reaper`). A line is one ``write``: it is
there after ``kill -9`` of the writer.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from windtunnel.own import forks
from windtunnel.own.home import folder
from windtunnel.own.identity import ProcessIdentity

TOKEN_VARIABLE = "WINDTUNNEL_OWNER"
"""The environment variable by which a child, and what it starts, says whose it is."""


class Inventory:
    """One process's inventory file, made at the first thing taken.

    :param directory: where inventories lie, as a rule ``<state_dir>/own``.
    :param shared_as: the file's name where several processes own what it lists, as for
        :class:`windtunnel.own.once.Shared`. Then it is not locked: something else says whether
        any of them lives. What is listed must not end with the process that started it.
    """

    def __init__(self, directory: Path, *, shared_as: str = "") -> None:
        self.directory = directory
        self.token = secrets.token_hex(12)
        self.shared = bool(shared_as)
        self._shared_as = shared_as
        self._fd = -1
        self._path: Path | None = None
        self._pid = os.getpid()
        self._outstanding: set[int] = set()
        self._next = 1
        self._mutex = threading.Lock()

    @property
    def path(self) -> Path | None:
        """The file; None while nothing was ever taken."""
        return self._path

    @property
    def outstanding(self) -> int:
        """How many things are taken and not given back."""
        return len(self._outstanding)

    def open(self) -> None:
        """Make the file now, so that a reaper knows of the token before a child carries it."""
        with self._mutex:
            self._open()

    def _open(self) -> None:
        if self._fd >= 0:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        # Locked before it has the name a reaper looks for: nobody meets it unlocked.
        hidden = self.directory / f".{self.token}"
        self._fd = forks.claim(
            os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        )
        if not self.shared:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._write({"owner": dataclasses.asdict(ProcessIdentity.own()), "token": self.token})
        self._path = self.directory / (self._shared_as or f"{os.getpid()}-{self.token}.jsonl")
        hidden.rename(self._path)

    def take(self, kind: str, **facts: str | int) -> int:
        """Write down one thing; returns the number by which :meth:`drop` strikes it out."""
        with self._mutex:
            self._open()
            number = self._next
            self._next += 1
            self._write({"take": number, "kind": kind, **facts})
            self._outstanding.add(number)
            return number

    def drop(self, number: int) -> None:
        """Strike out what :meth:`take` wrote down; the thing is gone.

        After :meth:`close` there is nothing to write to: the reaper finds that it is gone.
        """
        with self._mutex:
            if self._pid == os.getpid() and number in self._outstanding:
                self._outstanding.discard(number)
                if self._fd >= 0:
                    self._write({"drop": number})

    def close(self) -> None:
        """Remove the file where nothing is outstanding; else leave it to the reaper."""
        with self._mutex:
            if self._fd < 0 or self._pid != os.getpid():
                return
            if not (self._outstanding or self.shared or self._path is None):
                with contextlib.suppress(FileNotFoundError):
                    self._path.unlink()
            forks.give_up(self._fd)
            self._fd, self._path = -1, None

    def _write(self, entry: dict[str, object]) -> None:
        os.write(self._fd, json.dumps(entry).encode() + b"\n")


_directory: Path | None = None
_current: Inventory | None = None
_current_mutex = threading.Lock()
_ends: list[Callable[[], object]] = []


def use_state_dir(state_dir: Path) -> None:
    """Keep this process's inventory, and those of its children to come, under ``state_dir``."""
    global _directory
    _directory = state_dir / "own"


def current() -> Inventory:
    """The inventory of this process; outside a run it lies in the user's own folder."""
    global _current
    with _current_mutex:
        if _current is None:
            _current = Inventory(_directory or folder("own"))
        return _current


@contextlib.contextmanager
def writing_to(inventory: Inventory) -> Iterator[None]:
    """Write what is taken during the block to ``inventory`` instead of this process's own."""
    global _current
    before, _current = _current, inventory
    try:
        yield
    finally:
        _current = before


def before_closing(end: Callable[[], object]) -> None:
    """Call ``end`` before this process's inventory is closed: for what is kept warm as long as the
    process lives, and has to be struck off when it ends."""
    _ends.append(end)


def close_current() -> None:
    """Close this process's inventory, as its last act."""
    global _current
    while _ends:
        _ends.pop()()
    if _current is not None:
        _current.close()
        _current = None


def close_if_empty() -> None:
    """Remove this process's file when nothing is outstanding: for one about to end abruptly."""
    while _ends:
        _ends.pop()()
    if _current is not None and not _current.outstanding:
        close_current()


def _forget() -> None:
    global _current, _current_mutex
    _current, _current_mutex = None, threading.Lock()
    _ends.clear()  # what is warm is the parent's


forks.in_child(_forget)
atexit.register(close_current)

"""Moving events from spools into the file, each exactly once.

How far a spool has been taken in is stored by the transaction that takes it in, so whoever is
killed in between, and however many take in at a time, no event is lost or doubled. A spool is
deleted when its owner is dead, all of it is in the file, and the file's log is on the disk.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from windtunnel.record.batch import Array, Batcher
from windtunnel.record.places import spool_dir
from windtunnel.record.schema import transaction
from windtunnel.record.tail import FORMAT, Tail

SUFFIX = ".jsonl"

CHUNK = 1 << 20
"""Bytes taken from one spool at a time."""

_END = "\n"

STEP = 4 * CHUNK
"""Bytes after which a transaction takes no further spool."""


class Intake:
    """Takes in the spools of one record over one connection."""

    def __init__(self, connection: sqlite3.Connection, record: Path) -> None:
        self._connection = connection
        self._record = record
        self._directory = spool_dir(record)
        self._batcher = Batcher(connection)
        self._tails: dict[str, Tail] = {}
        self._left_alone: set[str] = set()

    def drain(self) -> None:
        """Take in all that was in the spools when this was called."""
        self._look()
        goals = [(tail, tail.size) for tail in self._tails.values()]
        while any(tail.position < goal and tail.pending for tail, goal in goals):
            self._step()

    def step(self) -> int:
        """Take in a batch of what there is; returns how many bytes, 0 when there was nothing.

        :raises sqlite3.Error: nothing of the batch is in the file then, all of it in the spools.
        """
        self._look()
        return self._step()

    def finish(self) -> bool:
        """Delete the spools that are done with; returns whether any is left."""
        done = [tail for tail in self._tails.values() if self._is_done(tail)]
        if done:
            self._sync()
            for tail in done:
                with contextlib.suppress(FileNotFoundError):
                    tail.path.unlink()
                del self._tails[tail.name]
            # Only now, and names are never used twice: a spool that is still there always has
            # its position here.
            with transaction(self._connection):
                names = [(tail.name,) for tail in done]
                self._connection.executemany("DELETE FROM spools WHERE name=?", names)
        return bool(self._tails)

    def any_owner_lives(self) -> bool:
        """Whether more may come."""
        return any(tail.owner_lives() for tail in self._tails.values())

    def _look(self) -> None:
        """Find out which spools there are."""
        try:
            names = {name for name in os.listdir(self._directory) if name.endswith(SUFFIX)}
        except FileNotFoundError:
            names = set()
        for name in self._tails.keys() - names:
            del self._tails[name]
        for name in sorted(names - self._tails.keys() - self._left_alone):
            self._tails[name] = Tail(self._directory, name)

    def _step(self) -> int:
        pending = [tail for tail in self._tails.values() if tail.pending]
        if not pending:
            return 0
        positions: dict[Tail, int] = {}
        taken = 0
        try:
            with no_garbage_collection(), transaction(self._connection):
                self._batcher.begin()
                for tail in pending:
                    positions[tail] = self._take(tail)
                    taken += positions[tail] - tail.position
                    if taken >= STEP:
                        break
        except BaseException:
            self._batcher.forget()
            raise
        for tail, position in positions.items():
            tail.position = position
        return taken

    def _take(self, tail: Tail) -> int:
        """Take in a chunk of one spool, inside the transaction; returns the position after it."""
        size = tail.size
        header = self._header(tail)
        if header is None:
            tail.no_line_at = size
            return tail.position
        row = self._connection.execute(
            "SELECT position FROM spools WHERE name=?", (tail.name,)
        ).fetchone()
        # The spool exists, and we are in the transaction: no row means nothing taken in.
        position = int(row[0]) if row else 0
        data = tail.lines(position, CHUNK)
        if not data:
            tail.no_line_at = size
            return position
        run = self._batcher.run_number(str(header["run_id"]), float(str(header["time"])))
        events = _parse(data[data.index(b"\n") + 1 :] if position == 0 else data)
        self._batcher.write(run, events)
        if self._batcher.not_understood:
            self._notice(f"{self._batcher.not_understood} events of {tail.name} were not readable")
            self._batcher.not_understood = 0
        position += len(data)
        self._connection.execute(
            "INSERT OR REPLACE INTO spools VALUES (?, ?)", (tail.name, position)
        )
        return position

    def _header(self, tail: Tail) -> dict[str, object] | None:
        try:
            header = tail.header()
        except ValueError:
            aside = tail.path.with_suffix(".unreadable")
            with contextlib.suppress(FileNotFoundError):
                tail.path.rename(aside)
                self._notice(f"a spool without a header was set aside as {aside}")
            return None
        if header is not None and header["windtunnel_spool"] != FORMAT:
            self._left_alone.add(tail.name)
            del self._tails[tail.name]
            self._notice(f"the spool {tail.path} was written by a newer windtunnel; it was left")
            return None
        return header

    def _notice(self, text: str) -> None:
        self._connection.execute("INSERT INTO notices (text) VALUES (?)", (text,))

    def _is_done(self, tail: Tail) -> bool:
        # In this order: what a dead owner wrote cannot grow while we look at it. What is left
        # after the last whole line is an event whose `emit` never returned.
        return not tail.owner_lives() and not tail.pending

    def _sync(self) -> None:
        """Put the log on the disk. The file itself needs none: SQLite syncs it before it lets
        go of the log."""
        try:
            fd = os.open(f"{self._record}-wal", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _parse(data: bytes) -> list[Array]:
    """The events in whole lines. A line that is none (a disk that lost power may hold zeros, a
    full one half a line) becomes an event without a kind, to be counted as not understood."""
    if not data:
        return []
    try:
        events: list[Array] = json.loads(f"[{data[:-1].decode('ascii').replace(_END, ',')}]")
    except ValueError:
        events = [_parse_line(line) for line in data.splitlines()]
    return events


def _parse_line(line: bytes) -> Array:
    try:
        event = json.loads(line)
    except ValueError:
        return []
    return event if isinstance(event, list) else []


@contextlib.contextmanager
def no_garbage_collection() -> Iterator[None]:
    """For what makes very many objects and no cycle: looking for one would take as long again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

"""The writing end of the record: one append-only file a process.

An event becomes one line, written by one ``write`` to a descriptor opened for appending: when
:meth:`Spool.sink` returns, the line is in the kernel's page cache and survives ``kill -9``.
The file is JSON lines: a header, then one array an event, ``[kind, time, field, ...]`` in the
order of the event's fields, trailing defaults left out.

The owner holds an exclusive flock on its spool as long as it lives, which is how a reader knows
that nothing more will come. A forked child closes what it inherited and opens a spool of its own
at its first event.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import operator
import os
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from windtunnel.core import EVENT_TYPES, REAL_CLOCK, Event, RecordError
from windtunnel.record.places import DEFAULT_NAME, make_spool_dir
from windtunnel.record.tail import FORMAT, process_identity

Array: TypeAlias = "list[object]"

_KEPT_UNWRITTEN = 10_000


class RecordWarning(UserWarning):
    """The record could not be written as it should."""


class Spool:
    """This process's spool. Made by :meth:`open`; :attr:`sink` is what ``set_sink`` takes.

    >>> import tempfile
    >>> from windtunnel.core import Sample
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spool = Spool.open(Path(folder), "run-1")
    ...     spool.sink(Sample(name="latency", value=0.5, time=1.0))
    ...     spool.path.read_text().splitlines()[1]
    ...     spool.close()
    '["sample",1.0,"latency",0.5]'
    """

    def __init__(
        self, record: Path, run_id: str, redact: Callable[[Event], Event] | None = None
    ) -> None:
        self._record = record
        self._run_id = run_id
        self._redact = redact
        self._lock = threading.Lock()
        self._fd = -1
        self._directory_fd = -1
        self._directory_identity = (0, 0)
        self._identity = (0, 0)
        self._unwritten: list[bytes] = []
        self._closed = False
        self.path = Path()
        self.problem: RecordError | None = None

    @classmethod
    def open(
        cls,
        state_dir: Path,
        run_id: str,
        *,
        record: str = DEFAULT_NAME,
        redact: Callable[[Event], Event] | None = None,
    ) -> Spool:
        """Open a spool for this process.

        :param state_dir: the folder the record's file is in.
        :param run_id: the run that all events of this process belong to.
        :param record: name of the record's file in ``state_dir``.
        :param redact: what is done to every event before it is written, see
            :class:`windtunnel.record.Redaction`.
        :raises RecordError: when the file cannot be created.
        """
        spool = cls(Path(os.path.abspath(state_dir)) / record, run_id, redact)
        try:
            spool._begin()
        except OSError as error:
            raise _unwritable(spool._record, error) from error
        _SPOOLS.add(spool)
        return spool

    def sink(self, event: Event) -> None:
        """Write ``event``; never raises for want of space.

        The first event that cannot be written warns (:class:`RecordWarning`) and sets
        :attr:`problem`; it and those after it are kept in memory, up to 10,000, and written
        as soon as there is space again.
        """
        if self._closed:
            return
        if self._redact is not None:
            event = self._redact(event)
        line = _encode(as_array(event, short=True)).encode("ascii") + b"\n"
        try:
            if self._unwritten:
                self._flush_unwritten()
            self._write(line)
        except OSError as error:
            if len(self._unwritten) < _KEPT_UNWRITTEN:
                self._unwritten.append(line)
            self._complain(error)

    def close(self) -> None:
        """End this process's spool. Events after it are dropped."""
        if self._closed:
            return
        self._closed = True
        _SPOOLS.discard(self)
        try:
            if self._unwritten:
                self._flush_unwritten()
        except OSError as error:
            self._complain(error)
        if self._fd >= 0 and self._is_ours():
            os.close(self._fd)  # and with it the flock
        if self._directory_fd >= 0 and _identity(self._directory_fd) == self._directory_identity:
            os.close(self._directory_fd)
        self._fd = self._directory_fd = -1

    def _write(self, line: bytes) -> None:
        if self._fd < 0 or not self._is_ours():
            with self._lock:
                if self._fd < 0 or not self._is_ours():
                    self._begin()
        written = os.write(self._fd, line)
        if written != len(line):
            self._take_back(written)

    def _take_back(self, written: int) -> None:
        """Remove a line of which only a part fitted; only this process appends, so it is last."""
        size = os.fstat(self._fd).st_size
        os.ftruncate(self._fd, size - written)
        raise OSError(28, os.strerror(28))

    def _is_ours(self) -> bool:
        """Whether the descriptor still is our file: tests do close whatever they find open, and
        the next file opened then gets our number. Also false when the file was deleted."""
        try:
            status = os.fstat(self._fd)
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == self._identity and status.st_nlink > 0

    def _begin(self) -> None:
        header = {
            "windtunnel_spool": FORMAT,
            "run_id": self._run_id,
            "time": REAL_CLOCK.time(),
            **process_identity(os.getpid()),
        }
        while True:
            fd = self._create()
            try:
                # A reader that looks whether we live may hold the lock for an instant.
                fcntl.flock(fd, fcntl.LOCK_EX)
            except OSError:
                pass  # no locks on this file system: readers go by the identity in the header
            status = os.fstat(fd)
            if status.st_nlink == 0:
                os.close(fd)  # between creation and lock a reader took it for a dead one's
                continue
            os.write(fd, json.dumps(header).encode("ascii") + b"\n")
            self._fd, self._identity = fd, (status.st_dev, status.st_ino)
            return

    def _create(self) -> int:
        # Sorts by time, which is the order readers take spools in; never used twice.
        name = f"{int(REAL_CLOCK.time() * 1000):013x}-{os.getpid()}-{os.urandom(4).hex()}.jsonl"
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        if self._directory_fd < 0 or not self._directory_is_there():
            directory = make_spool_dir(self._record)
            self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._directory_identity = _identity(self._directory_fd)
        # By descriptor: a child in a mount namespace of its own reaches the true folder by it.
        fd = os.open(name, flags, 0o644, dir_fd=self._directory_fd)
        self.path = self._record.parent / "spool" / self._record.name / name
        return fd

    def _directory_is_there(self) -> bool:
        try:
            status = os.fstat(self._directory_fd)
        except OSError:
            return False
        same = (status.st_dev, status.st_ino) == self._directory_identity
        return same and status.st_nlink > 0

    def _flush_unwritten(self) -> None:
        while self._unwritten:
            self._write(self._unwritten[0])
            self._unwritten.pop(0)

    def _complain(self, error: OSError) -> None:
        if self.problem is not None:
            return
        self.problem = _unwritable(self._record, error)
        try:
            warnings.warn(str(self.problem), RecordWarning, stacklevel=3)
        except RecordWarning:
            pass  # warnings are errors here; the run goes on, and `problem` says it

    def _after_fork_in_child(self) -> None:
        self._lock = threading.Lock()
        self._unwritten = []  # the parent will write them
        if self._fd >= 0 and self._is_ours():
            os.close(self._fd)  # not unlocked: the lock is the parent's
        self._fd = -1


_SPOOLS: weakref.WeakSet[Spool] = weakref.WeakSet()


def _after_fork() -> None:
    for spool in list(_SPOOLS):
        spool._after_fork_in_child()


os.register_at_fork(after_in_child=_after_fork)

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _fields(cls: type[Event]) -> tuple[Callable[[Event], tuple[object, ...]], Array]:
    fields = dataclasses.fields(cls)
    getter: Callable[[Event], tuple[object, ...]] = operator.attrgetter(*(f.name for f in fields))
    return getter, [f.default for f in fields]


_SHAPES = {kind: _fields(cls) for kind, cls in EVENT_TYPES.items()}


def as_array(event: Event, *, short: bool = False) -> Array:
    """The event as ``[kind, time, field, ...]``; ``short`` leaves trailing defaults out."""
    getter, defaults = _SHAPES[event.kind]
    array = [event.kind, *getter(event)]
    if short:
        while array[-1] == defaults[len(array) - 2]:
            array.pop()
    return array


def _identity(fd: int) -> tuple[int, int]:
    try:
        status = os.fstat(fd)
    except OSError:
        return (0, 0)
    return status.st_dev, status.st_ino


def _unwritable(record: Path, error: OSError) -> RecordError:
    return RecordError(
        f"cannot write to the record {record}",
        found=f"{error.strerror}",
        fix="make space or give write permission; what was recorded before is kept",
    )

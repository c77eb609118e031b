"""Events into rows: the hot path of the record.

A batch is a list of events as arrays (``[kind, time, field, ...]``) of one run. The quick way
handles what a sound run writes, in a few large statements; whatever does not fit it (an attempt
reported twice, text that is no Unicode, a field of the wrong type) rolls back and goes one event
at a time, where the odd event is dealt with by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, TypeAlias

from windtunnel.record import rollups

Array: TypeAlias = "list[Any]"  # Any: fields of an event as JSON gives them

# Fields of the events, in their order; a test compares them with the dataclasses.
_FINISHED: Array = [
    "test_finished", 0.0, "", "", "", 1, True, "", 0.0, 0.0, 0.0, 0.0, 0, "", "", "", False, "", 0,
]  # fmt: skip
_STARTED: Array = ["test_started", 0.0, "", "", 1, 0]
_RUN_STARTED: Array = [
    "run_started", 0.0, "", "", "", "", "", "", "", "", "real", 0, 0, "",
]  # fmt: skip
_RUN_FINISHED: Array = ["run_finished", 0.0, 0, 0.0, 0]
_SAMPLE: Array = ["sample", 0.0, "", 0.0, "s", "", False]
_VIOLATION: Array = ["violation", 0.0, "", "", "", "", "", "", False]
_RESOURCE: Array = ["resource", 0.0, "", "", "", "", ""]

DEFAULTS: dict[str, Array] = {
    shape[0]: shape
    for shape in (
        _FINISHED, _STARTED, _RUN_STARTED, _RUN_FINISHED, _SAMPLE, _VIOLATION, _RESOURCE,
    )
}  # fmt: skip

_LETTERS = {
    "passed": ".",
    "failed": "F",
    "error": "E",
    "skipped": "s",
    "xfailed": "x",
    "xpassed": "X",
    "crashed": "C",
    "timeout": "T",
}

# A seed has 64 bits without a sign, SQLite's integer has 64 with one.
_SIGN, _WRAP = 1 << 63, 1 << 64

_LARGE = 2_000  # events above which it pays to ask for all tests at once

_INSERT_OUTCOME = "INSERT OR IGNORE INTO outcomes VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
_INSERT_TEXT = "INSERT OR REPLACE INTO texts VALUES (?,?,?,?,?,?)"
_INSERT_UNFINISHED = "INSERT OR IGNORE INTO unfinished VALUES (?,?,?,?,?,?)"
_DELETE_UNFINISHED = "DELETE FROM unfinished WHERE run=? AND test=? AND attempt=?"

_ODD = (
    KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError,
    sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError,
)  # fmt: skip


class _Unusual(ValueError):
    """The batch holds something the quick way does not do."""


class Batcher:
    """Writes batches of events; to be called inside a write transaction.

    It remembers the numbers of tests and names, and forgets them when another connection has
    changed the file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute
        self._tests: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._runs: dict[str, int] = {}
        self._version = -1
        self.not_understood = 0

    def begin(self) -> None:
        """To be called first in each transaction."""
        version: int = self._execute("PRAGMA data_version").fetchone()[0]
        if version != self._version:
            self._version = version
            self.forget()

    def forget(self) -> None:
        """Drop what is remembered, as after a rollback."""
        self._tests.clear()
        self._names.clear()
        self._runs.clear()

    def run_number(self, run_id: str, started: float) -> int:
        """The number of that run, which is entered when it is not known yet."""
        number = self._runs.get(run_id)
        if number is None:
            self._execute(
                "INSERT OR IGNORE INTO runs (number, run_id, started)"
                " VALUES ((SELECT coalesce(max(number), 0) + 1 FROM runs), ?, ?)",
                (run_id, started),
            )
            row = self._execute("SELECT number FROM runs WHERE run_id=?", (run_id,)).fetchone()
            number = self._runs[run_id] = int(row[0])
        return number

    def write(self, run: int, events: Sequence[Array]) -> None:
        """Put the events of a run into their tables and bring the roll-ups up to date."""
        self._execute("SAVEPOINT batch")
        try:
            self._write(run, events)
        except _ODD:
            self._execute("ROLLBACK TO batch")
            self.forget()
            for event in events:
                self._write_odd(run, event)
        self._execute("RELEASE batch")

    def _write(self, run: int, events: Sequence[Array]) -> None:
        outcomes: list[tuple[Any, ...]] = []
        finals: list[rollups.Final] = []
        texts: list[tuple[Any, ...]] = []
        ended: list[tuple[int, int, int]] = []
        open_: Array | None = None  # tests of a process follow one another, as a rule
        more_open: dict[tuple[str, int], Array] = {}
        others: dict[str, list[Array]] = {}
        tests, names, letters, rolled = self._tests, self._names, _LETTERS, rollups.final
        length, started_length = len(_FINISHED), len(_STARTED)
        add_outcome, add_final = outcomes.append, finals.append
        if not tests and len(events) > _LARGE:
            tests.update(self._execute("SELECT nodeid, id FROM tests"))
        for event in events:
            kind = event[0]
            if kind == "test_finished":
                if len(event) != length:
                    event = _whole(event, _FINISHED)
                (
                    _, _, nodeid, outcome, worker, attempt, final, phase, setup_s, call_s,
                    teardown_s, started, position, isolation, message, output, quarantined,
                    replay, seed,
                ) = event  # fmt: skip
                test = tests.get(nodeid) or self._test(nodeid)
                if open_ is not None and open_[2] == nodeid and open_[4] == attempt:
                    open_ = None
                elif not more_open or more_open.pop((nodeid, attempt), None) is None:
                    ended.append((run, test, attempt))
                letter = letters[outcome]
                # No True or False: sqlite3 looks for an adapter of each, which costs the most.
                add_outcome((
                    run, test, attempt, letter, 1 if final else 0, phase, setup_s, call_s,
                    teardown_s, started, names.get(worker) or self._name(worker), position,
                    names.get(isolation) or self._name(isolation), 1 if quarantined else 0,
                    seed if seed < _SIGN else seed - _WRAP,
                ))  # fmt: skip
                if final:
                    add_final(rolled(letter, setup_s + call_s + teardown_s, run, test))
                if message or output or replay:
                    texts.append((run, test, attempt, message, output, replay))
            elif kind == "test_started":
                if open_ is not None:
                    more_open[open_[2], open_[4]] = open_
                open_ = event if len(event) == started_length else _whole(event, _STARTED)
            else:
                others.setdefault(kind, []).append(event)
        if outcomes:
            cursor = self._connection.executemany(_INSERT_OUTCOME, outcomes)
            if cursor.rowcount != len(outcomes):
                raise _Unusual("an attempt was reported twice")
            rollups.append(self._connection, finals)
        if texts:
            self._connection.executemany(_INSERT_TEXT, texts)
        if ended:
            self._connection.executemany(_DELETE_UNFINISHED, ended)
        if open_ is not None:
            more_open[open_[2], open_[4]] = open_
        for event in more_open.values():
            self._insert_unfinished(run, event)
        for kind, some in others.items():
            self._write_others(run, kind, some)

    def _insert_unfinished(self, run: int, event: Array) -> None:
        _, started, nodeid, worker, attempt, position = event
        row = (run, self._test(nodeid), attempt, started, worker, position)
        self._execute(_INSERT_UNFINISHED, row)

    def _write_others(self, run: int, kind: str, events: list[Array]) -> None:
        if kind not in DEFAULTS:
            return  # a newer version's: the fields are kept in no table of ours
        shape = DEFAULTS[kind]
        rows = [(run, *_whole(event, shape)[1:]) for event in events]
        if kind == "run_started":
            for row in rows:
                self._run_started(row)
        elif kind == "run_finished":
            self._connection.executemany(
                "UPDATE runs SET finished=?, exit_code=?, duration_s=?, collected=? WHERE number=?",
                [(*rest, number) for number, *rest in rows],
            )
        else:
            marks = ",".join("?" * len(shape))
            self._connection.executemany(f"INSERT INTO {kind}s VALUES ({marks})", rows)

    def _run_started(self, row: tuple[Any, ...]) -> None:
        _, time, run_id, *rest = row
        number = self.run_number(run_id, time)
        rest[-2] -= _WRAP if rest[-2] >= _SIGN else 0
        self._execute(
            'UPDATE runs SET started=?, argv=?, root=?, "commit"=?, tree=?, environment=?,'
            " environment_text=?, isolation=?, world=?, workers=?, seed=?, ci=? WHERE number=?",
            (time, *rest, number),
        )

    def _test(self, nodeid: str) -> int:
        known = self._tests.get(nodeid)
        if known is None:
            known = self._tests[nodeid] = self._intern("tests", "nodeid", nodeid)
        return known

    def _name(self, name: str) -> int:
        known = self._names[name] = self._intern("names", "name", name)
        return known

    def _intern(self, table: str, column: str, text: str) -> int:
        cursor = self._execute(f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)", (text,))
        if cursor.rowcount:
            return int(cursor.lastrowid or 0)
        select = f"SELECT id FROM {table} WHERE {column}=?"
        return int(self._execute(select, (text,)).fetchone()[0])

    def _write_odd(self, run: int, event: Array) -> None:
        self._execute("SAVEPOINT odd")
        try:
            event = _storable(event)
            if event[0] == "test_finished":
                self._finish_odd(run, _whole(event, _FINISHED))
            else:
                self._write(run, [event])
        except _ODD:
            self._execute("ROLLBACK TO odd")
            self.forget()
            self.not_understood += 1
        self._execute("RELEASE odd")

    def _finish_odd(self, run: int, event: Array) -> None:
        """Two reports of one attempt: where one is a crash, both mean the same attempt and the
        crash stands, for that is what the run told its user. Otherwise they are two attempts,
        say of two items that have the same name, and none is lost."""
        test = self._test(event[2])
        key = (run, test, event[5])
        row = self._execute(
            "SELECT outcome FROM outcomes WHERE run=? AND test=? AND attempt=?", key
        ).fetchone()
        if row is None:
            self._write(run, [event])
            return
        if row[0] == "C":
            return
        if event[3] == "crashed":
            self._execute("DELETE FROM outcomes WHERE run=? AND test=? AND attempt=?", key)
        else:
            event[5] = (
                1
                + self._execute(
                    "SELECT max(attempt) FROM outcomes WHERE run=? AND test=?", (run, test)
                ).fetchone()[0]
            )
        self._write(run, [event])
        rollups.rebuild(self._connection, [test])


def _whole(event: Array, shape: Array) -> Array:
    """The event with as many fields as this version has: an older writer's has fewer, whose
    defaults are added; a newer one's has more, which are dropped."""
    have = len(event)
    if have == len(shape):
        return event
    return event + shape[have:] if have < len(shape) else event[: len(shape)]


def unsigned(number: int) -> int:
    """The seed that was stored as ``number``."""
    return number if number >= 0 else number + _WRAP


def _storable(event: Array) -> Array:
    return [
        value.encode("utf-8", "backslashreplace").decode("utf-8")
        if isinstance(value, str)
        else value
        for value in event
    ]

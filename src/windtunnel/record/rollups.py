"""The roll-up of each test: its strip of recent outcomes, its recent durations, its counts.

They are what makes a view of all tests cheap however long the history is. Every batch appends to
them; where runs are put between older ones, or taken away, they are built anew from the outcomes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TypeAlias

STRIP = 20
DURATIONS = 10
WIDTH = 8  # characters of a duration, as in "1.25e-03"

_MOST_LOOK_UPS = 2_000_000  # above that, reading everything from front to back is quicker

# What can be worked out before is handed over: expressions here cost more than the update itself.
_APPEND = f"""
UPDATE tests SET
    strip = substr(strip || ?, -{STRIP}),
    durations = substr(durations || ?, -{DURATIONS * WIDTH}),
    results = results + ?,
    failures = failures + ?,
    finals = finals + 1,
    last_run = max(last_run, ?)
WHERE id = ?
"""

Final: TypeAlias = "tuple[str, str, int, int, int, int]"
"""A deciding outcome: letter, packed duration, whether it counts, whether it is bad, run, test."""


def final(letter: str, duration_s: float, run: int, test: int) -> Final:
    """A deciding outcome, ready to be added."""
    # Skipped took no time that means anything, crashed none that is known.
    timed = letter not in "sC" and 0 <= duration_s < 1e99
    packed = f"{duration_s:.2e}" if timed else ""
    return letter, packed, 0 if letter == "s" else 1, 1 if letter in "FECT" else 0, run, test


def append(connection: sqlite3.Connection, finals: Iterable[Final]) -> None:
    """Add deciding outcomes, in their order."""
    connection.executemany(_APPEND, finals)


def append_runs(connection: sqlite3.Connection, first: int) -> None:
    """Add the deciding outcomes of all runs from number ``first`` on."""
    rows = connection.execute(
        "SELECT outcome, setup_s + call_s + teardown_s, run, test FROM outcomes"
        " WHERE final AND run >= ? ORDER BY run, test, attempt",
        (first,),
    )
    append(connection, _last_of_a_run(rows))


def rebuild(connection: sqlite3.Connection, tests: Sequence[int] | None = None) -> None:
    """Make the roll-ups of some tests, or of all, from their outcomes."""
    runs: int = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    if tests is None or len(tests) * runs > _MOST_LOOK_UPS:
        tests = [row[0] for row in connection.execute("SELECT id FROM tests")]
        _clear(connection, tests)
        append_runs(connection, 0)
        return
    _clear(connection, tests)
    for test in tests:
        rows = connection.execute(
            "SELECT outcome, setup_s + call_s + teardown_s, run, test"
            " FROM runs CROSS JOIN outcomes ON run = number AND test = ?"
            " WHERE final ORDER BY number, attempt",
            (test,),
        )
        append(connection, _last_of_a_run(rows))


def _clear(connection: sqlite3.Connection, tests: Iterable[int]) -> None:
    connection.executemany(
        "UPDATE tests SET strip='', durations='', results=0, failures=0, finals=0, last_run=0"
        " WHERE id=?",
        [(test,) for test in tests],
    )


def _last_of_a_run(rows: Iterable[tuple[str, float, int, int]]) -> Iterable[Final]:
    """One outcome a test and run: where two claim to be final, the later attempt's."""
    before: tuple[str, float, int, int] | None = None
    for row in rows:
        if before is not None and before[2:] != row[2:]:
            yield final(*before)
        before = row
    if before is not None:
        yield final(*before)


def unpack_durations(packed: str) -> list[float]:
    """The durations in seconds, oldest first.

    >>> unpack_durations("1.25e-032.00e+00")
    [0.00125, 2.0]
    """
    return [float(packed[at : at + WIDTH]) for at in range(0, len(packed), WIDTH)]

"""Steps from one format of the file to the next. A step stays as it is once it has shipped."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def _begin(connection: sqlite3.Connection) -> None:
    raise sqlite3.DatabaseError("format 0 was never written")


def _add_durations(connection: sqlite3.Connection) -> None:
    """Format 2: durations in the roll-up, notices, unfinished attempts."""
    connection.execute("ALTER TABLE tests ADD COLUMN durations TEXT NOT NULL DEFAULT ''")
    connection.execute("CREATE TABLE notices (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    connection.execute(
        "CREATE TABLE unfinished (run INTEGER NOT NULL, test INTEGER NOT NULL,"
        " attempt INTEGER NOT NULL, started REAL NOT NULL, worker TEXT NOT NULL,"
        " position INTEGER NOT NULL, PRIMARY KEY (run, test, attempt)) WITHOUT ROWID"
    )
    rows = connection.execute(
        "SELECT printf('%.2e', setup_s + call_s + teardown_s), test FROM outcomes"
        " WHERE final AND outcome NOT IN ('s', 'C') ORDER BY run, test, attempt"
    )
    connection.executemany(
        "UPDATE tests SET durations = substr(durations || ?, -80) WHERE id = ?", rows
    )


STEPS: dict[int, Callable[[sqlite3.Connection], None]] = {0: _begin, 1: _add_durations}
"""By the format they start from."""

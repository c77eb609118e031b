"""Letting go of old runs."""

from __future__ import annotations

import sqlite3

from windtunnel.record import rollups

_DAY_S = 86_400.0

_TABLES = ("outcomes", "texts", "unfinished", "samples", "violations", "resources")


def trim(connection: sqlite3.Connection, *, keep_runs: int, keep_days: int, now: float) -> int:
    """Remove all runs but the newest ``keep_runs``, and those older than ``keep_days`` days.

    To be called inside a write transaction. 0 means no limit.

    :returns: how many runs were removed.
    """
    connection.execute("CREATE TEMP TABLE IF NOT EXISTS old (run INTEGER PRIMARY KEY)")
    connection.execute("DELETE FROM old")
    if keep_runs:
        connection.execute(
            "INSERT INTO old SELECT number FROM runs ORDER BY number DESC LIMIT -1 OFFSET ?",
            (keep_runs,),
        )
    if keep_days:
        connection.execute(
            "INSERT OR IGNORE INTO old SELECT number FROM runs WHERE started < ?",
            (now - keep_days * _DAY_S,),
        )
    removed: int = connection.execute("SELECT count(*) FROM old").fetchone()[0]
    if removed:
        _remove(connection)
    return removed


def _remove(connection: sqlite3.Connection) -> None:
    # Counts are reduced by what goes rather than made anew from what stays: what goes is small.
    gone = connection.execute(
        "SELECT count(DISTINCT run), count(*), sum(outcome <> 's'),"
        " sum(outcome IN ('F', 'E', 'C', 'T')), test"
        " FROM outcomes WHERE run IN old AND final GROUP BY test"
    ).fetchall()
    for table in _TABLES:
        connection.execute(f"DELETE FROM {table} WHERE run IN old")
    connection.execute("DELETE FROM runs WHERE number IN old")
    connection.executemany(
        "UPDATE tests SET finals = finals - ?, results = results - ?, failures = failures - ?"
        " WHERE id = ?",
        [(runs, results, failures, test) for runs, rows, results, failures, test in gone],
    )
    # Where fewer runs are left than a strip has room for, or two items of one name counted once.
    changed = {test for runs, rows, *_, test in gone if runs != rows}
    changed |= {
        row[0]
        for row in connection.execute("SELECT id FROM tests WHERE finals < ?", (rollups.STRIP,))
    }.intersection(test for *_, test in gone)
    rollups.rebuild(connection, sorted(changed))
    bare = connection.execute("SELECT id FROM tests WHERE finals <= 0").fetchall()
    connection.executemany(
        "DELETE FROM tests WHERE id = ? AND NOT EXISTS (SELECT 1 FROM runs CROSS JOIN outcomes"
        " ON run = number AND test = tests.id) AND id NOT IN (SELECT test FROM unfinished)",
        bare,
    )

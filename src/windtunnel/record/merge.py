"""Putting the runs of one record into another.

Every import goes this way: what is read becomes a record in a temporary folder, which is merged.
So the rules are here alone: a run is known by its ``run_id`` and never entered twice, what is
missing of a known run is added, and runs are numbered in the order of time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from windtunnel.record import rollups
from windtunnel.record.schema import transaction

BY_ATTEMPT = ("outcomes", "texts", "unfinished")
BY_TIME = ("samples", "violations", "resources")

_RUN_FIELDS = (
    'started, argv, root, "commit", tree, environment, environment_text, isolation, world,'
    " workers, seed, ci, finished, exit_code, duration_s, collected"
)


@dataclasses.dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did.

    :param runs: runs that were not known before.
    :param outcomes: outcomes that were added, of new runs and of known ones.
    :param known: runs that were known before.
    """

    runs: int = 0
    outcomes: int = 0
    known: int = 0

    def __add__(self, other: Merged) -> Merged:
        return Merged(
            self.runs + other.runs, self.outcomes + other.outcomes, self.known + other.known
        )


def merge(connection: sqlite3.Connection, other: Path) -> Merged:
    """Add the runs of the record at ``other``, which must have this format and no open spools."""
    with _attached(connection, other), transaction(connection):
        _map_names(connection)
        theirs = connection.execute(
            "SELECT number, run_id, started FROM other.runs ORDER BY started, run_id"
        ).fetchall()
        ours = {run_id for (run_id,) in connection.execute("SELECT run_id FROM runs")}
        new = [(run_id, started) for _, run_id, started in theirs if run_id not in ours]
        in_order = _make_room(connection, new)
        numbers = dict(connection.execute("SELECT run_id, number FROM runs").fetchall())
        outcomes = sum(
            _copy_run(connection, number, numbers[run_id], known=run_id in ours)
            for number, run_id, _ in theirs
        )
        known = len(theirs) - len(new)
        if outcomes and (known or not in_order):
            rollups.rebuild(connection)
        elif outcomes:
            first = min(numbers[run_id] for run_id, _ in new)
            rollups.append_runs(connection, first)
    return Merged(len(new), outcomes, known)


@contextlib.contextmanager
def _attached(connection: sqlite3.Connection, other: Path) -> Iterator[None]:
    connection.execute("ATTACH ? AS other", (str(other),))
    try:
        yield
    finally:
        connection.execute("DETACH other")


def _map_names(connection: sqlite3.Connection) -> None:
    """Make temporary tables from the other file's numbers of tests and names to ours."""
    for table, column in (("tests", "nodeid"), ("names", "name")):
        connection.execute(
            f"INSERT OR IGNORE INTO main.{table} ({column}) SELECT {column} FROM other.{table}"
        )
        connection.execute(f"DROP TABLE IF EXISTS temp.map_{table}")
        connection.execute(
            f"CREATE TEMP TABLE map_{table} AS SELECT t.id AS theirs, o.id AS ours"
            f" FROM other.{table} t JOIN main.{table} o USING ({column})"
        )
        connection.execute(f"CREATE UNIQUE INDEX temp.map_{table}_i ON map_{table} (theirs)")


def _make_room(connection: sqlite3.Connection, new: list[tuple[str, float]]) -> bool:
    """Enter the new runs with numbers in the order of time, which moves the numbers of the runs
    after them; returns whether all came after what we had."""
    rows = connection.execute("SELECT number, run_id, started FROM main.runs").fetchall()
    latest = max((started for _, _, started in rows), default=float("-inf"))
    following = max((number for number, *_ in rows), default=0) + 1
    in_order = all(started >= latest for _, started in new)
    connection.executemany(
        "INSERT INTO main.runs (number, run_id, started) VALUES (?, ?, ?)",
        [(following + at, run_id, started) for at, (run_id, started) in enumerate(new)],
    )
    if not in_order:
        _renumber(connection, {run_id for run_id, _ in new})
    return in_order


def _renumber(connection: sqlite3.Connection, new: set[str]) -> None:
    # Only from the first new run on: what began before it keeps its numbers.
    rows = connection.execute("SELECT number, run_id, started FROM main.runs").fetchall()
    rows.sort(key=lambda row: (row[2], row[0]))
    first = next(at for at, row in enumerate(rows) if row[1] in new)
    numbers = sorted(row[0] for row in rows[first:])
    moves = [(-to, row[0]) for to, row in zip(numbers, rows[first:], strict=True) if to != row[0]]
    # By way of negative numbers, as a number may be taken until its owner has moved.
    for table, column in [("runs", "number"), *((name, "run") for name in BY_ATTEMPT + BY_TIME)]:
        connection.executemany(f"UPDATE main.{table} SET {column} = ? WHERE {column} = ?", moves)
        connection.execute(f"UPDATE main.{table} SET {column} = -{column} WHERE {column} < 0")


def _copy_run(connection: sqlite3.Connection, theirs: int, ours: int, *, known: bool) -> int:
    """Copy what we have not of a run; returns how many outcomes that were."""
    if known:
        connection.execute(
            "UPDATE main.runs SET (finished, exit_code, duration_s, collected) ="
            " (SELECT finished, exit_code, duration_s, collected FROM other.runs WHERE number=?)"
            " WHERE number = ? AND finished IS NULL",
            (theirs, ours),
        )
    else:
        connection.execute(
            f"UPDATE main.runs SET ({_RUN_FIELDS}) ="
            f" (SELECT {_RUN_FIELDS} FROM other.runs WHERE number = ?) WHERE number = ?",
            (theirs, ours),
        )
    run = (ours, theirs)
    added = connection.execute(
        "INSERT OR IGNORE INTO main.outcomes SELECT ?, t.ours, o.attempt, o.outcome, o.final,"
        " o.phase, o.setup_s, o.call_s, o.teardown_s, o.started, w.ours, o.position, i.ours,"
        " o.quarantined, o.seed FROM other.outcomes o JOIN map_tests t ON t.theirs = o.test"
        " JOIN map_names w ON w.theirs = o.worker JOIN map_names i ON i.theirs = o.isolation"
        " WHERE o.run = ?",
        run,
    ).rowcount
    connection.execute(
        "INSERT OR IGNORE INTO main.texts SELECT ?, t.ours, x.attempt, x.message, x.output,"
        " x.replay FROM other.texts x JOIN map_tests t ON t.theirs = x.test WHERE x.run = ?",
        run,
    )
    connection.execute(
        "INSERT OR IGNORE INTO main.unfinished SELECT ?, t.ours, u.attempt, u.started, u.worker,"
        " u.position FROM other.unfinished u JOIN map_tests t ON t.theirs = u.test"
        " WHERE u.run = ?",
        run,
    )
    for table in BY_TIME:
        columns = [row[1] for row in connection.execute(f"PRAGMA main.table_info({table})")][1:]
        listed = ", ".join(columns)
        minus = f" EXCEPT SELECT {listed} FROM main.{table} WHERE run = ?" if known else ""
        connection.execute(
            f"INSERT INTO main.{table} SELECT ?, * FROM"
            f" (SELECT {listed} FROM other.{table} WHERE run = ?{minus})",
            (ours, theirs, ours) if known else (ours, theirs),
        )
    return added

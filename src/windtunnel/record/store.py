"""The record as it is read: everything that judges, reports and schedules ask of history."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from windtunnel.core import REAL_CLOCK, Event, RecordError, RunStarted
from windtunnel.record import rollups
from windtunnel.record.batch import Batcher
from windtunnel.record.intake import Intake, no_garbage_collection
from windtunnel.record.merge import Merged, merge
from windtunnel.record.places import election_path, is_locked, spool_dir
from windtunnel.record.protocol import (
    Contents,
    DurationRow,
    OutcomeRow,
    RecentRow,
    ResourceRow,
    RunRow,
    SampleRow,
    UnfinishedRow,
    ViolationRow,
)
from windtunnel.record.retention import trim
from windtunnel.record.rows import OUTCOME, OUTCOME_JOINS, RUN, SqlRow, outcome_row, run_row
from windtunnel.record.schema import (
    FORMAT,
    connect,
    damage,
    fail_sqlite,
    inode_of,
    is_damage,
    set_aside,
    transaction,
)


def open_record(path: Path, *, create: bool = True) -> Record:
    """Open a record, with every event that any process had emitted before.

    A damaged file is set aside and a new record begun in its place, see :attr:`Record.notices`.

    :param path: the record's file.
    :param create: whether to begin a new record where there is none.
    :raises RecordError: when there is none and none is to be made, when its format is newer,
        when the file is something else's, or when it cannot be read.
    """
    path = Path(os.path.abspath(path))
    if not create and not path.exists() and not spool_dir(path).exists():
        raise RecordError(
            f"there is no record at {path}",
            fix="run some tests first: windtunnel run, or pytest",
        )
    record = Record(path)
    try:
        record._catch_up()
    except sqlite3.Error as error:
        record.close()
        if not isinstance(error, sqlite3.DatabaseError) or not is_damage(error):
            fail_sqlite(path, error)
        set_aside(path, str(error), record._inode)
        record = Record(path)
        record._catch_up()
    return record


class Record:
    """An open record. Made by :func:`open_record`; closed by :meth:`close` or as a context.

    Runs have numbers that grow with time. All times are seconds since the epoch.
    """

    def __init__(
        self, path: Path, *, damaged: Literal["set aside", "refuse"] = "set aside"
    ) -> None:
        self.path = path
        self.notices: tuple[str, ...] = ()
        """What the user should be told, each once: files set aside, events not understood."""
        self._connection = connect(path, damaged=damaged)
        self._inode = inode_of(path)

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def runs(self, limit: int | None = None) -> list[RunRow]:
        """The runs, newest first; ``limit`` of them where given."""
        query = f"SELECT {RUN} FROM runs ORDER BY number DESC LIMIT ?"
        return [run_row(row) for row in self._rows(query, (-1 if limit is None else limit,))]

    def run(self, run_id: str) -> RunRow | None:
        """The run of that name, None where it is not known."""
        rows = self._rows(f"SELECT {RUN} FROM runs WHERE run_id = ?", (run_id,))
        return run_row(rows[0]) if rows else None

    def outcomes(self, run: int) -> list[OutcomeRow]:
        """All attempts of the run of that number, in the order they began."""
        rows = self._rows(
            f"SELECT {OUTCOME} FROM outcomes o {OUTCOME_JOINS} WHERE o.run = ?"
            " ORDER BY o.started, o.test, o.attempt",
            (run,),
        )
        facts = self._run_facts()
        return [outcome_row(row, facts) for row in rows]

    def history(
        self, nodeids: Collection[str] | None = None, *, last: int = 100
    ) -> dict[str, list[OutcomeRow]]:
        """The attempts of the last ``last`` runs of each test, oldest first.

        :param nodeids: the tests; all where not given. Unknown ones are left out of the answer.
        """
        facts = self._run_facts()
        if nodeids is None:
            return self._history_of_all(facts, last)
        found: dict[str, list[OutcomeRow]] = {}
        for nodeid in nodeids:
            known = self._rows("SELECT id FROM tests WHERE nodeid = ?", (nodeid,))
            rows = self._history_of(int(known[0][0]), facts, last) if known else []
            if rows:
                found[nodeid] = rows
        return found

    def recent(self) -> list[RecentRow]:
        """Every test's last 20 runs."""
        with self._watch(), no_garbage_collection():
            rows = self._connection.execute(
                "SELECT nodeid, strip, results, failures, last_run FROM tests WHERE finals > 0"
            )
            return list(map(RecentRow._make, rows))

    def rerun(self, *, last: int = 100) -> set[str]:
        """Tests that were run again within one of the last runs, by nodeid."""
        query = (
            "SELECT nodeid FROM tests WHERE id IN (SELECT test FROM outcomes"
            " WHERE run > (SELECT coalesce(max(number), 0) FROM runs) - ? AND NOT final)"
        )
        return {nodeid for (nodeid,) in self._rows(query, (last,))}

    def durations(self) -> dict[str, DurationRow]:
        """How long each test takes, by nodeid; tests without a timed result are left out."""
        found: dict[str, DurationRow] = {}
        for nodeid, packed in self._rows("SELECT nodeid, durations FROM tests"):
            values = sorted(rollups.unpack_durations(packed))
            if values:
                # The nearest rank, so that the figure is one that was measured.
                p75 = values[math.ceil(0.75 * len(values)) - 1]
                mean = sum(values) / len(values)
                found[nodeid] = DurationRow(nodeid, p75, mean, len(values))
        return found

    def unfinished(self, run: int) -> list[UnfinishedRow]:
        """Attempts of a run that began and have no outcome."""
        rows = self._rows(
            "SELECT u.run, t.nodeid, u.attempt, u.started, u.worker, u.position FROM unfinished u"
            " JOIN tests t ON t.id = u.test LEFT JOIN outcomes o"
            " ON o.run = u.run AND o.test = u.test AND o.attempt = u.attempt"
            " WHERE u.run = ? AND o.run IS NULL ORDER BY u.started",
            (run,),
        )
        return [
            UnfinishedRow(
                run=row[0],
                nodeid=row[1],
                attempt=row[2],
                started=row[3],
                worker=row[4],
                order=row[5],
            )
            for row in rows
        ]

    def violations(self, run: int) -> list[ViolationRow]:
        """The rules broken in a run, in the order of time."""
        names = "run, time, rule, subject, detail, nodeid, worker, location, fails"
        rows = self._rows(f"SELECT {names} FROM violations WHERE run = ? ORDER BY time", (run,))
        keys = names.split(", ")
        return [
            ViolationRow(**{**dict(zip(keys, row, strict=True)), "fails": bool(row[-1])})
            for row in rows
        ]

    def resources(self, run: int) -> list[ResourceRow]:
        """What was taken and given back in a run, in the order of time."""
        names = "run, time, action, resource, name, nodeid, worker"
        rows = self._rows(f"SELECT {names} FROM resources WHERE run = ? ORDER BY time", (run,))
        return [ResourceRow(**dict(zip(names.split(", "), row, strict=True))) for row in rows]

    def samples(self, name: str | None = None, run: int | None = None) -> list[SampleRow]:
        """Measurements, in the order of runs and time: of that name, of that run, or all."""
        asked = {"name": name, "run": run}
        given = {column: value for column, value in asked.items() if value is not None}
        where = " AND ".join(f"{column} = ?" for column in given) or "1"
        rows = self._rows(
            "SELECT run, time, name, value, unit, nodeid, failed FROM samples"
            f" WHERE {where} ORDER BY run, time",
            tuple(given.values()),
        )
        return [
            SampleRow(
                run=row[0],
                time=row[1],
                name=row[2],
                value=math.nan if row[3] is None else row[3],
                unit=row[4],
                nodeid=row[5],
                failed=bool(row[6]),
            )
            for row in rows
        ]

    def ingest(self, run_started: RunStarted, events: Iterable[Event]) -> int:
        """Enter a run and its events directly, as imports do; returns the run's number.

        All of it is entered, or nothing when this raises.
        """
        return self.append(run_started.run_id, [run_started, *events])

    def append(self, run_id: str, events: Sequence[Event]) -> int:
        """Enter events of a run, all or none of them; returns the run's number."""
        from windtunnel.record.spool import as_array

        with self._watch(), transaction(self._connection):
            batcher = Batcher(self._connection)
            batcher.begin()
            number = batcher.run_number(run_id, events[0].time if events else 0.0)
            batcher.write(number, [as_array(event) for event in events])
        return number

    def merge(self, other: Path) -> Merged:
        """Add the runs of another record; those known already are not doubled.

        :param other: the other record's file, which is not changed but for being brought to
            this format, and for what is in its spools.
        :raises RecordError: when that file cannot be read.
        """
        with Record(other, damaged="refuse") as theirs:
            theirs._catch_up()
        with self._watch():
            return merge(self._connection, other)

    def trim(self, *, keep_runs: int = 0, keep_days: int = 0) -> int:
        """Remove all but the newest ``keep_runs`` runs, and runs older than ``keep_days`` days.

        :returns: how many runs were removed. 0 as a limit is none.
        """
        if not keep_runs and not keep_days:
            return 0
        with self._watch():
            with transaction(self._connection):
                now = REAL_CLOCK.time()
                removed = trim(self._connection, keep_runs=keep_runs, keep_days=keep_days, now=now)
            if removed:
                # Every step of it frees a page, and `execute` takes one step only.
                self._connection.executescript("PRAGMA incremental_vacuum")
        return removed

    def check(self) -> Contents:
        """Read the whole file, and say what is in it.

        :raises RecordError: when it is damaged, after it has been set aside.
        """
        problems = [row[0] for row in self._rows("PRAGMA integrity_check(5)")]
        if problems != ["ok"]:
            with self._watch():
                raise damage("; ".join(problems))
        tables = ("runs", "tests", "outcomes", "samples", "violations", "resources")
        counts = {name: self._rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}
        return Contents(format=FORMAT, size=self.path.stat().st_size, **counts)

    def _catch_up(self) -> None:
        """Take in what is in the spools, and tidy up where no ingester does."""
        intake = Intake(self._connection, self.path)
        intake.drain()
        if not is_locked(election_path(self.path)):
            intake.finish()
        rows = self._connection.execute("SELECT id, text FROM notices ORDER BY id").fetchall()
        if rows:
            self._connection.execute("DELETE FROM notices WHERE id <= ?", (rows[-1][0],))
        self.notices = tuple(text for _, text in rows)

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[SqlRow]:
        with self._watch():
            return self._connection.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _watch(self) -> Iterator[None]:
        """Turn SQLite's errors into ours; a file found damaged only now is set aside."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                fail_sqlite(self.path, error)
            self.close()
            aside = set_aside(self.path, str(error), self._inode)
            raise RecordError(
                f"the record {self.path} is damaged",
                found=str(error),
                fix=f"it was set aside: windtunnel record repair {aside}" if aside else "try again",
            ) from error

    def _run_facts(self) -> dict[int, tuple[str, str, str]]:
        rows = self._rows('SELECT number, "commit", tree, environment FROM runs')
        return {number: (commit, tree, environment) for number, commit, tree, environment in rows}

    def _history_of(
        self, test: int, facts: dict[int, tuple[str, str, str]], last: int
    ) -> list[OutcomeRow]:
        with self._watch():
            rows = self._connection.execute(
                f"SELECT {OUTCOME} FROM runs r CROSS JOIN outcomes o"
                f" ON o.run = r.number AND o.test = ? {OUTCOME_JOINS}"
                " ORDER BY r.number DESC, o.attempt DESC",
                (test,),
            )
            found: list[OutcomeRow] = []
            runs: set[int] = set()
            for row in rows:
                runs.add(row[0])
                if len(runs) > last:
                    break
                found.append(outcome_row(row, facts))
        return found[::-1]

    def _history_of_all(
        self, facts: dict[int, tuple[str, str, str]], last: int
    ) -> dict[str, list[OutcomeRow]]:
        """Runs are read from the newest back until every test has as many as there are of it."""
        wanted = {
            nodeid: min(finals, last)
            for nodeid, finals in self._rows("SELECT nodeid, finals FROM tests WHERE finals > 0")
        }
        found: dict[str, list[OutcomeRow]] = {}
        seen: dict[str, int] = {}
        lacking = len(wanted)
        for number in sorted(facts, reverse=True):
            if not lacking:
                break
            rows = self._rows(
                f"SELECT {OUTCOME} FROM outcomes o {OUTCOME_JOINS} WHERE o.run = ?"
                " ORDER BY o.test, o.attempt DESC",
                (number,),
            )
            before = ""
            for row in rows:
                nodeid = row[1]
                if nodeid != before:
                    before = nodeid
                    seen[nodeid] = seen.get(nodeid, 0) + 1
                    lacking -= seen[nodeid] == wanted.get(nodeid)
                if seen[nodeid] <= last:
                    found.setdefault(nodeid, []).append(outcome_row(row, facts))
        for rows_of_test in found.values():
            rows_of_test.reverse()
        return found

"""How long the view of every test's last 20 runs takes from a long record.

    python benchmarks/record_recent.py [--quick] [--outcomes N]

The record holds 10 million outcomes of 10,000 tests (`--quick`: 1 million). Its last runs came
through spools as in any run; those before are made inside the database, as writing them by way of
spools would take minutes. Beside `Record.recent()`, which reads roll-ups, the same view is worked
out from the outcomes by a window function, as a record without roll-ups must.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from record_ingest import TESTS, write_spools

from windtunnel.record import open_record, rollups
from windtunnel.record.schema import connect, transaction

_FROM_OUTCOMES = """
SELECT nodeid, group_concat(outcome, ''), max(run) FROM (
    SELECT test, run, outcome FROM (
        SELECT test, run, outcome,
            row_number() OVER (PARTITION BY test ORDER BY run DESC, attempt DESC) AS back
        FROM outcomes WHERE final
    ) WHERE back <= 20 ORDER BY test, run
) JOIN tests ON id = test GROUP BY test
"""


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="a record of a million outcomes")
    parser.add_argument("--outcomes", type=int, default=0, help="outcomes in the record")
    options = parser.parse_args()
    outcomes = options.outcomes or (1_000_000 if options.quick else 10_000_000)
    runs = outcomes // TESTS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record.db"
        build(path, runs)
        with open_record(path) as record:
            held = record.check()
            print(f"{held.outcomes:,} outcomes, {held.runs:,} runs, {held.size / 1e6:,.0f} MB")
            ours: list[float] = []
            cpu: list[float] = []
            opened: list[float] = []
            for _ in range(50):
                began, used = time.perf_counter(), time.process_time()
                rows = record.recent()
                ours.append((time.perf_counter() - began) * 1e3)
                cpu.append((time.process_time() - used) * 1e3)
                assert len(rows) == TESTS
                assert all(len(row.strip) == min(20, runs) for row in rows)
        for _ in range(10):
            began = time.perf_counter()
            with open_record(path) as record:
                record.recent()
            opened.append((time.perf_counter() - began) * 1e3)
        theirs = [from_outcomes(path, {row.nodeid: row.strip for row in rows}) for _ in range(3)]
    print(f"{'':<42} {'median ms':>10} {'min':>9} {'max':>9}")
    for name, times in (
        ("windtunnel, recent()", ours),
        ("the same, CPU time alone", cpu),
        ("windtunnel, open_record() and recent()", opened),
        ("worked out from the outcomes", theirs),
    ):
        print(
            f"{name:<42} {statistics.median(times):>10,.1f} {min(times):>9,.1f} {max(times):>9,.1f}"
        )


def build(path: Path, runs: int) -> None:
    """A record of ``runs`` runs, the last 25 of which, or fewer, go through spools."""
    through_spools = min(25, runs // 2)
    write_spools(path, TESTS, first_run=0)
    open_record(path).close()  # the first run brings the tests' names
    connection = connect(path)
    began = time.perf_counter()
    for run in range(2, runs - through_spools + 1):
        with transaction(connection):
            connection.execute(
                "INSERT INTO runs (number, run_id, started) VALUES (?, ?, ?)",
                (run, f"made-{run}", 1e9 + run / 1000),
            )
            connection.execute(
                "INSERT INTO outcomes SELECT ?1, test, attempt,"
                " CASE (test * 31 + ?1) % 50 WHEN 0 THEN 'F' ELSE '.' END, final, phase, setup_s,"
                " call_s, teardown_s, started + ?1 * 100, worker, position, isolation,"
                " quarantined, seed FROM outcomes WHERE run = 1",
                (run,),
            )
    with transaction(connection):
        rollups.rebuild(connection)
    connection.close()
    print(f"made {runs:,} runs in {time.perf_counter() - began:.0f} s", file=sys.stderr)
    write_spools(path, TESTS * through_spools, first_run=runs - through_spools)
    open_record(path).close()


def from_outcomes(path: Path, expected: dict[str, str]) -> float:
    connection = sqlite3.connect(path)
    began = time.perf_counter()
    rows = connection.execute(_FROM_OUTCOMES).fetchall()
    taken = (time.perf_counter() - began) * 1e3
    connection.close()
    assert {nodeid: strip for nodeid, strip, _ in rows} == expected
    return taken


if __name__ == "__main__":
    main()

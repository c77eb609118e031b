"""How fast outcomes move from spools into the record: outcomes a second on one core.

    python benchmarks/record_ingest.py [--quick] [--outcomes N]

Each round writes the same spools and takes them in by what the ingester runs: two lines a test
(begun, ended), 10,000 tests, a run each time they have all run, roll-ups kept up to date. Beside
it, in the same round:

- `bare executemany`: the same rows put into the same table out of memory, ten thousand at a time,
  with nothing parsed and no roll-up: what SQLite alone allows.
- `a commit an outcome`: what a recorder without batches does, on a hundredth of the outcomes.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from windtunnel.core import TestFinished, TestStarted
from windtunnel.record.intake import Intake
from windtunnel.record.places import make_spool_dir
from windtunnel.record.schema import connect
from windtunnel.record.spool import as_array

TESTS = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="fewer outcomes and rounds")
    parser.add_argument("--outcomes", type=int, default=0, help="outcomes a round")
    options = parser.parse_args()
    outcomes = options.outcomes or (50_000 if options.quick else 200_000)
    rounds = 3 if options.quick else 7
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    ways: dict[str, Callable[[Path, int], tuple[float, float, int]]] = {
        "windtunnel, spools to record": ours,
        "bare executemany": bare,
        "a commit an outcome": one_by_one,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            with tempfile.TemporaryDirectory() as folder:
                taken, used, count = way(Path(folder), outcomes)
            wall[name].append(count / taken)
            cpu[name].append(count / used)
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
    print(f"{outcomes:,} outcomes of {TESTS:,} tests a round, {rounds} rounds, one core")
    print(f"{'':<30} {'outcomes/s':>12} {'min':>10} {'max':>10} {'per CPU s':>12}")
    for name in ways:
        print(
            f"{name:<30} {statistics.median(wall[name]):>12,.0f} {min(wall[name]):>10,.0f}"
            f" {max(wall[name]):>10,.0f} {statistics.median(cpu[name]):>12,.0f}"
        )


def ours(folder: Path, outcomes: int) -> tuple[float, float, int]:
    record = folder / "record.db"
    write_spools(record, outcomes)
    connection = connect(record)
    intake = Intake(connection, record)
    began, cpu = time.perf_counter(), time.process_time()
    while intake.step():
        pass
    taken, used = time.perf_counter() - began, time.process_time() - cpu
    found = connection.execute("SELECT count(*) FROM outcomes").fetchone()[0]
    rolled = connection.execute("SELECT sum(finals) FROM tests").fetchone()[0]
    assert found == rolled == outcomes, (found, rolled)
    connection.close()
    return taken, used, outcomes


def write_spools(record: Path, outcomes: int, first_run: int = 0) -> None:
    """Spools of one run after another, each of which runs all tests."""
    directory = make_spool_dir(record)
    encode = json.JSONEncoder(separators=(",", ":")).encode
    for number in range(-(-outcomes // TESTS)):
        run = first_run + number
        lines = [
            encode({"windtunnel_spool": 1, "run_id": f"run-{run}", "time": 1e9 + run, "pid": 0})
        ]
        for test in range(min(TESTS, outcomes - number * TESTS)):
            for event in events_of(run, test):
                lines.append(encode(as_array(event, short=True)))
        path = directory / f"{run:013x}-0-00000000.jsonl"
        path.write_text("\n".join([*lines, ""]))


def events_of(run: int, test: int) -> tuple[TestStarted, TestFinished]:
    nodeid = f"tests/unit/test_module_{test // 50}.py::TestSome::test_number_{test}[param]"
    began = 1.7e9 + run * 100 + test * 0.01
    failed = (run * 7919 + test * 104729) % 50 == 0
    return (
        TestStarted(time=began, nodeid=nodeid, worker=f"gw{test % 8}", order=test // 8),
        TestFinished(
            time=began + 0.005,
            nodeid=nodeid,
            outcome="failed" if failed else "passed",
            worker=f"gw{test % 8}",
            phase="call" if failed else "",
            setup_s=0.000123,
            call_s=0.004567,
            teardown_s=0.000089,
            started=began,
            order=test // 8,
            isolation="env,namespace",
            message="AssertionError: assert 1 == 2" if failed else "",
            seed=0x9E3779B97F4A7C15 * (test + 1) % 2**64,
        ),
    )


def bare(folder: Path, outcomes: int) -> tuple[float, float, int]:
    connection = connect(folder / "record.db")
    rows = [_row(number) for number in range(outcomes)]
    began, cpu = time.perf_counter(), time.process_time()
    for at in range(0, outcomes, TESTS):
        connection.execute("BEGIN")
        connection.executemany(_INSERT, rows[at : at + TESTS])
        connection.execute("COMMIT")
    taken, used = time.perf_counter() - began, time.process_time() - cpu
    connection.close()
    return taken, used, outcomes


def one_by_one(folder: Path, outcomes: int) -> tuple[float, float, int]:
    connection: sqlite3.Connection = connect(folder / "record.db")
    count = outcomes // 100
    rows = [_row(number) for number in range(count)]
    began, cpu = time.perf_counter(), time.process_time()
    for row in rows:
        connection.execute(_INSERT, row)  # no transaction is open: each commits
    taken, used = time.perf_counter() - began, time.process_time() - cpu
    connection.close()
    return taken, used, count


_INSERT = "INSERT INTO outcomes VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"


def _row(number: int) -> tuple[object, ...]:
    run, test = divmod(number, TESTS)
    return (
        run, test, 1, ".", 1, "", 0.000123, 0.004567, 0.000089, 1.7e9 + number * 0.01,
        test % 8, test // 8, 1, 0, number * 7919,
    )  # fmt: skip


if __name__ == "__main__":
    main()

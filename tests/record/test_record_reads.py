"""What is read out of a record."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from windtunnel.core import (
    Outcome,
    RecordError,
    Resource,
    RunFinished,
    Sample,
    TestStarted,
    Violation,
)
from windtunnel.record import Spool, open_record


def test_a_run_and_its_outcome_come_back_as_they_were(record_path: Path, started, finished) -> None:
    with open_record(record_path) as record:
        number = record.ingest(
            started("run-1", 1000.0, tree="t1", commit="c1", environment="e1", seed=2**64 - 1),
            [
                finished(
                    "test_a.py::test_é[☃]",
                    "failed",
                    phase="call",
                    setup_s=0.5,
                    call_s=1.5,
                    teardown_s=0.25,
                    started=1000.5,
                    order=3,
                    isolation="env,fork",
                    message="assert 1 == 2",
                    output="hello\n",
                    quarantined=True,
                    replay="windtunnel run x",
                    seed=2**64 - 2,
                ),
                RunFinished(time=1003.0, exit_code=1, duration_s=3.0, collected=1),
            ],
        )
        run = record.run("run-1")
        assert run is not None
        assert (run.number, run.seed, run.exit_code, run.finished) == (number, 2**64 - 1, 1, 1003.0)
        (row,) = record.outcomes(number)
        assert row.nodeid == "test_a.py::test_é[☃]"
        assert (row.outcome, row.phase, row.duration_s) == (Outcome.FAILED, "call", 2.25)
        assert (row.commit, row.tree, row.environment) == ("c1", "t1", "e1")
        assert (row.seed, row.order, row.isolation) == (2**64 - 2, 3, "env,fork")
        assert (row.message, row.output, row.replay) == (
            "assert 1 == 2",
            "hello\n",
            "windtunnel run x",
        )
        assert row.quarantined is True
        assert row.worker == "gw0"


def test_runs_come_newest_first_and_a_killed_one_has_no_end(record_path: Path, started) -> None:
    with open_record(record_path) as record:
        for number in range(3):
            record.ingest(started(f"run-{number}", 1000.0 + number), [])
        assert [run.run_id for run in record.runs()] == ["run-2", "run-1", "run-0"]
        assert [run.run_id for run in record.runs(limit=1)] == ["run-2"]
        assert record.runs()[0].finished is None
        assert record.run("run-9") is None


def test_the_strip_has_one_letter_a_run_of_the_last_twenty(
    record_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        for number in range(25):
            outcome = "failed" if number in (2, 20) else "skipped" if number == 21 else "passed"
            record.ingest(started(f"run-{number}", 1000.0 + number), [finished(outcome=outcome)])
        (row,) = record.recent()
        assert row.strip == "." * 15 + "Fs..."
        assert (row.results, row.failures, row.last_run) == (24, 2, 25)


def test_attempts_that_did_not_decide_are_in_the_history_and_not_in_the_strip(
    record_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        record.ingest(
            started(),
            [
                finished(outcome="failed", attempt=1, final=False),
                finished(outcome="passed", attempt=2),
            ],
        )
        assert record.recent()[0].strip == "."
        rows = record.history()["test_a.py::test_a"]
        assert [(row.attempt, row.final, row.outcome.value) for row in rows] == [
            (1, False, "failed"),
            (2, True, "passed"),
        ]


def test_history_is_that_of_the_last_runs_of_each_test_oldest_first(
    record_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        for number in range(10):
            events = [finished("t.py::always")]
            if number % 3 == 0:
                events.append(finished("t.py::seldom"))
            record.ingest(started(f"run-{number}", 1000.0 + number), events)
        for found in (
            record.history(last=3),
            record.history(["t.py::always", "t.py::seldom", "t.py::unknown"], last=3),
        ):
            assert {name: [row.run for row in rows] for name, rows in found.items()} == {
                "t.py::always": [8, 9, 10],
                "t.py::seldom": [4, 7, 10],
            }


def test_durations_are_the_75th_percentile_of_the_last_ten_timed_runs(
    record_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        for number in range(14):
            outcome = "skipped" if number == 13 else "passed"
            events = [finished(outcome=outcome, setup_s=0.5, call_s=float(number))]
            record.ingest(started(f"run-{number}", 1000.0 + number), events)
        row = record.durations()["test_a.py::test_a"]
        # Runs 3 to 12 took 3.5 to 12.5 s; the eighth of these ten is the nearest rank.
        assert (row.p75_s, row.mean_s, row.results) == (10.5, 8.0, 10)


def test_samples_violations_and_resources_come_back(record_path: Path, started) -> None:
    with open_record(record_path) as record:
        record.ingest(
            started(),
            [
                Sample(time=1.0, name="latency", value=math.nan, failed=True),
                Sample(time=2.0, name="latency", value=math.inf),
                Sample(time=3.0, name="size", value=7, unit="B", nodeid="t.py::t"),
                Violation(time=4.0, rule="leak", subject="port 8080", fails=True),
                Resource(time=5.0, action="acquired", resource="port", name="8080"),
            ],
        )
        first, second = record.samples("latency")
        assert math.isnan(first.value)
        assert first.failed
        assert second.value == math.inf
        assert [row.unit for row in record.samples(run=1)] == ["s", "s", "B"]
        assert [(row.subject, row.fails) for row in record.violations(1)] == [("port 8080", True)]
        assert [(row.action, row.name) for row in record.resources(1)] == [("acquired", "8080")]


def test_a_test_that_finished_is_not_unfinished_whoever_said_so(
    record_path: Path, state_dir: Path, finished, started
) -> None:
    worker = Spool.open(state_dir, "run-1")
    worker.sink(TestStarted(nodeid="t.py::crashes", worker="gw0"))
    worker.sink(TestStarted(nodeid="t.py::goes_on", worker="gw0"))
    with open_record(record_path) as record:
        assert len(record.unfinished(1)) == 2
    controller = Spool.open(state_dir, "run-1")
    controller.sink(finished("t.py::crashes", "crashed"))
    with open_record(record_path) as record:
        assert [row.nodeid for row in record.unfinished(1)] == ["t.py::goes_on"]
        assert [row.outcome for row in record.outcomes(1)] == [Outcome.CRASHED]
    worker.close()
    controller.close()


@pytest.mark.parametrize("order", [("passed", "crashed"), ("crashed", "passed")])
def test_a_crash_reported_by_the_controller_and_an_end_by_the_worker_are_one_outcome(
    record_path: Path, started, finished, order: tuple[str, str]
) -> None:
    with open_record(record_path) as record:
        record.ingest(started(), [finished(outcome=outcome) for outcome in order])
        assert [row.outcome for row in record.outcomes(1)] == [Outcome.CRASHED]
        (row,) = record.recent()
        assert (row.strip, row.results, row.failures) == ("C", 1, 1)


def test_two_items_of_the_same_name_in_one_run_are_both_kept(
    record_path: Path, started, finished
) -> None:
    with open_record(record_path) as record:
        record.ingest(started(), [finished(outcome="passed"), finished(outcome="failed")])
        assert [row.outcome.value for row in record.outcomes(1)] == ["passed", "failed"]


def test_one_event_that_cannot_be_stored_does_not_take_the_others_with_it(
    record_path: Path, state_dir: Path, finished
) -> None:
    spool = Spool.open(state_dir, "run-1")
    spool.sink(finished("t.py::first"))
    spool.sink(finished("t.py::odd", "no such outcome"))
    spool.sink(finished("t.py::lone\ud800", message="\udcff"))
    spool.sink(Sample(name="big", value=10**30))
    spool.sink(finished("t.py::last"))
    with open_record(record_path) as record:
        names = [row.nodeid for row in record.outcomes(1)]
        assert sorted(names) == ["t.py::first", "t.py::last", "t.py::lone\\ud800"]
        assert record.samples() == []
        assert "2 events" in record.notices[0]
    spool.close()


def test_asking_for_a_record_that_is_not_there_is_one_clear_error(record_path: Path) -> None:
    with pytest.raises(RecordError, match="there is no record at"):
        open_record(record_path, create=False)
    assert not record_path.exists()


outcomes = st.sampled_from([outcome.value for outcome in Outcome])
runs = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.lists(outcomes, min_size=1, max_size=3)),
    max_size=30,
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(runs=runs, keep=st.integers(1, 30))
def test_roll_ups_are_what_the_outcomes_add_up_to_also_after_trimming(
    tmp_path_factory: pytest.TempPathFactory, started, finished, runs: list, keep: int
) -> None:
    path = tmp_path_factory.mktemp("record") / "record.db"
    with open_record(path) as record:
        for number, tests in enumerate(runs):
            events = [
                finished(test, outcome, attempt=at, final=at == len(attempts), call_s=at * 0.5)
                for test, attempts in tests.items()
                for at, outcome in enumerate(attempts, start=1)
            ]
            record.ingest(started(f"run-{number}", 1000.0 + number), events)
        _agree(record, runs)
        record.trim(keep_runs=keep)
        _agree(record, runs[-keep:])


def _agree(record, runs: list) -> None:
    letters: dict[str, str] = {}
    for tests in runs:
        for test, attempts in tests.items():
            letters[test] = letters.get(test, "") + Outcome(attempts[-1]).letter
    found = {row.nodeid: (row.strip, row.results, row.failures) for row in record.recent()}
    assert found == {
        test: (all_[-20:], len(all_.replace("s", "")), sum(all_.count(bad) for bad in "FECT"))
        for test, all_ in letters.items()
    }, json.dumps(runs)
    timed = {test: len(all_.replace("s", "").replace("C", "")) for test, all_ in letters.items()}
    assert {name: row.results for name, row in record.durations().items()} == {
        test: min(count, 10) for test, count in timed.items() if count
    }

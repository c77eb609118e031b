"""Runs that never were, put into a real record, for the tests of what is shown of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from windtunnel.core import (
    Event,
    Flakiness,
    Outcome,
    Resource,
    RunFinished,
    RunStarted,
    Stability,
    TestFinished,
    TestStarted,
    Violation,
)
from windtunnel.record import open_record
from windtunnel.report.data import FlakyJudge, RunView, view_of

BEGAN = 1_750_000_000.0
NASTY = "tests/test_ü.py::test_\x1b[31m<script>alert('x')</script>\x00\u202e[漢字-\r\n::error::|`*]"


def finished(nodeid: str, outcome: Outcome = Outcome.PASSED, **other: object) -> TestFinished:
    """An attempt that took 0.1, 0.2 and 0.1 seconds, unless told otherwise."""
    facts: dict[str, object] = {
        "time": BEGAN + 1,
        "worker": "gw0",
        "setup_s": 0.1,
        "call_s": 0.2,
        "teardown_s": 0.1,
        "started": BEGAN + 0.5,
        "message": "assert 1 == 2" if outcome.bad else "",
        "replay": f"windtunnel run {nodeid} --seed 7" if outcome.bad else "",
    }
    return TestFinished(nodeid=nodeid, outcome=outcome.value, **(facts | other))  # type: ignore[arg-type]


def made(
    path: Path,
    events: Sequence[Event] = (),
    *,
    exit_code: int | None = 0,
    judge: FlakyJudge | None = None,
    run_id: str = "20250615T150640-aaaa",
    **facts: object,
) -> RunView:
    """What is shown of a run of these events, out of a record at ``path``."""
    given: dict[str, object] = {
        "argv": "pytest -q",
        "root": "/srv/fleet",
        "seed": 7,
        "workers": 2,
        "commit": "c0ffee" * 6,
        "tree": "7ree" * 10,
        "environment_text": "CPython 3.11.7 linux",
        "time": BEGAN,
    }
    ending: list[Event] = []
    if exit_code is not None:
        number = len({event.nodeid for event in events if isinstance(event, TestFinished)})
        ending = [
            RunFinished(
                time=BEGAN + 9, exit_code=exit_code, duration_s=9.0, collected=number
            )
        ]  # fmt: skip
    with open_record(path) as record:
        record.ingest(
            RunStarted(run_id=run_id, **(given | facts)),  # type: ignore[arg-type]
            [*events, *ending],
        )
        run = record.run(run_id)
        assert run is not None
        return view_of(record, run, judge=judge)


def everything() -> list[Event]:
    """A run with one of each thing that can be said of a run."""
    tests = [
        finished(f"tests/test_a.py::test_{outcome.value}", outcome, started=BEGAN + index)
        for index, outcome in enumerate(Outcome)
    ]
    return [
        *tests,
        finished("tests/test_a.py::test_slow", call_s=3.0, worker="gw1"),
        finished("tests/test_a.py::test_apart", Outcome.FAILED, quarantined=True),
        finished("tests/test_a.py::test_lucky", Outcome.FAILED, final=False),
        finished("tests/test_a.py::test_lucky", attempt=2, started=BEGAN + 2),
        finished(NASTY, Outcome.FAILED, output="\x1b[2Jgone </pre>\x00 \udcff\n"),
        TestStarted(nodeid="tests/test_a.py::test_unfinished", worker="gw1", time=BEGAN + 8),
        Violation(rule="pollution", subject="os.environ['X']", detail="was unset, is '1'",
                  nodeid="tests/test_a.py::test_passed"),
        Violation(rule="pollution", subject="os.environ['X']", detail="was unset, is '1'",
                  nodeid="tests/test_a.py::test_slow"),
        Violation(rule="vacuous", subject="until(ready)", nodeid="tests/test_a.py::test_slow",
                  location="tests/test_a.py:41", fails=True),
        Violation(rule="isolation-unavailable", subject="net", detail="not permitted"),
        Violation(rule="quarantine-expired", subject="tests/test_a.py::test_failed", fails=True),
        Violation(rule="of-tomorrow", subject="a thing", detail="nobody knows it yet"),
        Resource(action="leaked", resource="port", name="8123",
                 nodeid="tests/test_a.py::test_passed"),
        Resource(action="reaped", resource="process", name="pid 4711"),
    ]  # fmt: skip


def judged(nodeid: str, **other: object) -> Flakiness:
    """A flaky test that failed in 3 of 8."""
    facts: dict[str, object] = {
        "environment": "", "stability": Stability.FLAKY, "results": 8, "failures": 3,
        "p_stable": 0.01, "p_flaky": 0.98, "p_broken": 0.01, "rate_low": 0.1, "rate_high": 0.7,
        "strip": "..F..F.F", "reason": "failed 3 and passed 5 of 8 on the same code",
        "simple_rule": True, "quarantine_recommended": True, "damage_s": 60.0,
    }  # fmt: skip
    return Flakiness(nodeid=nodeid, **(facts | other))  # type: ignore[arg-type]


def crowd(tests: int, workers: int) -> list[Event]:
    """That many tests, handed to whichever worker is free, six in a hundred failing."""
    dice = random.Random(5)
    free = [BEGAN] * workers
    events: list[Event] = []
    for index in range(tests):
        worker = free.index(min(free))
        took = dice.lognormvariate(-3, 1)
        bad = dice.random() < 0.06
        events.append(
            finished(
                f"tests/unit/test_module_{index % 100}.py::TestIt::test_is_{index}[case-{index}]",
                Outcome.FAILED if bad else Outcome.PASSED,
                worker=f"gw{worker}", started=free[worker],
                setup_s=took / 4, call_s=took / 2, teardown_s=took / 4,
                output="a line of captured output\n" * 400 if bad else "",
            )
        )  # fmt: skip
        free[worker] += took
    return events

"""Turns what pytest reports into events: runs, and attempts at tests.

Attached in every process of a run. The one that runs tests records them; the one that only hands
them out records the run, and those tests whose worker died before it could.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Generator

import pytest

from windtunnel.core import (
    REAL_CLOCK,
    Outcome,
    RunFinished,
    RunStarted,
    TestFinished,
    TestStarted,
    emit,
    set_sink,
)
from windtunnel.record import Redaction, Spool, ensure_ingester, open_record
from windtunnel.run.fingerprint import Fingerprint
from windtunnel.run.session import RunState

_MESSAGE_LENGTH = 300
_OUTPUT_LENGTH = 20_000


def attach(config: pytest.Config, state: RunState) -> None:
    """Begin to record."""
    if state.role != "worker":
        state.run_id = _new_run_id()
    redact = Redaction(state.settings.redact)
    spool = Spool.open(state.state_dir, state.run_id, record=state.record_path.name, redact=redact)
    before = set_sink(spool.sink)
    if state.role != "worker":
        config.pluginmanager.register(RunRecorder(config, state), "windtunnel-run-recorder")
    config.pluginmanager.register(TestRecorder(state), "windtunnel-test-recorder")

    def close() -> None:
        set_sink(before)
        spool.close()

    config.add_cleanup(close)


def _new_run_id() -> str:
    import datetime
    import os

    now = datetime.datetime.fromtimestamp(REAL_CLOCK.time(), datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}"


class RunRecorder:
    """Records the run itself, in the process that decides its exit code."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._fingerprint = Fingerprint(state.root)
        self._begun_s = REAL_CLOCK.monotonic()
        self._begun = REAL_CLOCK.time()
        self._emitted = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Collection gave the fingerprint's processes the time they need."""
        self._emit()

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        self._emit()
        emit(
            RunFinished(
                exit_code=int(session.exitstatus),
                duration_s=REAL_CLOCK.monotonic() - self._begun_s,
                collected=session.testscollected,
            )
        )
        settings = self._state.settings
        if settings.keep_runs or settings.keep_days:
            with open_record(self._state.record_path) as record:
                record.trim(keep_runs=settings.keep_runs, keep_days=settings.keep_days)

    def _emit(self) -> None:
        if self._emitted:
            return
        self._emitted = True
        state = self._state
        facts = self._fingerprint.take()
        emit(
            RunStarted(
                time=self._begun,
                run_id=state.run_id,
                argv=command_line(self._config),
                root=str(state.root),
                commit=facts.commit,
                tree=facts.tree,
                environment=facts.environment,
                environment_text=facts.environment_text,
                isolation=",".join(sorted(state.isolation)),
                world=state.settings.world,
                workers=state.worker_count,
                seed=state.seed.value,
                ci=facts.ci,
            )
        )
        ensure_ingester(state.record_path)


def command_line(config: pytest.Config) -> str:
    """The command that this run was started by, as a shell would take it."""
    words = list(map(str, config.invocation_params.args))
    if words[:2] == ["-p", "windtunnel"]:  # how `windtunnel run` begins
        return shlex.join(["windtunnel", "run", *words[2:]])
    return shlex.join(["pytest", *words])


@dataclasses.dataclass(slots=True)
class _Attempt:
    """An attempt under way, filled by the reports of its phases."""

    nodeid: str
    started: float
    order: int
    number: int = 1
    seconds: dict[str, float] = dataclasses.field(default_factory=dict[str, float])
    outcome: Outcome = Outcome.PASSED
    phase: str = ""
    final: bool = True
    message: str = ""
    output: str = ""
    quarantined: bool = False
    reported: bool = False
    replay: str = ""
    seed: int = 0


class TestRecorder:
    """Records attempts at tests, in the process that runs them."""

    __test__ = False

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._order = 0
        self._under_way: dict[str, _Attempt] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._state.runs_tests:
            self._begin(nodeid, number=1)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, object, object]:
        # A wrapper, so that the marks which other parts put on the report are there.
        result = yield
        if self._state.runs_tests:
            self._note(report)
        elif hasattr(report, "wt_worker_died") or (
            self._state.under_xdist and str(report.when) == "???"
        ):
            self._note_for_dead_worker(report)
        return result

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        attempt = self._under_way.pop(nodeid, None)
        if attempt is not None and attempt.reported:
            self._finish(attempt)

    def pytest_windtunnel_process_finished(self) -> None:
        # Under -x the run is stopped while the failed test is being torn down: it has failed.
        for attempt in self._under_way.values():
            if attempt.outcome.bad:
                self._finish(attempt)
        self._under_way.clear()

    def _begin(self, nodeid: str, number: int) -> _Attempt:
        attempt = _Attempt(nodeid, REAL_CLOCK.time(), self._order, number)
        self._order += 1
        self._under_way[nodeid] = attempt
        emit(
            TestStarted(
                time=attempt.started,
                nodeid=nodeid,
                worker=self._state.worker,
                attempt=number,
                order=attempt.order,
            )
        )
        return attempt

    def _note(self, report: pytest.TestReport) -> None:
        if not isinstance(report, pytest.TestReport) or type(report).__name__ == "SubtestReport":
            return  # a subtest belongs to its test, whose own report counts it
        attempt = self._under_way.get(report.nodeid)
        if attempt is None:
            attempt = self._begin(report.nodeid, number=1)
        elif report.when in attempt.seconds:  # a second set-up: the test is run again
            self._finish(dataclasses.replace(attempt, final=False))
            attempt = self._begin(report.nodeid, number=attempt.number + 1)
        self._add(attempt, report)

    def _add(self, attempt: _Attempt, report: pytest.TestReport) -> None:
        attempt.reported = True
        attempt.number = getattr(report, "wt_attempt", attempt.number)
        attempt.seconds[str(report.when)] = report.duration
        attempt.final = attempt.final and str(report.outcome) != "rerun"
        attempt.quarantined = attempt.quarantined or getattr(report, "wt_quarantined", False)
        attempt.replay = attempt.replay or getattr(report, "wt_replay", "")
        attempt.seed = attempt.seed or getattr(report, "wt_seed", 0)
        outcome = outcome_of(report)
        if outcome is not Outcome.PASSED and not attempt.outcome.bad:
            attempt.outcome = outcome
            if outcome.bad:
                attempt.phase = str(report.when)
                attempt.message = message_of(report)
        keep = self._state.settings.keep_output
        # The sections of a later phase's report hold those of the earlier phases too.
        if keep == "all" or (keep == "failed" and attempt.outcome.bad):
            attempt.output = (report.capstdout + report.capstderr)[-_OUTPUT_LENGTH:]

    def _note_for_dead_worker(self, report: pytest.TestReport) -> None:
        attempt = _Attempt(report.nodeid, REAL_CLOCK.time() - report.duration, self._order)
        self._add(attempt, report)
        attempt.outcome = Outcome(getattr(report, "wt_outcome", Outcome.CRASHED))
        worker = getattr(report, "wt_worker", None)
        if worker is None:
            node = getattr(report, "node", None)
            worker = str(getattr(getattr(node, "gateway", None), "id", self._state.worker))
        self._finish(attempt, worker)

    def _finish(self, attempt: _Attempt, worker: str | None = None) -> None:
        state = self._state
        emit(
            TestFinished(
                nodeid=attempt.nodeid,
                outcome=attempt.outcome.value,
                worker=state.worker if worker is None else worker,
                attempt=attempt.number,
                final=attempt.final,
                phase=attempt.phase,
                setup_s=attempt.seconds.get("setup", 0.0),
                call_s=attempt.seconds.get("call", 0.0),
                teardown_s=attempt.seconds.get("teardown", 0.0),
                started=attempt.started,
                order=attempt.order,
                isolation=",".join(sorted(state.isolation)),
                message=attempt.message,
                output=attempt.output,
                quarantined=attempt.quarantined,
                replay=attempt.replay
                or (replay_command(attempt.nodeid, state) if attempt.outcome.bad else ""),
                seed=attempt.seed or state.seed.child(attempt.nodeid).value,
            )
        )


def outcome_of(report: pytest.TestReport) -> Outcome:
    """What one phase's report says of the attempt."""
    given = getattr(report, "wt_outcome", None)
    if given is not None:
        return Outcome(given)
    if str(report.outcome) in ("failed", "rerun"):
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    if hasattr(report, "wasxfail"):
        return Outcome.XFAILED if report.skipped else Outcome.XPASSED
    return Outcome.SKIPPED if report.skipped else Outcome.PASSED


def message_of(report: pytest.TestReport) -> str:
    """The failure in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        text = str(crash.message)
    else:
        lines = report.longreprtext.strip().splitlines()
        text = lines[-1] if lines else ""
    return text.strip().split("\n", 1)[0][:_MESSAGE_LENGTH]


def replay_command(nodeid: str, state: RunState) -> str:
    """The command that runs that test again under the same seed and isolation, from the folder
    in which the run's command was given: node ids begin at the root, command lines there."""
    file, separator, rest = nodeid.partition("::")
    file = os.path.relpath(state.root / file, state.invoked_in)
    words = ["windtunnel", "run", file + separator + rest, "--seed", str(state.seed.value)]
    if state.isolation:
        words += ["--isolation", ",".join(sorted(state.isolation))]
    return shlex.join(words)

"""Isolation ``fork``: each test in a forked child of this process, which stays warm.

The parent sets up what is wider than the test (:mod:`windtunnel.run.isolation.wider`), forks, and
waits; the child runs the test's own set-up, call and teardown as pytest would, sends the reports
through a pipe and leaves. What a test changes in its process is gone with it, and a test that
kills its process kills only itself. The function put into ``config.stash[ATTEMPT]`` is all that
the rest of the run sees.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.runner import CallInfo
from _pytest.skipping import evaluate_skip_marks, evaluate_xfail_marks

from windtunnel.core import REAL_CLOCK
from windtunnel.run import neighbours
from windtunnel.run.attempt import ATTEMPT, Attempt, in_process
from windtunnel.run.isolation.child import Ended, Sent, run_child
from windtunnel.run.isolation.crash import CrashNotes
from windtunnel.run.isolation.fork_coverage import CoverageOfChildren
from windtunnel.run.isolation.wider import WiderFixtures, captured


def start(config: pytest.Config) -> ForkedAttempts:
    """Have each test of this process run in a forked child from now on."""
    # What exists now is shared with all children until it dies: no collection should touch it.
    gc.collect()
    gc.freeze()
    attempts = ForkedAttempts(config)
    attempt: Attempt = attempts
    config.stash[ATTEMPT] = attempt
    config.pluginmanager.register(attempts, "windtunnel-fork")
    return attempts


def in_the_way(config: pytest.Config) -> str:
    """What the user has asked for and would not get from a child; empty if nothing."""
    option = config.option
    for name, flag in (
        ("usepdb", "--pdb"),
        ("trace", "--trace"),
        ("setupshow", "--setup-show"),
        ("setuponly", "--setup-only"),
        ("setupplan", "--setup-plan"),
    ):
        if getattr(option, name, False):
            return f"{flag} needs the tests in this process"
    for module in ("pydevd", "debugpy"):
        if module in sys.modules:
            return f"a debugger ({module}) is attached to this process"
    return ""


class ForkedAttempts:
    """Runs attempts in children; also the pytest plugin that this needs."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._wider = WiderFixtures(config)
        self._notes = CrashNotes()
        self._coverage = CoverageOfChildren()
        self._pid = os.getpid()

    # -- hooks ----------------------------------------------------------------------------------

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """pytest's own protocol, with our attempt; whoever reruns tests comes before it."""
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self(item, nextitem):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: Any, request: Any
    ) -> Generator[None, object, object]:
        with self._wider.watching(fixturedef, request):
            return (yield)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        self._notes.phase = "setup"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        self._notes.phase = "call"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        self._notes.phase = "teardown"

    def after_last_test(self) -> None:
        """Hand over what children have left here for others."""
        gc.unfreeze()
        self._coverage.hand_over()

    # -- an attempt -----------------------------------------------------------------------------

    def __call__(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """Run ``item`` in a child, as :func:`windtunnel.run.attempt.in_process` would here."""
        if os.getpid() != self._pid or _will_not_run(item):
            return in_process(item, nextitem)
        function: Any = item
        has_request = hasattr(item, "_request")
        if has_request and not function._request:
            function._initrequest()  # as pytest does before a rerun
        try:
            begun = REAL_CLOCK.monotonic()
            self._wider.set_up(item)
            ready = REAL_CLOCK.monotonic()
            ended = self._run_child(item, nextitem)
            if ended.sent is not None:
                _pass_on(item, ended.sent)
            reports = self._reports(item, ended, REAL_CLOCK.monotonic() - ready)
            _lengthen(reports[0], ready - begun)
            self._tear_down_wider(item, nextitem, reports)
        finally:
            if has_request:
                function._request = False
                function.funcargs = None
        return reports

    def _run_child(self, item: pytest.Item, nextitem: pytest.Item | None) -> Ended:
        coverage = self._coverage

        def attempt(sent: Sent) -> None:
            with self._wider.in_child(item), coverage.in_child(sent):
                sent.run(item, nextitem)
                sent.left = neighbours.leave(self._config)

        return run_child(attempt, self._notes)

    def _reports(self, item: pytest.Item, ended: Ended, took_s: float) -> list[pytest.TestReport]:
        if ended.sent is not None:
            self._coverage.add(ended.sent)
            reports = ended.sent.unpacked(self._config)
            if reports:
                return reports
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None and capture.is_globally_capturing():
            # What the child wrote since its phase began is still in the file that both share.
            out, err = capture.read_global_capture()
            item.add_report_section(self._notes.phase, "stdout", out)
            item.add_report_section(self._notes.phase, "stderr", err)
        return self._notes.reports(item, ended, took_s)

    def _tear_down_wider(
        self, item: pytest.Item, nextitem: pytest.Item | None, reports: list[pytest.TestReport]
    ) -> None:
        session = item.session
        if session.shouldfail or session.shouldstop:
            nextitem = None
        item._report_sections.clear()  # the child's reports have them

        def tear_down() -> None:
            with captured(item, "teardown"):
                session._setupstate.teardown_exact(nextitem)

        call = CallInfo.from_call(
            tear_down, when="teardown", reraise=(pytest.exit.Exception, KeyboardInterrupt)
        )
        if call.excinfo is None and not item._report_sections:
            _lengthen(reports[-1], call.duration)
            return
        report = item.ihook.pytest_runtest_makereport(item=item, call=call)
        own = reports[-1]
        report.sections = [*own.sections, *report.sections]
        report.user_properties = own.user_properties
        if own.when != "teardown":
            reports.append(report)
        elif own.failed:
            own.sections = report.sections
            if report.failed:
                text = "also, in the teardown of wider-scoped fixtures"
                own.sections.append((text, str(report.longrepr)))
        else:
            _lengthen(report, own.duration)
            reports[-1] = report


def _will_not_run(item: pytest.Item) -> bool:
    """Whether a mark keeps the test from running: then nothing is set up, and nobody forked."""
    if evaluate_skip_marks(item) is not None:
        return True
    expected = evaluate_xfail_marks(item)
    return expected is not None and not expected.run and not item.config.option.runxfail


def _lengthen(report: pytest.TestReport, seconds: float) -> None:
    report.duration += seconds
    report.start -= seconds


def _pass_on(item: pytest.Item, sent: Sent) -> None:
    """Do here what the child did to the session: warnings, what it left, a wish to stop."""
    for warning in sent.warnings:
        item.ihook.pytest_warning_recorded.call_historic(
            kwargs={
                "warning_message": warning,
                "nodeid": item.nodeid,
                "when": "runtest",
                "location": None,
            }
        )
    if sent.left:
        neighbours.child_left(item.config, sent.left)
    session = item.session
    session.shouldstop = session.shouldstop or sent.shouldstop
    session.shouldfail = session.shouldfail or sent.shouldfail
    if sent.interrupted:
        raise KeyboardInterrupt
    if sent.exit is not None:
        pytest.exit(*sent.exit)

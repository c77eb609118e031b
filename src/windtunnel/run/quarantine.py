"""Quarantine: a test that runs and is recorded, but whose failure does not fail the run.

A failing report of a quarantined test is shown to the rest of pytest the way pytest shows an
expected failure (skipped, with ``wasxfail``), because that is the one form of "failed, and that
is all right" which everybody downstream already understands: the session's count and ``-x``,
``--maxfail``, the cache of ``--lf``, ``--stepwise``, JUnit XML, pytest-xdist's own count and other
plugins' reports. It happens at the moment of logging and not earlier, so that reruns, recording
and fixtures that look at the outcome of their test still see a failure.

Every report of a quarantined test carries ``wt_quarantined = True``; one whose failure was
excused also ``wt_excused = True``.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.core import ExitCode, Violation, emit
from windtunnel.run import quarantine_findings
from windtunnel.run.quarantine_file import Entries, Entry, read_quarantine, today
from windtunnel.run.quarantine_findings import Findings

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

    from windtunnel.run.session import RunState

SOON_DAYS = 7
"""A quarantine that ends within so many days is mentioned."""


def attach(config: pytest.Config, state: RunState) -> None:
    """Begin to excuse quarantined tests.

    :raises UsageError: when the quarantine file cannot be read.
    """
    entries = Entries(read_quarantine(state.root / state.settings.quarantine_file))
    config.pluginmanager.register(Quarantine(state, entries), "windtunnel-quarantine")


class Quarantine:
    """The part of a run that knows which tests are quarantined."""

    def __init__(self, state: RunState, entries: Entries) -> None:
        self._state = state
        self._entries = entries
        self._today = today()
        self._collected: Findings | None = None
        self._fetched: Findings | None = None

    @property
    def findings(self) -> Findings:
        """Which tests are held, and what is amiss; empty before tests were collected."""
        if self._collected is not None:
            return self._collected
        if self._fetched is None and self._state.role == "controller":
            self._fetched = quarantine_findings.fetch(self._state)
        return self._fetched or Findings()

    # Collecting

    @pytest.hookimpl(tryfirst=True)  # to see every test, before -k and the like take some away
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        found = quarantine_findings.find(
            items, self._entries, self._today, skip=self._state.settings.skip_quarantine
        )
        if not _narrowed(config):
            found.stale = quarantine_findings.stale(items, self._entries, self._state.root)
        for nodeid, error in found.errors.items():
            # A test that cannot be collected: the one way to say so that xdist's workers have.
            config.hook.pytest_collectreport(
                report=pytest.CollectReport(nodeid, "failed", f"windtunnel: {error}", None)
            )
        items[:] = [item for item in items if item.nodeid not in found.errors]
        self._collected = found
        if found.left_out:
            left_out = set(found.left_out)
            config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
            items[:] = [item for item in items if item.nodeid not in left_out]

    def pytest_collection_finish(self) -> None:
        if self._state.role == "worker":
            if self.findings:
                quarantine_findings.leave(self._state, self.findings)
        elif self._collected is not None:
            self._complain()

    def pytest_report_collectionfinish(self) -> list[str]:
        left_out = len(self.findings.left_out)
        return [f"quarantine: {left_out} left out by --skip-quarantine"] if left_out else []

    def _complain(self) -> None:
        for nodeid, entry in self.findings.expired.items():
            emit(
                Violation(
                    rule="quarantine-expired",
                    subject=nodeid,
                    nodeid=nodeid,
                    detail=f"its quarantine ended on {entry.until}: {entry.reason or 'no reason'}",
                    location=entry.source if entry.source != "marker" else "",
                    fails=True,
                )
            )
        for entry in self.findings.stale:
            emit(
                Violation(
                    rule="quarantine-stale",
                    subject=entry.test,
                    detail="the quarantine file names a test that there is not",
                    location=entry.source,
                )
            )

    # Running

    @pytest.hookimpl(wrapper=True)  # within the recorder's wrapper, around everybody else
    def pytest_runtest_logreport(
        self, report: pytest.TestReport
    ) -> Generator[None, object, object]:
        entry = self._entry_for(report)
        if entry is None:
            return (yield)
        marks: Any = report  # pytest sends what else stands on a report along with it
        marks.wt_quarantined = True
        if str(report.outcome) != "failed" or hasattr(report, "wasxfail"):
            return (yield)
        marks.wt_excused = True
        report.outcome = "skipped"
        report.wasxfail = describe(entry)
        try:
            return (yield)
        finally:
            # A controller counts failures after logging (xdist does), so there it stays excused;
            # where the test runs, its fixtures are still to be torn down and may look at it.
            if self._state.runs_tests:
                report.outcome = "failed"
                del report.wasxfail

    def _entry_for(self, report: pytest.TestReport) -> Entry | None:
        if self._collected is None and (report.passed or hasattr(report, "wt_quarantined")):
            return None  # xdist's controller: its workers mark reports, unless they die before
        return self.findings.held.get(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, Mapping[str, bool]]] | None:
        if getattr(report, "wt_excused", False):
            return "quarantined", "Q", ("QUARANTINED", {"yellow": True})
        if report.passed and report.when == "call" and getattr(report, "wt_quarantined", False):
            return "passed", "q", ("PASSED (quarantined)", {"green": True})
        return None

    # Ending

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._state.role == "worker":
            return
        if self._collected is None and self.findings:
            self._complain()  # an xdist controller hears it only from its workers
        if self._state.role == "controller":
            quarantine_findings.clear(self._state)
        if self.findings.expired and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = int(ExitCode.QUARANTINE_EXPIRED)

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        excused = terminalreporter.stats.get("quarantined", [])
        notices = self._notices()
        if not excused and not notices:
            return
        terminalreporter.section("quarantine")
        for report in excused:
            where = {"call": "", "???": " (crashed)"}.get(report.when, f" ({report.when})")
            why = describe(self.findings.held.get(report.nodeid))
            terminalreporter.line(f"QUARANTINED {report.nodeid}{where}: {why}")
            message = _message(report)
            if message:
                terminalreporter.line(f"    {message}")
        for text, loud in notices:
            terminalreporter.line(text, red=loud, bold=loud, yellow=not loud)

    def _notices(self) -> list[tuple[str, bool]]:
        found = self.findings
        advice = "it counts again: repair the test, or renew or remove the entry"
        notices = [
            (
                f"EXPIRED {nodeid}: quarantine ended {entry.until} ({_written(entry)}); {advice}",
                True,
            )
            for nodeid, entry in found.expired.items()
        ]
        notices += [
            (f"STALE {_written(entry)}: there is no test {entry.test}; remove the entry", True)
            for entry in found.stale
        ]
        for nodeid, entry in found.held.items():
            days = (entry.until - self._today).days if entry.until else SOON_DAYS + 1
            if days <= SOON_DAYS:
                when = {0: "today", 1: "tomorrow"}.get(days, f"in {days} days")
                notices.append((f"ENDS {when}: the quarantine of {nodeid}", False))
        if found.left_out:
            notices.append((f"{len(found.left_out)} left out by --skip-quarantine", False))
        return notices


def _narrowed(config: pytest.Config) -> bool:
    """Whether less than whole files was collected, so that a missing test proves nothing."""
    return bool(config.getoption("lf", False)) or any("::" in str(it) for it in config.args)


def describe(entry: Entry | None) -> str:
    """A quarantine in one line.

    >>> describe(Entry("t", "waits for a real clock"))
    'quarantined: waits for a real clock'
    """
    words = "quarantined"
    if entry is None:
        return words
    if entry.reason:
        words += f": {entry.reason}"
    return f"{words} (until {entry.until})" if entry.until else words


def _written(entry: Entry) -> str:
    return "by its marker" if entry.source == "marker" else entry.source


def _message(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(report.longrepr if crash is None else crash.message)
    return next(iter(text.strip().splitlines()), "")[:200]

"""Runs a failed test again, with its fixtures set up again.

One attempt is :func:`windtunnel.run.attempt.run_attempt`, so that a rerun is the same in this
process and in a forked child of it. The reports of an attempt that is not the last carry the
outcome ``"rerun"``, as pytest-rerunfailures has it, which neither fails the run nor counts for
``-x``; every report says the number of its attempt in ``wt_attempt``.

Where pytest-rerunfailures (or another plugin that owns the ``flaky`` marker) is at work, this
part steps back.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Generator
from typing import Any

import pytest

from windtunnel.core import REAL_CLOCK, Settings
from windtunnel.run import rerun_policy
from windtunnel.run.attempt import ATTEMPT, run_attempt
from windtunnel.run.markers import MarkerCheck
from windtunnel.run.rerun_policy import Policy
from windtunnel.run.session import RunState

OWNERS = ("rerunfailures", "flaky", "pytest-retry")
"""Names under which plugins register that rerun tests themselves."""


def attach(config: pytest.Config, state: RunState) -> None:
    """Rerun what the marker or the settings ask for.

    :raises UsageError: when ``only_rerun`` holds no regular expression.
    """
    owner = next((name for name in OWNERS if config.pluginmanager.has_plugin(name)), None)
    if owner is None:
        default = _default(config, state.settings)
        check = MarkerCheck(lambda item: rerun_policy.of_item(item, default))
        config.pluginmanager.register(check, "windtunnel-flaky-marker")
        config.pluginmanager.register(Readiness(config, default), "windtunnel-rerun")
    elif owner == "rerunfailures":
        _hand_over(config, state.settings)


def reruns_of(item: pytest.Item, settings: Settings) -> int:
    """How often that test may be run again after its first attempt."""
    return rerun_policy.of_item(item, _default(item.config, settings)).reruns


def may_run_again(item: pytest.Item, settings: Settings, crashes: int) -> bool:
    """Whether that test may be run again after its process died under it that many times."""
    policy = rerun_policy.of_item(item, _default(item.config, settings))
    return crashes <= policy.reruns and policy.worth_rerun(None, item)


def longest_delay_s(item: pytest.Item, settings: Settings) -> float:
    """Seconds that test spends waiting for its reruns when every attempt fails."""
    return rerun_policy.of_item(item, _default(item.config, settings)).total_delay_s


def _default(config: pytest.Config, settings: Settings) -> Policy:
    if config.getoption("usepdb", False):
        return Policy()
    default = rerun_policy.of_settings(settings)
    if default.reruns == 0 and config.stash.get(TAKEN_OVER, False):
        # pytest-rerunfailures is installed and was put out of action; its options still stand.
        option: Any = config.option
        reruns = option.reruns if option.reruns is not None else config.getini("reruns")
        delay = option.reruns_delay
        delay = config.getini("reruns_delay") if delay is None else delay
        only = option.only_rerun or config.getini("only_rerun")
        never = option.rerun_except or config.getini("rerun_except")
        default = dataclasses.replace(
            default,
            reruns=int(reruns or 0),
            delay_s=float(delay or 0.0),
            only_on=rerun_policy.regexes(only, "--only-rerun") or default.only_on,
            never_on=rerun_policy.regexes(never, "--rerun-except"),
        )
    return default


TAKEN_OVER = pytest.StashKey[bool]()
"""Set where pytest-rerunfailures was unregistered, because workers are ours."""


def take_over_under_our_workers(config: pytest.Config) -> None:
    """Put pytest-rerunfailures out of action where the workers of this run are ours.

    It keeps its counts in a server thread of the controller, from which it cannot be forked,
    and asks pytest-xdist's workers to connect to it. Its options, its ini keys and its marker's
    arguments keep their meaning: we read them.
    """
    import sys

    worker = sys.modules.get("windtunnel.run.worker")
    manager = config.pluginmanager
    spawned = worker is not None and any(
        isinstance(plugin, worker.SpawnedSession) for plugin in manager.get_plugins()
    )
    if spawned or getattr(config.known_args_namespace, "wt_workers", None) not in (None, "0"):
        manager.unregister(name="rerunfailures")
        config.stash[TAKEN_OVER] = True


def _hand_over(config: pytest.Config, settings: Settings) -> None:
    """Give our settings to pytest-rerunfailures, where its own say nothing."""
    option: Any = config.option
    if settings.reruns and getattr(option, "reruns", None) is None:
        option.reruns = settings.reruns
        if getattr(option, "reruns_delay", None) is None:
            option.reruns_delay = settings.reruns_delay
        if settings.only_rerun and not getattr(option, "only_rerun", None):
            option.only_rerun = list(settings.only_rerun)


class Readiness:
    """Finds out whether anything may have to be rerun, and shows what was."""

    def __init__(self, config: pytest.Config, default: Policy) -> None:
        self._config = config
        self._default = default
        self._wanted = default.reruns > 0
        self._session: pytest.Session | None = None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._session = session
        self._wanted = self._wanted or any(
            item.get_closest_marker("flaky") is not None for item in session.items
        )

    @pytest.hookimpl(trylast=True)
    def pytest_windtunnel_process_started(self, config: pytest.Config) -> None:
        # Isolation by fork may have put its kind of attempt in place only just now.
        if self._session is not None and (self._wanted or ATTEMPT in config.stash):
            protocol = Protocol(self._session, self._default)
            config.pluginmanager.register(protocol, "windtunnel-rerun-protocol")

    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | tuple[str, str, str] | None:
        if str(report.outcome) != "rerun":
            return None
        if type(report).__name__ == "SubtestReport":
            return "", "", ""
        return "rerun", "R", ("RERUN", {"yellow": True})

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        reports = terminalreporter.stats.get("rerun", [])
        if not reports or not set("RaA") & set(self._config.option.reportchars):
            return
        terminalreporter.write_sep("=", "reruns")
        for report in reports:
            attempt = getattr(report, "wt_attempt", 1)
            lines = report.longreprtext.strip().splitlines() or [""]
            terminalreporter.write_line(
                f"RERUN {report.nodeid} after attempt {attempt}: {lines[-1]}"
            )


@dataclasses.dataclass(slots=True)
class _Attempt:
    """The attempt under way."""

    item: pytest.Item
    policy: Policy
    number: int
    failures: int = 0
    failed_subtests: int = 0
    hopeless: bool = False  # a failure that its policy does not rerun

    @property
    def last(self) -> bool:
        return self.number > self.policy.reruns

    @property
    def to_be_rerun(self) -> bool:
        return not self.last and self.failures > 0 and not self.hopeless


class Protocol:
    """The pytest plugin that runs a test's attempts. Registered only where it may be needed."""

    def __init__(self, session: pytest.Session, default: Policy) -> None:
        self._session = session
        self._default = default
        self._current: _Attempt | None = None
        self._watched: object = None

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        policy = self._policy(item)
        if not policy.reruns and ATTEMPT not in item.config.stash:
            return None
        self._watch_teardown()
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        try:
            for number in itertools.count(1):
                if self._decided(_Attempt(item, policy, number), nextitem):
                    break
                REAL_CLOCK.sleep(policy.delay_before(number))
        finally:
            self._current = None
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _policy(self, item: pytest.Item) -> Policy:
        policy = rerun_policy.of_item(item, self._default)
        # To debug a test again that has just been debugged makes no sense.
        return Policy() if item.config.getoption("usepdb", False) else policy

    def _decided(self, attempt: _Attempt, nextitem: pytest.Item | None) -> bool:
        """Run one attempt and log it; whether it was the last."""
        self._current = attempt
        item = attempt.item
        item.execution_count = attempt.number  # type: ignore[attr-defined]  # known from rerunfailures
        reports = run_attempt(item, nextitem)
        for report in reports:
            report.__dict__["wt_attempt"] = attempt.number
        bad = self._bad_report(attempt, reports)
        if bad is None or self._session.shouldstop or self._session.shouldfail:
            _log(item, reports)
            return True
        bad.outcome = "rerun"  # type: ignore[assignment]  # the word plugins know
        # What passed after the failure, or before it in the call, is not the test's result.
        _log(item, [*(report for report in reports[:1] if report.passed), bad])
        forget_attempt(item)
        return False

    def _bad_report(
        self, attempt: _Attempt, reports: list[pytest.TestReport]
    ) -> pytest.TestReport | None:
        """The report that asks for a rerun, if there is to be one."""
        if attempt.last:
            return None
        failed = [report for report in reports if report.failed]
        if any(not getattr(report, "wt_worth_rerun", True) for report in failed):
            return None
        if not failed and attempt.failed_subtests and not attempt.hopeless:
            failed = [report for report in reports if report.when == "call"]
            for report in failed:
                report.longrepr = f"contains {attempt.failed_subtests} failed subtests"
        return failed[0] if failed else None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        # Judged here, where the exception itself is at hand: also in a forked child.
        report = yield
        attempt = self._current
        if attempt is not None and attempt.item is item and report.failed:
            error = call.excinfo.value if call.excinfo is not None else None
            # An expected failure that did not come is no failure that comes and goes.
            strict = report.longrepr is not None and "[XPASS(strict)]" in str(report.longrepr)
            worth = not strict and attempt.policy.worth_rerun(error, item)
            report.__dict__["wt_worth_rerun"] = worth
            attempt.failures += 1
            attempt.hopeless = attempt.hopeless or not worth
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A failed subtest is reported at once; it must not fail a run that goes on to pass."""
        attempt = self._current
        if attempt is None or type(report).__name__ != "SubtestReport" or not report.failed:
            return
        attempt.failed_subtests += 1
        if attempt.to_be_rerun:
            report.outcome = "rerun"  # type: ignore[assignment]

    # -- teardown between attempts ----------------------------------------------------------

    def _watch_teardown(self) -> None:
        """Keep fixtures of wider scope for the rerun.

        pytest tears down what the next test does not share. Between attempts the next test is
        this one again; that is known only when teardown begins, after ``nextitem`` was passed.
        """
        setup_state = self._session._setupstate
        if self._watched is setup_state.teardown_exact:
            return
        teardown_exact = setup_state.teardown_exact

        def again_or_next(nextitem: pytest.Item | None) -> None:
            attempt = self._current
            if attempt is None or not attempt.to_be_rerun or nextitem is attempt.item:
                teardown_exact(nextitem)
                return
            try:
                teardown_exact(_itself_again(self._session, attempt.item))
            finally:
                _finish_failed_fixtures(attempt.item)

        self._watched = again_or_next
        setup_state.teardown_exact = again_or_next  # type: ignore[method-assign]


def _log(item: pytest.Item, reports: list[pytest.TestReport]) -> None:
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)


def _itself_again(session: pytest.Session, item: pytest.Item) -> pytest.Item | None:
    """A next item under the same parents: a twin, since ``item`` itself would not be torn down."""
    for node, (_, error) in session._setupstate.stack.items():
        if error is not None and node is not item:
            return None  # a parent that failed to set up is set up again, with all above it
    return copy.copy(item)


def _finish_failed_fixtures(item: pytest.Item) -> None:
    """Fixtures of wider scope keep their failure for the next test; a rerun tries them again."""
    request: Any = getattr(item, "_request", None)
    if not request:
        return
    by_name: dict[str, Any] = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    definitions = [definition for several in by_name.values() for definition in several]
    definitions += getattr(request, "_fixture_defs", {}).values()
    for definition in definitions:
        cached = definition.cached_result
        if cached is not None and cached[2] is not None:
            definition.finish(request)


def forget_attempt(item: pytest.Item) -> None:
    """Let go of what pytest keeps on the item: output, the class's instance, failed subtests."""
    item._report_sections.clear()
    if isinstance(item, pytest.Function) and getattr(item, "_instance", None) is not None:
        function: Any = item  # pytest has no public way to let go of them
        del function._instance
        function._obj = None
    try:
        from _pytest.subtests import failed_subtests_key
    except ImportError:  # pytest before 9
        return
    counts: Any = item.config.stash.get(failed_subtests_key, {})
    for key in (item.nodeid, getattr(item, "id", None)):
        counts.pop(key, None)

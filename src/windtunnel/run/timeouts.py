"""Ends a test that takes longer than it may, and reports where it hung.

The limit of each test is read by :mod:`windtunnel.run.limits`, which understands what
pytest-timeout understands. It holds for one attempt at a test and is kept in three steps:

1. A timer signal makes the test fail where it is, with the stacks of all threads and tasks.
2. Should the test swallow that, or its teardown hang as well, it fails again ``hang_grace``
   seconds later, and so on.
3. Where no Python code runs any more, the process is ended ``hang_grace`` seconds after the
   limit, stacks first: by the controller if the worker is ours, else by a sentinel.

Where pytest-timeout is installed, it decides when to start and stop the timer, and its hook for
other ways of timing lets ours be that timer.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Generator
from types import FrameType, FunctionType, MethodType
from typing import Any

import pytest

from windtunnel.core import Outcome, Settings
from windtunnel.run import limits, stacks
from windtunnel.run.limits import Limit, suggest
from windtunnel.run.markers import MarkerCheck
from windtunnel.run.rerun import longest_delay_s, reruns_of
from windtunnel.run.sentinel import Sentinel
from windtunnel.run.session import RunState

__all__ = ["Limit", "attach", "deadline_of", "suggest"]

SECTION = "Timeout: stacks of all threads and asyncio tasks"
_MARKER = (
    "timeout(seconds, method='signal', func_only=False): fail the test, with the stacks of all"
    " threads and asyncio tasks, when it takes longer"
)
_LEAST_GRACE_S = 0.1


def attach(config: pytest.Config, state: RunState) -> None:
    """Keep the time limits of this process's tests.

    :raises UsageError: when the default limit cannot be meant.
    """
    default = limits.of_run(config, state.settings)
    manager = config.pluginmanager
    if not _pytest_timeout(config):
        config.addinivalue_line("markers", _MARKER)
    manager.register(
        MarkerCheck(lambda item: limits.of_item(item, default)), "windtunnel-timeout-marker"
    )
    manager.register(Readiness(state, default), "windtunnel-timeouts")
    if state.role != "worker":
        from windtunnel.run.advice import Advice

        manager.register(Advice(state, default), "windtunnel-timeout-advice")
        folder = stacks.folder(state.state_dir, state.run_id)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def deadline_of(item: pytest.Item, settings: Settings) -> float | None:
    """Seconds that test may take with all its reruns; None when nothing limits it.

    A limit on the test's function alone does not limit how long its fixtures take.
    """
    config = item.config
    limit = limits.of_item(item, limits.of_run(config, settings))
    if not limit.seconds or limit.func_only or config.getoption("usepdb", False):
        return None
    attempts = 1 + reruns_of(item, settings)
    return limit.seconds * attempts + longest_delay_s(item, settings)


def _pytest_timeout(config: pytest.Config) -> bool:
    return config.pluginmanager.has_plugin("timeout") and "pytest_timeout" in sys.modules


class Readiness:
    """Finds out, after collection, whether any test has a limit."""

    def __init__(self, state: RunState, default: Limit) -> None:
        self._state = state
        self._default = default
        self._wanted = default.seconds > 0

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._wanted = self._wanted or any(
            item.get_closest_marker("timeout") is not None for item in session.items
        )

    def pytest_windtunnel_process_started(self, config: pytest.Config) -> None:
        if self._wanted:
            timer = Timer(config, self._state, self._default)
            config.pluginmanager.register(timer, "windtunnel-timer")
            if _pytest_timeout(config):
                config.pluginmanager.register(InPlaceOfTheirs(), "windtunnel-timer-hook")


class InPlaceOfTheirs:
    """pytest-timeout's hooks for other ways of timing: the timer is :class:`Timer`."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_set_timer(self) -> bool:
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_timeout_cancel_timer(self) -> bool:
        return True


class Timer:
    """The pytest plugin that limits the phases of a test, in the process that runs them."""

    def __init__(self, config: pytest.Config, state: RunState, default: Limit) -> None:
        self._config = config
        self._default = default
        self._grace_s = max(state.settings.hang_grace, _LEAST_GRACE_S)
        self._directory = stacks.folder(state.state_dir, state.run_id)
        self._worker = state.worker
        self._sentinel: Sentinel | None = None
        if state.role == "main":
            stacks.install(self._directory, self._worker, fatal=False)
        if state.under_xdist or state.role == "main":
            self._sentinel = Sentinel(self._directory, self._worker)
        self._item: pytest.Item | None = None
        self._limit = Limit()
        self._in_phase = False
        self._fired = False
        self._suspended = False
        self._stacks = ""
        self._handler_before: Any = None
        self._thread: threading.Timer | None = None

    # -- the phases -------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        self._limit = limits.of_item(item, self._default)
        if not self._limit.func_only:
            self._start(item)
        return (yield from self._phase())

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        if not self._limit.func_only:
            return (yield from self._phase())
        self._start(item)
        try:
            return (yield from self._phase())
        finally:
            self._stop()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Generator[None, object, object]:
        try:
            return (yield from self._phase())
        finally:
            self._stop()

    def _phase(self) -> Generator[None, object, object]:
        """Let the alarm raise inside a phase only: elsewhere nobody would catch it."""
        __tracebackhide__ = True
        if self._item is None:
            return (yield)
        if self._fired:  # between two phases
            self._fail()
        self._in_phase = True
        try:
            result = yield
        finally:
            self._in_phase = False
        if self._fired:  # the test went on after it was told to end
            self._fail()
        return result

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self._fired:
            self._fired = False
            if report.failed:
                report.__dict__["wt_outcome"] = Outcome.TIMEOUT.value
                report.sections.append((SECTION, self._stacks))
        return report

    # -- the alarm --------------------------------------------------------------------------

    def _start(self, item: pytest.Item) -> None:
        limit = self._limit
        if not limit.seconds or (self._suspended and not limit.even_debugged):
            return
        self._item, self._fired = item, False
        if limit.method == "signal" and threading.current_thread() is threading.main_thread():
            # The sentinel first: to start it, once, is not the test's time.
            if self._sentinel is not None:
                self._sentinel.arm(limit.seconds + self._grace_s, limit.seconds, item.nodeid)
            self._handler_before = signal.signal(signal.SIGALRM, self._alarm)
            signal.setitimer(signal.ITIMER_REAL, limit.seconds, self._grace_s)
        else:
            self._thread = threading.Timer(limit.seconds, self._end_process)
            self._thread.daemon = True
            self._thread.start()

    def _stop(self) -> None:
        if self._item is None:
            return
        self._item = None
        if self._thread is not None:
            self._thread.cancel()
            self._thread = None
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._handler_before or signal.SIG_DFL)
        if self._sentinel is not None:
            self._sentinel.disarm()

    def _alarm(self, _signum: int, frame: FrameType | None) -> None:
        __tracebackhide__ = True
        item, limit = self._item, self._limit
        if item is None or (being_debugged() and not limit.even_debugged):
            return
        if self._sentinel is not None:  # Python code runs; there is no need for it yet
            self._sentinel.arm(2 * self._grace_s, limit.seconds, item.nodeid)
        self._fired = True
        self._stacks = stacks.describe(frame)
        if self._in_phase:
            self._fail()

    def _fail(self) -> None:
        __tracebackhide__ = True
        pytest.fail(f"Timeout (>{self._limit.seconds:g}s)")

    def _end_process(self) -> None:
        """The method ``thread``: the process is ended, as the test cannot be."""
        item = self._item
        if item is None or (being_debugged() and not self._limit.even_debugged):
            return
        main = sys._current_frames().get(threading.main_thread().ident or 0)
        whole = stacks.leave(
            self._directory, self._worker, self._limit.seconds, stacks.describe(main)
        )
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
        if capture is not None:
            capture.suspend_global_capture(in_=True)
            out, err = capture.read_global_capture()
            sys.stdout.write(out)
            sys.stderr.write(err)
        sys.stderr.write(f"\nwindtunnel: {item.nodeid} is past its timeout\n{whole}\n")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)

    # -- debuggers --------------------------------------------------------------------------

    def pytest_enter_pdb(self) -> None:
        self._suspended = True
        self._suspend()

    @pytest.hookimpl(tryfirst=True)
    def pytest_exception_interact(self) -> None:
        if self._config.getoption("usepdb", False):
            self._suspend()

    def pytest_leave_pdb(self) -> None:
        self._suspended = False

    def _suspend(self) -> None:
        if not self._limit.even_debugged:
            self._stop()


_DEBUGGERS = ("bdb", "pdb", "pydevd", "_pydevd_bundle", "debugpy")


def being_debugged() -> bool:
    """Whether a debugger traces this thread, in which case a test takes as long as it takes."""
    trace = sys.gettrace()
    if isinstance(trace, (FunctionType, MethodType)) and trace.__module__.startswith(_DEBUGGERS):
        return True
    monitoring = getattr(sys, "monitoring", None)
    return monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None

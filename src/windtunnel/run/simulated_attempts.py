"""Runs a simulated test under its seeds, in a forked child that is renewed now and then.

One child runs many seeds: a fork costs more than a seed. It leaves by ``os._exit``, so that what
was alive on nodes that crashed is never finalised. With a debugger the seeds run right here.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windtunnel.explore.comparison import Divergence
from windtunnel.explore.loops import ForeignLoopError
from windtunnel.explore.one_seed import OneSeed, Request
from windtunnel.explore.suspects import suspects
from windtunnel.explore.until import StepReached
from windtunnel.run import neighbours
from windtunnel.run.isolation import fork
from windtunnel.run.isolation.child import Ended, Sent, run_child
from windtunnel.run.session import RunState
from windtunnel.run.simulated import PLAN
from windtunnel.run.simulated_check import DeterminismCheck
from windtunnel.run.simulated_report import Reporter, slug, without_stack
from windtunnel.run.simulated_seeds import SeedRuns, Summary, refusal, refused_reports
from windtunnel.sim import DeadlockError, DivergedError, StallError, World

if TYPE_CHECKING:
    from windtunnel.explore import Plan
    from windtunnel.run.simulated_replay import Replay

_SEEDS_A_CHILD = 200
_WORLDS_OWN = (DeadlockError, StallError, DivergedError, StepReached, ForeignLoopError)
_SUMMARY = "wt_simulated"


def start(config: pytest.Config, state: RunState, replay: Replay | None) -> SimulatedAttempts:
    """Have each simulated test of this process run under its seeds from now on."""
    attempts = SimulatedAttempts(config, state, replay)
    config.pluginmanager.register(attempts, "windtunnel-simulated")
    config.pluginmanager.register(CoroutineRunner(attempts), "windtunnel-simulated-runner")
    return attempts


class SimulatedAttempts(fork.ForkedAttempts):
    """The pytest plugin that takes over the protocol of simulated tests."""

    def __init__(self, config: pytest.Config, state: RunState, replay: Replay | None) -> None:
        super().__init__(config)
        self._state = state
        self._replay = replay
        self._reporter = Reporter(config, state, replay)
        self._summary = Summary()
        self._plan: Plan | None = None
        self._runs: SeedRuns | None = None
        self._check = (
            DeterminismCheck(config, state)
            if state.settings.check_determinism and replay is None
            else None
        )
        self._here = replay is not None or not hasattr(os, "fork") or bool(fork.in_the_way(config))

    @property
    def present(self) -> OneSeed | None:
        """The seed that is being run, in the process that runs it."""
        return self._runs.present if self._runs is not None else None

    # -- hooks ------------------------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        """Before whoever reruns tests: the same seed fails again, and another is another test."""
        if PLAN not in item.stash:
            return None
        return super().pytest_runtest_protocol(item, nextitem)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:  # type: ignore[override]
        """Take the verdict as soon as the body has ended, before anything is torn down."""
        __tracebackhide__ = True
        self._notes.phase = "call"
        present = self.present
        if present is None or PLAN not in item.stash:
            return (yield)
        with present.body():
            return (yield)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """What the world itself raises says all; the stack would be the scheduler's."""
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        present = self.present
        if error is not None and report.failed and present is not None:
            if present.error is None:
                present.note_error(error)  # of a fixture, or kept back by unittest
            if isinstance(error, _WORLDS_OWN):
                report.longrepr = without_stack(item, error)
        return report

    # -- an attempt -------------------------------------------------------------------------------

    def __call__(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """Run ``item`` under its seeds; the reports are those of the first that fails, or of
        the last."""
        refused = refusal(item)
        if refused is not None:
            return refused_reports(item, nextitem, refused)
        self._summary, self._plan = Summary(), item.stash[PLAN]
        reports = super().__call__(item, nextitem)
        if self._check is not None and self._summary.died_at is None:
            self._check.check(item, self._summary, reports, partial(self._suspects, item))
        self._reporter.complete(item, self._summary, reports)
        return reports

    def after_last_test(self) -> None:
        super().after_last_test()
        if self._check is not None:
            self._check.close()

    def _run_child(self, item: pytest.Item, nextitem: pytest.Item | None) -> Ended:
        while True:
            run = self._run_here if self._here else self._run_some
            ended = run(item, nextitem)
            if ended.sent is None:
                self._summary.note_death()
                return ended
            part: Summary = ended.sent.left.pop(_SUMMARY, None) or Summary()
            self._summary.add(part)
            if not part.to_go_on or ended.sent.exit or ended.sent.interrupted:
                return ended
            self._coverage.add(ended.sent)

    def _suspects(self, item: pytest.Item, index: int, difference: Divergence) -> list[str]:
        """Run a seed once more, up to where it went otherwise, and look at what is there."""
        assert self._plan is not None
        found: list[str] = []

        def look(world: World) -> None:
            found.extend(map(str, suspects(world, difference.task)))

        seed = self._state.seed.child(item.nodeid).child(str(index))
        wanted = [Request(seed, self._plan.config, until=difference.step, at_stop=look)]

        def attempt(sent: Sent) -> None:
            with self._wider.in_child(item):
                runs = self._runs = self._some_seeds(item, wanted, first=0, traces=None)
                sent.run(item, None, runs.run)
                sent.left = {_SUMMARY: found}

        ended = run_child(attempt, self._notes)
        return ended.sent.left.get(_SUMMARY, []) if ended.sent is not None else []

    def _some_seeds(
        self, item: pytest.Item, wanted: Sequence[Request] | None, first: int, traces: Path | None
    ) -> SeedRuns:
        assert self._plan is not None
        return SeedRuns(
            item,
            self._plan,
            state=self._state,
            first=first,
            most=_SEEDS_A_CHILD,
            wanted=wanted,
            progress=self._summary.progress,
            traces=traces,
        )

    def _next_seeds(self, item: pytest.Item) -> SeedRuns:
        assert self._plan is not None
        wanted = self._replay.requests(self._plan) if self._replay is not None else None
        return self._some_seeds(item, wanted, self._summary.next, self._traces(item))

    def _traces(self, item: pytest.Item) -> Path | None:
        given = self._state.settings.traces
        folder = self._state.root / given if given else None
        if self._check is not None:
            folder = self._check.traces
        return folder / slug(item.nodeid) if folder is not None else None

    def _run_some(self, item: pytest.Item, nextitem: pytest.Item | None) -> Ended:
        runs = self._runs = self._next_seeds(item)
        coverage = self._coverage

        def attempt(sent: Sent) -> None:
            with self._wider.in_child(item), coverage.in_child(sent):
                runs.before_each = sent.logged.clear
                sent.run(item, nextitem, runs.run)
                sent.left = {**neighbours.leave(self._config), _SUMMARY: runs.summary}

        try:
            return run_child(attempt, self._notes)
        finally:
            self._runs = None

    def _run_here(self, item: pytest.Item, nextitem: pytest.Item | None) -> Ended:
        """In this process: fixtures that are wider than the test stay for the next."""
        runs = self._runs = self._next_seeds(item)
        sent = _Here()
        setup_state = vars(item.session._setupstate)
        kept = setup_state.get("teardown_exact")
        try:
            with self._wider.in_child(item):
                sent.here = runs.run(item, nextitem)
        finally:
            self._runs = None
            setup_state.pop("teardown_exact", None)
            if kept is not None:
                setup_state["teardown_exact"] = kept
            _keep_graveyard()
        sent.left = {_SUMMARY: runs.summary}
        return Ended(0, sent)


class _Here(Sent):
    """What would have been sent, had there been a child."""

    here: list[pytest.TestReport]

    def unpacked(self, config: pytest.Config) -> list[pytest.TestReport]:
        return self.here


def _keep_graveyard() -> None:
    """Programs that crashed must not run their ``finally`` blocks when this process ends either:
    one reference that nobody gives back keeps them."""
    import ctypes

    from windtunnel.sim import node

    if not _kept:
        _kept.append(True)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(node._GRAVEYARD))


_kept: list[bool] = []


class CoroutineRunner:
    """Runs a coroutine test that no other plugin runs."""

    def __init__(self, attempts: SimulatedAttempts) -> None:
        self._attempts = attempts

    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> object:
        __tracebackhide__ = True
        import inspect

        if self._attempts.present is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
            return None
        from windtunnel.explore.examples import in_new_loop

        names = pyfuncitem._fixtureinfo.argnames
        in_new_loop(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
        return True

"""Simulated tests in a run: who is one is found out at collection, the rest is attached then.

A run without simulated tests pays for one look at each collected item and no more; nothing of the
simulated world is imported.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.core import UsageError
from windtunnel.run.markers import MarkerCheck
from windtunnel.run.session import RunState

if TYPE_CHECKING:
    from windtunnel.run.simulated_replay import Replay
    from windtunnel.sim import World

PLAN = pytest.StashKey[Any]()
"""Where an item's stash says how it is to be simulated; items that are not have none."""

ATTEMPTS = pytest.StashKey[Any]()
"""This process's :class:`windtunnel.run.simulated_attempts.SimulatedAttempts`."""


def attach(config: pytest.Config, state: RunState) -> None:
    """Watch for simulated tests.

    :raises UsageError: for a token or tape that cannot be read; when two processes are to be
        compared and this one's hash seed cannot be given to another.
    """
    from windtunnel.explore.marker import plan_of

    if state.settings.check_determinism and not hash_seed():
        raise UsageError(
            "check_determinism compares two processes, which need the same PYTHONHASHSEED",
            found=f"PYTHONHASHSEED={os.environ.get('PYTHONHASHSEED', '')!r}",
            fix="set PYTHONHASHSEED=0, or use `windtunnel run --check-determinism`",
        )

    everything = state.settings.world == "simulated"
    replay = None
    if state.settings.replay:
        from windtunnel.run.simulated_replay import Replay

        replay = Replay(config, state)
        config.pluginmanager.register(replay, "windtunnel-replay")
    policy = state.settings.policy
    check = MarkerCheck(lambda item: plan_of(item, everything=everything, policy=policy))
    config.pluginmanager.register(check, "windtunnel-simulated-marker")
    watcher = Watcher(everything, policy, replay)
    config.pluginmanager.register(watcher, "windtunnel-simulated-watcher")


class Watcher:
    """Attaches the simulated world to the run where a test needs it."""

    def __init__(self, everything: bool, policy: str, replay: Replay | None) -> None:
        self._everything = everything
        self._policy = policy
        self._replay = replay
        self._any = False

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_pycollect_makeitem(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        """Hand simulated tests to pytest-asyncio, where it is there, also in its strict mode:
        its fixtures and the test then share a loop. Innermost: it makes its items after this."""
        made = yield
        if made is None or not collector.config.pluginmanager.hasplugin("asyncio"):
            return made
        from windtunnel.explore.marker import NAME, is_async

        for node in made if isinstance(made, list) else [made]:
            if (
                isinstance(node, pytest.Function)
                and (self._everything or node.get_closest_marker(NAME) is not None)
                and is_async(node)
                and node.get_closest_marker("anyio") is None
                and "anyio_backend" not in node.fixturenames
            ):
                node.add_marker("asyncio")
        return made

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from windtunnel.explore.marker import plan_of

        for item in session.items:
            plan = plan_of(item, everything=self._everything, policy=self._policy)
            if self._replay is not None:
                plan = self._replay.plan_of(item, plan)
            if plan is not None:
                item.stash[PLAN] = plan
                self._any = True
        if self._replay is not None:
            self._replay.must_have_found(session)

    def pytest_windtunnel_process_started(self, config: pytest.Config, state: RunState) -> None:
        if self._any:
            from windtunnel.run.simulated_attempts import start

            config.stash[ATTEMPTS] = start(config, state, self._replay)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            # Innermost: plugins that wrap the loop write their reports after this.
            self.pytest_windtunnel_process_finished(session.config)

    @pytest.hookimpl(trylast=True)
    def pytest_windtunnel_process_finished(self, config: pytest.Config) -> None:
        attempts = config.stash.get(ATTEMPTS, None)
        if attempts is not None:
            attempts.after_last_test()


def world(request: pytest.FixtureRequest) -> World:
    """The fixture ``world``: that of the simulated test which is going on; elsewhere it fails."""
    attempts = request.config.stash.get(ATTEMPTS, None)
    present = attempts.present if attempts is not None else None
    if present is None:
        error = UsageError(
            "the fixture world is there in simulated tests only",
            found=request.node.nodeid,
            fix="mark the test with wt.simulated, or run `windtunnel run --world simulated`",
        )
        pytest.fail(str(error), pytrace=False)
    found: World = present.fixture
    return found


def hash_seed() -> str:
    """PYTHONHASHSEED as this process was started; empty when the interpreter drew its own."""
    given = os.environ.get("PYTHONHASHSEED", "")
    return given if given.isdigit() else ""

"""At work under pytest-xdist, and giving what it gives where it is not at work.

Under ``pytest -n`` the workers are pytest-xdist's. The controller tells them the run's name and
seed, brings a scheduler that hands out long tests first, and adds a dead worker's stacks to its
crash. The workers record, quarantine and lease by themselves, as any process that runs tests.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core import Outcome
from windtunnel.run import rerun_policy, stacks
from windtunnel.run.session import RunState


def attach(config: pytest.Config, state: RunState) -> None:
    """Be of use to pytest-xdist, or stand in for its fixtures."""
    manager = config.pluginmanager
    if not manager.has_plugin("xdist"):
        from windtunnel.run import worker_fixtures

        manager.register(worker_fixtures, "windtunnel-worker-fixtures")
    elif state.under_xdist and state.role == "controller":
        manager.register(Controller(config, state), "windtunnel-xdist-controller")
    elif state.under_xdist:
        manager.register(Worker(config, state), "windtunnel-xdist-worker")


def plain_load(config: pytest.Config, state: RunState) -> bool:
    """Whether the user left it to others how tests are distributed: ``-n`` and no ``--dist``."""
    if config.option.dist != "load" or state.settings.dist != "duration":
        return False
    if config.option.distload or config.option.maxschedchunk is not None:
        return False
    given = [*map(str, config.invocation_params.args), *config.getini("addopts")]
    return not any(word == "--dist" or word.startswith("--dist=") for word in given)


class Worker:
    """The part in each of pytest-xdist's workers."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        from windtunnel.run.grouping import OrderWatch

        self._state = state
        self._order = OrderWatch(config)
        config.pluginmanager.register(self._order, "windtunnel-order-watch")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Leave for the controller what it cannot know, since it does not collect.

        First of its kind: after it, pytest-xdist tells the controller that we have collected.
        """
        from windtunnel.run.grouping import job_of

        if self._state.worker == "gw0":
            known = {
                "keep_order": self._order.was_given,
                "groups": [job_of(item, "duration").group for item in session.items],
            }
            path = _collected(self._state)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(known), encoding="utf-8")

    def pytest_windtunnel_process_started(self, state: RunState) -> None:
        stacks.install(stacks.folder(state.state_dir, state.run_id), state.worker)


class Controller:
    """The part in pytest-xdist's controller."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._policy = rerun_policy.of_settings(state.settings)
        self._crashes: Counter[str] = Counter()

    def pytest_configure_node(self, node: Any) -> None:
        node.workerinput["wt_run_id"] = self._state.run_id
        node.workerinput["wt_seed"] = str(self._state.seed.value)
        self._state.worker_count = int(node.workerinput["workercount"])

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        if not plain_load(config, self._state):
            return None
        from windtunnel.run.xdist_schedule import DurationScheduling

        return DurationScheduling(config, log, self._state, _collected(self._state))

    @pytest.hookimpl(tryfirst=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: Any) -> None:
        """Say where the worker died, and give the test to another where it may be rerun."""
        worker = str(report.node.gateway.id)
        folder = stacks.folder(self._state.state_dir, self._state.run_id)
        text = stacks.crash_text(folder, worker)
        outcome = Outcome.TIMEOUT if stacks.tells_timeout(text) else Outcome.CRASHED
        report.__dict__["wt_outcome"] = outcome.value
        report.__dict__["wt_attempt"] = self._crashes[crashitem] + 1
        if text:
            report.sections.append((f"Stacks of worker {worker}", text))
        self._crashes[crashitem] += 1
        if self._may_run_again(crashitem):
            try:
                sched.mark_test_pending(crashitem)
            except NotImplementedError:  # some of pytest-xdist's own schedulers cannot
                return
            report.outcome = "rerun"  # type: ignore[assignment]

    def _may_run_again(self, nodeid: str) -> bool:
        # Markers are known to the workers alone, so that only the settings count here.
        policy = self._policy
        if self._crashes[nodeid] > policy.reruns or policy.only_on:
            return False
        if any(map(self._config.pluginmanager.has_plugin, ("rerunfailures",))):
            return False
        option = self._config.option
        given = option.maxworkerrestart
        allowed = int(given) if given is not None else 4 * (option.numprocesses or 1)
        # Without a worker to replace the dead one, nobody might be left to run it.
        return self._crashes.total() <= allowed

    def pytest_sessionfinish(self) -> None:
        _collected(self._state).unlink(missing_ok=True)


def _collected(state: RunState) -> Path:
    return state.state_dir / "xdist" / f"{state.run_id}.json"

"""The pytest entry point: options, markers, fixtures, and which parts of the house a run needs.

This module is imported by every pytest process that has windtunnel installed, so it imports
``windtunnel.core`` alone; every other room is imported when a run first needs it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.core.errors import WindtunnelError
from windtunnel.core.seed import Seed, set_run_seed
from windtunnel.core.settings import FIELDS, Settings, read_pyproject

if TYPE_CHECKING:
    from windtunnel.run.session import Role, RunState

_MARKERS = (
    "flaky(reruns=1, reruns_delay=0, only_on=[]): run a failed test again up to `reruns` times",
    "quarantine(reason=..., until=DATE): run and record the test, but never fail the run by it",
    "lease(name, amount=1): hold that much of a named resource while the test runs",
)

# Parts of the run that are pytest plugins themselves. Each module has a function
# `attach(config, state)` which registers what the settings ask for, and nothing otherwise.
_PARTS = (
    "windtunnel.run.recording",
    "windtunnel.run.isolation",
    "windtunnel.run.guards",
    "windtunnel.run.timeouts",
    "windtunnel.run.rerun",
    "windtunnel.run.quarantine",
    "windtunnel.own.leasing",
    "windtunnel.run.xdist",
    "windtunnel.run.pool",
    "windtunnel.report.summary",
)


class HookSpecs:
    """Hooks that windtunnel adds to pytest's, for its own parts and for a project's conftest."""

    def pytest_windtunnel_process_started(self, config: pytest.Config, state: RunState) -> None:
        """Called in each process that runs tests, before its first: the main process of a plain
        run, an xdist worker, a worker of ours. Not in a process that only hands tests out."""

    def pytest_windtunnel_process_finished(self, config: pytest.Config, state: RunState) -> None:
        """Called in each process that ran tests, after its last, also when interrupted."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    group = parser.getgroup("windtunnel", "windtunnel")
    for name, field in FIELDS.items():
        flag = f"--wt-{name.replace('_', '-')}"
        text = str(field.metadata["help"]).replace("%", "%%")
        if isinstance(field.default, bool):
            group.addoption(flag, dest=f"wt_{name}", action="store_true", default=None, help=text)
        else:
            group.addoption(flag, dest=f"wt_{name}", default=None, metavar="VALUE", help=text)
        parser.addini(f"wt_{name}", text, default=None)
    for flag, dest, kwargs in (
        ("--reruns", "wt_reruns", {"metavar": "N"}),
        ("--reruns-delay", "wt_reruns_delay", {"metavar": "S"}),
        ("--skip-quarantine", "wt_skip_quarantine", {"action": "store_true"}),
        ("--flaky-report", "wt_flaky_report", {"action": "store_true"}),
    ):
        # Names that people know from other plugins: whoever has them already keeps them.
        if not _taken(parser, flag):
            group.addoption(flag, dest=dest, default=None, help=f"as --wt-{flag[2:]}", **kwargs)


def _taken(parser: pytest.Parser, flag: str) -> bool:
    groups = [*parser._groups, parser._anonymous]
    return any(flag in option.names() for group in groups for option in group.options)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(HookSpecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    if getattr(early_config.known_args_namespace, "wt_workers", None) not in (None, "0"):
        from windtunnel.run.identity import WATCH, IdentityWatch

        watch = IdentityWatch()
        watch.start(early_config)
        early_config.stash[WATCH] = watch


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    option = config.option
    if getattr(option, "wt_workers", None) not in (None, "0"):
        # Workers are ours: pytest-xdist, whose options may stand in addopts, makes none.
        if getattr(option, "dist", "no") != "no" and option.wt_dist is None:
            option.wt_dist = option.dist
        option.numprocesses, option.tx, option.dist = None, [], "no"
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if config.option.collectonly:
        return
    try:
        state = _state(config)
        for part in _PARTS:
            try:
                module = importlib.import_module(part)
            except ImportError:  # FIXME: until every room has landed
                continue
            module.attach(config, state)
    except WindtunnelError as error:
        pytest.exit(f"windtunnel: {error}", returncode=int(error.exit_code))


def _state(config: pytest.Config) -> RunState:
    from windtunnel.run.session import STATE, RunState

    options = {
        name: value
        for name in FIELDS
        if (value := getattr(config.option, f"wt_{name}", None)) is not None
    }
    ini = {name: value for name in FIELDS if (value := config.getini(f"wt_{name}"))}
    settings = Settings.resolve(options, ini, read_pyproject(config.rootpath))
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if config.option.usepdb or config.option.trace:
        settings = dataclasses.replace(settings, workers=0)  # a debugger needs this terminal
    xdist_controller = bool(getattr(config.option, "tx", None)) and given is None
    role: Role = "main"
    if given is not None:
        role = "worker"
    elif xdist_controller or settings.workers:
        role = "controller"
    if given is not None and "wt_seed" in given:
        seed = Seed(int(given["wt_seed"]))
    else:
        seed = Seed(settings.seed) if settings.seed else Seed.fresh()
    state = RunState(
        settings=settings,
        role=role,
        worker=str(given["workerid"]) if given is not None else "main",
        run_id=str(given.get("wt_run_id", "")) if given is not None else "",
        seed=seed,
        root=config.rootpath,
        under_xdist=xdist_controller or (given is not None and "wt_pool" not in given),
        worker_count=int(given["workercount"]) if given is not None else 0,
    )
    set_run_seed(seed)
    config.stash[STATE] = state
    return state


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    config = session.config
    if config.option.collectonly:
        return (yield)
    from windtunnel.run.session import STATE

    state = config.stash.get(STATE, None)
    if state is None or not (
        state.role == "main" or (state.role == "worker" and state.under_xdist)
    ):
        return (yield)  # workers of ours call these hooks themselves
    config.hook.pytest_windtunnel_process_started(config=config, state=state)
    try:
        return (yield)
    finally:
        config.hook.pytest_windtunnel_process_finished(config=config, state=state)

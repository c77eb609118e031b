"""The pytest entry point: options, markers, fixtures, and which parts of the house a run needs.

This module is imported by every pytest process that has windtunnel installed, so it imports
``windtunnel.core`` alone; every other room is imported when a run first needs it.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from windtunnel.core.errors import WindtunnelError
from windtunnel.core.seed import Seed, set_run_seed
from windtunnel.core.settings import FIELDS, Settings, read_pyproject

if TYPE_CHECKING:
    from collections.abc import Collection

    from windtunnel.bench.fixtures import Benchmark, BenchmarkAsync
    from windtunnel.core.flakiness import Flakiness
    from windtunnel.models.server import ModelServer
    from windtunnel.own.fixtures import Leases, PortLease, PostgresLease, RedisLease
    from windtunnel.record import Record
    from windtunnel.run.session import Role, RunState
    from windtunnel.sessions import CapabilityContext, Executor, Session
    from windtunnel.sim import World

_MARKERS = (
    "flaky(reruns=1, reruns_delay=0, only_on=[]): run a failed test again up to `reruns` times",
    "quarantine(reason=..., until=DATE): run and record the test, but never fail the run by it",
    "simulated(seeds=10, **world): run an async test in the simulated world, once a seed",
    "session(engine, functions=[], capabilities=[], limits=...): what the fixtures give",
    "lease(name, amount=1): hold that much of a named resource while the test runs",
)

# Parts of the run that are pytest plugins themselves. Each module has a function
# `attach(config, state)` which registers what the settings ask for, and nothing otherwise.
_PARTS = (
    "windtunnel.run.recording",
    "windtunnel.run.isolation",
    "windtunnel.run.guards",
    "windtunnel.run.simulated",
    "windtunnel.run.timeouts",
    "windtunnel.run.rerun",
    "windtunnel.run.quarantine",
    "windtunnel.laws.part",
    "windtunnel.own.leasing",
    "windtunnel.run.xdist",
    "windtunnel.run.pool",
    "windtunnel.report.summary",
)
# A probe's experiments are no history, and are isolated by the probe.
_PROBED_PARTS = ("windtunnel.own.leasing",)


class HookSpecs:
    """Hooks that windtunnel adds to pytest's, for its own parts and for a project's conftest."""

    def pytest_windtunnel_process_started(self, config: pytest.Config, state: RunState) -> None:
        """Called in each process that runs tests, before its first: the main process of a plain
        run, an xdist worker, a worker of ours. Not in a process that only hands tests out."""

    def pytest_windtunnel_process_finished(self, config: pytest.Config, state: RunState) -> None:
        """Called in each process that ran tests, after its last, also when interrupted."""


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    # Before any conftest is loaded: what it changes is the project's wish (isolation "env").
    vars(pluginmanager)["windtunnel_environ"] = os.environ.copy()
    group = parser.getgroup("windtunnel", "windtunnel")
    for name, field in FIELDS.items():
        flag = f"--wt-{name.replace('_', '-')}"
        text = str(field.metadata["help"]).replace("%", "%%")
        if isinstance(field.default, bool):
            group.addoption(flag, dest=f"wt_{name}", action="store_true", default=None, help=text)
        else:
            group.addoption(flag, dest=f"wt_{name}", default=None, metavar="VALUE", help=text)
        parser.addini(f"wt_{name}", text, default=None)
    for flag, owner in _KNOWN.items():
        if not (owner and _installed(owner)):
            _add_known(parser, flag)
    for name, text in _KNOWN_INI.items():
        if name not in parser._inidict:
            parser.addini(name, f"{text}, as pytest-timeout has it")


_KNOWN_INI = {
    "timeout": "seconds a test may take",
    "timeout_method": "signal or thread",
    "timeout_func_only": "whether set-up and teardown are left out of the time",
}

# Names that people know from other plugins, and the module of the plugin that may claim one after
# us: then we wait until all plugins are loaded. Whoever has a name already keeps it.
_KNOWN = {
    "--reruns": "pytest_rerunfailures",
    "--reruns-delay": "pytest_rerunfailures",
    "--timeout": "pytest_timeout",
    "--timeout-method": "pytest_timeout",
    "--skip-quarantine": "",
    "--flaky-report": "",
}
_FLAGS = ("--skip-quarantine", "--flaky-report")


def _installed(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _add_known(parser: pytest.Parser, flag: str) -> bool:
    """Add an option by its plain name, unless it is taken; whether it was added."""
    groups = [*parser._groups, parser._anonymous]
    if any(flag in option.names() for group in groups for option in group.options):
        return False
    kwargs: dict[str, Any] = {"action": "store_true"} if flag in _FLAGS else {"metavar": "VALUE"}
    dest = f"wt_{flag[2:].replace('-', '_')}"
    help = f"as {'--wt-' + flag[2:] if dest[3:] in FIELDS else 'pytest-timeout has it'}"
    group = parser.getgroup("windtunnel")
    group.addoption(flag, dest=dest, default=None, help=help, **kwargs)
    return True


def _claim_what_nobody_took(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    added = [flag for flag in _KNOWN if _add_known(parser, flag)]
    if any(argument.partition("=")[0] in added for argument in args):
        import copy

        known = parser.parse_known_args(args, namespace=copy.copy(early_config.option))
        known.confcutdir = early_config.known_args_namespace.confcutdir
        early_config.known_args_namespace = known
    if early_config.pluginmanager.has_plugin("rerunfailures"):
        from windtunnel.run.rerun import take_over_under_our_workers

        take_over_under_our_workers(early_config)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(HookSpecs)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    _claim_what_nobody_took(early_config, parser, args)
    if getattr(early_config.known_args_namespace, "wt_workers", None) not in (None, "0"):
        from windtunnel.run.identity import WATCH, IdentityWatch

        watch = IdentityWatch()
        watch.start(early_config)
        early_config.stash[WATCH] = watch


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    option = config.option
    if getattr(option, "wt_workers", None) is not None:
        # Workers are ours: pytest-xdist, whose options may stand in addopts, makes none.
        if getattr(option, "dist", "no") != "no" and option.wt_dist is None:
            option.wt_dist = option.dist
        option.numprocesses, option.tx, option.dist = None, [], "no"
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)
    # By its entry point, or by a `pytest_plugins` that names its module.
    if not any(map(config.pluginmanager.has_plugin, ("benchmark", "pytest_benchmark.plugin"))):
        config.pluginmanager.register(_BenchmarkFixture(), "windtunnel-benchmark")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    config = session.config
    if config.option.collectonly:
        return
    try:
        state = _state(config)
        _introduce_judge(config)
        probed = config.pluginmanager.has_plugin("windtunnel.probe.observer")
        for part in _PROBED_PARTS if probed else _PARTS:
            importlib.import_module(part).attach(config, state)
    except WindtunnelError as error:
        pytest.exit(f"windtunnel: {error}", returncode=int(error.exit_code))


def _introduce_judge(config: pytest.Config) -> None:
    """Reports show what judges decide and may not know them: they meet here."""
    from windtunnel.report.data import FLAKY_JUDGE

    def judge(record: Record, settings: Settings, nodeids: Collection[str]) -> list[Flakiness]:
        from windtunnel.judge.flaky import judge_record

        return judge_record(record, settings, nodeids)

    config.stash[FLAKY_JUDGE] = judge


def _state(config: pytest.Config) -> RunState:
    from windtunnel.run.session import STATE, RunState, recordable

    options = {
        name: value
        for name in FIELDS
        if (value := getattr(config.option, f"wt_{name}", None)) is not None
    }
    ini = {name: value for name in FIELDS if (value := config.getini(f"wt_{name}"))}
    settings = Settings.resolve(options, ini, read_pyproject(config.rootpath))
    settings, elsewhere = recordable(settings, config.rootpath)
    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if elsewhere and reporter is not None:
        reporter.write_line(elsewhere)
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
        invoked_in=config.invocation_params.dir,
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
    except BaseException:
        state.stays = False
        raise
    finally:
        config.hook.pytest_windtunnel_process_finished(config=config, state=state)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(
    collector: pytest.Collector, name: str, obj: object
) -> pytest.Collector | None:
    """Contracts are collected wherever somebody imported them to write one."""
    if "windtunnel.laws.base" not in sys.modules or not isinstance(obj, type):
        return None
    from windtunnel.laws.base import Contract

    if not issubclass(obj, Contract):
        return None
    from windtunnel.laws.collect import node_of

    return node_of(collector, name, obj)


@pytest.fixture(scope="session")
def leases(request: pytest.FixtureRequest) -> Leases:
    """Ports, databases, named resources and values made once, for fixtures of any scope."""
    from windtunnel.own import fixtures

    return fixtures.leases(request)


@pytest.fixture
def port_lease(request: pytest.FixtureRequest) -> PortLease:
    """A TCP port that is this test's alone: bound, to be listened on or bound by number."""
    from windtunnel.own import fixtures

    return fixtures.port_lease(request)


@pytest.fixture
def redis_lease(request: pytest.FixtureRequest) -> RedisLease:
    """An empty Redis database that is this test's alone, exported as REDIS_URL and its parts."""
    from windtunnel.own import fixtures

    return fixtures.redis_lease(request)


@pytest.fixture
def postgres_lease(request: pytest.FixtureRequest) -> PostgresLease:
    """A PostgreSQL database that is this test's alone, exported as DATABASE_URL and PG*."""
    from windtunnel.own import fixtures

    return fixtures.postgres_lease(request)


@pytest.fixture
def world(request: pytest.FixtureRequest) -> World:
    """The simulated world in which this test runs: its nodes, its network, its faults."""
    from windtunnel.run import simulated

    return simulated.world(request)


@pytest.fixture
def model_server(request: pytest.FixtureRequest) -> Iterator[ModelServer]:
    """A server of the model APIs that answers by script, and where official clients find it."""
    from windtunnel.models import fixtures

    yield from fixtures.model_server(request)


@pytest.fixture
def benchmark_async(request: pytest.FixtureRequest) -> BenchmarkAsync:
    """Awaited with a function, it measures it: ``result = await benchmark_async(fn)``."""
    from windtunnel.bench import fixtures

    return fixtures.benchmark_async(request)


class _BenchmarkFixture:
    """Registered where pytest-benchmark is absent."""

    @pytest.fixture
    def benchmark(self, request: pytest.FixtureRequest) -> Benchmark:
        """Measures a function, and returns what it returns: ``benchmark(fn, *args)``."""
        from windtunnel.bench import fixtures

        return fixtures.benchmark(request)


@pytest.fixture
def capabilities(request: pytest.FixtureRequest) -> Iterator[CapabilityContext]:
    """What guest code of this test may do: a capability context, current while it runs."""
    from windtunnel.sessions import fixtures

    yield from fixtures.capabilities(request)


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session of the engine that the marker `session` or the setting `engine` names."""
    from windtunnel.sessions import fixtures

    engine, simulated = _engine(request)
    yield from fixtures.session(request, engine, simulated=simulated)


@pytest.fixture
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """An executor of that engine; code has the capabilities that `execute` is given."""
    from windtunnel.sessions import fixtures

    engine, simulated = _engine(request)
    yield from fixtures.executor(request, engine, simulated=simulated)


def _engine(request: pytest.FixtureRequest) -> tuple[str, bool]:
    """The setting `engine`, and whether the test is a simulated one."""
    from windtunnel.run.session import STATE
    from windtunnel.run.simulated import PLAN

    state = request.config.stash.get(STATE, None)
    engine = state.settings.engine if state is not None else "monty"
    return engine, PLAN in request.node.stash

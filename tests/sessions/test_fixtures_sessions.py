"""The fixtures session, executor and capabilities in tests of every kind."""

from __future__ import annotations

import anyio
import pytest

from windtunnel import sessions

pytest_plugins = ["pytester"]

READ = sessions.HostFunction("read", lambda path: f"<{path}>", needs="fs.read", resource="path")

PRELUDE = """
import asyncio, anyio, pytest
import windtunnel as wt
from windtunnel import sessions

READ = sessions.HostFunction("read", lambda path: f"<{path}>", needs="fs.read", resource="path")
"""


def outcomes(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=PRELUDE + body)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


# -- in tests of every kind ------------------------------------------------------------------------


def test_a_synchronous_test_has_a_session_of_the_embedded_engine(session):
    assert isinstance(session, sessions.EngineSession)
    assert session.run_sync("x = 20").ok
    assert session.run_sync("x + 1").value == 21


@pytest.mark.anyio
async def test_a_test_on_asyncio_or_trio_has_them_all(session, executor, capabilities):
    assert (await session.run("6 * 7")).value == 42
    assert (await executor.execute("6 * 7")).value == 42
    assert sessions.current_context() is capabilities
    assert session.capabilities is capabilities
    await anyio.lowlevel.checkpoint()
    assert sessions.current_context() is capabilities


@pytest.mark.asyncio
async def test_a_test_of_pytest_asyncio_has_them_too(session, executor, capabilities):
    assert (await session.run("6 * 7")).value == 42
    assert (await executor.execute("6 * 7")).value == 42
    assert sessions.current_context() is capabilities


def test_the_capabilities_of_a_synchronous_test_are_current(capabilities):
    assert sessions.current_context() is capabilities
    assert capabilities.tokens() == ()
    assert capabilities.name == "test_the_capabilities_of_a_synchronous_test_are_current"


def test_after_the_test_no_context_is_current():
    assert sessions.current_context().path == "nothing"


# -- what the marker and the parameter say ---------------------------------------------------------


@pytest.mark.session("double")
def test_a_marker_names_the_engine(session, executor):
    assert isinstance(session, sessions.MockREPLSession)
    assert isinstance(executor, sessions.MockAsyncExecutor)


@pytest.mark.parametrize("session", ["monty", "double"], indirect=True)
def test_a_parameter_names_the_engine(session, request):
    wanted = {"monty": sessions.EngineSession, "double": sessions.MockREPLSession}
    assert isinstance(session, wanted[request.node.callspec.params["session"]])


@pytest.mark.parametrize(
    "executor", [{"engine": "double", "limits": sessions.Limits(timeout_s=3)}], indirect=True
)
@pytest.mark.session(engine="process")
def test_a_parameter_wins_over_a_marker(executor):
    assert isinstance(executor, sessions.MockAsyncExecutor)
    assert executor.limits.timeout_s == 3


@pytest.mark.session(functions=[READ], capabilities={"fs.read": {"resources": "/data/**"}})
class TestMarked:
    def test_host_functions_are_guarded_by_the_capabilities_of_the_test(self, session):
        assert session.run_sync("read('/data/a')").value == "</data/a>"
        assert session.run_sync("read('/etc/passwd')").error_type == "CapabilityDenied"
        assert len(session.capabilities.violations) == 1

    @pytest.mark.session(capabilities=[])
    def test_the_closest_marker_wins_name_by_name(self, session, capabilities):
        assert session.run_sync("read('/data/a')").error_type == "CapabilityDenied"
        capabilities.grant("fs.read")
        assert session.run_sync("read('/data/a')").ok

    @pytest.mark.anyio
    async def test_an_executor_has_what_it_is_given(self, executor, capabilities):
        denied = await executor.execute("read('/data/a')")
        assert denied.error_type == "CapabilityDenied"
        assert (await executor.execute("read('/data/a')", grants=capabilities)).ok


ONCE = sessions.CapabilityToken("fs.read", sessions.CapabilityConstraint(uses=1))


@pytest.mark.session("double", functions=[READ], capabilities=[ONCE, "net"])
@pytest.mark.parametrize("turn", [1, 2])
def test_what_one_test_uses_up_another_has_again(session, capabilities, turn):
    assert session.run_sync("read('/a')").ok
    assert session.run_sync("read('/a')").error_type == "CapabilityDenied"
    assert capabilities.has_capability("net")
    assert ONCE.uses == 0


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("'monty', 'double'", "takes the engine's name, and the rest by name"),
        ("engin='monty'", "has no setting 'engin'"),
        ("limits=3", "limits of the marker session are a sessions.Limits"),
        ("'mony'", "there is no such engine"),
        ("capabilities={'fs.read': {'users': 1}}", "users"),
    ],
)
def test_a_marker_that_cannot_be_meant_is_told(pytester, marker, said):
    found = outcomes(
        pytester,
        f"""
@pytest.mark.session({marker})
def test_one(session):
    pass
""",
    )
    found.assert_outcomes(errors=1)
    found.stdout.fnmatch_lines([f"*{said}*"])


def test_the_setting_engine_names_it_where_nobody_else_does(pytester):
    body = """
def test_one(session, executor):
    assert isinstance(session, sessions.MockREPLSession)
    assert isinstance(executor, sessions.MockAsyncExecutor)

@pytest.mark.session("monty")
def test_two(session):
    assert isinstance(session, sessions.EngineSession)
"""
    outcomes(pytester, body, "--wt-engine", "double").assert_outcomes(passed=2)
    pytester.makepyprojecttoml('[tool.windtunnel]\nengine = "double"\n')
    outcomes(pytester, body).assert_outcomes(passed=2)


def test_fixtures_of_the_user_with_these_names_win(pytester):
    pytester.makeconftest(
        """
import pytest

@pytest.fixture
def session():
    return "a session of a database"

@pytest.fixture
def executor():
    return "an executor of futures"
"""
    )
    found = outcomes(
        pytester,
        """
@pytest.fixture
def capabilities():
    return [sessions.CapabilityToken("fs.read")]

def test_one(session, executor, capabilities):
    assert session == "a session of a database"
    assert executor == "an executor of futures"
    assert isinstance(capabilities, list)

class TestOurs:
    @pytest.fixture
    def session(self, request):
        from windtunnel.sessions import fixtures
        yield from fixtures.session(request)

    @pytest.mark.session("double", functions=[READ])
    def test_two(self, session):
        assert session.run_sync("read('/a')").ok
""",
    )
    found.assert_outcomes(passed=2)


def test_nothing_is_left_of_a_test_that_failed(pytester):
    pytester.makeconftest("kept = {}")
    found = outcomes(
        pytester,
        """
from conftest import kept

def test_one(session, executor, capabilities):
    capabilities.grant("fs.read")
    kept.update(session=session, executor=executor, capabilities=capabilities)
    session.run_sync("x = 1")
    assert False

def test_two():
    assert kept["session"].closed
    with pytest.raises(sessions.SessionClosedError):
        kept["session"].run_sync("x")
    with pytest.raises(sessions.SessionClosedError):
        kept["executor"].execute_sync("1")
    assert not kept["capabilities"].allowed("fs.read")
    assert sessions.current_context().path == "nothing"
""",
    )
    found.assert_outcomes(passed=1, failed=1)


# -- in the simulated world ------------------------------------------------------------------------


def test_a_simulated_test_has_the_doubles_whose_delays_cost_nothing(pytester):
    found = outcomes(
        pytester,
        """
@pytest.fixture
def slow(session, executor):
    session.mock_function("fetch").returns("page", delay_s=3600)
    executor.on("6 * 7").returns(42, delay_s=7200)
    session.run_sync("before = 1")

@wt.simulated(seeds=3)
async def test_one(slow, session, executor, capabilities):
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert (await session.run("fetch()", timeout_s=4000)).value == "page"
    assert (await session.run("fetch()", timeout_s=60)).error_type == "TimeoutError"
    assert loop.time() - began == pytest.approx(3660, abs=1)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(executor.execute("6 * 7", timeout_s=9000))
    assert loop.time() - began == pytest.approx(10860, abs=1)
    assert [record.value for record in executor.executions] == [42] * 3
    assert sessions.current_context() is capabilities
""",
    )
    found.assert_outcomes(passed=1)


def test_each_seed_begins_with_what_the_fixtures_had_done(pytester):
    found = outcomes(
        pytester,
        """
ONCE = {"fs.read": {"uses": 1}}

@pytest.fixture
def said(session):
    session.mock_function("f").returns(1, 2)
    session.run_sync("n = [0]")

@pytest.mark.session(functions=[READ], capabilities=ONCE)
@wt.simulated(seeds=4)
async def test_one(said, session, executor, capabilities):
    assert await session.call("f") == 1
    assert (await session.run("n")).value == [0]
    await session.run("n.append(1)\\nn = n + [2]")
    assert (await session.run("read('/a')")).ok
    assert (await session.run("read('/a')")).error_type == "CapabilityDenied"
    assert len(capabilities.violations) == 1
    assert session.capabilities is capabilities
    assert session.get_execution_count() == 5
    executor.on("x").returns(1)
    await executor.execute("x")
    assert executor.get_execution_count() == 1
    assert executor.unscripted == []
    await session.close()
""",
    )
    found.assert_outcomes(passed=1)


def test_an_engine_named_for_a_simulated_test_is_refused_with_the_way_out(pytester):
    found = outcomes(
        pytester,
        """
@pytest.mark.session("monty")
@wt.simulated(seeds=2)
async def test_one(session):
    pass

@pytest.mark.session("mock")
@wt.simulated(seeds=2)
async def test_two(session):
    assert (await session.run("1")).ok
""",
    )
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.fnmatch_lines(["*no engine runs in the simulated world*", "*to fix: *double*"])

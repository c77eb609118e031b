"""IntegrationTestHelper: what its assertions say, on asyncio and on trio, in and out of a loop."""

from __future__ import annotations

import unittest

import anyio
import pytest

from windtunnel.core.errors import UsageError
from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityToken,
    ExecResult,
    HostFunction,
    IntegrationTestHelper,
    Limits,
    SessionClosedError,
)

READ = HostFunction(
    "read", lambda path: f"<{path}>", needs="fs.read", operation="read", resource="path"
)
DATA = CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/**",)))
FOREVER = "while True:\n    pass"


@pytest.fixture(params=["monty", "double"])
def helper(request):
    with IntegrationTestHelper(request.param, functions=[READ]) as helper:
        yield helper


@pytest.fixture
def double():
    with IntegrationTestHelper("double", functions=[READ]) as helper:
        yield helper


def said(error: pytest.ExceptionInfo[AssertionError]) -> list[str]:
    return [line.strip() for line in str(error.value).splitlines()]


# -- assert_async_execution ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_execution_is_asserted_by_its_value_and_output(helper):
    result = await helper.assert_async_execution("6 * 7", 42)
    assert (result.ok, result.value) == (True, 42)
    await helper.assert_async_execution("x + 1", 3, inputs={"x": 2})
    await helper.assert_async_execution("print('a')\n0.1 + 0.2", pytest.approx(0.3), output="a\n")
    await helper.assert_async_execution("'anything'")
    await helper.assert_async_execution("read('/data/a')", "</data/a>", capabilities=[DATA])


@pytest.mark.anyio
async def test_a_failed_assertion_says_what_was_expected_and_what_happened(helper):
    with pytest.raises(AssertionError) as error:
        await helper.assert_async_execution("6 * 7", 43)
    assert said(error) == [
        "the code gave another value",
        "code:",
        "6 * 7",
        "expected: 43",
        "happened: it ended well with 42",
    ]
    with pytest.raises(AssertionError) as error:
        await helper.assert_async_execution("1 / 0", 1)
    assert said(error)[0] == "the code failed"
    assert said(error)[-1] == "happened: it failed with ZeroDivisionError: division by zero"
    with pytest.raises(AssertionError) as error:
        await helper.assert_async_execution("print('a')\n1", 1, output="b\n")
    assert said(error)[-2:] == [r"expected: 'b\n'", r"happened: 'a\n'"]


@pytest.mark.anyio
async def test_a_number_is_no_bool_and_nan_is_nan(double):
    await double.assert_async_execution("float('nan')", float("nan"))
    with pytest.raises(AssertionError):
        await double.assert_async_execution("1", True)
    with pytest.raises(AssertionError):
        await double.assert_async_execution("True", 1)


@pytest.mark.anyio
async def test_an_execution_has_the_time_it_is_given(helper):
    if helper.executor.__class__.__name__.startswith("Mock"):
        helper.executor.on(FOREVER).hangs()
    with pytest.raises(AssertionError, match="TimeoutError"):
        await helper.assert_async_execution(FOREVER, timeout_s=0.05)


@pytest.mark.anyio
async def test_code_without_capabilities_has_none_whoever_asks(helper):
    ambient = CapabilityContext("ambient", tokens=[DATA])
    with ambient.scope(), pytest.raises(AssertionError, match="CapabilityDenied"):
        await helper.assert_async_execution("read('/data/a')", "</data/a>")


# -- sessions and callbacks ------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_test_repl_has_the_capabilities_it_is_given_and_no_others(helper):
    session = helper.create_test_repl([DATA])
    await helper.assert_async_execution("read('/data/a')", "</data/a>", session=session)
    result = await session.run("read('/etc/passwd')")
    assert result.error_type == "CapabilityDenied"
    bare = helper.create_test_repl()
    assert (await bare.run("read('/data/a')")).error_type == "CapabilityDenied"
    context = CapabilityContext("mine", tokens=[DATA])
    assert helper.create_test_repl(context).capabilities is context


@pytest.mark.anyio
async def test_a_callback_is_asserted_by_its_value(helper):
    session = helper.create_test_repl()
    await session.run("def area(w, h=1):\n    return w * h")
    helper.assert_callback_works(session, "area", (3, 4), 12)
    assert await helper.assert_callback_works(session, "area", (3,), 15, {"h": 5}) == 15
    helper.assert_callback_works(session, "area", ("ab", 2))
    with pytest.raises(AssertionError) as error:
        helper.assert_callback_works(session, "area", (3,), 13, {"h": 4})
    assert said(error) == [
        "the callback area(3, h=4) gave another value",
        "expected: 13",
        "happened: 12",
    ]
    with pytest.raises(AssertionError, match="the callback nowhere\\(\\) failed"):
        helper.assert_callback_works(session, "nowhere", (), 1)


# -- assert_capability_violation -------------------------------------------------------------------


def test_a_violation_is_asserted_outside_a_loop(helper):
    found = helper.assert_capability_violation("read('/etc/passwd')", "fs.read", given=[DATA])
    assert (found.value.capability, found.value.resource) == ("fs.read", "/etc/passwd")


@pytest.mark.anyio
async def test_a_violation_is_asserted_inside_a_loop_awaited_or_not(helper):
    helper.assert_capability_violation("read('/data/a')", DATA)
    violation = await helper.assert_capability_violation(
        "read('/etc/passwd')", "fs.read", given=[DATA], resource="/etc/passwd", operation="read"
    )
    assert violation.reason == "the resource /etc/passwd matches none of /data/**"
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(helper.assert_async_execution, "6 * 7", 42)


def test_a_refusal_counts_although_the_code_handled_it():
    with IntegrationTestHelper("monty", functions=[READ]) as helper:
        code = "try:\n    read('/etc/passwd')\nexcept PermissionError:\n    pass\n'went on'"
        found = helper.assert_capability_violation(code, "fs.read")
        assert found.value.capability == "fs.read"


def test_a_violation_in_a_session_is_of_what_the_session_has(helper):
    session = helper.create_test_repl([DATA])
    session.run_sync("where = '/etc/passwd'")
    helper.assert_capability_violation("read(where)", "fs.read", session=session)
    helper.assert_capability_violation(
        "read('/data/a')",
        "fs.read",
        session=session,
        given=[CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/b",)))],
    )
    with pytest.raises(AssertionError):
        helper.assert_capability_violation("read('/data/a')", "fs.read", session=session)


def test_a_violation_that_does_not_happen_says_what_happened_instead(helper):
    with pytest.raises(AssertionError) as error:
        helper.assert_capability_violation("read('/data/a')", "fs.read", given=[DATA])
    assert said(error) == [
        "the code was not refused what it must not have",
        "code:",
        "read('/data/a')",
        "expected: a violation of fs.read",
        "happened: nothing was refused; it ended well with '</data/a>'",
    ]
    with pytest.raises(AssertionError) as error:
        helper.assert_capability_violation("read('/x')", "net.open", resource="host")
    assert said(error)[3] == "expected: a violation of net.open on 'host'"
    assert "it was refused something else: fs.read read on '/x' (no token" in said(error)[4]
    with pytest.raises(AssertionError, match="host functions of the helper: read"):
        helper.assert_capability_violation("reed('/x')", "fs.read")


def test_an_older_violation_does_not_count(helper):
    context = CapabilityContext("job", tokens=[DATA])
    helper.assert_capability_violation("read('/etc/passwd')", "fs.read", given=context)
    with pytest.raises(AssertionError):
        helper.assert_capability_violation("read('/data/a')", "fs.read", given=context)


# -- assert_raises and assert_confined -------------------------------------------------------------


@pytest.mark.anyio
async def test_an_error_of_the_guest_is_asserted_by_type_and_message(helper):
    result = await helper.assert_raises("1 / 0", ZeroDivisionError, "division")
    assert isinstance(result, ExecResult)
    helper.assert_raises("nobody", "NameError", r"'nobody' is not defined")
    session = helper.create_test_repl()
    session.run_sync("x = 0")
    helper.assert_raises("1 / x", "ZeroDivisionError", session=session)
    with pytest.raises(AssertionError) as error:
        helper.assert_raises("1", "ValueError", "no")
    assert said(error)[-2:] == [
        "expected: ValueError with a message that matches 'no'",
        "happened: it ended well with 1",
    ]
    with pytest.raises(AssertionError, match="happened: it failed with ZeroDivisionError"):
        helper.assert_raises("1 / 0", "ValueError")


@pytest.mark.anyio
async def test_confinement_is_asserted_of_an_engine_and_never_of_a_double():
    with IntegrationTestHelper("monty") as helper:
        report = await helper.assert_confined(families=["formatting"])
        assert report.withstood
    double = IntegrationTestHelper("double")
    with pytest.raises(UsageError, match="an engine that runs code"):
        await double.assert_confined(families=["formatting"])


@pytest.mark.anyio
async def test_an_engine_that_is_not_confined_is_named_with_what_escaped():
    class Leaky:
        def __init__(self, terms):
            self.names = {one.name: one.call for one in terms.functions}

        async def execute(self, code, *, timeout_s=None, grants=None, inputs=None):
            try:
                exec(code, dict(self.names))
            except Exception as error:
                return ExecResult(False, error=str(error), error_type=type(error).__name__)
            return ExecResult(True)

    helper = IntegrationTestHelper("monty")
    with pytest.raises(AssertionError, match=r"not confined(.|\n)*escaped"):
        await helper.assert_confined(attempts=["alias-assignment"], factory=Leaky)


# -- histories and the end -------------------------------------------------------------------------


@pytest.mark.anyio
async def test_histories_have_what_ran_here_and_in_its_sessions(helper):
    await helper.assert_async_execution("1 + 1", 2)
    session = helper.create_test_repl()
    await session.run("x = 1")
    helper.assert_raises("1 / 0", "ZeroDivisionError")
    helper.assert_capability_violation("read('/x')", "fs.read", session=session)
    codes = [record.code for record in helper.get_execution_history()]
    assert sorted(codes) == ["1 + 1", "1 / 0", "read('/x')", "x = 1"]
    assert codes[0] == "1 + 1"
    (violation,) = helper.get_violation_history()
    assert violation.resource == "/x"
    helper.cleanup()
    helper.cleanup()
    with pytest.raises(SessionClosedError):
        await session.run("x")
    assert len(helper.get_execution_history()) == 4
    await helper.assert_async_execution("2 + 2", 4)
    await helper.reset()
    assert (helper.get_execution_history(), helper.get_violation_history()) == ([], [])


@pytest.mark.anyio
async def test_it_takes_an_executor_of_ones_own():
    class Upper:
        async def execute(self, code, *, timeout_s=None, grants=None, inputs=None):
            await anyio.sleep(0)
            try:
                grants.use("shout", code)
            except PermissionError as error:
                return ExecResult(False, error=str(error), error_type="CapabilityDenied")
            return ExecResult(True, code.upper())

    async with IntegrationTestHelper(Upper()) as helper:
        shout = CapabilityToken("shout")
        await helper.assert_async_execution("abc", "ABC", capabilities=[shout])
        helper.assert_capability_violation("abc", "shout", resource="abc")
        with pytest.raises(UsageError, match="opens no sessions"):
            helper.create_test_repl()


def test_it_needs_no_pytest():
    class Case(unittest.IsolatedAsyncioTestCase):
        def setUp(self) -> None:
            self.helper = IntegrationTestHelper("double", functions=[READ])
            self.addCleanup(self.helper.cleanup)

        async def test_async(self) -> None:
            await self.helper.assert_async_execution("6 * 7", 42)
            self.helper.assert_capability_violation("read('/x')", "fs.read")

        def test_sync(self) -> None:
            self.helper.assert_raises("1 / 0", "ZeroDivisionError")

        async def test_fails(self) -> None:
            await self.helper.assert_async_execution("6 * 7", 43)

    suite = unittest.defaultTestLoader.loadTestsFromTestCase(Case)
    result = unittest.TestResult()
    suite.run(result)
    assert (result.testsRun, len(result.failures), result.errors) == (3, 1, [])
    assert "expected: 43" in result.failures[0][1]


def test_limits_are_those_of_everything_it_opens():
    with IntegrationTestHelper("double", limits=Limits(output_bytes=3)) as helper:
        helper.assert_raises("print('many')", "OutputLimitError")
        session = helper.create_test_repl()
        helper.assert_raises("print('many')", "OutputLimitError", session=session)

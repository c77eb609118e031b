"""Testing your own logic without an engine: what it talks to plays by script."""

import re

import pytest

from windtunnel.sessions import (
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    MockAsyncExecutor,
    MockCapabilityManager,
    MockREPLSession,
)


class Calculator:
    """Your own code: it has an executor, and does not care which."""

    def __init__(self, executor):
        self.executor = executor

    async def evaluate(self, formula, **values):
        for _ in range(2):
            result = await self.executor.execute(formula, inputs=values, timeout_s=1.0)
            if result.ok:
                return result.value
            if result.error_type != "TimeoutError":
                raise ValueError(f"{formula}: {result.error_type}")
        return None


# -- MockAsyncExecutor ---------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_an_executor_answers_by_script():
    executor = MockAsyncExecutor({"6 * 7": 42})
    assert await Calculator(executor).evaluate("6 * 7") == 42


@pytest.mark.asyncio
async def test_an_executor_matches_patterns_and_computes():
    executor = MockAsyncExecutor()
    executor.on(pattern=re.compile(r"^price")).computes(lambda request: request.inputs["price"] * 2)
    assert await Calculator(executor).evaluate("price * 2", price=8) == 16


@pytest.mark.asyncio
async def test_an_executor_fails_when_told_to():
    executor = MockAsyncExecutor(should_fail=ZeroDivisionError("division by zero"))
    with pytest.raises(ValueError, match="1 / 0: ZeroDivisionError"):
        await Calculator(executor).evaluate("1 / 0")


@pytest.mark.asyncio
async def test_what_takes_too_long_is_tried_again():
    executor = MockAsyncExecutor()
    executor.on("slow()").returns("the second answer")
    executor.on("slow()", times=1).fails("TimeoutError", "it ran longer than 1 s")
    assert await Calculator(executor).evaluate("slow()") == "the second answer"
    assert executor.get_execution_count() == 2


@pytest.mark.asyncio
async def test_what_was_executed_can_be_asserted():
    executor = MockAsyncExecutor(mock_result=0)
    await Calculator(executor).evaluate("a + b", a=1, b=2)
    last = executor.get_last_execution()
    assert (last.code, last.inputs, last.timeout_s) == ("a + b", {"a": 1, "b": 2}, 1.0)


# -- MockREPLSession -----------------------------------------------------------------------------


def test_a_session_keeps_its_names():
    session = MockREPLSession()
    session.run_sync("total = 40")
    session.run_sync("total = total + 2")
    assert session.python_namespace["total"] == 42


def test_a_session_plays_functions_and_counts_their_calls():
    session = MockREPLSession()
    rate = session.mock_function("rate").returns(0.19, 0.07)
    assert session.run_sync("rate('DE'), rate('FR')").value == (0.19, 0.07)
    assert [call.args for call in rate.calls] == [("DE",), ("FR",)]


def test_a_function_of_a_session_can_fail():
    session = MockREPLSession()
    session.mock_function("send").fails("ConnectionError", "no route")
    result = session.run_sync("send('hello')")
    assert (result.ok, result.error_type, result.error) == (False, "ConnectionError", "no route")


def test_a_callback_of_a_double_is_one_of_a_session():
    session = MockREPLSession()
    session.mock_function("score", lambda text: len(text))
    score = session.callback("score")
    assert [score(word) for word in ("a", "bb")] == [1, 2]


# -- MockCapabilityManager -----------------------------------------------------------------------


def test_a_manager_grants_and_refuses():
    manager = MockCapabilityManager()
    manager.grant("fs.read", resources="/data/**")
    assert manager.has_capability("fs.read", "/data/a.csv")
    with pytest.raises(CapabilityDenied):
        manager.use("fs.read", "/etc/passwd")
    assert [one.resource for one in manager.violations] == ["/etc/passwd"]


def test_a_manager_has_several_contexts():
    manager = MockCapabilityManager()
    admin = CapabilityContext("admin", tokens=[CapabilityToken("users.delete")])
    guest = CapabilityContext("guest")
    manager.set_context(guest)
    assert not manager.has_capability("users.delete")
    with manager.scope(admin):
        assert manager.has_capability("users.delete")
    assert not manager.has_capability("users.delete")


# -- together ------------------------------------------------------------------------------------


class Reports:
    """Your own code: reads data where it may, and has the figures computed by the guest."""

    def __init__(self, session, manager):
        self.session, self.manager = session, manager

    def build(self, path):
        try:
            self.manager.use("fs.read", path)
        except CapabilityDenied:
            return f"{path} is not open to you"
        return f"mean of {path}: {self.session.call_sync('mean', [1, 2, 6])}"


@pytest.fixture
def reports():
    session, manager = MockREPLSession(), MockCapabilityManager()
    session.mock_function("mean").returns(3)
    manager.grant("fs.read", resources="/data/**")
    return Reports(session, manager)


def test_business_logic_with_doubles_combined(reports):
    assert reports.build("/data/a.csv") == "mean of /data/a.csv: 3"
    assert [call.args for call in reports.session.function_calls] == [([1, 2, 6],)]


def test_business_logic_where_it_is_refused(reports):
    assert reports.build("/etc/passwd") == "/etc/passwd is not open to you"
    assert reports.session.function_calls == []
    assert len(reports.manager.violations) == 1

"""MockAsyncExecutor: scripts, failures, delays, limits, capabilities, history."""

from __future__ import annotations

import math
import re
import sys

import anyio
import pytest

from windtunnel.core.errors import MissingExtraError, UsageError
from windtunnel.sessions import (
    CapabilityContext,
    CapabilityToken,
    ExecRecord,
    ExecResult,
    Executor,
    HostFunction,
    Limits,
    MockAsyncExecutor,
    MockExecutionRecord,
    MockExecutionResult,
    MockRequest,
    Script,
    SessionClosedError,
)
from windtunnel.sessions.values import ValueCrossingError

pytestmark = pytest.mark.anyio

FOREVER = "while True:\n    pass"


class ManualClock:
    """A clock that moves when somebody sleeps on it, and by nothing else."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


async def test_it_is_an_executor_whose_results_are_exec_results():
    executor = MockAsyncExecutor({"6 * 7": 42})
    assert isinstance(executor, Executor)
    result = await executor.execute("6 * 7")
    assert isinstance(result, ExecResult)
    assert isinstance(result, MockExecutionResult)
    assert (result.ok, result.success, result.value, result.source) == (True, True, 42, "script")


async def test_results_are_told_by_code_or_by_pattern():
    executor = MockAsyncExecutor(
        {
            "6 * 7": 42,
            re.compile(r"load\('(\w+)'\)"): lambda call: call.match[1].upper(),
            "boom()": ValueError("no boom"),
            "fixed": ExecResult(ok=True, value="as it is", output="said\n"),
        }
    )
    assert (await executor.execute("6 * 7")).value == 42
    assert (await executor.execute("x = load('users')")).value == "USERS"
    failed = await executor.execute("boom()")
    assert (failed.ok, failed.error_type, failed.error) == (False, "ValueError", "no boom")
    fixed = await executor.execute("fixed")
    assert (fixed.value, fixed.output) == ("as it is", "said\n")


async def test_a_script_fits_code_whatever_its_margin():
    executor = MockAsyncExecutor()
    executor.on(
        """
        x = 1
        x + 1
        """
    ).returns(2)
    assert (await executor.execute("x = 1\nx + 1")).value == 2


async def test_a_script_fits_by_contained_text_or_by_pattern():
    executor = MockAsyncExecutor()
    contains = executor.on(contains="SELECT").returns("rows")
    pattern = executor.on(pattern=r"^\s*print").returns(output="printed\n")
    assert (await executor.execute("run('SELECT 1')")).value == "rows"
    assert (await executor.execute("  print(1)")).output == "printed\n"
    assert (contains.call_count, pattern.call_count) == (1, 1)
    assert contains.fits == "code that contains 'SELECT'"


async def test_the_newest_script_wins_and_an_older_one_takes_over_when_it_is_used_up():
    executor = MockAsyncExecutor({"n": "old"})
    executor.on("n", times=2).returns("new")
    assert [(await executor.execute("n")).value for _ in range(3)] == ["new", "new", "old"]


async def test_values_are_given_in_turn_and_the_last_one_for_ever():
    executor = MockAsyncExecutor()
    executor.on("roll").returns(4, 6)
    assert [(await executor.execute("roll")).value for _ in range(3)] == [4, 6, 6]


async def test_a_script_may_compute_its_value_from_inputs_also_asynchronously():
    executor = MockAsyncExecutor()

    async def add(call: MockRequest) -> int:
        await anyio.sleep(0)
        return call.inputs["a"] + call.inputs["b"]

    executor.on("a + b").computes(add)
    assert (await executor.execute("a + b", inputs={"a": 40, "b": 2})).value == 42
    failed = await executor.execute("a + b", inputs={"a": 40})
    assert failed.error_type == "KeyError"


async def test_a_script_fails_by_name_or_by_exception():
    executor = MockAsyncExecutor()
    executor.on("a").fails("ZeroDivisionError", "division by zero")
    executor.on("b").fails(KeyError("k"), "told")
    executor.on("c").fails(OSError, output="before\n")
    seen = [await executor.execute(code) for code in "abc"]
    assert [one.error_type for one in seen] == ["ZeroDivisionError", "KeyError", "OSError"]
    assert [one.error for one in seen][:2] == ["division by zero", "told"]
    assert seen[2].output == "before\n"
    assert all(one.value is None and not one.ok for one in seen)


async def test_a_value_is_a_copy_each_time():
    rows = [1, [2]]
    executor = MockAsyncExecutor({"rows": rows})
    first = (await executor.execute("rows")).value
    first[1].append("changed")
    rows.append("changed")
    assert (await executor.execute("rows")).value == [1, [2]]


async def test_what_no_engine_could_give_is_refused_where_it_is_said():
    with pytest.raises(ValueCrossingError, match=r"value\['conn'\] is an? object"):
        MockAsyncExecutor({"connect()": {"conn": object()}})
    with pytest.raises(ValueCrossingError):
        MockAsyncExecutor().on("x").returns(object())
    with pytest.raises(ValueCrossingError):
        await MockAsyncExecutor().execute("x", inputs={"it": object()})


async def test_code_that_nobody_scripted_gives_the_default_and_is_told_apart():
    executor = MockAsyncExecutor()
    result = await executor.execute("import this")
    assert (result.ok, result.value, result.source) == (True, None, "default")
    executor.mock_result = {"status": "success"}
    assert (await executor.execute("other")).value == {"status": "success"}
    executor.mock_result = lambda call: len(call.code)
    assert (await executor.execute("four")).value == 4
    assert executor.unscripted == ["import this", "other", "four"]


async def test_a_strict_double_refuses_what_it_was_not_told():
    executor = MockAsyncExecutor({"6 * 7": 42}, strict=True)
    with pytest.raises(UsageError, match=r"'6 \* 8'; told of: code '6 \* 7'"):
        await executor.execute("6 * 8")
    assert executor.get_execution_count() == 0


async def test_should_fail_makes_every_execution_an_outcome_that_failed():
    executor = MockAsyncExecutor({"6 * 7": 42})
    executor.should_fail = True
    failed = await executor.execute("6 * 7")
    assert (failed.ok, failed.error_type, failed.source) == (False, "RuntimeError", "should_fail")
    assert failed.error == "the double was told to fail"
    executor.should_fail = ConnectionError("gone")
    failed = await executor.execute("6 * 7")
    assert (failed.error_type, failed.error) == ("ConnectionError", "gone")
    executor.should_fail = False
    assert (await executor.execute("6 * 7")).value == 42


# -- time ------------------------------------------------------------------------------------------


async def test_a_delay_passes_on_the_clock_it_was_given_and_nobody_waits():
    clock = ManualClock()
    executor = MockAsyncExecutor(
        {"x": 1}, execution_delay=3600, clock=clock, limits=Limits(timeout_s=None)
    )
    executor.on("y").returns(2, delay_s=60)
    first, second = await executor.execute("x"), await executor.execute("y")
    assert clock.now == 1000 + 3600 + 3660
    assert [first.execution_time, second.execution_time] == [3600, 3660]
    assert [record.started for record in executor.executions] == [1000, 4600]


async def test_in_the_real_world_a_delay_is_waited_for():
    executor = MockAsyncExecutor({"x": 1}, execution_delay=0.02)
    assert (await executor.execute("x")).timings.run_s >= 0.02
    assert executor.execute_sync("x").timings.run_s >= 0.02


async def test_what_takes_longer_than_its_limit_is_a_timeout_after_exactly_that():
    clock = ManualClock()
    executor = MockAsyncExecutor(clock=clock, limits=Limits(timeout_s=30))
    executor.on("slow").returns(1, delay_s=5)
    executor.on(FOREVER).hangs()
    assert (await executor.execute("slow", timeout_s=5.5)).value == 1
    late = await executor.execute("slow", timeout_s=2)
    assert (late.ok, late.error_type, late.execution_time) == (False, "TimeoutError", 2)
    assert late.error == "it ran longer than 2 s"
    endless = executor.execute_sync(FOREVER)
    assert (endless.error_type, endless.execution_time) == ("TimeoutError", 30)


async def test_an_async_computation_is_ended_at_the_limit():
    executor = MockAsyncExecutor()
    ended = []

    async def never(call: MockRequest) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    executor.on("wait").computes(never)
    result = await executor.execute("wait", timeout_s=0.01)
    assert (result.error_type, ended) == ("TimeoutError", [True])


async def test_a_blocking_call_refuses_what_would_never_end():
    executor = MockAsyncExecutor(limits=Limits(timeout_s=None))
    executor.on(FOREVER).hangs()
    with pytest.raises(UsageError, match="hangs was called by a call that blocks"):
        executor.execute_sync(FOREVER)

    async def compute(call: MockRequest) -> int:
        return 1

    executor.on("async").computes(compute)
    with pytest.raises(UsageError, match="an async function of a double was called"):
        executor.execute_sync("async")


async def test_executions_at_the_same_time_wait_side_by_side():
    executor, waiting, all_there = MockAsyncExecutor(), [], anyio.Event()

    async def meet(call: MockRequest) -> None:
        waiting.append(call.code)
        if len(waiting) == 20:
            all_there.set()
        await all_there.wait()

    executor.mock_result = meet
    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(executor.execute, str(number))
    assert executor.get_execution_count() == 20


async def test_a_cancelled_execution_is_on_record_as_stopped():
    executor = MockAsyncExecutor()
    executor.on(FOREVER).hangs()
    with anyio.move_on_after(0.01):
        await executor.execute(FOREVER)
    last = executor.get_last_execution()
    assert last is not None
    assert last.result.error_type == "InterruptedError"


@pytest.mark.parametrize(
    "make",
    [
        lambda: MockAsyncExecutor(execution_delay=-1),
        lambda: MockAsyncExecutor().on("x").returns(1, delay_s=-1),
        lambda: MockAsyncExecutor().on("x").returns(1, delay_s=math.nan),
        lambda: MockAsyncExecutor().on("x", contains="y"),
        lambda: MockAsyncExecutor().on(),
        lambda: MockAsyncExecutor().on("x", times=0),
        lambda: Limits(timeout_s=0),
        lambda: Limits(output_bytes=-1),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_is_said(make):
    with pytest.raises(UsageError):
        make()


async def test_output_beyond_the_limit_is_cut_and_an_outcome():
    executor = MockAsyncExecutor({}, limits=Limits(output_bytes=3))
    executor.on("flood").returns(1, output="ééé")
    result = await executor.execute("flood")
    assert (result.error_type, result.output, result.value) == ("OutputLimitError", "é", None)


# -- capabilities ----------------------------------------------------------------------------------


async def test_a_script_that_needs_a_capability_is_answered_where_it_is_granted():
    executor = MockAsyncExecutor()
    executor.on(contains="read").needs("fs.read", "/data/a", operation="read").returns("text")
    context = CapabilityContext("job")
    context.grant("fs.read", resources="/data/**", operations="read", uses=1)
    assert (await executor.execute("read()", grants=context)).value == "text"
    denied = await executor.execute("read()", grants=context)
    assert (denied.ok, denied.error_type) == (False, "CapabilityDenied")
    (violation,) = context.violations
    assert (violation.capability, violation.resource) == ("fs.read", "/data/a")
    assert (await executor.execute("read()")).error_type == "CapabilityDenied"
    assert (await executor.execute("read()", grants=[CapabilityToken("fs.read")])).ok


async def test_an_executor_may_hold_capabilities_for_code_without_grants():
    executor = MockAsyncExecutor(capabilities=[CapabilityToken("fs.read")])
    executor.on("read()").needs("fs.read").returns(1)
    assert (await executor.execute("read()")).ok
    assert [token.type for token in executor.capabilities.tokens()] == ["fs.read"]
    assert not (await executor.execute("read()", grants=[])).ok


async def test_a_double_that_reads_runs_straight_line_code_from_nothing_each_time():
    read = HostFunction("read", lambda path: f"<{path}>", needs="fs.read", resource="path")
    executor = MockAsyncExecutor({"magic()": 7}, reads=True, functions=[read])
    assert (await executor.execute("a = b * 2\na + 1", inputs={"b": 20})).value == 41
    assert (await executor.execute("a")).error_type == "NameError"
    assert (await executor.execute("1 +")).error_type == "SyntaxError"
    assert (await executor.execute("magic()")).value == 7
    assert (await executor.execute("read('/a')")).error_type == "CapabilityDenied"
    granted = await executor.execute("read('/a')", grants=[CapabilityToken("fs.read")])
    assert granted.value == "</a>"


# -- history ---------------------------------------------------------------------------------------


async def test_the_history_is_typed_records():
    executor = MockAsyncExecutor({"a": 1, "b": ValueError("bad")})
    assert executor.get_last_execution() is None
    await executor.execute("a", timeout_s=5, inputs={"n": [1]}, grants=[CapabilityToken("net")])
    await executor.execute("b")
    assert executor.get_execution_count() == 2
    first, second = executor.executions
    assert isinstance(first, MockExecutionRecord)
    assert isinstance(first, ExecRecord)
    assert (first.kind, first.code, first.timeout_s, first.inputs) == ("run", "a", 5, {"n": [1]})
    assert (first.grants, first.value, first.exception) == (("net",), 1, None)
    assert first.timestamp == first.started > 1_600_000_000
    assert second.exception == "ValueError: bad"
    assert executor.get_last_execution() is second


async def test_reset_forgets_what_happened_and_keeps_what_was_scripted():
    executor = MockAsyncExecutor({"a": 1}, mock_result="default")
    script = executor.on("roll").returns(1, 2)
    executor.should_fail, executor.execution_delay, executor.mock_result = True, 5.0, "other"
    executor.should_fail = False
    executor.execution_delay = 0.0
    await executor.execute("roll")
    executor.should_fail, executor.execution_delay = True, 5.0
    executor.reset()
    assert (executor.executions, executor.unscripted, script.call_count) == ([], [], 0)
    assert (executor.should_fail, executor.execution_delay) == (False, 0.0)
    assert (await executor.execute("roll")).value == 1
    assert (await executor.execute("unknown")).value == "default"
    executor.reset(scripts=True)
    assert (await executor.execute("roll")).value == "default"


async def test_a_closed_double_says_so():
    async with MockAsyncExecutor({"a": 1}) as executor:
        assert (await executor.execute("a")).ok
    await executor.close()
    with pytest.raises(SessionClosedError, match="MockAsyncExecutor is closed"):
        await executor.execute("a")
    with MockAsyncExecutor() as executor:
        executor.execute_sync("a")
    executor.close_sync()
    with pytest.raises(SessionClosedError):
        executor.execute_sync("a")
    assert "closed" in repr(executor)


async def test_without_anyio_an_await_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "anyio", None)
    with pytest.raises(MissingExtraError, match=r"windtunnel\[sessions\]"):
        await MockAsyncExecutor().execute("x")
    assert MockAsyncExecutor({"x": 1}).execute_sync("x").value == 1


def test_a_script_shows_what_it_fits():
    assert repr(Script("6 * 7", "", "", None)) == "<Script code '6 * 7', 0 times>"

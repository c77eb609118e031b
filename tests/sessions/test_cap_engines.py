"""Capabilities where guests use them: host functions, callbacks, sub-sessions, on a real engine."""

from __future__ import annotations

import asyncio
import functools

import anyio
import pytest

from windtunnel import sessions
from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    carry,
    current_context,
    host_function,
)


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    return functools.partial(anyio.run, backend=request.param)


@host_function(needs="look")
def where() -> str:
    return current_context().path


@host_function(needs="look")
async def where_async() -> str:
    await anyio.lowlevel.checkpoint()
    return await anyio.to_thread.run_sync(lambda: current_context().path)


def root(name: str, **bounds: object) -> CapabilityContext:
    context = CapabilityContext(name)
    context.grant("look", **bounds)
    return context


def test_a_guest_calls_under_the_context_of_its_session_and_not_of_its_caller(run):
    async def main():
        async with sessions.open(
            functions=[where, where_async], capabilities=root("guest")
        ) as session:
            with root("caller").scope():
                first = await session.run("where()")
                second = await session.run("where_async()")
                assert current_context().name == "caller"
            return first.value, second.value

    assert run(main) == ("guest", "guest")


def test_guests_that_run_at_the_same_time_do_not_see_each_others_context(run):
    async def main():
        seen = {}

        async def one(name: str):
            async with sessions.open(functions=[where], capabilities=root(name)) as session:
                for _ in range(3):
                    result = await session.run("where()")
                    seen.setdefault(name, set()).add(result.value)

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(one, f"guest-{number}")
        assert seen == {f"guest-{number}": {f"guest-{number}"} for number in range(4)}

    run(main)


def test_uses_of_guests_that_share_a_token_are_counted_together(run):
    context = CapabilityContext("shared")
    token = context.grant("look", uses=10)

    async def main():
        counts = []

        async def one():
            async with sessions.open(functions=[where], capabilities=context) as session:
                code = "n = 0\nfor i in range(8):\n    try:\n        where()\n        n += 1\n"
                result = await session.run(f"{code}    except PermissionError:\n        pass\nn")
                counts.append(result.value)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(one)
        return counts

    counts = run(main)
    assert sum(counts) == token.uses == 10, counts


def test_a_run_has_at_most_what_its_session_has():
    context = root("guest", uses=3)
    with sessions.open(functions=[where], capabilities=context) as session:
        assert session.run_sync("where()", grants=()).error_type == "CapabilityDenied"
        with pytest.raises(CapabilityDenied, match="goes beyond"):
            session.run_sync("where()", grants=[CapabilityToken("look")])
        once = context.tokens("look")[0].narrow(uses=1)
        assert session.run_sync("where()", grants=[once]).ok
        assert session.run_sync("where()", grants=[once]).error_type == "CapabilityDenied"
        assert session.run_sync("where()").ok
    assert context.tokens("look")[0].uses == 2


def test_a_sub_session_of_a_host_function_has_at_most_what_the_guest_has():
    tried = []

    @host_function(needs="look")
    def nested():
        with sessions.open(functions=[where]) as inner:
            tried.append(inner.run_sync("where()").value)
        with sessions.open(functions=[where], capabilities=()) as inner:
            tried.append(inner.run_sync("where()").error_type)
        less = CapabilityToken("look", CapabilityConstraint(uses=1))
        with sessions.open(functions=[where], capabilities=[less], name="sub") as inner:
            tried.append([inner.run_sync("where()").ok for _ in range(2)])
        with pytest.raises(CapabilityDenied, match="goes beyond"):
            sessions.open(functions=[where], capabilities=[CapabilityToken("look")])
        return "done"

    context = root("guest", uses=9)
    with sessions.open(functions=[nested], capabilities=context) as session:
        assert session.run_sync("nested()").value == "done"
    assert tried == ["guest", "CapabilityDenied", [True, False]]
    assert context.tokens("look")[0].uses == 3  # nested itself, and two in sub-sessions


def test_a_callback_runs_under_the_context_of_its_session_wherever_it_is_called(run):
    async def main():
        async with sessions.open(functions=[where], capabilities=root("guest")) as session:
            await session.run("def look():\n    return where()")
            look = session.callback("look")
            with root("caller").scope():
                return await look.call(), await asyncio_or_thread(look)

    async def asyncio_or_thread(look):
        return await anyio.to_thread.run_sync(look)

    assert run(main) == ("guest", "guest")


def test_revoking_stops_a_guest_in_the_middle():
    context = CapabilityContext("guest")
    token = context.grant("look")
    calls = []

    @host_function(needs="look")
    def step():
        calls.append(1)
        if len(calls) == 3:
            context.revoke(token)

    with sessions.open(functions=[step], capabilities=context) as session:
        result = session.run_sync("for i in range(10):\n    step()")
    assert (result.error_type, len(calls)) == ("CapabilityDenied", 3)


def test_what_a_host_function_carries_away_is_refused_once_the_context_is_closed():
    context = CapabilityContext("root")
    context.grant("look")
    carried = []

    @host_function(needs="look")
    def keep():
        carried.append(carry(where))

    child = context.child("execution")
    with sessions.open(functions=[keep], capabilities=child) as session:
        assert session.run_sync("keep()").ok
    assert carried[0]() == "root/execution"
    child.close()
    with pytest.raises(CapabilityDenied, match="closed"):
        carried[0]()


def test_a_refusal_names_the_line_that_ran_the_guest():
    context = CapabilityContext("guest")

    async def main():
        async with sessions.open(functions=[where], capabilities=context) as session:
            await session.run("where()")

    asyncio.run(main())
    [violation] = context.violations
    line = main.__code__.co_firstlineno + 2
    assert violation.location.endswith(f"test_cap_engines.py:{line}")


def test_the_memory_of_a_guest_is_that_of_its_token():
    context = CapabilityContext("guest")
    context.grant("execute", memory_mb=8)
    with sessions.open(capabilities=context) as session:
        result = session.run_sync("len('x' * 50_000_000)")
        assert result.error_type == "MemoryError"
    with sessions.open(capabilities=CapabilityContext("free")) as session:
        assert session.run_sync("len('x' * 50_000_000)").value == 50_000_000


def test_the_time_of_a_guest_is_that_of_its_token():
    context = CapabilityContext("guest")
    context.grant("execute", cpu_s=0.05)
    with sessions.open(capabilities=context) as session:
        assert session.run_sync("while True:\n    pass").error_type == "TimeoutError"


def test_executions_use_up_a_token_that_bounds_them_and_then_end_before_they_begin():
    for opened in (sessions.open, sessions.MockREPLSession):
        context = CapabilityContext("guest")
        context.grant("execute", uses=3)
        with opened(capabilities=context) as session:
            session.define_sync("n", 1)  # is none
            assert session.run_sync("1 + 1").ok
            assert session.run_sync("1 + 1", grants=()).ok
            assert session.run_sync("1 + 1").ok
            ended = session.run_sync("1 + 1")
            assert (ended.ok, ended.error_type) == (False, "CapabilityDenied")
            assert "used up" in ended.error
        assert context.violation_count == 1


def test_the_time_that_executions_take_is_counted_together():
    context = CapabilityContext("guest")
    token = context.grant("execute", cpu_s=0.1)
    with sessions.open(capabilities=context) as session:
        forever = [session.run_sync("while True:\n    pass").error_type for _ in range(5)]
        assert session.run_sync("1 + 1").error_type == "CapabilityDenied"
    assert forever[0] == "TimeoutError"
    assert forever[-1] == "CapabilityDenied"
    assert token.account.cpu_used >= 0.1


def test_the_time_that_a_double_takes_is_counted_as_an_engines_is():
    context = CapabilityContext("guest")
    token = context.grant("execute", cpu_s=0.02)
    with sessions.MockREPLSession(capabilities=context, execution_delay=60) as session:
        assert session.run_sync("1").error_type == "TimeoutError"
        assert session.run_sync("1").error_type == "CapabilityDenied"
    assert token.account.cpu_used >= 0.02


def test_who_is_granted_nothing_is_still_bounded():
    context = CapabilityContext("guest")
    context.grant("execute", memory_mb=8)
    with sessions.open(capabilities=context) as session:
        result = session.run_sync("len('x' * 50_000_000)", grants=())
        assert result.error_type == "MemoryError"


@pytest.mark.parametrize(
    "opened",
    [sessions.open, sessions.executor, sessions.MockREPLSession, sessions.MockAsyncExecutor],
    ids=lambda one: one.__name__,
)
@pytest.mark.parametrize("how", ["sync", "async"])
def test_what_was_granted_to_an_execution_ends_with_it(opened, how):
    context = CapabilityContext("root")
    token = context.grant("look")
    kept = []

    @host_function(needs="look")
    def keep():
        kept.append((current_context(), carry(where)))

    options = {"reads": True} if opened is sessions.MockAsyncExecutor else {}
    with opened(functions=[keep], capabilities=context, **options) as running:
        for grants in ([token], context, None):
            execute = getattr(running, "run", None) or running.execute
            if how == "async":
                result = asyncio.run(execute("keep()", grants=grants))
            else:
                execute = getattr(running, "run_sync", None) or running.execute_sync
                result = execute("keep()", grants=grants)
            assert result.ok, result
    granted, *held = kept
    with pytest.raises(CapabilityDenied, match="closed"):
        granted[1]()
    assert granted[0] is not context
    for current, look in held:
        assert current is context
        assert look() == "root"

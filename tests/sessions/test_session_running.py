"""Sessions and executors: what they promise on asyncio, on trio, and without a loop."""

from __future__ import annotations

import asyncio
import functools
import gc
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from windtunnel import sessions
from windtunnel.core.errors import UsageError
from windtunnel.own.waiting import wait_until
from windtunnel.sessions import (
    CapabilityDenied,
    CapabilityToken,
    ExecResult,
    Limits,
    SessionBusyError,
    SessionClosedError,
)

ENGINES = ["monty", "starlark", "process"]
BACKENDS = ["asyncio", "trio"]
SPIN = {
    "monty": "while True:\n    pass",
    "process": "while True:\n    pass",
    "starlark": "def spin():\n    for _ in range(1 << 30):\n        for _ in range(1 << 30):\n"
    "            pass\nspin()",
}


def run(backend: str, main: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(main, backend=backend)


def uses(*types: str) -> list[CapabilityToken]:
    return [CapabilityToken(type) for type in types]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_names_live_from_run_to_run_until_reset(engine: str, backend: str) -> None:
    async def main() -> None:
        async with sessions.open(engine) as session:
            assert isinstance(session, sessions.Session)
            assert (await session.run("x = [1]")).ok
            assert (await session.run("y = x + [2]\ny")).value == [1, 2]
            await session.define("z", 3)
            await session.run("def add(a, b=0): return a + b + z")
            assert await session.call("add", 1, b=2) == 6
            await session.reset()
            assert not (await session.run("x")).ok
            assert [record.code for record in session.history] == ["x"]

    run(backend, main)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_executor_starts_each_code_from_nothing(engine: str) -> None:
    async def main() -> None:
        async with sessions.executor(engine) as executor:
            assert isinstance(executor, sessions.Executor)
            assert (await executor.execute("x = 1\nx")).value == 1
            assert not (await executor.execute("x")).ok
            assert (await executor.execute("n + 1", inputs={"n": 1})).value == 2
            both = [executor.execute(f"{n} * 2") for n in range(5)]
            assert [result.value for result in await asyncio.gather(*both)] == [0, 2, 4, 6, 8]

    run("asyncio", main)


@pytest.mark.parametrize("engine", ENGINES)
def test_failing_code_is_an_outcome_with_its_type_message_and_output(engine: str) -> None:
    with sessions.open(engine) as session:
        result = session.run_sync("print('before')\n1 // 0")
        wanted = "StarlarkError" if engine == "starlark" else "ZeroDivisionError"
        assert (result.ok, result.value, result.error_type) == (False, None, wanted)
        assert "zero" in result.error
        assert result.output == "before\n"
        assert result.timings.run_s > 0
        assert session.run_sync("1 +").error_type == "SyntaxError"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_call_that_fails_raises_the_guests_error(engine: str) -> None:
    with sessions.open(engine) as session:
        session.run_sync("def bad(): return [][1]")
        with pytest.raises(sessions.GuestError) as failure:
            session.call_sync("bad")
        assert failure.value.error_type in ("IndexError", "StarlarkError")
        with pytest.raises(sessions.GuestError):
            session.call_sync("not_there")


@pytest.mark.parametrize("name", ["1x", "a b", "x)\nboom(", "", "def", "__wt_out", "x.y"])
def test_a_name_is_never_read_as_code(name: str) -> None:
    with sessions.open("monty") as session:
        with pytest.raises(UsageError):
            session.define_sync(name, 1)
        with pytest.raises(UsageError):
            session.run_sync("1", inputs={name: 1})
        with pytest.raises(UsageError):
            session.call_sync(name)
        assert session.history == ()


def test_history_holds_what_ran_with_what_it_was_allowed() -> None:
    held = uses("fs.read", "net")
    with sessions.open("monty", capabilities=held) as session:
        session.run_sync("x = 1")
        session.run_sync("1 / 0", grants=[held[1].narrow(uses=1)])
        session.define_sync("y", 2)
        session.run_sync("def f(): return 1")
        session.call_sync("f")
        kinds = [(record.kind, record.code, record.result.ok) for record in session.history]
        assert kinds == [
            ("run", "x = 1", True),
            ("run", "1 / 0", False),
            ("define", "y", True),
            ("run", "def f(): return 1", True),
            ("call", "f", True),
        ]
        assert session.history[0].grants == ("fs.read", "net")
        assert session.history[1].grants == ("net",)
        started = [record.started for record in session.history]
        assert started == sorted(started)


# -- one at a time


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_made_at_the_same_time_take_turns_in_their_order(backend: str) -> None:
    async def main() -> None:
        async with sessions.open("monty") as session:
            await session.run("seen = []")

            async def one(n: int) -> None:
                await session.run(
                    f"before = len(seen)\nseen.append({n})\nassert len(seen) == before + 1"
                )

            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon(one, n)
            assert sorted((await session.run("seen")).value) == list(range(20))

    run(backend, main)


def test_threads_and_loops_take_turns_on_one_session() -> None:
    with sessions.open("monty") as session:
        session.run_sync("n = 0")

        def add() -> None:
            for _ in range(20):
                session.run_sync("now = n\nn = now + 1")

        async def add_async() -> None:
            for _ in range(20):
                await session.run("now = n\nn = now + 1")

        threads = [threading.Thread(target=add) for _ in range(3)]
        threads += [threading.Thread(target=lambda: asyncio.run(add_async())) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert session.run_sync("n").value == 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_that_wait_for_their_turn_take_no_thread_each(backend: str) -> None:
    async def main() -> None:
        before, seen = threading.active_count(), []

        @sessions.host_function(needs="count")
        def count() -> None:
            seen.append(threading.active_count() - before)

        held = uses("count")
        async with (
            sessions.open("monty", functions=[count], capabilities=held) as session,
            anyio.create_task_group() as group,
        ):
            for _ in range(100):
                group.start_soon(session.run, "count()")
        assert len(seen) == 100
        assert max(seen) < 50

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_that_is_cancelled_while_it_waits_for_its_turn_disturbs_nobody(backend: str) -> None:
    async def main() -> None:
        inside, go = threading.Event(), threading.Event()

        @sessions.host_function(needs="wait")
        def wait() -> int:
            inside.set()
            assert go.wait(30)
            return 1

        async with sessions.open("monty", functions=[wait], capabilities=uses("wait")) as session:
            results: list[ExecResult] = []

            async def first() -> None:
                results.append(await session.run("wait()"))

            async def third() -> None:
                results.append(await session.run("3"))

            async with anyio.create_task_group() as group:
                group.start_soon(first)
                await anyio.to_thread.run_sync(inside.wait, 30)
                with anyio.move_on_after(0.05) as waiting:
                    await session.run("2")
                assert waiting.cancelled_caught
                group.start_soon(third)
                await anyio.lowlevel.checkpoint()
                go.set()
            # Who is told first is the loop's to choose; in the session each had its turn.
            assert {result.value for result in results} == {1, 3}
            done = [record for record in session.history if record.result.ok]
            assert [record.code for record in done] == ["wait()", "3"]

    run(backend, main)


def test_the_history_is_in_the_order_of_turns_whoever_is_told_first() -> None:
    inside, go = threading.Event(), threading.Event()

    @sessions.host_function(needs="wait")
    def wait() -> int:
        inside.set()
        assert go.wait(60)
        return 1

    async def main() -> None:
        async with sessions.open("monty", functions=[wait], capabilities=uses("wait")) as session:
            first = asyncio.create_task(session.run("wait()"))
            assert await asyncio.to_thread(inside.wait, 60)
            second = threading.Thread(target=session.run_sync, args=("3",))
            second.start()
            go.set()
            second.join(60)  # in the loop, which is told of the first one's end after this
            assert (await first).value == 1
            assert [record.code for record in session.history] == ["wait()", "3"]

    asyncio.run(main())


# -- cancelled


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_cancelling_the_await_ends_the_code_and_the_session_serves_on(
    engine: str, backend: str
) -> None:
    async def main() -> None:
        async with sessions.open(engine) as session:
            await session.run("1")
            with anyio.move_on_after(0.1) as scope:
                await session.run(SPIN[engine], timeout_s=None)
            assert scope.cancelled_caught
            assert session.history[-1].result.error_type == "InterruptedError"
            assert (await session.run("1 + 1")).value == 2

    run(backend, main)


def test_a_task_of_asyncio_cancelled_or_out_of_time_ends_the_code() -> None:
    async def main() -> None:
        async with sessions.open("monty") as session:
            task = asyncio.create_task(session.run(SPIN["monty"], timeout_s=60))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(session.run(SPIN["monty"], timeout_s=60), 0.05)
            assert (await session.run("1 + 1")).value == 2

    asyncio.run(main())


def test_cancelled_at_once_it_never_runs_and_the_next_does() -> None:
    async def main() -> None:
        async with sessions.open("monty") as session:
            await session.run("x = 0")
            for _ in range(20):
                task = asyncio.create_task(session.run("x = x + 1"))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert (await session.run("5")).value == 5

    asyncio.run(main())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("engine", ["monty", "process"])
def test_an_async_host_function_is_cancelled_with_the_run_that_called_it(
    engine: str, backend: str
) -> None:
    async def main() -> None:
        ended: list[str] = []
        inside = anyio.Event()

        @sessions.host_function(needs="wait")
        async def wait() -> None:
            inside.set()
            try:
                await anyio.sleep_forever()
            except BaseException as error:
                ended.append(type(error).__name__)
                raise

        held = uses("wait")
        async with sessions.open(engine, functions=[wait], capabilities=held) as session:
            async with anyio.create_task_group() as group:
                group.start_soon(functools.partial(session.run, "wait()", timeout_s=60))
                await inside.wait()
                group.cancel_scope.cancel()
            assert len(ended) == 1
            assert "ancelled" in ended[0]
            assert (await session.run("1 + 1")).value == 2

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_async_host_function_ends_with_the_time_of_the_run(backend: str) -> None:
    async def main() -> None:
        @sessions.host_function(needs="wait")
        async def wait() -> None:
            await anyio.sleep_forever()

        held = uses("wait")
        async with sessions.open("monty", functions=[wait], capabilities=held) as session:
            result = await session.run("wait()", timeout_s=0.1)
            assert result.error_type == "TimeoutError"
            assert (await session.run("1 + 1")).value == 2

    run(backend, main)


@pytest.mark.parametrize("how", ["async", "sync"])
def test_a_host_function_that_does_not_return_keeps_neither_the_caller_nor_the_session(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.sessions.job.GRACE_S", 0.1)
    go = threading.Event()

    @sessions.host_function(needs="wait")
    def stuck() -> None:
        go.wait(60)

    with sessions.open("monty", functions=[stuck], capabilities=uses("wait")) as session:
        if how == "async":
            result = asyncio.run(session.run("stuck()", timeout_s=0.1))
        else:
            result = session.run_sync("stuck()", timeout_s=0.1)
        assert result.error_type == "TimeoutError"
        assert session.run_sync("1 + 1").value == 2
        go.set()
        assert session.run_sync("2 + 2").value == 4


# -- without a loop, or inside a running one


def test_blocking_inside_a_running_loop_works_and_does_not_deadlock() -> None:
    async def main() -> None:
        @sessions.host_function(needs="wait")
        async def fetch(n: int) -> int:
            await anyio.sleep(0.001)
            return n * 2

        held = uses("wait")
        with sessions.open("monty", functions=[fetch], capabilities=held) as session:
            assert session.run_sync("fetch(21)").value == 42
            session.run_sync("def f(n): return fetch(n)")
            assert session.call_sync("f", 4) == 8
            assert (await session.run("fetch(1)")).value == 2

    asyncio.run(main())
    anyio.run(main, backend="trio")


def test_ctrl_c_ends_the_code_of_a_blocking_run() -> None:
    @sessions.host_function(needs="press")
    def press() -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    with sessions.open("monty", functions=[press], capabilities=uses("press")) as session:
        # An interrupt that arrives in a callback of the collector is lost, as Python does it; and
        # this is about what a Ctrl-C raises, whoever had a handler of its own before.
        gc.disable()
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        try:
            with pytest.raises(KeyboardInterrupt):
                session.run_sync("press()\n" + SPIN["monty"], timeout_s=30)
        finally:
            gc.enable()
            signal.signal(signal.SIGINT, before)
        assert session.run_sync("1 + 1").value == 2


# -- host functions and capabilities


@pytest.mark.parametrize("engine", ENGINES)
def test_a_host_function_without_its_capability_is_denied_and_on_record(engine: str) -> None:
    ran: list[str] = []

    @sessions.host_function(needs="fs.read", operation="read", resource="path")
    def read(path: str) -> str:
        ran.append(path)
        return "text"

    token = CapabilityToken("fs.read", sessions.CapabilityConstraint(resources=["/data/**"]))
    with sessions.open(engine, functions=[read], capabilities=[token]) as session:
        assert session.run_sync("read('/data/a')").value == "text"
        denied = session.run_sync("read('/etc/passwd')")
        assert (denied.ok, denied.error_type) == (False, "CapabilityDenied"), denied
        assert "/etc/passwd" in denied.error
        assert session.run_sync("read('/data/a')", grants=[]).error_type == "CapabilityDenied"
        assert ran == ["/data/a"]
        assert session.capabilities.violations[0].resource == "/etc/passwd"
        assert session.run_sync("1 + 1").value == 2


def test_a_guest_may_handle_a_denial_and_an_error_of_the_host() -> None:
    @sessions.host_function(needs="nobody.has.it")
    def forbidden() -> None: ...

    class Odd(Exception):
        pass

    @sessions.host_function(needs="it")
    def odd() -> None:
        raise Odd("so odd")

    with sessions.open("monty", functions=[forbidden, odd], capabilities=uses("it")) as session:
        code = "try:\n    {}()\nexcept {} as error:\n    said = str(error)\nsaid"
        assert "not allowed" in session.run_sync(code.format("forbidden", "PermissionError")).value
        assert session.run_sync(code.format("odd", "Exception")).value == "so odd"
        unhandled = session.run_sync("odd()")
        assert (unhandled.error_type, unhandled.error) == ("Odd", "so odd")


def test_grants_only_narrow() -> None:
    with sessions.open("monty", capabilities=uses("a")) as session:
        with pytest.raises(CapabilityDenied):
            session.run_sync("1", grants=uses("b"))
        child = session.capabilities.child("child")
        assert session.run_sync("1", grants=child).ok
        foreign = sessions.CapabilityContext("foreign", tokens=uses("b"))
        with pytest.raises(CapabilityDenied):
            session.run_sync("1", grants=foreign)


def test_an_executor_holds_nothing_but_what_it_is_granted() -> None:
    @sessions.host_function(needs="it")
    def it() -> int:
        return 1

    with sessions.executor("monty", functions=[it]) as executor:
        assert executor.execute_sync("it()").error_type == "CapabilityDenied"
        assert executor.execute_sync("it()", grants=uses("it")).value == 1
        assert executor.execute_sync("it()").error_type == "CapabilityDenied"
    outside = sessions.CapabilityContext("outside", tokens=uses("it")).scope()
    with outside, sessions.executor("monty", functions=[it]) as executor:
        assert executor.execute_sync("it()").error_type == "CapabilityDenied"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("how", ["asyncio", "trio", "sync"])
def test_the_context_follows_into_host_functions_and_sessions_they_open(
    engine: str, how: str
) -> None:
    seen: list[str] = []

    @sessions.host_function(needs="inner")
    def inner() -> int:
        seen.append(sessions.current_context().path)
        return 1

    @sessions.host_function(needs="outer")
    def outer() -> object:
        seen.append(sessions.current_context().path)
        with sessions.open("monty", functions=[inner]) as below:
            return below.run_sync("inner()").error_type

    root = sessions.CapabilityContext("root", tokens=uses("outer", "inner"))
    both = root.child("both")
    one = root.child("one", [root.tokens("outer")[0]], inherit=False)

    def go(context: sessions.CapabilityContext) -> ExecResult:
        session = sessions.open(engine, functions=[outer], capabilities=context)
        with session:
            if how == "sync":
                return session.run_sync("outer()")
            result: ExecResult = anyio.run(session.run, "outer()", backend=how)
            return result

    assert go(both).value == ""
    assert go(one).value == "CapabilityDenied"
    assert seen == ["root/both", "root/both", "root/one"]
    assert not sessions.current_context().allowed("outer")


def test_tokens_given_within_a_context_are_held_under_it() -> None:
    root = sessions.CapabilityContext("root", tokens=uses("a"))
    with root.scope():
        with sessions.open("monty", capabilities=[root.tokens("a")[0].narrow(uses=1)]) as session:
            assert session.capabilities.parent_context is root
        with pytest.raises(CapabilityDenied):
            sessions.open("monty", capabilities=uses("b"))
        with sessions.open("monty") as session:
            assert session.capabilities is root
    with sessions.open("monty") as session:
        session.capabilities.grant("later")  # a context of its own, not the empty one of all
    assert not sessions.current_context().has_capability("later")


def test_a_function_that_needs_no_capability_is_refused() -> None:
    with pytest.raises(UsageError, match="host_function"):
        sessions.open("monty", functions=[print])  # type: ignore[list-item]

    @sessions.host_function(needs="it")
    def one() -> None: ...

    with pytest.raises(UsageError, match="one name"):
        sessions.open("monty", functions=[one, one])


@pytest.mark.parametrize("engine", ENGINES)
def test_async_host_functions_run_on_the_callers_loop(engine: str) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        @sessions.host_function(needs="it")
        async def here(n: int) -> bool:
            await asyncio.sleep(0)
            return asyncio.get_running_loop() is loop and n == 3

        held = uses("it")
        async with sessions.open(engine, functions=[here], capabilities=held) as session:
            assert (await session.run("here(3)")).value is True

    asyncio.run(main())


@pytest.mark.parametrize("how", ["sync", "async"])
def test_a_session_used_by_a_host_function_it_waits_for_is_refused_not_stuck(how: str) -> None:
    if how == "sync":

        @sessions.host_function(needs="it")
        def again() -> object:
            return session.run_sync("1").value
    else:

        @sessions.host_function(needs="it")
        async def again() -> object:
            return (await session.run("1")).value

    session = sessions.open("monty", functions=[again], capabilities=uses("it"))
    with session:
        result = session.run_sync("again()")
        assert result.error_type == SessionBusyError.__name__, result
        result = asyncio.run(session.run("again()"))
        assert result.error_type == SessionBusyError.__name__, result


# -- closed


@pytest.mark.parametrize("engine", ENGINES)
def test_closing_twice_is_allowed_and_using_it_after_is_one_clear_error(engine: str) -> None:
    async def main() -> None:
        session = sessions.open(engine)
        await session.run("1")
        await session.close()
        await session.close()
        session.close_sync()
        assert session.closed
        for use in (session.run("1"), session.call("f"), session.define("x", 1), session.reset()):
            with pytest.raises(SessionClosedError):
                await use
        with pytest.raises(SessionClosedError):
            session.run_sync("1")
        executor = sessions.executor(engine)
        await executor.close()
        await executor.close()
        with pytest.raises(SessionClosedError):
            await executor.execute("1")

    asyncio.run(main())


def test_closing_ends_what_runs_and_who_waits() -> None:
    async def main() -> None:
        begun = asyncio.Event()

        @sessions.host_function(needs="say")
        async def say() -> None:
            begun.set()

        session = sessions.open("monty", functions=[say], capabilities=uses("say"))
        runs = asyncio.create_task(session.run("say()\n" + SPIN["monty"], timeout_s=60))
        await begun.wait()
        waits = asyncio.create_task(session.run("2"))
        await asyncio.sleep(0)
        await session.close()
        assert (await runs).error_type == "InterruptedError"
        with pytest.raises(SessionClosedError):
            await waits

    asyncio.run(main())


def test_a_session_that_nobody_closed_gives_its_guest_up() -> None:
    closed: list[bool] = []

    class Guest:
        isolation = "none"

        def __init__(self, names: object) -> None: ...

        def close(self) -> None:
            closed.append(True)

    def forget() -> None:
        sessions.open(Guest)  # type: ignore[arg-type]

    forget()
    assert wait_until(lambda: closed == [True], within=60)


# -- engines


def test_an_unknown_engine_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="monty") as refusal:
        sessions.open("pythn")
    assert "'pythn'" in str(refusal.value)


def test_limits_of_tokens_bound_what_runs_under_them() -> None:
    root = sessions.CapabilityContext("root")
    root.grant("execute", cpu_s=0.1)
    with sessions.open("monty", capabilities=root, limits=Limits(timeout_s=60)) as session:
        assert session.run_sync(SPIN["monty"]).error_type == "TimeoutError"


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_once_given_to_a_session_is_not_held_for_less(engine: str) -> None:
    root = sessions.CapabilityContext("root")
    wide = root.grant("execute", memory_mb=128)
    narrow = wide.narrow(memory_mb=32)
    with sessions.open(engine, capabilities=root) as session:
        assert session.run_sync("1", grants=[narrow]).ok
        assert session.run_sync("2", grants=[wide]).ok
        refused = session.run_sync("3", grants=[narrow])
        assert (refused.error_type, refused.value) == ("MemoryError", None)
        assert "32 MiB" in refused.error
        session.reset_sync()
        assert session.run_sync("4", grants=[narrow]).ok

"""Callbacks: a guest's function as a Python callable."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import anyio
import pytest
from crossing import everything, same
from hypothesis import HealthCheck, event, given, settings

from windtunnel import sessions
from windtunnel.core.errors import UsageError
from windtunnel.sessions import (
    Callback,
    CapabilityToken,
    GuestError,
    SessionBusyError,
    SessionClosedError,
    ValueCrossingError,
)

ENGINES = ["monty", "starlark", "process"]
FUNCTIONS = """
def same(value):
    return value

def describe(name, *rest, sep="-", **more):
    return sep.join([name] + [str(one) for one in rest] + sorted(more.keys()))

def half(n):
    return 100 // n
"""


def opened(engine: str, **options: Any) -> sessions.EngineSession:
    session = sessions.open(engine, **options)
    assert session.run_sync(FUNCTIONS).ok
    return session


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_callback_is_called_and_awaited(engine: str, backend: str) -> None:
    with opened(engine) as session:
        describe = session.callback("describe")
        assert describe("a", 1, 2, sep="+", z=0, y=0) == "a+1+2+y+z"

        async def main() -> str:
            answer: str = await describe.call("a", 1, sep="/")
            return answer

        assert anyio.run(main, backend=backend) == "a/1"


@given(value=everything)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("engine", ENGINES)
def test_values_cross_a_callback_unchanged(
    engine: str, value: object, warm: dict[str, Callback]
) -> None:
    try:
        answer = warm[engine](value)
    except ValueCrossingError:
        event("refused")
        return
    except GuestError as refusal:
        if refusal.error_type != "ValueCrossingError":
            raise
        return
    assert same(answer, value)


@pytest.fixture(scope="module")
def warm() -> Any:
    kept = [opened(engine) for engine in ENGINES]
    yield {session.name: session.callback("same") for session in kept}
    for session in kept:
        session.close_sync()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_failing_call_raises_or_gives_what_it_was_told_to(engine: str) -> None:
    with opened(engine) as session:
        assert session.callback("half")(4) == 25
        with pytest.raises(GuestError) as failure:
            session.callback("half")(0)
        assert failure.value.error_type in ("ZeroDivisionError", "StarlarkError")
        assert session.callback("half", default=None)(0) is None
        assert session.callback("half", default=-1)(0) == -1
        seen: list[GuestError] = []

        def handle(error: GuestError) -> str:
            seen.append(error)
            return error.error_type

        told = session.callback("half", default=-1, on_error=handle)
        assert told(0) == failure.value.error_type
        assert asyncio.run(told.call(0)) == failure.value.error_type
        assert [type(error) for error in seen] == [GuestError, GuestError]
        assert told(5) == 20


def test_an_error_handler_may_raise_its_own() -> None:
    def refuse(error: GuestError) -> None:
        raise LookupError(error.message)

    with opened("monty") as session, pytest.raises(LookupError, match="division"):
        session.callback("half", on_error=refuse)(0)


def test_misuse_is_not_hidden_by_a_default() -> None:
    with opened("monty") as session:
        lenient = session.callback("same", default=None)
        with pytest.raises(ValueCrossingError):
            lenient(object())
        with pytest.raises(UsageError):
            session.callback("not a name", default=None)()
    with pytest.raises(SessionClosedError):
        lenient(1)


def test_the_function_is_looked_up_at_each_call() -> None:
    with sessions.open("monty") as session:
        later = session.callback("later", default="none yet")
        assert later() == "none yet"
        session.run_sync("def later(): return 'first'")
        assert later() == "first"
        session.run_sync("def later(): return 'second'")
        assert later() == "second"


def test_a_callback_has_a_time_limit_of_its_own() -> None:
    with opened("monty") as session:
        session.run_sync("def spin():\n    while True:\n        pass")
        spin = session.callback("spin", timeout_s=0.1, on_error=lambda error: error.error_type)
        assert spin() == "TimeoutError"


def test_the_registry_has_the_last_callback_of_each_name() -> None:
    with opened("monty") as session:
        first = session.callback("half")
        session.callback("same")
        assert session.callbacks["half"] is first
        assert sorted(session.callbacks) == ["half", "same"]
        second = session.callback("half", default=0)
        assert session.callbacks["half"] is second
        assert len(session.callbacks) == 2
        assert [callback(1) for callback in session.callbacks.values()] == [100, 1]
        with pytest.raises(KeyError):
            session.callbacks["other"]


@pytest.mark.parametrize("engine", ENGINES)
def test_concurrent_calls_are_safe_and_each_gets_its_own_answer(engine: str) -> None:
    with opened(engine) as session:
        echo = session.callback("same")

        async def main() -> list[int]:
            return list(await asyncio.gather(*(echo.call(n) for n in range(20))))

        assert asyncio.run(main()) == list(range(20))
        answers: dict[int, object] = {}

        def work(n: int) -> None:
            answers[n] = echo(n)

        threads = [threading.Thread(target=work, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == {n: n for n in range(20)}


def test_a_callback_called_inside_a_running_loop_blocks_it_and_returns() -> None:
    async def main() -> None:
        with opened("monty") as session:
            assert session.callback("half")(4) == 25

    asyncio.run(main())
    anyio.run(main, backend="trio")


def test_capabilities_of_the_session_hold_in_its_callbacks_whoever_calls_them() -> None:
    @sessions.host_function(needs="mail.send")
    def send(text: str) -> str:
        return f"sent {text}"

    token = CapabilityToken("mail.send")
    with (
        sessions.open("monty", functions=[send], capabilities=[token]) as allowed,
        sessions.open("monty", functions=[send], capabilities=[]) as bare,
    ):
        for session in (allowed, bare):
            session.run_sync("def notify(text): return send(text)")
        notify = allowed.callback("notify")
        denied = bare.callback("notify", on_error=lambda error: error.error_type)
        assert notify("a") == "sent a"
        with sessions.CapabilityContext("caller", tokens=[token]).scope():
            assert denied("b") == "CapabilityDenied"
        with sessions.CapabilityContext("caller").scope():
            assert notify("c") == "sent c"


def test_a_callback_of_a_session_called_by_its_own_host_function_is_refused() -> None:
    @sessions.host_function(needs="it")
    def twice() -> object:
        return again()

    with sessions.open("monty", functions=[twice], capabilities=[CapabilityToken("it")]) as session:
        again = session.callback("same", default="hidden")
        assert session.run_sync("twice()").error_type == SessionBusyError.__name__


def test_one_sessions_callback_serves_as_anothers_host_function() -> None:
    with opened("monty") as inner:
        function = sessions.HostFunction("half", inner.callback("half"), needs="half")
        token = CapabilityToken("half")
        with sessions.open("starlark", functions=[function], capabilities=[token]) as outer:
            assert outer.run_sync("[half(n) for n in (1, 2, 4)]").value == [100, 50, 25]
            assert outer.run_sync("half(0)").error_type == "GuestError"

"""MockREPLSession: its names, function mocks, builtins, host functions, history, turns."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from windtunnel.core.errors import UsageError
from windtunnel.sessions import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityDenied,
    CapabilityToken,
    ExecRecord,
    FunctionMock,
    GuestError,
    HostFunction,
    Limits,
    MockFunctionCall,
    MockREPLSession,
    Session,
    SessionClosedError,
)
from windtunnel.sessions.values import ValueCrossingError

pytestmark = pytest.mark.anyio

READ = HostFunction("read", lambda path: f"<{path}>", needs="fs.read", resource="path")


@pytest.fixture
def session():
    """A double in place of the fixture that the plugin brings: a user's own wins."""
    with MockREPLSession() as session:
        yield session


async def test_it_is_a_session_whose_names_live(session):
    assert isinstance(session, Session)
    assert (await session.run("x = 40")).value is None
    assert (await session.run("x + 2")).value == 42
    assert session.python_namespace == {"x": 40}
    session.python_namespace["y"] = [1, 2]
    assert (await session.run("len(y) + y[-1]")).value == 4
    assert session.variables == {"x": 40, "y": [1, 2]}


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("", None),
        ("1, 'a', b'b', None, 1.5", (1, "a", b"b", None, 1.5)),
        ("{'a': [1, {2}]}", {"a": [1, {2}]}),
        ("7 // 2, 7 % 4, 2 ** 10, 7 / 2, -3, not 0, ~1", (3, 3, 1024, 3.5, -3, True, -2)),
        (
            "1 < 2 < 3, 1 < 3 < 2, 'a' in 'abc', 1 not in [1], None is None",
            (True, False, True, False, True),
        ),
        ("0 or 'x' and 'y'", "y"),
        ("'big' if 3 > 2 else 'small'", "big"),
        ("a, (b, c) = 1, (2, 3)\na + b + c", 6),
        ("a: int = 5\na += 2\na", 7),
        ("'a-b'.upper().split('-')", ["A", "B"]),
        ("f'{3:03d}|{\"x\"}'", "003|x"),
        ("[1, 2, 3, 4][1:3]", [2, 3]),
        ("sorted([3, 1, 2], reverse=True)", [3, 2, 1]),
        ("if 1 > 2:\n    x = 'a'\nelse:\n    x = 'b'\nx", "b"),
        ("def f(a, b=2):\n    'says'\n    return a * b\nf(3), f(3, b=5)", (6, 15)),
        ("def f(n):\n    if n < 2:\n        return 1\n    return n * f(n - 1)\nf(10)", 3628800),
        ("x = 1\npass", None),
    ],
)
def test_straight_line_code_is_read(session, code, value):
    result = session.run_sync(code)
    assert (result.value, result.error, result.source) == (value, "", "namespace")


@pytest.mark.parametrize(
    ("code", "error_type", "error"),
    [
        ("nobody", "NameError", "name 'nobody' is not defined"),
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("raise ValueError('no')", "ValueError", "no"),
        ("raise KeyError", "KeyError", ""),
        ("[][0]", "IndexError", "list index out of range"),
        ("'a' + 1", "TypeError", 'can only concatenate str (not "int") to str'),
        ("5()", "TypeError", "'int' object is not callable"),
        ("def f(a): return a\nf()", "TypeError", "f() missing a required argument: 'a'"),
        ("a, b = 1, 2, 3", "ValueError", "too many values to unpack (expected 2)"),
        ("1 +", "SyntaxError", "invalid syntax"),
        ("return 1", "SyntaxError", "'return' outside function"),
        ("print.__self__", "default", ""),
        ("(5).real.nothing", "AttributeError", "'int' object has no attribute 'nothing'"),
        ("len", "ValueCrossingError", ""),
        ("def f(n):\n    return f(n)\nf(1)", "RecursionError", "maximum recursion depth exceeded"),
    ],
)
def test_code_that_fails_is_an_outcome(session, code, error_type, error):
    result = session.run_sync(code)
    if error_type == "default":
        assert result.source == "default"  # what reaches for insides is not read at all
        return
    assert not result.ok
    assert result.error_type == error_type
    assert error in result.error


@pytest.mark.parametrize(
    "code",
    ["for x in y: pass", "while x: pass", "[a for a in b]", "import os", "class A: pass",
     "lambda: 1", "try:\n    pass\nexcept E:\n    pass", "x.y = 1", "f(*a)", "del x",
     "def f(*a): pass", "def f():\n    def g(): pass"],
)  # fmt: skip
def test_code_beyond_that_is_not_begun_and_gets_the_default(code):
    session = MockREPLSession(mock_result="default")
    result = session.run_sync(f"done = 1\n{code}")
    assert (result.value, result.source) == ("default", "default")
    assert session.python_namespace == {}
    with pytest.raises(UsageError, match="was not told what this code gives"):
        MockREPLSession(strict=True).run_sync(code)


def test_scripts_answer_before_code_is_read(session):
    session.on("1 + 1").returns(3)
    assert session.run_sync("1 + 1").value == 3
    assert session.run_sync("1 + 2").value == 3


def test_a_double_for_another_language_reads_nothing():
    session = MockREPLSession({"let x = 5;": None}, reads=False)
    assert session.execute("let x = 5;").success
    assert session.execute("function f() {}").success
    assert session.executed_lines == ["let x = 5;", "function f() {}"]


def test_what_is_printed_is_the_output(session):
    assert session.run_sync("print('a', 1, sep='-')\nprint('b', end='')").output == "a-1\nb"
    assert session.run_sync("1").output == ""
    assert session.run_sync("print('c')\n1 / 0").output == "c\n"


def test_builtins_may_be_added():
    session = MockREPLSession(builtins={"now": lambda: 12})
    assert session.run_sync("now() + abs(-1)").value == 13
    assert session.function_calls == []
    session.reset()
    assert session.run_sync("now()").value == 12


# -- function mocks --------------------------------------------------------------------------------


async def test_function_mocks_are_called_by_code_by_call_and_by_callbacks(session):
    double = session.mock_function("double", lambda x: x * 2)
    assert isinstance(double, FunctionMock)
    assert (await session.run("double(double(5))")).value == 20
    assert await session.call("double", x=4) == 8
    assert session.call_function("double", (3,), {}) == 6
    assert session.callback("double")(2) == 4
    assert await session.callback("double").call(1) == 2
    assert session.callbacks["double"].name == "double"
    assert (double.call_count, double.called, session.get_function_call_count()) == (6, True, 6)
    first = session.function_calls[0]
    assert isinstance(first, MockFunctionCall)
    assert (first.name, first.function_name, first.args, first.result) == (
        "double",
        "double",
        (5,),
        10,
    )
    assert first.timestamp > 1_600_000_000
    assert session.function_calls[2].kwargs == {"x": 4}


async def test_function_mocks_return_in_turn_fail_and_hang(session):
    mock = session.mock_function("f").returns(1, 2)
    assert [await session.call("f") for _ in range(3)] == [1, 2, 2]
    mock.fails("ValueError", "no")
    with pytest.raises(GuestError) as caught:
        await session.call("f")
    assert (caught.value.error_type, caught.value.message) == ("ValueError", "no")
    assert (await session.run("f()")).error_type == "ValueError"
    assert mock.calls[-1].error == "ValueError: no"
    mock.fails(OSError("disk"))
    assert (await session.run("f()")).error == "disk"
    mock.hangs()
    with pytest.raises(GuestError, match="TimeoutError"):
        await session.call("f", timeout_s=0.01)
    mock.computes(lambda *args: len(args))
    assert await session.call("f", 1, 2) == 2
    assert session.mock_function("nothing").name == "nothing"
    assert await session.call("nothing") is None


async def test_an_async_function_is_awaited_where_code_calls_it(session):
    async def fetch(url: str) -> str:
        await anyio.sleep(0)
        return f"<{url}>"

    session.mock_function("fetch", fetch)
    assert (await session.run("a = fetch('x')\na + fetch('y')")).value == "<x><y>"
    assert await session.call("fetch", "z") == "<z>"


async def test_code_stops_where_its_time_is_up(session):
    session.mock_function("wait").returns(1, delay_s=60)
    after = session.mock_function("after")
    result = await session.run("wait()\nafter()", timeout_s=0.01)
    assert result.error_type == "TimeoutError"
    assert not after.called
    assert (await session.run("1")).value == 1


def test_what_a_function_is_given_and_gives_is_a_copy(session):
    kept = []
    session.mock_function("keep", lambda value: kept.append(value) or kept)
    result = session.run_sync("x = [1]\ny = keep(x)\nx.append(2)\ny")
    assert (kept, result.value) == ([[1]], [[1]])
    kept[0].append(3)
    assert session.run_sync("y").value == [[1]]
    assert session.function_calls[0].args == ([1],)


def test_the_names_of_functions_are_identifiers(session):
    for wrong in ("a b", "", "a.b"):
        with pytest.raises(UsageError):
            session.mock_function(wrong)
        with pytest.raises(UsageError):
            session.call_sync(wrong)
        with pytest.raises(UsageError):
            session.define_sync(wrong, 1)


async def test_calls_that_fail_raise_what_a_real_session_raises(session):
    await session.run("def half(x):\n    return x / 0")
    with pytest.raises(GuestError) as caught:
        await session.call("half", 1)
    assert caught.value.error_type == "ZeroDivisionError"
    with pytest.raises(GuestError, match="name 'unknown' is not defined"):
        session.call_sync("unknown")
    assert session.callback("half", default=0)(1) == 0
    assert (
        session.callback("half", on_error=lambda error: error.error_type)(1) == "ZeroDivisionError"
    )
    with pytest.raises(ValueCrossingError):
        await session.call("half", object())


async def test_should_fail_fails_runs_and_calls(session):
    session.mock_function("f").returns(1)
    session.should_fail = True
    assert (await session.run("1")).error_type == "RuntimeError"
    with pytest.raises(GuestError, match="RuntimeError: the double was told to fail"):
        await session.call("f")


# -- capabilities ----------------------------------------------------------------------------------


async def test_host_functions_are_guarded_as_in_an_engine():
    token = CapabilityToken("fs.read", CapabilityConstraint(resources=("/data/**",)))
    session = MockREPLSession(functions=[READ], capabilities=[token])
    assert (await session.run("read('/data/a')")).value == "</data/a>"
    denied = await session.run("read('/data/../etc/passwd')")
    assert denied.error_type == "CapabilityDenied"
    (violation,) = session.capabilities.violations
    assert violation.capability == "fs.read"
    assert (await session.run("read('/data/a')", grants=[])).error_type == "CapabilityDenied"
    assert session.get_function_call_count("read") == 3
    with pytest.raises(CapabilityDenied):
        await session.run("1", grants=[CapabilityToken("fs.read")])


async def test_an_async_host_function_is_awaited():
    async def ask(question: str) -> str:
        await anyio.sleep(0)
        return question.upper()

    function = HostFunction("ask", ask, needs="llm")
    session = MockREPLSession(functions=[function], capabilities=[CapabilityToken("llm")])
    assert (await session.run("ask('why')")).value == "WHY"


def test_without_capabilities_of_its_own_it_has_those_that_are_current():
    with CapabilityContext("test", tokens=[CapabilityToken("fs.read")]).scope() as context:
        session = MockREPLSession(functions=[READ])
    assert session.capabilities is context
    assert session.run_sync("read('/a')").ok
    assert not MockREPLSession(functions=[READ]).run_sync("read('/a')").ok


# -- at the same time ------------------------------------------------------------------------------


async def test_runs_take_turns_in_the_order_they_came(session):
    order = []
    held = anyio.Event()

    async def first() -> None:
        order.append("first")
        await held.wait()

    session.mock_function("first", first)
    session.mock_function("then", lambda number: order.append(number))
    async with anyio.create_task_group() as group:
        group.start_soon(session.run, "first()")
        await anyio.wait_all_tasks_blocked()
        for number in range(3):
            group.start_soon(session.run, f"then({number})")
            await anyio.wait_all_tasks_blocked()
        assert order == ["first"]
        held.set()
    assert order == ["first", 0, 1, 2]


async def test_who_gives_up_waiting_lets_the_others_pass(session):
    held = anyio.Event()
    session.mock_function("hold", held.wait)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run, "hold()")
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as scope:
            await session.run("1")
        assert scope.cancelled_caught
        held.set()
    assert (await session.run("2")).value == 2
    assert "1" not in session.executed_lines


async def test_threads_and_tasks_take_turns(session):
    session.define_sync("n", 0)

    async def add() -> None:
        await session.run("n = n + 1")

    def add_often() -> None:
        for _ in range(20):
            session.run_sync("n = n + 1")

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(anyio.to_thread.run_sync, add_often)
        for _ in range(20):
            group.start_soon(add)
    assert session.run_sync("n").value == 80


async def test_a_call_from_within_its_own_run_is_refused_and_not_waited_for_for_ever(session):
    session.mock_function("again", lambda: session.run_sync("1").value)
    result = await session.run("again()")
    assert result.error_type == "SessionBusyError"

    async def again() -> object:
        return (await session.run("1")).value

    session.mock_function("again", again)
    assert (await session.run("again()")).error_type == "SessionBusyError"
    assert session.run_sync("1").value == 1


def test_threads_alone_take_turns(session):
    session.define_sync("n", 0)
    threads = [
        threading.Thread(target=lambda: [session.run_sync("n = n + 1") for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert session.run_sync("n").value == 200


# -- history and end -------------------------------------------------------------------------------


async def test_the_history_has_runs_calls_and_definitions(session):
    await session.define("x", 1)
    await session.run("def f(): return x", timeout_s=3)
    await session.call("f")
    await session.run("y")
    assert [(one.kind, one.code, one.result.ok) for one in session.history] == [
        ("define", "x", True),
        ("run", "def f(): return x", True),
        ("call", "f", True),
        ("run", "y", False),
    ]
    assert all(isinstance(one, ExecRecord) for one in session.history)
    assert session.get_execution_count() == 2
    assert session.executed_lines == ["def f(): return x", "y"]
    last = session.get_last_execution()
    assert last is not None
    assert last.exception == "NameError: name 'y' is not defined"
    assert session.executions[0].timeout_s == 3


async def test_reset_is_done_at_once_and_may_be_awaited(session):
    mock = session.mock_function("f").returns(1, 2)
    session.on("magic").returns(7)
    await session.run("x = f()")
    session.reset()
    assert session.history == ()
    assert set(session.python_namespace) == {"f"}
    assert (mock.call_count, session.function_calls) == (0, [])
    assert (await session.run("f()")).value == 1
    await session.reset(scripts=True)
    assert session.python_namespace == {}
    assert (await session.run("magic")).error_type == "NameError"


async def test_a_closed_session_says_so_and_keeps_its_history():
    async with MockREPLSession(name="mine") as session:
        await session.run("x = 1")
    await session.close()
    session.close_sync()
    assert session.closed
    assert len(session.history) == 1
    for use in (
        lambda: session.run("x"),
        lambda: session.call("f"),
        lambda: session.define("x", 1),
    ):
        with pytest.raises(SessionClosedError, match="mine"):
            await use()
    other = MockREPLSession()
    other.run_sync("x = 1")
    other.cleanup()
    assert (other.closed, other.history) == (True, ())
    assert "runs what its own test wrote" in other.isolation


async def test_inputs_are_names_that_stay(session):
    assert (await session.run("a + b", inputs={"a": 1, "b": 2})).value == 3
    assert (await session.run("a")).value == 1


def test_limits_bound_depth_and_time():
    session = MockREPLSession(limits=Limits(recursion=5, timeout_s=None))
    code = "def down(n):\n    return 0 if n == 0 else down(n - 1)\ndown({})"
    assert session.run_sync(code.format(4)).value == 0
    assert session.run_sync(code.format(6)).error_type == "RecursionError"

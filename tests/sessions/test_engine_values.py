"""What goes into an engine comes back as it was, or is refused where it would go in."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from crossing import everything, same
from hypothesis import HealthCheck, event, given, settings

from windtunnel import sessions
from windtunnel.sessions import EngineSession, ValueCrossingError

ENGINES = ["monty", "starlark", "process"]


@sessions.host_function(needs="echo")
def echo(value: Any) -> Any:
    return value


@pytest.fixture(scope="module", params=ENGINES)
def session(request: pytest.FixtureRequest) -> Iterator[EngineSession]:
    held = [sessions.CapabilityToken("echo")]
    with sessions.open(request.param, functions=[echo], capabilities=held) as opened:
        yield opened


@given(value=everything)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_value_goes_in_and_out_and_through_a_host_function_unchanged(
    session: EngineSession, value: object
) -> None:
    try:
        session.define_sync("value", value)
    except ValueCrossingError:
        event("refused")
        return
    for code in ("value", "echo(value)"):
        result = session.run_sync(code)
        assert result.ok, result
        assert same(result.value, value)


def _id(value: object) -> str:
    """The same in every process, which an address or the order of a set is not."""
    if type(value) in (set, object):
        return type(value).__name__
    return ascii(value)[:40]


PLAIN = [
    None,
    True,
    0,
    -(2**63) - 1,
    10**400,
    0.1,
    -0.0,
    5e-324,
    math.nan,
    math.inf,
    -math.inf,
    "",
    "line\r\nbreak \"quotes\" 'single' \\ back {brace} %s \x00 \u2028 \U0001f600",
    b"\x00\xff",
    datetime(2024, 2, 29, 23, 59, 59, 999999),
    datetime(2024, 2, 29, tzinfo=UTC),
    datetime(2024, 2, 29, tzinfo=timezone(timedelta(hours=5, minutes=45), "NPT")),
    date(1, 1, 1),
    time(23, 59),
    timedelta(days=-1, microseconds=1),
    [],
    [[], [[1]]],
    (1, (2, [3])),
    {},
    {"a": {"b": [None, {"c": ()}]}},
    {1: "int", "1": "text", (1, "a"): "tuple", None: "none", 1.5: "float"},
    {1, "a", (2,)},
    frozenset({1}),
]


@pytest.mark.parametrize("value", PLAIN, ids=_id)
def test_what_every_engine_holds(session: EngineSession, value: object) -> None:
    session.define_sync("value", value)
    assert same(session.run_sync("value").value, value)
    assert same(session.run_sync("given", inputs={"given": value}).value, value)
    assert same(session.run_sync("[echo(value)]").value, [value])
    session.run_sync("def same(x, y=None): return (x, y)")
    assert same(session.call_sync("same", value, y=value), (value, value))


class Red(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("value", [Red.RED, object(), [print], bytearray(b"x")], ids=_id)
def test_what_no_engine_holds_is_refused_on_every_way_in(
    session: EngineSession, value: object
) -> None:
    with pytest.raises(ValueCrossingError):
        session.define_sync("value", value)
    with pytest.raises(ValueCrossingError):
        session.run_sync("1", inputs={"value": value})
    session.run_sync("def one(x): return 1")
    with pytest.raises(ValueCrossingError):
        session.call_sync("one", value)
    with pytest.raises(ValueCrossingError):
        session.call_sync("one", x=value)
    assert session.run_sync("1 + 1").value == 2


def loop() -> list[object]:
    ring: list[object] = []
    ring.append(ring)
    return ring


def nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("engine", "value", "why"),
    [
        ("monty", "\ud800", "lone surrogate"),
        ("monty", datetime(2020, 1, 1, fold=1), "fold=1"),
        ("monty", datetime(2020, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), "ZoneInfo"),
        ("monty", datetime(2020, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), "off by"),
        ("monty", {float("nan"): 1, float("nan"): 2}, "several nan"),
        ("monty", nested(901), "deep"),
        ("monty", loop(), "holds itself"),
        ("starlark", "\ud800", "lone surrogate"),
        ("starlark", {b"key": 1}, "bytes"),
        ("starlark", {(1, frozenset()): 1}, "frozenset"),
        ("starlark", {float("nan"): 1, float("nan"): 2}, "two keys"),
        ("starlark", loop(), "holds itself"),
        ("process", loop(), "holds itself"),
    ],
)
def test_what_an_engine_would_alter_is_refused_and_the_error_says_why(
    engine: str, value: object, why: str
) -> None:
    with sessions.open(engine) as session, pytest.raises(ValueCrossingError, match=why):
        session.define_sync("value", value)


@pytest.mark.parametrize(
    ("engine", "code"),
    [
        ("monty", "lambda: 1"),
        ("monty", "[iter([1])]"),
        ("monty", "class A: pass\nA()"),
        ("monty", "{'a': (1, range(3))}"),
        ("monty", "x = []\nx.append(x)\nx"),
        ("monty", "import re\nre.match('a', 'a')"),
        ("monty", "x = []\nfor i in range(1500): x = [x]\nx"),
        ("starlark", "lambda: 1"),
        ("starlark", "[range(3)]"),
        ("starlark", "struct(a=1)"),
        ("starlark", "x = []\nx.append(x)\nx"),
        ("starlark", "{1: 'int', True: 'bool'}"),
        ("process", "lambda: 1"),
        ("process", "object()"),
    ],
)
def test_what_cannot_leave_an_engine_as_it_is_fails_the_run(engine: str, code: str) -> None:
    with sessions.open(engine) as session:
        result = session.run_sync(code)
        assert not result.ok
        assert result.error_type == "ValueCrossingError"
        assert session.run_sync("1 + 1").value == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_neither_an_argument_nor_an_answer_of_a_host_function_is_altered(engine: str) -> None:
    seen: list[object] = []

    @sessions.host_function(needs="echo")
    def keep(value: Any = None) -> Any:
        seen.append(value)
        return Red.RED

    held = [sessions.CapabilityToken("echo")]
    with sessions.open(engine, functions=[keep], capabilities=held) as session:
        refused = session.run_sync("keep(lambda: 1)")
        assert refused.error_type == "ValueCrossingError", refused
        assert seen == []
        refused = session.run_sync("keep(1)")
        assert refused.error_type == "ValueCrossingError", refused
        assert seen == [1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_value_defined_is_the_value_as_it_was_then(engine: str) -> None:
    value = [1]
    with sessions.open(engine) as session:
        session.define_sync("value", value)
        value.append(2)
        assert session.run_sync("value").value == [1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("1, 2", (1, 2)),
        ("x = 5\n(x +\n 1)  # six", 6),
        ("x = 5; x", 5),
        ("'ü' + \\\n 'ß'", "üß"),
        ("x = 7\r\nx\r\n", 7),
        ("x = 1", None),
        ("", None),
        ("# nothing", None),
        ("if True:\n    5", None),
        ("'''a\nb'''", "a\nb"),
        ("(1)", 1),
        ("[i for i in range(3)]", [0, 1, 2]),
    ],
)
def test_the_value_is_that_of_the_last_expression(engine: str, code: str, value: object) -> None:
    with sessions.open(engine) as session:
        result = session.run_sync(code)
        assert (result.ok, result.value) == (True, value), result


def test_monty_code_newer_than_this_python_gives_what_needs_no_looking_at() -> None:
    newer = "except_ = 1\ntry:\n    1 / 0\nexcept ValueError, ZeroDivisionError:\n    except_ = 2\n"
    with sessions.open("monty") as session:
        assert session.run_sync(newer + "except_").value == 2
        told = session.run_sync(newer + "[except_]")
        assert told.ok or "newer than this Python" in told.error

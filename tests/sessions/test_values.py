"""Values cross exactly, or are refused by an error that says where."""

from __future__ import annotations

import collections
import enum
import importlib.util
import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from crossing import everything, same
from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.sessions import values
from windtunnel.sessions.values import ValueCrossingError, decode, encode


@given(everything)
@settings(max_examples=100, deadline=None)
def test_every_value_comes_back_as_it_was(value: object) -> None:
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        -0.0,
        "\ud83d\ude00",  # two lone surrogates, which are not the one character they would spell
        "line\r\nbreak \"quote\" 'quote' \x00 \u2028",
        pytest.param(10**5000, id="more digits than str() may write"),
        -(2**63),
        datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        time(1, 2, 3, tzinfo=timezone(timedelta(minutes=-90), "odd")),
        timedelta.min,
        timedelta.max,
        date.min,
        {(1, (2, b"x")): {frozenset({1, 2})}},
        [True, 1, 1.0],
    ],
)
def test_values_that_common_formats_bend_come_back_straight(value: object) -> None:
    assert same(decode(encode(value)), value)


def test_any_depth_crosses() -> None:
    deep: list[object] = []
    for _ in range(20_000):
        deep = [deep]
    back = decode(encode(deep))
    depth = 0
    while back:
        (back,) = back
        depth += 1
    assert depth == 20_000


class Red(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (object(), "value is a object"),
        ({"a": [1, Red.RED]}, "value['a'][1] is a Red"),
        ({Red.RED: 1}, "a key of value is a Red"),
        ([(1, {2, 1j})], "a member of value[0][1] is a complex"),
        (collections.OrderedDict(a=1), "value is a OrderedDict"),
        (bytearray(b"x"), "value is a bytearray"),
    ],
)
def test_what_would_arrive_as_something_else_is_refused_with_its_place(
    value: object, where: str
) -> None:
    with pytest.raises(ValueCrossingError) as refusal:
        encode(value)
    assert where in str(refusal.value)


def test_a_container_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append([loop])
    with pytest.raises(ValueCrossingError, match="holds itself"):
        encode(loop)


def test_a_value_that_occurs_twice_side_by_side_is_no_loop() -> None:
    part = [1]
    assert decode(encode([part, part])) == [[1], [1]]


def test_a_zone_of_ones_own_is_refused() -> None:
    class Mars(tzinfo):
        pass

    with pytest.raises(ValueCrossingError, match="Mars"):
        encode(datetime(2020, 1, 1, tzinfo=Mars()))


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_hostile_bytes_give_a_value_or_one_clear_error(data: bytes) -> None:
    try:
        value = decode(data)
    except ValueCrossingError:
        return
    assert same(decode(encode(value)), value)


@given(everything, st.data())
@settings(max_examples=50, deadline=None)
def test_bytes_cut_short_are_refused(value: object, data: st.DataObject) -> None:
    whole = encode(value)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    with pytest.raises(ValueCrossingError):
        decode(whole[:cut])


def test_the_file_alone_serves_in_a_child_with_the_standard_library() -> None:
    found = importlib.util.find_spec("windtunnel.sessions.values")
    assert found is not None
    assert found.origin is not None
    program = (
        "import sys, runpy; module = runpy.run_path(sys.argv[1]);"
        "data = sys.stdin.buffer.read();"
        "sys.stdout.buffer.write(module['encode'](module['decode'](data)));"
        "assert 'windtunnel' not in sys.modules"
    )
    value = {"x": [10**40, b"\x00", datetime(2020, 1, 1, tzinfo=UTC)], (1,): {"\ud800"}}
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, found.origin],
        input=encode(value),
        capture_output=True,
        check=True,
    )
    assert same(decode(run.stdout), value)


def test_walking_names_every_place() -> None:
    found = dict(values.walk({"a": [1, (2,)]}))
    assert found["value['a'][1][0]"] == 2

"""The first difference of two traces."""

from __future__ import annotations

import json
from typing import Any

from windtunnel.explore.comparison import first_difference


def step(name: str, at_ns: int = 1000, node: str = "a") -> str:
    return json.dumps({"type": "step", "at_ns": at_ns, "node": node, "name": name})


def note(kind: str, **facts: Any) -> str:
    return json.dumps({"type": "note", "at_ns": 5, "node": "a", "kind": kind, "facts": facts})


def test_equal_traces_have_no_difference() -> None:
    lines = [step("x"), step("y"), note("crash")]
    assert first_difference(lines, lines) is None


def test_the_first_of_two_differences_is_named_with_the_step_before_it() -> None:
    found = first_difference([step("x"), step("y"), step("z")], [step("x"), step("z"), step("y")])
    assert found is not None
    assert (found.step, found.task) == (2, "x")
    assert found.here.startswith("y on a")
    assert found.there.startswith("z on a")
    assert found.before.startswith("x on a")


def test_the_same_step_at_another_time_is_a_difference() -> None:
    found = first_difference([step("x", 1)], [step("x", 2)])
    assert found is not None
    assert found.step == 1


def test_a_trace_that_ends_earlier_differs_there() -> None:
    found = first_difference([step("x")], [step("x"), step("y")])
    assert found is not None
    assert found.here == "nothing more"


def test_the_text_of_a_log_may_differ_and_a_fault_may_not() -> None:
    assert first_difference([note("log", text="at 0x1")], [note("log", text="at 0x2")]) is None
    assert first_difference([note("drop", rate=0.1)], [note("drop", rate=0.2)]) is not None

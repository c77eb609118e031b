"""Same input, same output; and what was passed in is as it was."""

from __future__ import annotations

from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.values import alike, copied, fingerprint, mutable, shown

_SUCCEEDED = "a call that succeeded"
_CHANGEABLE = "an input that can be changed"
_DIFFERENT = "two calls with different results"


@general_law(needs=("call", "inputs|invalid_inputs"), branches=(_SUCCEEDED, _DIFFERENT))
async def same_input_same_output(subject: Any, draw: Draw) -> None:
    """two subjects of one configuration give the same results for the same inputs"""
    case = draw.case
    inputs = draw.inputs(4)
    first = await _results(case, subject, inputs)
    second = await _results(case, await case.make(), inputs)
    for ended in first:
        draw.differs(_DIFFERENT, fingerprint(ended.view))
        if not ended.failed:
            draw.saw(_SUCCEEDED)
    _must_be_same(inputs, first, second, "another subject")
    if not case.contract.stateful:
        again = await _results(case, subject, inputs)
        _must_be_same(inputs, first, again, "the same subject, asked again,")


async def _results(case: Case, subject: Any, inputs: list[Any]) -> list[Completion]:
    return [await case.call(subject, copied(one)) for one in inputs]


def _must_be_same(
    inputs: list[Any], first: list[Completion], second: list[Completion], who: str
) -> None:
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        if not alike(one.view, other.view):
            before = f", after {shown(inputs[:number])}" if number else ""
            broken(
                f"the same input gave another result: {shown(inputs[number])}{before}",
                expected=shown(one),
                found=f"{who} {shown(other)}",
            )


@general_law(needs=("call", "inputs|invalid_inputs"), branches=(_CHANGEABLE,))
async def input_is_not_mutated(subject: Any, draw: Draw) -> None:
    """what a call is given is afterwards as it was"""
    given = draw.any_input()
    before, text = fingerprint(given), shown(given)
    if mutable(given):
        draw.saw(_CHANGEABLE)
    else:
        draw.moot(_CHANGEABLE, "no input that was drawn can be changed, so none was")
    ended = await draw.case.call(subject, given)
    if fingerprint(given) != before:
        broken(f"a call changed its input, and {shown(ended)}", expected=text, found=shown(given))

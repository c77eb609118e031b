"""A double gives what the real one gives."""

from __future__ import annotations

from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import Completion, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.values import alike, copied, shown

_COMPARED = "a call that was compared"


@general_law(needs=("doubles", "call", "inputs|invalid_inputs"), branches=(_COMPARED,), role="fake")
async def agrees_with_the_real_one(subject: Any, draw: Draw) -> None:
    """for the same calls, a double gives what the one it stands for gives"""
    inputs = draw.inputs(3)
    for number, (fake, real) in enumerate(await both(subject, inputs, draw)):
        draw.saw(_COMPARED)
        if not alike(fake.view, real.view):
            before = f", after {shown(inputs[:number])}" if number else ""
            case = draw.case
            broken(
                f"{case.subject.name} is not like {case.subject.stands_for} for"
                f" {shown(inputs[number])}{before}",
                expected=shown(real),
                found=shown(fake),
            )


async def both(subject: Any, inputs: list[Any], draw: Draw) -> list[tuple[Completion, Completion]]:
    """The same calls of a double, and of what it stands for."""
    case, other = draw.case, draw.case.stood_for()
    real = await other.make()
    try:
        return [
            (await case.call(subject, copied(one)), await other.call(real, copied(one)))
            for one in inputs
        ]
    finally:
        await other.finish()

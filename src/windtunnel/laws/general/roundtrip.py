"""What is written down can be read again: by ``repr``, and by the contract's ``dump``."""

from __future__ import annotations

from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.values import alike, shown

_BACK = "a value that came back"


@general_law(needs=("repr_names", "inputs|portable"), branches=(_BACK,))
async def repr_round_trips(subject: Any, draw: Draw) -> None:
    """evaluated, the repr of a value is the value"""
    names = dict(draw.case.contract.repr_names or {})
    for value in await _values(subject, draw):
        text = repr(value)
        try:
            again = eval(text, {"nan": float("nan"), "inf": float("inf"), **names})
        except Exception as error:
            broken(
                "a repr cannot be evaluated",
                expected=f"an expression of {', '.join(names) or 'builtins'}",
                found=f"{shown(text)}: {type(error).__name__}: {error}",
            )
        if not alike(value, again):
            broken("evaluated, a repr is another value", expected=text, found=shown(again))
        draw.saw(_BACK)


@general_law(needs=("dump", "load", "inputs|portable"), branches=(_BACK,))
async def serialisation_round_trips(subject: Any, draw: Draw) -> None:
    """dumped and loaded, a value is the same"""
    case, contract = draw.case, draw.case.contract
    for value in await _values(subject, draw):
        dumped = await case.settled(contract.dump(value))
        again = await case.settled(contract.load(dumped))
        if not alike(value, again):
            broken(
                f"loaded again, a value is another (dumped as {shown(dumped)})",
                expected=shown(value),
                found=shown(again),
            )
        draw.saw(_BACK)


async def _values(subject: Any, draw: Draw) -> list[Any]:
    """What must survive: of a call's result, or of the subject alone."""
    case = draw.case
    result = None
    if case.contract.inputs is not None:
        ended = await case.call(subject, draw.input())
        if ended.raised:
            return []
        result = ended.value
    return list(case.contract.portable(subject, result))

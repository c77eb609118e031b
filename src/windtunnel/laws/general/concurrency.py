"""Calls that run at the same time give what they would have given one after the other.

That is, in whatever order: serializability, for as few calls as all orders can be tried of.
"""

from __future__ import annotations

import itertools
from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.general.at_once import Work, at_once
from windtunnel.laws.values import alike, copied, shown

_OVERLAPPED = "calls that overlapped"


@general_law(needs=("call", "inputs|invalid_inputs"), branches=(_OVERLAPPED,))
async def concurrent_calls_equal_a_serial_order(subject: Any, draw: Draw) -> None:
    """calls at the same time give the results, and leave the state, of some order one by one"""
    case = draw.case
    inputs = draw.inputs(3, 2)
    works = [_calling(case, given) for given in inputs]
    ended = await at_once(case, subject, works, draw, told=shown(inputs), branch=_OVERLAPPED)
    found = await _outcome(case, subject, ended)
    serial = []
    for order in itertools.permutations(range(len(inputs))):
        wanted = await _one_by_one(case, inputs, order)
        if alike(found, wanted):
            return
        serial.append(wanted)
    broken(
        f"calls at the same time gave what no order one by one gives: {shown(inputs)}",
        expected=" or\n            ".join(dict.fromkeys(shown(one) for one in serial)),
        found=shown(found),
    )


def _calling(case: Case, given: Any) -> Work:
    return lambda subject: case.call(subject, copied(given))


async def _outcome(case: Case, subject: Any, ended: list[Completion]) -> list[Any]:
    """What the calls gave, in the order of the inputs, and what they left."""
    contract = case.contract
    views = [one.view for one in ended]
    left = [
        await case.settled(getattr(contract, name)(subject))
        for name in ("state", "stats")
        if contract.declares(name)
    ]
    return [views, *left]


async def _one_by_one(case: Case, inputs: list[Any], order: tuple[int, ...]) -> list[Any]:
    subject = await case.make()
    ended: dict[int, Completion] = {}
    for index in order:
        ended[index] = await case.call(subject, copied(inputs[index]))
    return await _outcome(case, subject, [ended[index] for index in range(len(inputs))])

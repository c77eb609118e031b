"""Calls that run at the same time give what they would have given one after the other."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Collection
from typing import Any

from windtunnel.laws import drive, steps
from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.threads import DeadlockError, Interleaving
from windtunnel.laws.values import alike, copied, shown

_OVERLAPPED = "calls that overlapped"


@general_law(needs=("call", "inputs|invalid_inputs"), branches=(_OVERLAPPED,))
async def concurrent_calls_equal_a_serial_order(subject: Any, draw: Draw) -> None:
    """calls at the same time give the results, and leave the state, of some order one by one"""
    case = draw.case
    inputs = draw.inputs(3, 2)
    ended = await (_in_loop if case.looping else _in_threads)(case, subject, inputs, draw)
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


# -- in an event loop -----------------------------------------------------------------------------


async def _in_loop(case: Case, subject: Any, inputs: list[Any], draw: Draw) -> list[Completion]:
    from hypothesis import strategies

    turns = strategies.lists(strategies.integers(0, 3), max_size=4)
    backend = case.contract.backend
    going: set[int] = set()
    ended: dict[int, Completion] = {}

    def waits(number: int, count: int) -> None:
        if len(going) > 1:
            draw.saw(_OVERLAPPED)

    async def one(number: int, given: Any, linger: list[int], late: int) -> None:
        for _ in range(late):
            await steps.pause(0, backend)
        going.add(number)
        call = case.call(subject, given)
        at = functools.partial(waits, number)
        ended[number] = await steps.Steps(call, at, linger, steps.turn_of(backend))
        going.discard(number)

    drawn = [
        (draw(strategies.integers(0, 2), "turns before it"), draw(turns, "turns at its waits"))
        for _ in inputs
    ]
    works = [
        one(number, copied(given), linger, late)
        for number, (given, (late, linger)) in enumerate(zip(inputs, drawn, strict=True))
    ]
    whole = steps.together(works, backend)
    if not await steps.within(whole, case.contract.tolerance_s, backend):
        broken(
            f"calls at the same time do not end within {case.contract.tolerance_s:g} s:"
            f" {shown(inputs)}",
            found=f"only {len(ended)} of {len(inputs)} ended",
        )
    draw.moot(_OVERLAPPED, "no call waits for anything, so no two can overlap")
    return [ended[number] for number in range(len(inputs))]


# -- in threads -----------------------------------------------------------------------------------


async def _in_threads(case: Case, subject: Any, inputs: list[Any], draw: Draw) -> list[Completion]:
    from hypothesis import strategies

    rehearsal, _ = _interleaved(case, await case.make(), inputs, ())
    lines = strategies.integers(0, max(rehearsal.lines - 1, 0))
    switches = draw(strategies.lists(lines, max_size=4, unique=True), "switch before line")
    together, ended = _interleaved(case, subject, inputs, switches)
    if together.overlapped:
        draw.saw(_OVERLAPPED)
    draw.moot(_OVERLAPPED, "no call runs Python of its own, so none can be interrupted")
    return ended


def _interleaved(
    case: Case, subject: Any, inputs: list[Any], switches: Collection[int]
) -> tuple[Interleaving, list[Completion]]:
    ended: dict[int, Completion] = {}
    lost: list[BaseException] = []

    def call(number: int, given: Any) -> None:
        try:
            ended[number] = drive.alone(case.call(subject, given))
        except BaseException as error:  # raised below, where somebody sees it
            lost.append(error)

    works = [functools.partial(call, number, copied(given)) for number, given in enumerate(inputs)]
    together = Interleaving(works, switches)
    try:
        together.run(case.contract.tolerance_s)
    except DeadlockError as where:
        broken(f"calls at the same time wait for each other: {shown(inputs)}", found=str(where))
    for error in lost:
        raise error
    return together, [ended[number] for number in range(len(inputs))]

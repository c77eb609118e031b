"""Pieces of work on one subject at the same time: as tasks, or as threads that change places."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeAlias

from windtunnel.laws import drive, steps
from windtunnel.laws.case import Case, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.threads import DeadlockError, Interleaving

Work: TypeAlias = Callable[[Any], Awaitable[Any]]
"""Something done with the subject that it is given."""


async def at_once(
    case: Case, subject: Any, works: Sequence[Work], draw: Draw, *, told: str, branch: str
) -> list[Any]:
    """What the works return, done at the same time by a drawn schedule.

    :param told: what they are, for messages.
    :param branch: the law's branch that is seen when two of them overlap.
    """
    if case.looping:
        return await _in_loop(case, subject, works, draw, told, branch)
    return await _in_threads(case, subject, works, draw, told, branch)


async def _in_loop(
    case: Case, subject: Any, works: Sequence[Work], draw: Draw, told: str, branch: str
) -> list[Any]:
    from hypothesis import strategies

    turns = strategies.lists(strategies.integers(0, 3), max_size=4)
    drawn = [
        (draw(strategies.integers(0, 2), "turns before it"), draw(turns, "turns at its waits"))
        for _ in works
    ]
    contract = case.contract
    backend = contract.backend
    going: set[int] = set()
    ended: dict[int, Any] = {}

    def waits(count: int) -> None:
        if len(going) > 1:
            draw.saw(branch)

    async def one(number: int, late: int, linger: Sequence[int]) -> None:
        for _ in range(late):
            await steps.pause(0, backend)
        going.add(number)
        work = works[number](subject)
        ended[number] = await steps.Steps(work, waits, linger, steps.turn_of(backend))
        going.discard(number)

    whole = steps.together([one(number, *how) for number, how in enumerate(drawn)], backend)
    if not await steps.within(whole, contract.tolerance_s, backend):
        broken(
            f"calls at the same time do not end within {contract.tolerance_s:g} s (tolerance_s):"
            f" {told}",
            found=f"only {len(ended)} of {len(works)} ended",
        )
    draw.moot(branch, "no call waits for anything, so no two can overlap")
    return [ended[number] for number in range(len(works))]


async def _in_threads(
    case: Case, subject: Any, works: Sequence[Work], draw: Draw, told: str, branch: str
) -> list[Any]:
    from hypothesis import strategies

    rehearsal, _ = _interleaved(case, await case.make(), works, (), told)
    lines = strategies.integers(0, max(rehearsal.lines - 1, 0))
    switches = draw(
        strategies.lists(lines, min_size=1, max_size=4, unique=True), "switch before line"
    )
    together, ended = _interleaved(case, subject, works, switches, told)
    if together.overlapped:
        draw.saw(branch)
    draw.moot(branch, "no call runs Python of its own, so none can be interrupted")
    return ended


def _interleaved(
    case: Case, subject: Any, works: Sequence[Work], switches: Collection[int], told: str
) -> tuple[Interleaving, list[Any]]:
    ended: dict[int, Any] = {}
    lost: list[BaseException] = []

    async def one(number: int) -> None:
        ended[number] = await works[number](subject)

    def run(number: int) -> None:
        try:
            drive.alone(one(number))
        except BaseException as error:  # raised below, where somebody sees it
            lost.append(error)

    together = Interleaving(
        [functools.partial(run, number) for number in range(len(works))], switches
    )
    try:
        together.run(case.contract.tolerance_s)
    except DeadlockError as where:
        within = f"nothing moves for {case.contract.tolerance_s:g} s (tolerance_s)"
        broken(f"calls at the same time wait for each other: {told}", found=f"{within}: {where}")
    for error in lost:
        raise error
    return together, [ended[number] for number in range(len(works))]

"""A call may be cancelled wherever it waits: it ends, and the subject can be used as before."""

from __future__ import annotations

import inspect
from typing import Any

from windtunnel.laws import steps
from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, Completion, broken
from windtunnel.laws.errors import NothingToTest
from windtunnel.laws.examples import Draw
from windtunnel.laws.values import alike, copied, shown

_CANCELLED = "a call that was cancelled"
_MOST_STEPS = 100


@general_law(needs=("call", "inputs"), branches=(_CANCELLED,), examples=5)
async def cancellation_leaves_it_usable(subject: Any, draw: Draw) -> None:
    """cancelled at any place where it waits, a call ends, and the next one is as if it never was"""
    case = draw.case
    given = draw.input()
    wanted = await case.call(await case.make(), copied(given))
    if not case.looping:
        raise NothingToTest("its calls are not asynchronous, so none can be cancelled")
    for step in range(1, _MOST_STEPS):
        if not await _cancelled(case, subject, given, step):
            if step == 1:
                draw.moot(_CANCELLED, "no call waits for anything, so none can be cancelled")
            return
        draw.saw(_CANCELLED)
        await _must_be_usable(case, subject, given, step, wanted)


async def _cancelled(case: Case, subject: Any, given: Any, step: int) -> bool:
    """Cancel a call at that step; whether it got that far."""
    contract = case.contract
    work = contract.call(subject, copied(given))
    if not inspect.isawaitable(work):
        raise NothingToTest("its calls are not asynchronous, so none can be cancelled")
    within_s = contract.tolerance_s
    ended, count = await steps.cancelled_at(step, work, contract.backend, within_s)
    what = f"the call of {shown(given)}, cancelled where it waits for the {_ordinal(step)} time,"
    if ended == "hung":
        broken(f"{what} does not end within {within_s:g} s")
    if ended == "completed" and count >= step:
        broken(
            f"{what} swallowed the cancellation",
            expected="the cancellation to be raised again",
            found="it returned, or raised something else",
        )
    return ended == "cancelled"


async def _must_be_usable(
    case: Case, subject: Any, given: Any, step: int, wanted: Completion
) -> None:
    contract = case.contract
    after = f"after a call of {shown(given)} was cancelled at its {_ordinal(step)} wait"
    ended: list[Completion] = []

    async def again() -> None:
        ended.append(await case.call(subject, copied(given)))

    if not await steps.within(again(), contract.tolerance_s, contract.backend):
        broken(f"{after}, the next one does not end within {contract.tolerance_s:g} s")
    same = ended[0].failed == wanted.failed
    if not contract.stateful:
        same = alike(ended[0].view, wanted.view)
    if not same:
        broken(f"{after}, the next one differs", expected=shown(wanted), found=shown(ended[0]))


def _ordinal(number: int) -> str:
    """
    >>> _ordinal(1), _ordinal(12), _ordinal(23)
    ('1st', '12th', '23rd')
    """
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"

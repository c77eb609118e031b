"""Closing: twice is as good as once, and afterwards nothing is left."""

from __future__ import annotations

import gc
import weakref
from typing import Any

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.laws import steps
from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, broken
from windtunnel.laws.examples import Draw
from windtunnel.laws.leftovers import Leftovers, alive
from windtunnel.laws.values import copied, shown

_USED = "a used subject that was closed"
_UNUSED = "an unused subject that was closed"
_ENDED = "a subject that was used and ended"
_ROUNDS = 3
_LOOK_AGAIN_S = 0.01


@general_law(needs=("close",), branches=(_USED, _UNUSED))
async def close_is_idempotent(subject: Any, draw: Draw) -> None:
    """a subject may be closed again, also at the same time, and whether it was used or not"""
    case = draw.case
    used = draw.case.contract.inputs is not None and draw(_booleans(), "used before")
    if used:
        await case.call(subject, draw.any_input())
    if case.contract.inputs is None:
        draw.moot(_USED, "nothing says how to use it")
    await case.close(subject)
    ended = await case.completed(lambda: case.settled(case.contract.close(subject)))
    how = "used" if used else "unused"
    if ended.raised:
        broken(f"closed again, {how}, it failed", found=repr(ended))
    if case.looping:
        other = await case.make()
        case.forget(other)
        works = [case.settled(case.contract.close(other)) for _ in range(2)]
        both = await case.completed(lambda: steps.together(works, case.contract.backend))
        if both.raised:
            broken("closed twice at the same time, it failed", found=repr(both))
    draw.saw(_USED if used else _UNUSED)


def _booleans() -> Any:
    from hypothesis import strategies

    return strategies.booleans()


@general_law(needs=("close|inputs",), branches=(_ENDED,), examples=2)
async def nothing_leaks(subject: Any, draw: Draw) -> None:
    """made, used, cancelled and closed again and again, nothing of it is left, nor it itself"""
    case = draw.case
    declares = case.contract.declares
    usable = declares("call") and (declares("inputs") or declares("invalid_inputs"))
    inputs = draw.inputs(3) if usable else []
    await _used_and_ended(case, inputs)  # what is made once and kept is no leak
    leaked: list[Leftovers] = []
    kept: list[weakref.ref[Any]] = []
    for _ in range(_ROUNDS):
        before = alive()
        reference = await _used_and_ended(case, inputs)
        leaked.append(await _left(case, before))
        if reference is not None:
            kept.append(reference)
    draw.saw(_ENDED)
    after = f"after each of {_ROUNDS} that were made, used with {shown(inputs)} and closed"
    for kind in ("thread", "task", "file", "process"):
        if all(any(key[0] == kind for key in one) for one in leaked):
            told = "; ".join(told for key, told in leaked[-1].items() if key[0] == kind)
            broken(f"a {kind} is left {after}", found=told)
    _must_be_gone(case, kept, after)


async def _used_and_ended(case: Case, inputs: list[Any]) -> weakref.ref[Any] | None:
    made = await case.make()
    for given in inputs:
        await case.call(made, copied(given))
    if inputs and case.looping:
        work = case.settled(case.contract.call(made, copied(inputs[0])))
        contract = case.contract
        await steps.cancelled_at(1, work, contract.backend, contract.tolerance_s)
    if case.contract.declares("close"):
        await case.close(made)
    case.forget(made)
    try:
        return weakref.ref(made)
    except TypeError:  # a builtin that nobody can watch
        return None


async def _left(case: Case, before: Leftovers) -> Leftovers:
    """What is more than before, and stays: ending may take a moment."""
    backend = case.contract.backend if case.looping else None
    deadline = REAL_CLOCK.monotonic() + case.contract.tolerance_s / _ROUNDS
    while True:
        now = alive()
        new = {key: told for key, told in now.items() if before.get(key) != told}
        # A pool that keeps one ready has another after each, and no more than before.
        more = {key: told for key, told in new.items() if _count(now, key) > _count(before, key)}
        if not more or REAL_CLOCK.monotonic() > deadline:
            return more
        await steps.pause(_LOOK_AGAIN_S, backend)


def _count(leftovers: Leftovers, like: tuple[str, int]) -> int:
    return sum(key[0] == like[0] for key in leftovers)


def _must_be_gone(case: Case, kept: list[weakref.ref[Any]], after: str) -> None:
    gc.collect()
    living = {id(one): one for one in (reference() for reference in kept) if one is not None}
    # One for all is no leak, nor is one that somebody is given again.
    if len(living) < _ROUNDS:
        return
    one = next(iter(living.values()))
    holders = {type(holder).__name__ for holder in gc.get_referrers(one) if holder is not living}
    broken(
        f"the subject itself is kept {after}",
        expected="nobody to refer to it",
        found=f"{shown(one, 80)}, held by {', '.join(sorted(holders)) or 'somebody'}",
    )

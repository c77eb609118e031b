"""Stats agree with what happened, and identifiers are carried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.laws.book import general_law
from windtunnel.laws.case import Case, broken
from windtunnel.laws.errors import ContractError
from windtunnel.laws.examples import Draw
from windtunnel.laws.general.at_once import Work, at_once
from windtunnel.laws.values import copied, shown

_COUNTED = ("calls", "succeeded", "failed")
_A_CALL = "a call that was counted"
_SUCCEEDED = "a call that succeeded"
_FAILED = "a call that failed"
_CARRIED = "an identifier that was carried"
_OVERLAPPED = "calls that overlapped"


@general_law(
    needs=("stats", "call", "inputs|invalid_inputs"), branches=(_A_CALL, _SUCCEEDED, _FAILED)
)
async def stats_agree(subject: Any, draw: Draw) -> None:
    """what a subject counts is what was done with it"""
    case = draw.case
    happened: dict[str, int] = dict.fromkeys(_COUNTED, 0)
    before = await _stats(case, subject)
    inputs = draw.inputs(5)
    for given in inputs:
        ended = await case.call(subject, copied(given))
        happened["calls"] += 1
        happened["failed" if ended.failed else "succeeded"] += 1
        draw.saw(_FAILED if ended.failed else _SUCCEEDED)
    after = await _stats(case, subject)
    counted = {name: after[name] - before.get(name, 0) for name in after}
    wanted = {name: happened[name] for name in after}
    draw.saw(_A_CALL)
    for name, why in ((_SUCCEEDED, "succeeded"), (_FAILED, "failed")):
        if why not in after and "calls" in after:
            draw.saw(name)  # it does not tell them apart, so neither need we
    if counted != wanted:
        broken(
            f"the stats disagree with what happened, over {shown(inputs)}",
            expected=wanted,
            found=counted,
        )


async def _stats(case: Case, subject: Any) -> Mapping[str, float]:
    stats: Mapping[str, float] = await case.settled(case.contract.stats(subject))
    if not stats or set(stats) - set(_COUNTED):
        raise ContractError(
            f"{type(case.contract).__name__}.stats counts something else",
            found=", ".join(map(repr, stats)) or "nothing",
            fix=f"return a mapping of any of {', '.join(_COUNTED)}",
        )
    return stats


@general_law(needs=("call_as", "identifiers", "inputs"), branches=(_CARRIED, _OVERLAPPED))
async def identifiers_are_carried(subject: Any, draw: Draw) -> None:
    """a result, or error, carries the id of its own call and no other's, also of calls at once"""
    from hypothesis import strategies

    case = draw.case
    inputs = draw.inputs(3, 2)
    count = len(inputs)
    names = strategies.text("abcdef0123456789", min_size=8, max_size=32)
    ids = draw(strategies.lists(names, min_size=count, max_size=count, unique=True), "ids")
    works = [_calling(case, given, name) for given, name in zip(inputs, ids, strict=True)]
    told = shown(inputs)
    _must_carry(ids, [await work(subject) for work in works], told)
    found = await at_once(case, subject, works, draw, told=told, branch=_OVERLAPPED)
    _must_carry(ids, found, f"{told}, called at the same time")
    draw.saw(_CARRIED)


def _calling(case: Case, given: Any, name: str) -> Work:
    async def call(subject: Any) -> list[str]:
        contract = case.contract
        ended = await case.completed(
            lambda: case.settled(contract.call_as(subject, copied(given), name))
        )
        held = ended.error if ended.raised else ended.value
        return list(await case.settled(contract.identifiers(held)))

    return call


def _must_carry(ids: list[str], found: list[list[str]], told: str) -> None:
    for own, carried in zip(ids, found, strict=True):
        others = [name for name in ids if name != own]
        if own not in carried or any(name in carried for name in others):
            broken(f"a call does not carry its id, over {told}", expected=[own], found=carried)

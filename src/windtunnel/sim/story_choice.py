"""Which facts a story tells: the end, the faults, who is concerned; the rest is folded.

A run may have ten thousand messages, and what explains a failure is a dozen of them. Repeated
traffic becomes one line with a count, but the last facts before the failure stay one by one,
since their order is the explanation.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence

from windtunnel.sim.story_facts import Fact

MOST = 30
_TAIL = 12
_SHORT = 6
# What it counts, beside a fact's weight, that it is about those concerned, and that it is late.
_CONCERNED, _LATE = 1.5, 2.0
_NUMBERS = re.compile(r"\d+")


def choose(facts: Sequence[Fact], concerned: Iterable[str], *, most: int = MOST) -> list[Fact]:
    """At most ``most`` of the facts, in order, with a fact ``across`` where some are left out.

    :param concerned: names of the nodes that the failure is about; empty for all.
    """
    rows = _folded(facts[:-_TAIL]) + _alike(facts[-_TAIL:])
    kept = _kept(rows, set(concerned), most)
    return _with_gaps(rows, kept)


def _folded(facts: Sequence[Fact]) -> list[Fact]:
    """Between two faults, messages and logs that differ in their numbers only become one."""
    rows: list[Fact] = []
    stretch: list[Fact] = []
    for fact in facts:
        if fact.weight >= 3:
            rows += [*_gathered(stretch), fact]
            stretch = []
        else:
            stretch.append(fact)
    return rows + _gathered(stretch)


def _gathered(stretch: list[Fact]) -> list[Fact]:
    if len(stretch) <= _SHORT:
        return _alike(stretch)
    groups: dict[tuple[object, ...], list[Fact]] = {}
    for fact in stretch:
        groups.setdefault(_shape(fact), []).append(fact)
    return [_together(group) for group in groups.values()]


def _alike(facts: Sequence[Fact]) -> list[Fact]:
    """Neighbours that differ in their numbers only become one."""
    groups: list[list[Fact]] = []
    for fact in facts:
        if groups and _shape(groups[-1][0]) == _shape(fact) and fact.weight < 3:
            groups[-1].append(fact)
        else:
            groups.append([fact])
    return [row for group in groups for row in (group if len(group) < 3 else [_together(group)])]


def _shape(fact: Fact) -> tuple[object, ...]:
    return fact.kind, fact.node, fact.target, fact.look, _NUMBERS.sub("#", fact.text)


def _together(group: list[Fact]) -> Fact:
    first = group[0]
    if len(group) == 1:
        return first
    total = sum(fact.count for fact in group)
    return dataclasses.replace(first, count=total, until_ns=group[-1].at_ns)


def _kept(rows: Sequence[Fact], concerned: set[str], most: int) -> set[int]:
    """Numbers of the rows that are told: the weighty and the late, and who is concerned."""

    def worth(number: int) -> tuple[float, int]:
        fact = rows[number]
        about = not concerned or fact.kind == "across" or {fact.node, fact.target} & concerned
        late = number / len(rows)
        return fact.weight + (_CONCERNED if about else 0) + _LATE * late, number

    weighty = [number for number in range(len(rows)) if rows[number].weight]
    tail = weighty[-(most // 3) :]
    others = sorted(set(range(len(rows))) - set(tail), key=worth, reverse=True)
    return {*tail, *others[: most - len(tail)]}


def _with_gaps(rows: Sequence[Fact], kept: set[int]) -> list[Fact]:
    told: list[Fact] = []
    left_out: list[Fact] = []
    for number, fact in enumerate(rows):
        if number not in kept:
            left_out.append(fact)
            continue
        if left_out:
            told.append(_gap(left_out))
            left_out = []
        told.append(fact)
    return [*told, _gap(left_out)] if left_out else told


def _gap(left_out: list[Fact]) -> Fact:
    total = sum(fact.count for fact in left_out)
    text = f"{total} fact{'s' * (total > 1)} left out"
    return Fact(at_ns=left_out[-1].at_ns, kind="across", text=text, look="skip", weight=0)

"""The story of a failure: who said what to whom, what broke, and what was violated by it.

As text for a terminal, and as a sequence diagram. Both tell the same facts, which
``story_facts`` collects and ``story_choice`` chooses; times are virtual.
"""

from __future__ import annotations

import dataclasses
import linecache
import os
import re
import sysconfig
import textwrap
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.draw import STYLE, Absence, Across, Arrow, Element, Mark, clean, document
from windtunnel.draw import sequence as draw_sequence
from windtunnel.sim import story_choice, story_facts, story_lanes
from windtunnel.sim.story_facts import Fact

if TYPE_CHECKING:
    from windtunnel.draw.sequence import Event, Look
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

_MOST_LINES = 14
_HOUSE = str(Path(__file__).resolve().parents[1])
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))


@dataclasses.dataclass(frozen=True, slots=True)
class Story:
    """What is told of a run.

    :param title: seed, size and length of the run.
    :param lanes: names of the nodes that occur, in the order in which they were made.
    :param facts: what is told, in order.
    :param states: what the nodes were before the first of the facts, where not "up".
    :param absences: when nodes were down or paused.
    :param end: how the nodes ended up, where that is not as they began.
    :param violated: the error, in lines.
    """

    title: str
    lanes: tuple[str, ...]
    facts: tuple[Fact, ...]
    states: dict[str, str]
    absences: tuple[Absence, ...]
    end: str
    violated: tuple[str, ...]


def text(
    world: World,
    error: BaseException | None = None,
    *,
    at_ns: int | None = None,
    most: int = story_choice.MOST,
) -> str:
    """The story in lines of at most 100 columns.

    :param error: what ended the run; None for the story of a run that passed.
    :param at_ns: when it ended, nanoseconds of virtual time; what came later is not told. None
        for now.
    :param most: number of facts to tell.
    """
    told = story(world, error, at_ns=at_ns, most=most)
    lines = [told.title, ""]
    lines += story_lanes.lines(told.facts, told.lanes, told.states)
    if told.end:
        lines += ["", *textwrap.wrap(f"at the end: {told.end}", story_lanes.WIDTH)]
    if told.violated:
        lines += ["", "violated:", *(f"  {line}" for line in told.violated)]
    return "\n".join(lines) + "\n"


def sequence(
    world: World, error: BaseException | None = None, *, at_ns: int | None = None
) -> Element:
    """The story as a sequence diagram, to be put into a page that has ``draw.STYLE``."""
    told = story(world, error, at_ns=at_ns)
    verdict = "\n".join((*told.violated, told.end and f"at the end: {told.end}"))
    return draw_sequence(
        told.lanes,
        [_event(fact) for fact in told.facts],
        told.absences,
        verdict=verdict.strip(),
    )


def svg(world: World, error: BaseException | None = None, *, at_ns: int | None = None) -> str:
    """The story as an SVG file of its own."""
    return document(sequence(world, error, at_ns=at_ns), STYLE)


def story(
    world: World,
    error: BaseException | None = None,
    *,
    at_ns: int | None = None,
    most: int = story_choice.MOST,
) -> Story:
    """What is to be told of a run, before it is drawn."""
    end_ns = world.now_ns if at_ns is None else at_ns
    everything = story_facts.collect(world, end_ns)
    facts = story_choice.choose(everything, _concerned(world, error), most=most)
    named = {name for fact in facts for name in (fact.node, fact.target) if name}
    lanes = [node.name for node in world.nodes.values() if node.name in named]
    lanes += sorted(named - set(lanes))
    begin = facts[0].at_ns if facts else 0
    count = len(world.nodes) - 1
    title = (
        f"story of seed {world.seed.value}: {count} node{'s' * (count != 1)} and the test,"
        f" {end_ns / 1e9:.6f} s of virtual time"
    )
    return Story(
        title=title,
        lanes=tuple(lanes),
        facts=tuple(facts),
        states=_states_before(everything, begin),
        absences=tuple(_absences(everything, lanes)),
        end="; ".join(filter(None, (_ending(node, everything) for node in world.nodes.values()))),
        violated=tuple(_violated(error)) if error is not None else (),
    )


# Who is concerned, and how everybody was.


def _concerned(world: World, error: BaseException | None) -> set[str]:
    """The nodes that an error is about: those it names, and those whose program it ended."""
    if error is None:
        return set()
    causes = list(_causes(error))
    failed = {node.name for node, raised in world.failures if any(raised is one for one in causes)}
    said = "\n".join(str(one) for one in causes)
    named = {
        name
        for name in world.nodes
        if name != "test" and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", said)
    }
    return failed | named


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it; of a group, its members."""
    todo, seen = [error], set[int]()
    while todo:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions
        todo += [each for each in (one.__cause__, one.__context__) if each is not None]


def _states_before(facts: Sequence[Fact], at_ns: int) -> dict[str, str]:
    return {fact.node: fact.state for fact in facts if fact.state and fact.at_ns < at_ns}


def _absences(facts: Sequence[Fact], lanes: Sequence[str]) -> Iterator[Absence]:
    for lane in lanes:
        gone: Fact | None = None
        for fact in facts:
            if fact.node != lane or not fact.state:
                continue
            if gone is not None:
                yield _absence(gone, fact.at_ns / 1e9)
            gone = fact if fact.state != "up" else None
        if gone is not None:
            yield _absence(gone, None)


def _absence(fact: Fact, until_s: float | None) -> Absence:
    look: Look = "skip" if fact.state == "paused" else "bad"
    return Absence(lane=fact.node, from_s=fact.at_ns / 1e9, until_s=until_s, look=look)


def _ending(node: Node, facts: Sequence[Fact]) -> str:
    """How a node is at the end, where that is not as it began."""
    mine = [fact for fact in facts if fact.node == node.name and fact.state]
    said = []
    if mine and mine[-1].state != "up":
        said.append(f"is {mine[-1].state}")
    boots = 1 + sum(fact.text == story_facts.BOOTS for fact in mine)
    if boots > 1:
        said.append(f"has booted {boots} times")
    ahead = node.clock.offset_s
    if abs(ahead) > 1e-6:
        said.append(f"has a wall clock {abs(ahead):g} s {'ahead' if ahead > 0 else 'behind'}")
    if rate := node.clock.drift_ppm:
        said.append(f"runs {abs(rate):g} ppm {'fast' if rate > 0 else 'slow'}")
    return f"{node.name} {', '.join(said)}" if said else ""


# What was violated.


def _violated(error: BaseException) -> Iterator[str]:
    leaves = list(_leaves(error))[:3]
    for one in leaves:
        said = f"{type(one).__name__}: {one}".rstrip(": ")
        lines = clean(said, lines=True).splitlines()
        for line in lines[:_MOST_LINES]:
            yield from textwrap.wrap(line, story_lanes.WIDTH - 2, subsequent_indent="  ") or [""]
        if len(lines) > _MOST_LINES:
            yield f"and {len(lines) - _MOST_LINES} lines more"
        where = _where(one)
        if where:
            yield from textwrap.wrap(where, story_lanes.WIDTH - 2, subsequent_indent="  ")


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _leaves(one)
    else:
        yield error


def _where(error: BaseException) -> str:
    """The innermost line of the user's own code that an error came through."""
    found = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = frame.f_code.co_filename
        if name.startswith((_HOUSE, *_LIBRARIES)) or not os.path.isabs(name):
            continue
        source = linecache.getline(name, line).strip()
        shown = os.path.relpath(name) if name.startswith(os.getcwd() + os.sep) else name
        found = f"at {shown}:{line} in {frame.f_code.co_name}: {source}"
    return found


# The drawing.


def _event(fact: Fact) -> Event:
    if fact.kind == "message":
        return Arrow(
            source=fact.node,
            target=fact.target,
            sent_s=fact.sent_ns / 1e9,
            arrived_s=fact.at_ns / 1e9 if fact.arrived else None,
            label=fact.text,
            look=fact.look,
            count=fact.count,
        )
    label = fact.text if fact.count == 1 else f"{fact.text}  \N{MULTIPLICATION SIGN} {fact.count}"
    at_s = fact.at_ns / 1e9
    if fact.kind == "mark":
        return Mark(lane=fact.node, at_s=at_s, label=label, look=fact.look)
    return Across(at_s=at_s, label=label, look=fact.look)

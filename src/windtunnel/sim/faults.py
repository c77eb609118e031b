"""Plans of faults (:mod:`windtunnel.core.faults`) carried out on a simulated world.

A target is a node (``"a"``), a link from one to the other (``"a->b"``), the way between two
(``"a-b"``), or groups that are parted (``"a,b|c"``). What has an end is undone at its end.

====================  ==========  =========================  ==========================
verb                  target      arguments                  undone by
====================  ==========  =========================  ==========================
crash                 node                                   restart
restart, stop         node
pause                 node                                   resume
jump                  node        ``seconds``                a jump back
drift                 node        ``ppm``                    the drift before
partition             groups,
                      link, way                              heal, between them
hold                  link, way                              release
slow                  link, way   ``latency_s``,             heal, between them
                                  ``jitter_s``,
                                  ``bandwidth``
drop                  link, way   ``rate``                   heal, between them
cut (or reset)        link, way
====================  ==========  =========================  ==========================
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.core.faults import Fault, FaultPlan
from windtunnel.sim.net.links import LinkConfig, Uniform, check_rate

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

Step: TypeAlias = Callable[[], object]


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """What a fault of the network is done to.

    :param source: names of the nodes on the one side.
    :param target: names of those on the other.
    :param symmetric: both ways.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    symmetric: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Verb:
    """How a verb is carried out: what it takes, and what makes its steps."""

    on_node: bool
    arguments: tuple[str, ...]
    steps: Callable[[World, Any, Mapping[str, Any]], tuple[Step, Step | None]]
    needed: tuple[str, ...] = ()


def apply(world: World, plan: FaultPlan) -> None:
    """Have the plan's faults happen at their times, counted from the world's beginning.

    :raises UsageError: for an unknown verb, target or argument; then none of them happens.
    """
    planned = [(fault, *_steps(world, number, fault)) for number, fault in enumerate(plan)]
    for fault, begin, end in planned:
        world.at(round(fault.at_s * 1e9), begin)
        if fault.until_s is not None and end is not None:
            world.at(round(fault.until_s * 1e9), end)


def _steps(world: World, number: int, fault: Fault) -> tuple[Step, Step | None]:
    where = f"faults[{number}]"
    verb = _VERBS.get(fault.verb)
    if verb is None:
        close = difflib.get_close_matches(fault.verb, _VERBS, n=1)
        raise UsageError(
            f"{where}: the simulated world has no fault {fault.verb!r}",
            fix=f"did you mean {close[0]}?" if close else f"use {', '.join(_VERBS)}",
        )
    for name in fault.arguments:
        if name not in verb.arguments:
            raise UsageError(
                f"{where}: {fault.verb} has no argument {name!r}",
                fix=f"use {', '.join(verb.arguments)}" if verb.arguments else "give it none",
            )
    for name in verb.needed:
        if name not in fault.arguments:
            raise UsageError(f"{where}: {fault.verb} needs the argument {name!r}")
    target = _node(world, where, fault.target) if verb.on_node else _link(world, where, fault)
    if target is world.test and fault.verb not in ("jump", "drift"):
        raise UsageError(
            f"{where}: nobody can {fault.verb} the node of the test body",
            fix="start the program on a node of its own: world.start('a', main)",
        )
    try:
        begin, end = verb.steps(world, target, fault.arguments)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: {error}", found=repr(dict(fault.arguments))) from None
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", found=error.found, fix=error.fix) from None
    if fault.until_s is not None and end is None:
        raise UsageError(
            f"{where}: {fault.verb} has no end",
            found=f"until_s={fault.until_s!r}",
            fix="leave it out",
        )
    return begin, end


def _node(world: World, where: str, name: str) -> Node:
    known = world.nodes.get(name)
    if known is None:
        raise UsageError(
            f"{where}: there is no node {name!r} in this world",
            fix=f"there are {', '.join(world.nodes)}; apply the plan when its nodes are there",
        )
    return known


def _link(world: World, where: str, fault: Fault) -> Link:
    text = fault.target.strip()
    sides = _split(text, world)
    if sides is None:
        if fault.verb != "partition":
            raise UsageError(
                f"{where}: {fault.verb} is done to a link",
                found=repr(fault.target),
                fix='write "a->b" for one way, "a-b" for both',
            )
        one = _names(world, where, text)
        return Link(one, tuple(name for name in world.nodes if name not in one), True)
    source, way, target = sides
    return Link(_names(world, where, source), _names(world, where, target), way != "->")


def _split(text: str, world: World) -> tuple[str, str, str] | None:
    """The two sides of a target, and the sign between; a name may have a dash in it."""
    for sign in ("<->", "->", "|"):
        source, found, target = text.partition(sign)
        if found:
            return source, sign, target
    for match in re.finditer("-", text):
        source, target = text[: match.start()], text[match.end() :]
        if source.strip() in world.nodes and target.strip() in world.nodes:
            return source, "-", target
    if "-" in text and text not in world.nodes:
        source, _, target = text.partition("-")
        return source, "-", target
    return None


def _names(world: World, where: str, text: str) -> tuple[str, ...]:
    return tuple(_node(world, where, name.strip()).name for name in text.split(","))


# What the verbs do.


def _crash(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    def begin() -> None:
        if node.state in ("up", "paused"):
            node.crash()

    return begin, node.restart


def _restart(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, None]:
    return node.restart, None


def _stop(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, None]:
    def begin() -> None:
        if node.state in ("up", "paused"):
            with world.on(world.test):
                world.loop.create_task(node.stop(), name=f"stop {node.name}")

    return begin, None


def _pause(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    def begin() -> None:
        if node.state == "up":
            node.pause()

    return begin, node.resume


def _jump(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    seconds = float(arguments["seconds"])
    return (lambda: node.clock.jump(seconds)), (lambda: node.clock.jump(-seconds))


def _drift(world: World, node: Node, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    before: list[float] = []

    def begin() -> None:
        before.append(node.clock.drift_ppm)
        node.clock.drift_ppm = float(arguments["ppm"])

    def end() -> None:
        node.clock.drift_ppm = before.pop()

    return begin, end


def _heal(world: World, link: Link) -> Step:
    return lambda: world.net.heal(link.source, link.target)


def _partition(world: World, link: Link, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    def begin() -> None:
        world.net.partition(link.source, link.target, symmetric=link.symmetric)

    return begin, _heal(world, link)


def _hold(world: World, link: Link, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    def begin() -> None:
        world.net.hold(link.source, link.target, symmetric=link.symmetric)

    def end() -> None:
        world.net.release(link.source, link.target, symmetric=link.symmetric)

    return begin, end


def _slow(world: World, link: Link, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    latency, jitter = arguments.get("latency_s"), arguments.get("jitter_s", 0.0)
    if latency is None and arguments.get("bandwidth") is None:
        raise UsageError("slow needs latency_s or bandwidth")
    Uniform((latency or 0.0) - jitter, (latency or 0.0) + jitter)  # says what is wrong with them
    LinkConfig(bandwidth=arguments.get("bandwidth"))

    def begin() -> None:
        world.net.slow(link.source, link.target, symmetric=link.symmetric, **arguments)

    return begin, _heal(world, link)


def _drop(world: World, link: Link, arguments: Mapping[str, Any]) -> tuple[Step, Step]:
    rate: Any = arguments["rate"]
    check_rate("rate", rate)

    def begin() -> None:
        world.net.drop(link.source, link.target, rate=rate, symmetric=link.symmetric)

    return begin, _heal(world, link)


def _cut(world: World, link: Link, arguments: Mapping[str, Any]) -> tuple[Step, None]:
    return (lambda: world.net.cut(link.source, link.target)), None


_VERBS = {
    "crash": _Verb(True, (), _crash),
    "restart": _Verb(True, (), _restart),
    "stop": _Verb(True, (), _stop),
    "pause": _Verb(True, (), _pause),
    "jump": _Verb(True, ("seconds",), _jump, needed=("seconds",)),
    "drift": _Verb(True, ("ppm",), _drift, needed=("ppm",)),
    "partition": _Verb(False, (), _partition),
    "hold": _Verb(False, (), _hold),
    "slow": _Verb(False, ("latency_s", "jitter_s", "bandwidth"), _slow),
    "drop": _Verb(False, ("rate",), _drop, needed=("rate",)),
    "cut": _Verb(False, (), _cut),
    "reset": _Verb(False, (), _cut),
}

"""Faults of the network, as verbs: partition, heal, hold, release, slow, drop, cut.

A node is named by its name or its ``Node``; a group is one node or several. What a verb does to
a link lasts until it is healed (``hold``: until released); connections that stand are affected
from the moment on, new ones as well.
"""

from __future__ import annotations

import abc
import dataclasses
import errno
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from windtunnel.core.errors import UsageError
from windtunnel.sim.net.links import Fixed, Link, LinkConfig, Uniform, check_rate

if TYPE_CHECKING:
    from windtunnel.sim.net.stream import StreamEnd
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

Named: TypeAlias = "str | Node"
"""A node, or its name."""

Group: TypeAlias = "Named | Iterable[Named]"
"""One node, or several."""


class Verbs(abc.ABC):
    """The verbs of a network; :class:`~windtunnel.sim.net.network.Network` has them."""

    world: World
    _links: dict[tuple[str, str], Link]
    _ends: dict[StreamEnd, None]

    @abc.abstractmethod
    def link(self, source: Node, target: Node) -> Link:
        """The way from one node to another."""

    @abc.abstractmethod
    def review(self, end: StreamEnd) -> None:
        """See whether an end still has trouble, or has some now."""

    # Partitions.

    def partition(
        self, *groups: Group, symmetric: bool = True, pairs: Iterable[tuple[Named, Named]] = ()
    ) -> None:
        """Let no message pass from one group to another.

        Streams stall, and go on after :meth:`heal` or time out; datagrams are lost. A single
        group is cut off from all other nodes. A node in two groups still speaks with both (a
        bridge).

        :param symmetric: False: only what is sent from a group to a later one is lost.
        :param pairs: partial partitions: just these pairs of nodes, besides the groups.
        :raises UsageError: for an unknown node, or when there is nothing to part.
        """
        sides = [self._group(group) for group in groups]
        if len(sides) == 1:
            rest = [node for node in self.world.nodes.values() if node not in sides[0]]
            sides.append(rest)
        wanted = list(_between(sides, symmetric=symmetric))
        for first, second in pairs:
            a, b = self._two(first, second)
            wanted += [(a, b), (b, a)] if symmetric else [(a, b)]
        if not wanted:
            raise UsageError(
                "a partition needs two groups of nodes that differ",
                found=f"partition({', '.join(map(repr, groups))})",
                fix="write world.partition(['a', 'b'], ['c'])",
            )
        for source, target in wanted:
            self.link(source, target).blocked = True
        text = " | ".join(",".join(node.name for node in side) for side in sides if side)
        self._changed("partition", (self.link(*pair) for pair in wanted), groups=text or None)

    def heal(self, *between: Group) -> None:
        """Undo partitions, ``slow`` and ``drop``: everywhere, or between two groups.

        What is held stays held. Stalled streams go on when their kernels next try, which after
        a long partition takes a while, as it does in the world outside.

        :raises UsageError: for an unknown node, or one group only.
        """
        if between and len(between) != 2:
            raise UsageError("heal takes no groups or two", found=f"{len(between)} groups")
        links = list(self._links.values())
        if between:
            first, second = map(self._group, between)
            links = [*self._all_between(first, second, symmetric=True)]
        for link in links:
            link.blocked = False
            link.set(link.base)
        self._changed("heal", links)

    # Holding.

    def hold(self, a: Group, b: Group, *, symmetric: bool = True) -> None:
        """Keep every message between ``a`` and ``b`` that has not arrived yet, in order.

        :param symmetric: False: only what goes from ``a`` to ``b``.
        :raises UsageError: for an unknown node.
        """
        links = self._pair_links(a, b, symmetric=symmetric)
        for link in links:
            link.held = True
        self._changed("hold", links, a=_shown(a), b=_shown(b))

    def release(self, *between: Group, symmetric: bool = True) -> None:
        """Deliver what is held: everywhere, or between two groups.

        :raises UsageError: for an unknown node, or one group only.
        """
        if between and len(between) != 2:
            raise UsageError("release takes no groups or two", found=f"{len(between)} groups")
        links = list(self._links.values())
        if between:
            links = self._pair_links(between[0], between[1], symmetric=symmetric)
        for link in links:
            link.held = False
        self._changed("release", links)
        for link in links:
            kept, link.kept = link.kept, []
            for arrived, _ in kept:
                self.world.soon(arrived)

    # Quality.

    def slow(
        self,
        a: Group,
        b: Group,
        *,
        latency_s: float | None = None,
        jitter_s: float = 0.0,
        bandwidth: float | None = None,
        symmetric: bool = True,
    ) -> None:
        """Make the way between ``a`` and ``b`` slow.

        :param latency_s: one way, seconds; None leaves the latency as it is.
        :param jitter_s: by how much the latency varies, seconds, to either side.
        :param bandwidth: bytes per second; messages queue for it.
        :param symmetric: False: only from ``a`` to ``b``.
        :raises UsageError: for an unknown node or a value that makes no sense.
        """
        changes: dict[str, Any] = {}
        if latency_s is not None:
            _number("latency_s", latency_s)
            _number("jitter_s", jitter_s)
            if jitter_s > latency_s:
                raise UsageError(
                    "jitter_s is at most latency_s", found=f"{jitter_s!r} and {latency_s!r}"
                )
            low, high = latency_s - jitter_s, latency_s + jitter_s
            changes["latency"] = Uniform(low, high) if jitter_s else Fixed(latency_s)
        elif jitter_s:
            raise UsageError("jitter_s needs latency_s, around which it varies")
        if bandwidth is not None:
            changes["bandwidth"] = bandwidth
        if not changes:
            raise UsageError(
                "slow needs latency_s or bandwidth", fix="write world.slow('a', 'b', latency_s=0.2)"
            )
        self._reshape("slow", self._pair_links(a, b, symmetric=symmetric), changes)

    def drop(self, a: Group, b: Group, *, rate: float, symmetric: bool = True) -> None:
        """Lose a share of the messages between ``a`` and ``b``.

        Datagrams are gone; streams send again, so what they carry comes late.

        :param rate: share that is lost, 0 to 1.
        :param symmetric: False: only from ``a`` to ``b``.
        :raises UsageError: for an unknown node, or a rate that is none.
        """
        check_rate("rate", rate)
        self._reshape("drop", self._pair_links(a, b, symmetric=symmetric), {"loss": rate})

    def shape(self, a: Group, b: Group, config: LinkConfig, *, symmetric: bool = True) -> None:
        """Let the way between ``a`` and ``b`` be like ``config``, until it is healed.

        :raises UsageError: for an unknown node, or when ``config`` is no LinkConfig.
        """
        if not isinstance(config, LinkConfig):
            raise UsageError("the shape of a link is a LinkConfig", found=repr(config))
        changes = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        self._reshape("shape", self._pair_links(a, b, symmetric=symmetric), changes)

    def _reshape(self, kind: str, links: list[Link], changes: dict[str, Any]) -> None:
        for link in links:
            link.set(dataclasses.replace(link.config, **changes))
        facts = {name: value if _is_plain(value) else str(value) for name, value in changes.items()}
        self._changed(kind, links, **facts)

    def cut(self, a: Group, b: Group) -> None:
        """Tear every connection between ``a`` and ``b``: both ends find it reset, now.

        New connections can be made at once.

        :raises UsageError: for an unknown node.
        """
        links = set(self._pair_links(a, b, symmetric=True))
        torn = [end for end in self._ends if end.link in links]
        self.world.note("cut", a=_shown(a), b=_shown(b), connections=len(torn) // 2)
        for end in torn:
            end.lost(errno.ECONNRESET)

    # What a verb is about.

    def _node(self, named: Named) -> Node:
        known = self.world.nodes
        node = known.get(named) if isinstance(named, str) else named
        if node is None or getattr(node, "name", None) not in known:
            raise UsageError(
                "there is no such node in this world",
                found=repr(named),
                fix=f"there are {', '.join(known)}",
            )
        return node

    def _group(self, group: Group) -> list[Node]:
        if isinstance(group, str) or hasattr(group, "hostname"):
            return [self._node(cast("Named", group))]
        try:
            members = list(cast("Any", group))
        except TypeError:
            members = []
        if not members:
            raise UsageError("a group has one node or several", found=repr(group))
        return [self._node(member) for member in members]

    def _two(self, first: Named, second: Named) -> tuple[Node, Node]:
        a, b = self._node(first), self._node(second)
        if a is b:
            raise UsageError("a pair has two nodes", found=f"{a.name!r} twice")
        return a, b

    def _pair_links(self, a: Group, b: Group, *, symmetric: bool) -> list[Link]:
        return list(self._all_between(self._group(a), self._group(b), symmetric=symmetric))

    def _all_between(
        self, first: list[Node], second: list[Node], *, symmetric: bool
    ) -> Iterator[Link]:
        found: dict[Link, None] = {}
        for a in first:
            for b in second:
                if a is b and len(first) + len(second) > 2:
                    continue  # of two groups that share a node, its loopback is not meant
                found[self.link(a, b)] = None
                if symmetric:
                    found[self.link(b, a)] = None
        return iter(found)

    def _changed(self, kind: str, links: Iterable[Link], **facts: Any) -> None:
        """Links are not what they were: connections over them look after themselves."""
        links = set(links)
        if "groups" not in facts and not {"a", "b"} & facts.keys():
            facts["links"] = len(links)
        self.world.note(kind, **facts)
        for end in list(self._ends):
            if end.link in links or end.peer.link in links:
                self.review(end)


def _between(sides: list[list[Node]], *, symmetric: bool) -> Iterator[tuple[Node, Node]]:
    """Ordered pairs that a partition parts: of different groups, and together in none."""
    together = {(a, b) for side in sides for a in side for b in side}
    for number, side in enumerate(sides):
        for other in sides[number + 1 :]:
            for a in side:
                for b in other:
                    if (a, b) in together:
                        continue
                    yield a, b
                    if symmetric:
                        yield b, a


def _number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise UsageError(f"{name} is a number of seconds, 0 or more", found=repr(value))


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


def _shown(group: Any) -> str:
    if isinstance(group, str):
        return group
    name = getattr(group, "name", None)
    return str(name) if name is not None else ",".join(_shown(each) for each in group)

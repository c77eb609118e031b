"""Asynchronous generators that are alive on a loop, in the order in which they began.

asyncio keeps them in a weak set, which is walked by address when the loop ends, and closes them
wherever it is. Here each belongs to the node that began it: one of a node that crashed is not
closed, since that would run its ``finally`` blocks.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

Generator: TypeAlias = AsyncGenerator[Any, Any]


class Generators:
    """What asyncio's loop asks of its set of generators, and whose they are.

    :param world: whose node it is that begins one.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[int, tuple[weakref.ref[Generator], Node, int]] = {}

    def add(self, generator: Generator) -> None:
        """It is iterated for the first time, by the node whose step is running."""
        number = id(generator)

        def gone(reference: weakref.ref[Generator]) -> None:
            known = self._known.get(number)
            if known is not None and known[0] is reference:
                del self._known[number]

        node = self._world.node
        self._known[number] = (weakref.ref(generator, gone), node, node.incarnation)

    def discard(self, generator: Generator) -> None:
        """It is over."""
        self._known.pop(id(generator), None)

    def clear(self) -> None:
        """All are over."""
        self._known.clear()

    def owner(self, generator: Generator) -> Node | None:
        """The node that began it; None when that life of the node has ended."""
        known = self._known.get(id(generator))
        if known is None:
            return self._world.node
        return known[1] if known[1].incarnation == known[2] else None

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Generator]:
        for reference, _, _ in list(self._known.values()):
            generator = reference()
            if generator is not None and self.owner(generator) is not None:
                yield generator

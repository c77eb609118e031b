"""Tasks and futures of the simulated world.

They are asyncio's own, in C, and differ in one thing: their hash is a serial number instead of
an address, so that a set of tasks is walked in the same order in every run. The number is given
when the hash is first asked for, which is as deterministic as creation and costs nothing for
the many futures that never enter a set.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.sim.loop import SimLoop
    from windtunnel.sim.node import Node


def _loop_of(future: asyncio.Future[Any]) -> SimLoop:
    return future.get_loop()  # type: ignore[return-value]


class SimFuture(asyncio.Future[Any]):
    """A future of the simulated loop.

    :ivar behind: the task that will complete it, where that is known.
    """

    __slots__ = ("_wt_hash", "behind")

    behind: asyncio.Future[Any]

    _wt_hash: int

    def __hash__(self) -> int:
        try:
            return self._wt_hash
        except AttributeError:
            self._wt_hash = serial = _loop_of(self).next_serial()
            return serial


class SimTask(asyncio.Task[Any]):
    """A task of the simulated loop.

    :ivar node: where its steps are run: the node that made it.
    """

    __slots__ = ("_wt_hash", "node", "priority")

    _wt_hash: int
    node: Node
    priority: float

    def __hash__(self) -> int:
        try:
            return self._wt_hash
        except AttributeError:
            self._wt_hash = serial = _loop_of(self).next_serial()
            return serial

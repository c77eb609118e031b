"""The clock that expiry is read from where none is given: that of the world the code runs in."""

from __future__ import annotations

import sys
from threading import get_ident

from windtunnel.core.clock import REAL_CLOCK

_loaded = sys.modules


class WorldClock:
    """The clock of the simulated node inside a step of a simulated world, else the real one.

    The simulated world is looked for among the modules that are loaded, so that whoever has none
    loads nothing of it.

    >>> clock = WorldClock()
    >>> clock.monotonic() <= clock.monotonic()
    True
    """

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        inside = _loaded.get("windtunnel.sim.inside")
        if inside is None or inside.world is None or inside.thread != get_ident():
            return REAL_CLOCK.time()
        nanoseconds: int = inside.world.node.clock.time_ns()
        return nanoseconds / 1e9

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going backwards."""
        inside = _loaded.get("windtunnel.sim.inside")
        if inside is None or inside.world is None or inside.thread != get_ident():
            return REAL_CLOCK.monotonic()
        nanoseconds: int = inside.world.node.clock.monotonic_ns()
        return nanoseconds / 1e9

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long, in the real world."""
        REAL_CLOCK.sleep(seconds)


WORLD_CLOCK = WorldClock()
"""The clock of contexts that are given no other."""

__all__ = ["WORLD_CLOCK", "WorldClock"]

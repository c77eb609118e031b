"""The clock of the world a server stands in: the simulated one's while it runs, else the real."""

from __future__ import annotations

import sys

from windtunnel.core.clock import REAL_CLOCK

_loaded = sys.modules
_real_time = REAL_CLOCK.time


class WorldClock:
    """Asks, each time, whether a simulated world is running; then its node's clock is the one.

    The simulated world is looked for among the modules that are loaded, so that a server in the
    real one loads nothing of it.

    >>> clock = WorldClock()
    >>> clock.monotonic() <= clock.monotonic()
    True
    """

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        inside = _loaded.get("windtunnel.sim.inside")
        if inside is not None and inside.world is not None:
            nanoseconds: int = inside.world.node.clock.time_ns()
            return nanoseconds / 1e9
        return _real_time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going backwards."""
        inside = sys.modules.get("windtunnel.sim.inside")
        if inside is not None and inside.world is not None:
            nanoseconds: int = inside.world.node.clock.monotonic_ns()
            return nanoseconds / 1e9
        return REAL_CLOCK.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long, in the real world."""
        REAL_CLOCK.sleep(seconds)


WORLD_CLOCK = WorldClock()
"""The clock servers ask unless they are given another."""

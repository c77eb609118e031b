"""Measuring in the simulated world, whose time is virtual: whether, and by which clock."""

from __future__ import annotations

import asyncio
import sys

from windtunnel.core import UsageError


def in_simulation() -> bool:
    """Whether this moment belongs to a simulated world.

    A world that runs has been imported; where none has, asking costs nothing.
    """
    inside = sys.modules.get("windtunnel.sim.inside")
    return inside is not None and getattr(inside, "world", None) is not None


class LoopClock:
    """The time of the event loop that runs here, which in a simulated world is virtual."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def time(self) -> float:
        """Seconds on the loop's own scale: there is no wall clock that would mean anything."""
        return self._loop.time()

    def monotonic(self) -> float:
        """Seconds on the loop's own scale."""
        return self._loop.time()

    def sleep(self, seconds: float) -> None:
        """Not possible: a call that blocks would stop the world.

        :raises UsageError: always.
        """
        raise UsageError(
            "an open loop of a plain function would block the simulated world",
            found=f"a sleep of {seconds:g} s",
            fix="measure an asynchronous function there",
        )

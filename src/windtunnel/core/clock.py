"""Clocks. Code of the house asks a ``Clock`` and never ``time`` or ``datetime``.

That is what lets the simulated world hand out virtual time, and what keeps the run's own
durations true while a test freezes or moves the date under it.
"""

from __future__ import annotations

import time as _time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    """What a clock is."""

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going backwards."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long on this clock."""
        ...


class RealClock:
    """The machine's clock, deaf to freezegun, time-machine and other movers of dates.

    The wall clock is read once, when the house is imported; after that, time is that reading
    plus what ``perf_counter`` has moved, because the common libraries that fake dates replace
    ``time.time`` (freezegun in every module that holds a reference to it, time-machine in C)
    and leave ``perf_counter`` alone. The functions are kept on the instance, where freezegun's
    sweep over module attributes does not find them.

    >>> clock = RealClock()
    >>> clock.monotonic() <= clock.monotonic()
    True
    """

    __slots__ = ("_perf", "_sleep", "_wall_at_zero")

    def __init__(self) -> None:
        self._perf: Callable[[], float] = _time.perf_counter
        self._sleep: Callable[[float], None] = _time.sleep
        self._wall_at_zero = _time.time() - self._perf()

    def read_with(self, perf: Callable[[], float], sleep: Callable[[float], None]) -> None:
        """Read the machine's clock through these from now on: the simulated world takes over the
        functions of ``time`` in place, so that even a kept reference shows virtual time."""
        self._perf = perf
        self._sleep = sleep

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        return self._wall_at_zero + self._perf()

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going backwards."""
        return self._perf()

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long."""
        self._sleep(seconds)


REAL_CLOCK = RealClock()
"""The clock of the real world, shared by everyone in this process."""


class Nanoseconds(Protocol):
    """What a node of a simulated world reads its time from."""

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary point, never going backwards."""
        ...


class WorldClock:
    """The clock of the world that the caller is in: inside a step of a simulated one that of its
    node, else the machine's.

    >>> clock = WorldClock()
    >>> clock.monotonic() <= clock.monotonic()
    True
    """

    __slots__ = ("_node",)

    def __init__(self) -> None:
        self._node: Callable[[], Nanoseconds | None] = _nowhere

    def ask(self, node: Callable[[], Nanoseconds | None]) -> None:
        """From now on, ask ``node`` which simulated node's step this is; None for no such step."""
        self._node = node

    def time(self) -> float:
        """Seconds since the Unix epoch."""
        node = self._node()
        return REAL_CLOCK.time() if node is None else node.time_ns() / 1e9

    def monotonic(self) -> float:
        """Seconds since an arbitrary point, never going backwards."""
        node = self._node()
        return REAL_CLOCK.monotonic() if node is None else node.monotonic_ns() / 1e9

    def sleep(self, seconds: float) -> None:
        """Block the calling thread for that long, in the real world."""
        REAL_CLOCK.sleep(seconds)


def _nowhere() -> None:
    """No simulated world has been loaded."""


WORLD_CLOCK = WorldClock()
"""The clock of whatever stands in a world and is given no clock of its own."""

"""A clock that shows what it is set to."""

from __future__ import annotations


class SetClock:
    """A :class:`~windtunnel.core.clock.Clock` for attempts that wait for the hour.

    >>> clock = SetClock(100.0)
    >>> clock.now = 200.0
    >>> clock.time()
    200.0
    """

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        """Seconds since the epoch."""
        return self.now

    def monotonic(self) -> float:
        """The same."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Go on by that much."""
        self.now += seconds


__all__ = ["SetClock"]

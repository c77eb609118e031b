"""Waiting for a predicate with a deadline: the one way in which this room waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from windtunnel.core import REAL_CLOCK

_FIRST_S = 0.0005
_LONGEST_S = 0.02


def pauses(within: float) -> Iterator[float]:
    """Seconds to pause before each next look, growing, until ``within`` seconds have gone by."""
    deadline = REAL_CLOCK.monotonic() + within
    pause = _FIRST_S
    while (left := deadline - REAL_CLOCK.monotonic()) > 0:
        yield min(pause, left)
        pause = min(pause * 1.5, _LONGEST_S)


def wait_until(predicate: Callable[[], bool], within: float) -> bool:
    """Wait until the predicate holds, at most ``within`` seconds; whether it did.

    >>> wait_until(lambda: True, within=0)
    True
    >>> wait_until(lambda: False, within=0.001)
    False
    """
    if predicate():
        return True
    for pause in pauses(within):
        REAL_CLOCK.sleep(pause)
        if predicate():
            return True
    return False

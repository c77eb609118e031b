"""How long a call takes where nothing gets in between, on a machine that others use too.

When there are more threads than processors, a call is set aside for milliseconds while others
run, and its wall-clock time says more about them. Linux counts, a thread, how long it was ready
and waited for a processor (``/proc/thread-self/schedstat``, second field: run-queue delay). Taken
off the wall-clock time, what remains is computing and waiting of the call's own: sleeping, input
and output stay in. Where there is no such count, the wall-clock time is used as it is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import repeat
from typing import Any, Protocol

from windtunnel.core import REAL_CLOCK, Clock

_SCHEDSTAT = "/proc/thread-self/schedstat"


class Delay(Protocol):
    """Tells for how long this thread has waited for a processor."""

    def read(self) -> float:
        """Seconds so far."""
        ...

    def close(self) -> None:
        """Read no more."""
        ...


class KernelDelay:
    """As the kernel counts it for the thread that opens it."""

    def __init__(self) -> None:
        self._fd = os.open(_SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)

    def read(self) -> float:
        """Seconds so far."""
        return int(os.pread(self._fd, 96, 0).split()[1]) * 1e-9

    def close(self) -> None:
        """Read no more."""
        os.close(self._fd)


class NoDelay:
    """Where nobody counts."""

    def read(self) -> float:
        """Nothing is known."""
        return 0.0

    def close(self) -> None:
        """Nothing is open."""


def delay() -> Delay:
    """The kernel's count for this thread, if there is one."""
    try:
        counted = KernelDelay()
        counted.read()
    except (OSError, ValueError, IndexError):
        return NoDelay()
    return counted


def samples(
    fn: Callable[[], Any],
    *,
    warmup: int,
    count: int,
    least_s: float = 1e-3,
    clock: Clock = REAL_CLOCK,
) -> dict[str, Any]:
    """``count`` samples of a function, each of at least ``least_s`` seconds.

    :returns: ``times_s``: seconds a call without run-queue delay; ``wall_s``: with it;
        ``failures`` and the first ``error`` where calls raised; ``inner``: calls a sample.
    """
    from windtunnel.bench.measuring import is_async

    if is_async(fn):
        return asyncio.run(_samples_async(fn, warmup, count, least_s, clock))
    taker = _Taker(clock, count, least_s)
    while (inner := taker.wants(warmup)) is not None:
        taker.begin()
        try:
            for _ in repeat(None, inner):
                fn()
        except Exception as error:
            taker.failed(error)
        else:
            taker.end(inner)
    return taker.answer()


async def _samples_async(
    fn: Callable[[], Awaitable[Any]], warmup: int, count: int, least_s: float, clock: Clock
) -> dict[str, Any]:
    taker = _Taker(clock, count, least_s)
    while (inner := taker.wants(warmup)) is not None:
        taker.begin()
        try:
            for _ in repeat(None, inner):
                await fn()
        except Exception as error:
            taker.failed(error)
        else:
            taker.end(inner)
    return taker.answer()


class _Taker:
    """Decides how many calls the next sample has, and keeps what was found."""

    def __init__(self, clock: Clock, count: int, least_s: float) -> None:
        self._now = clock.monotonic
        self._delay = delay()
        self._count = count
        self._least_s = least_s
        self._inner = 1
        self._settled = False
        self._made = 0
        self._times: list[float] = []
        self._walls: list[float] = []
        self._failures = 0
        self._error = ""
        self._began = self._waited = 0.0

    def wants(self, warmup: int) -> int | None:
        """Calls of the next sample; None when there are enough."""
        if self._settled and self._made >= warmup:
            if len(self._times) + self._failures >= self._count:
                return None
        elif self._settled:
            self._made += 1
        return self._inner

    def begin(self) -> None:
        # The clock outside, the count inside: a wait between the two readings then makes a sample
        # too long, which its neighbours put right, and never one too short, which nothing would.
        self._began = self._now()
        self._waited = self._delay.read()

    def end(self, inner: int) -> None:
        waited = self._delay.read() - self._waited
        wall = self._now() - self._began
        took = max(0.0, wall - waited)
        if not self._settled:
            self._settled = took >= self._least_s or inner >= 1 << 24
            if not self._settled:
                self._inner = inner * 2
            return
        self._times.append(took / inner)
        self._walls.append(wall / inner)

    def failed(self, error: Exception) -> None:
        self._settled = True
        self._failures += 1
        self._error = self._error or f"{type(error).__name__}: {error}"[:200]

    def answer(self) -> dict[str, Any]:
        self._delay.close()
        return {
            "times_s": self._times,
            "wall_s": self._walls,
            "failures": self._failures,
            "error": self._error,
            "inner": self._inner,
        }

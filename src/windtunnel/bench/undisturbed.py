"""How long a call takes where nothing gets in between, on a machine that others use too.

When there are more threads than processors, a call is set aside for milliseconds while others
run, and its wall-clock time says more about them. Linux counts, a thread, how long it was ready
and waited for a processor (``/proc/thread-self/schedstat``, second field: run-queue delay). Taken
off the wall-clock time, what remains is computing and waiting of the call's own: sleeping, input
and output stay in. Where there is no such count, the wall-clock time is used as it is.
"""

from __future__ import annotations

import math
import os
from collections.abc import Awaitable, Callable, Coroutine
from itertools import repeat
from typing import Any, Protocol

from windtunnel.bench.target import is_async
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
    most_s: float = math.inf,
    clock: Clock = REAL_CLOCK,
) -> dict[str, Any]:
    """``count`` samples of a function, each of at least ``least_s`` seconds; fewer, but one at
    the least, where all of it would take more than ``most_s``.

    :returns: ``times_s``: seconds a call without run-queue delay; ``wall_s``: with it;
        ``failures`` and the first ``error`` where calls raised; ``inner``: calls a sample.
    """
    if is_async(fn):
        return _run_async(_samples_async(fn, warmup, count, least_s, most_s, clock))
    taker = _Taker(clock, warmup, count, least_s, most_s)
    result: Any = None
    while (inner := taker.wants()) is not None:
        taker.begin()
        try:
            for _ in repeat(None, inner):
                result = fn()
        except Exception as error:
            taker.failed(error)
        else:
            taker.end(inner)
        if hasattr(result, "__await__"):
            result.close()  # an asynchronous function that does not look like one
            return _run_async(_samples_async(fn, warmup, count, least_s, most_s, clock))
    return taker.answer()


def _run_async(samples: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
    """Run it; the import is half of a fresh interpreter's start, for those who need it."""
    import asyncio

    return asyncio.run(samples)


async def _samples_async(
    fn: Callable[[], Awaitable[Any]],
    warmup: int,
    count: int,
    least_s: float,
    most_s: float,
    clock: Clock,
) -> dict[str, Any]:
    taker = _Taker(clock, warmup, count, least_s, most_s)
    while (inner := taker.wants()) is not None:
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

    def __init__(
        self, clock: Clock, warmup: int, count: int, least_s: float, most_s: float
    ) -> None:
        self._now = clock.monotonic
        self._until = self._now() + most_s
        self._delay = delay() if clock is REAL_CLOCK else NoDelay()
        self._warmup, self._count = warmup, count
        self._least_s = least_s
        self._inner = 1
        self._settled = False
        self._made = 0
        self._times: list[float] = []
        self._walls: list[float] = []
        self._failures = 0
        self._error = ""
        self._began = self._waited = 0.0

    def wants(self) -> int | None:
        """Calls of the next sample; None when there are enough."""
        taken = len(self._times) + self._failures
        if taken >= self._count or (taken and self._now() >= self._until):
            return None
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
            # The calls that tell how many make a sample warm up, too.
            self._made += 1
            if took < self._least_s and inner < 1 << 24:
                self._inner = inner * 2
            else:
                self._settled = self._made >= self._warmup or self._now() >= self._until
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

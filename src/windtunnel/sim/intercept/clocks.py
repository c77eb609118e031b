"""The `time` module inside a simulated step: the clocks of the node whose step it is.

Each function here takes the original and gives what stands in for it. Wall-clock functions show
the node's wall clock, all others its monotonic clock: a process of a simulated node uses its
processor all the time it lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from windtunnel.sim import inside
from windtunnel.sim.errors import BlockingCallError
from windtunnel.sim.fence.sites import caller

Real = Callable[..., Any]
Makes = Callable[[Real], Real]


def _wall_s(real: Real) -> Real:
    def wall_s(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.clock.time_ns() / 1e9

    return wall_s


def _wall_ns(real: Real) -> Real:
    def wall_ns(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.clock.time_ns()

    return wall_ns


def _monotonic_s(real: Real) -> Real:
    def monotonic_s(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.clock.monotonic_ns() / 1e9

    return monotonic_s


def _monotonic_ns(real: Real) -> Real:
    def monotonic_ns(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.clock.monotonic_ns()

    return monotonic_ns


_WALL = {
    getattr(time, name)
    for name in ("CLOCK_REALTIME", "CLOCK_TAI", "CLOCK_REALTIME_COARSE")
    if hasattr(time, name)
}
# Linux numbers that `time` gives no name to: the coarse and the alarm clocks.
_WALL |= {5, 8} if hasattr(time, "CLOCK_TAI") else set()
_KNOWN = _WALL | {
    getattr(time, name) for name in dir(time) if name.startswith("CLOCK_") and name.isupper()
}


def _one_clock(world: Any, clock: int) -> int:
    node_clock = world.node.clock
    ns: int = node_clock.time_ns() if clock in _WALL else node_clock.monotonic_ns()
    return ns


def _clock_gettime(real: Real) -> Real:
    def clock_gettime(*clock: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread or clock[:1] not in _KNOWN_ARGUMENTS:
            return real(*clock)
        return _one_clock(world, *clock) / 1e9

    return clock_gettime


def _clock_gettime_ns(real: Real) -> Real:
    def clock_gettime_ns(*clock: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread or clock[:1] not in _KNOWN_ARGUMENTS:
            return real(*clock)
        return _one_clock(world, *clock)

    return clock_gettime_ns


_KNOWN_ARGUMENTS = {(number,) for number in _KNOWN}


def _clock_getres(real: Real) -> Real:
    def clock_getres(*clock: Any) -> Any:
        resolution = real(*clock)
        if inside.world is None or get_ident() != inside.thread:
            return resolution
        return 1e-9

    return clock_getres


def _now_when_unsaid(real: Real) -> Real:
    """``localtime``, ``gmtime``, ``ctime``: seconds, or None or nothing for now."""

    def from_seconds(*seconds: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread or seconds not in ((), (None,)):
            return real(*seconds)
        return real(world.node.clock.time_ns() / 1e9)

    return from_seconds


def _asctime(real: Real) -> Real:
    def asctime(*when: Any) -> Any:
        world = inside.world
        if when or world is None or get_ident() != inside.thread:
            return real(*when)
        return real(time.localtime())

    return asctime


def _strftime(real: Real) -> Real:
    def strftime(*arguments: Any) -> Any:
        world = inside.world
        if len(arguments) != 1 or world is None or get_ident() != inside.thread:
            return real(*arguments)
        return real(*arguments, time.localtime())

    return strftime


def _sleep(real: Real) -> Real:
    def sleep(_self: object, seconds: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(seconds)
        if world.in_executor:
            if seconds < 0:
                return real(seconds)  # which raises
            return world.blocking_sleep(seconds)
        error = BlockingCallError(
            "time.sleep blocks the event loop: no other task could run meanwhile",
            found=f"time.sleep({seconds!r}) at {caller()}",
            fix=f"await asyncio.sleep({seconds!r}), or await asyncio.to_thread(time.sleep, "
            f"{seconds!r})",
        )
        world.escape(error)
        raise error

    return sleep


_TABLE: dict[str, Makes] = {
    "time": _wall_s,
    "time_ns": _wall_ns,
    "monotonic": _monotonic_s,
    "monotonic_ns": _monotonic_ns,
    "perf_counter": _monotonic_s,
    "perf_counter_ns": _monotonic_ns,
    "process_time": _monotonic_s,
    "process_time_ns": _monotonic_ns,
    "thread_time": _monotonic_s,
    "thread_time_ns": _monotonic_ns,
    "clock_gettime": _clock_gettime,
    "clock_gettime_ns": _clock_gettime_ns,
    "clock_getres": _clock_getres,
    "localtime": _now_when_unsaid,
    "gmtime": _now_when_unsaid,
    "ctime": _now_when_unsaid,
    "asctime": _asctime,
    "strftime": _strftime,
    "sleep": _sleep,
}


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Each function of `time` that this platform has, and what makes its replacement."""
    for name, makes in _TABLE.items():
        function = getattr(time, name, None)
        if function is not None:
            yield function, makes

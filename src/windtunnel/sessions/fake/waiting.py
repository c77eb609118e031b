"""How a double lets time pass: what it does is a generator of steps, driven sync or async.

A step that takes time is yielded as an effect. The driver lets that time pass on the double's
clock, but no more of it than the execution's limit leaves: then the generator is closed at that
step, so that nothing after it happens, as in an engine that was stopped there.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    import types

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """That many seconds pass; ``math.inf`` for a step that never ends."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Pending:
    """Something of the test's own is to be awaited: an async function it gave."""

    awaitable: Awaitable[Any]


Steps: TypeAlias = Generator[Wait | Pending, Any, T]


class OutOfTimeError(Exception):
    """The execution's limit has passed. Inside the doubles only: it becomes an outcome."""


class Budget:
    """The time that one execution has.

    :param clock: whose time.
    :param timeout_s: seconds; None for no limit.
    """

    def __init__(self, clock: Clock, timeout_s: float | None) -> None:
        self.clock = clock
        self.timeout_s = timeout_s
        self.started = clock.time()
        self._began = clock.monotonic()

    def spent_s(self) -> float:
        """Seconds since it began."""
        return self.clock.monotonic() - self._began

    def left_s(self) -> float:
        """Seconds that are left, infinitely many where there is no limit."""
        return math.inf if self.timeout_s is None else self.timeout_s - self.spent_s()


async def drive(steps: Steps[T], budget: Budget) -> T:
    """Carry the steps out in the running event loop.

    :raises OutOfTimeError: when the budget is used up; nothing of ``steps`` happens afterwards.
    """
    result: Any = None
    error: Exception | None = None
    try:
        while True:
            try:
                effect = steps.send(result) if error is None else steps.throw(error)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            result, error = None, None
            if isinstance(effect, Wait):
                await _pass_time(effect.seconds, budget)
            else:
                try:
                    result = await _await(effect.awaitable, budget)
                except OutOfTimeError:
                    raise
                except Exception as raised:
                    error = raised  # for the step that asked: it may handle it
    finally:
        steps.close()


def drive_sync(steps: Steps[T], budget: Budget) -> T:
    """The same, blocking this thread.

    :raises UsageError: where a step is to be awaited.
    """
    try:
        while True:
            try:
                effect = next(steps)
            except StopIteration as stop:
                return stop.value  # type: ignore[no-any-return]
            if isinstance(effect, Pending):
                _discard(effect.awaitable)
                raise UsageError(
                    "an async function of a double was called by a call that blocks",
                    fix="await run(), call() or execute() instead of the sync twin",
                )
            _block(effect.seconds, budget)
    finally:
        steps.close()


async def checkpoint() -> None:
    """Let others run, and be cancelled here where one was: what awaiting a real engine does."""
    await anyio().lowlevel.checkpoint()


async def _pass_time(seconds: float, budget: Budget) -> None:
    seconds, late = _allowed(seconds, budget)
    if budget.clock is not REAL_CLOCK and seconds < math.inf:
        budget.clock.sleep(seconds)  # a clock that the test moves: nobody waits
        await checkpoint()
    else:
        await anyio().sleep(seconds)
    if late:
        raise OutOfTimeError


def _block(seconds: float, budget: Budget) -> None:
    seconds, late = _allowed(seconds, budget)
    if seconds == math.inf:
        raise UsageError(
            "a double that hangs was called by a call that blocks, without a limit",
            fix="give timeout_s, or Limits(timeout_s=...) to the double",
        )
    if seconds > 0:
        budget.clock.sleep(seconds)
    if late:
        raise OutOfTimeError


def _allowed(seconds: float, budget: Budget) -> tuple[float, bool]:
    """How much of that time may pass, and whether the execution is over then."""
    left = budget.left_s()
    if left <= 0 or seconds > left:
        return max(0.0, left), True
    return seconds, False


async def _await(awaitable: Awaitable[Any], budget: Budget) -> Any:
    left = budget.left_s()
    if left == math.inf:
        return await awaitable
    with anyio().move_on_after(max(0.0, left)) as scope:
        return await awaitable
    assert scope.cancelled_caught
    raise OutOfTimeError


def _discard(awaitable: Awaitable[Any]) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()  # a coroutine that nobody awaits would warn


def anyio() -> types.ModuleType:
    """The library through which the doubles wait, on asyncio and on trio.

    :raises MissingExtraError: where it is not installed.
    """
    try:
        import anyio as library
        import anyio.lowlevel
    except ImportError as error:
        raise MissingExtraError("sessions", needed_for="awaiting a double of a session") from error
    return library


__all__ = [
    "Budget",
    "OutOfTimeError",
    "Pending",
    "Steps",
    "Wait",
    "checkpoint",
    "drive",
    "drive_sync",
]

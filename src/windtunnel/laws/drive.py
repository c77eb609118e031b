"""Running a coroutine to its end: without a loop, on asyncio, or on trio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from windtunnel.core.errors import UsageError
from windtunnel.laws.errors import NeedsLoopError, RunningLoopError

T = TypeVar("T")


def alone(work: Coroutine[Any, Any, T]) -> T:
    """Run what never waits for anything.

    :raises NeedsLoopError: where it waits after all.

    >>> async def work():
    ...     return 1
    >>> alone(work())
    1
    """
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise NeedsLoopError


def run(work: Callable[[], Coroutine[Any, Any, T]], backend: str | None) -> T:
    """Run a coroutine function in a loop of its own, or without one where ``backend`` is None.

    :raises UsageError: for a backend that is none.
    :raises RunningLoopError: for asyncio, inside a running loop.
    """
    if backend is None:
        return alone(work())
    if backend == "trio":
        import trio

        result: T = trio.run(work)
        return result
    if backend != "asyncio":
        raise UsageError("no such backend", found=repr(backend), fix="use asyncio or trio")
    if asyncio._get_running_loop() is not None:
        raise RunningLoopError(
            "subjects cannot be put to laws inside a running event loop",
            found="a loop of this thread that runs",
            fix="call it from a plain function, or in another thread",
        )
    # A factory keeps the runner from setting the thread's loop, which may be somebody's.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        return runner.run(work())

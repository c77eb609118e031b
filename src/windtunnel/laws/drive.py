"""Running a coroutine to its end: without a loop, on asyncio, or on trio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from windtunnel.core.errors import UsageError
from windtunnel.laws.errors import LawBrokenError, NeedsLoopError, RunningLoopError

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


def run(work: Callable[[], Coroutine[Any, Any, T]], backend: str | None, end_s: float = 5.0) -> T:
    """Run a coroutine function in a loop of its own, or without one where ``backend`` is None.

    :param end_s: seconds that tasks which are left may take to end when they are cancelled.
    :raises UsageError: for a backend that is none.
    :raises RunningLoopError: for asyncio, inside a running loop.
    :raises LawBrokenError: where a task that is left does not end.
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
    return _on_asyncio(work, end_s)


def _on_asyncio(work: Callable[[], Coroutine[Any, Any, T]], end_s: float) -> T:
    """As ``asyncio.run``, which would wait for ever for a task that swallows its cancellation."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work())
    finally:
        try:
            undying = _end_tasks(loop, end_s)
            loop.run_until_complete(loop.shutdown_asyncgens())
            if undying and sys.exc_info()[0] is None:
                raise LawBrokenError(f"a task does not end when it is cancelled: {undying}")
        finally:
            executor = getattr(loop, "_default_executor", None)
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)  # nor for its threads
            loop.close()


def _end_tasks(loop: asyncio.AbstractEventLoop, end_s: float) -> str:
    """Cancel what is left; the names of what does not end."""
    left = asyncio.all_tasks(loop)
    if not left:
        return ""
    for task in left:
        task.cancel()
    ended, undying = loop.run_until_complete(asyncio.wait(left, timeout=end_s))
    for task in ended:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            message = "a task that was left failed when it was cancelled"
            loop.call_exception_handler({"message": message, "exception": error, "task": task})
    return ", ".join(sorted(task.get_name() for task in undying))

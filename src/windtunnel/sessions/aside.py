"""Jobs off the loop: awaited on asyncio and trio, or waited for by a thread.

The job runs in a thread of its own, under the caller's context variables. Whoever stops waiting,
because it was cancelled or by Ctrl-C, ends what the guest runs, and goes on when that is gone.
"""

from __future__ import annotations

import contextvars
import functools
import math
import sys
import threading
from collections.abc import Awaitable, Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from windtunnel.core.errors import MissingExtraError
from windtunnel.own import forks
from windtunnel.sessions.job import Job
from windtunnel.sessions.protocol import ExecResult

try:
    import anyio
    from anyio import from_thread, to_thread
    from anyio.lowlevel import RunVar, current_token
except ImportError as error:
    raise MissingExtraError("sessions", needed_for="running code in a session") from error

T = TypeVar("T")

_limiters: RunVar[anyio.CapacityLimiter] = RunVar("windtunnel_sessions_threads")


def _limiter() -> anyio.CapacityLimiter:
    # Without bound: one session's host function may wait for another session.
    try:
        return _limiters.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(math.inf)
        _limiters.set(limiter)
        return limiter


async def in_thread(function: Callable[[], T]) -> T:
    """What a blocking function gives; it is let go on by itself where the await is cancelled."""
    return await to_thread.run_sync(function, abandon_on_cancel=True, limiter=_limiter())


def event_on_loop() -> tuple[anyio.Event, Callable[[], object]]:
    """An event to wait for on the running loop, and what sets it, from any thread.

    Setting it raises RuntimeError where the loop is closed.
    """
    event = anyio.Event()
    loop: Any = current_token().native_token  # of asyncio the loop, of trio its token
    soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    return event, functools.partial(soon, event.set)


async def awaited(job: Job) -> ExecResult | None:
    """Run a job; None where its thread does not come back in time."""
    waiting = _Waiting()
    job.await_here = waiting.await_here
    started = threading.Event()

    def run() -> ExecResult:
        started.set()
        return job.run()

    try:
        with anyio.move_on_after(job.longest_s):
            return await in_thread(run)
        waiting.cancel()
        await in_thread(job.stop)
        return None
    except BaseException:
        job.interrupt()
        waiting.cancel()
        if started.is_set():
            with anyio.CancelScope(shield=True):
                await in_thread(job.stop)
        else:
            job.release()
        raise


class _Waiting:
    """The async host functions that a job waits for on the loop that waits for the job."""

    def __init__(self) -> None:
        self._token = current_token()
        self._scopes: set[anyio.CancelScope] = set()
        self._cancelled = False

    def cancel(self) -> None:
        """Have them end; called on the loop."""
        self._cancelled = True
        for scope in self._scopes:
            scope.cancel()

    def await_here(self, awaitable: Awaitable[Any], seconds: float | None) -> Any:
        # By token: an engine may call host functions on threads of its own.
        return from_thread.run(self._await, awaitable, seconds, token=self._token)

    async def _await(self, awaitable: Awaitable[Any], seconds: float | None) -> Any:
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            if self._cancelled:
                scope.cancel()
            try:
                return await _bounded(awaitable, seconds)
            finally:
                self._scopes.discard(scope)
        raise InterruptedError("the run that called it was cancelled")


async def _bounded(awaitable: Awaitable[Any], seconds: float | None) -> Any:
    with anyio.fail_after(seconds):
        return await awaitable


def waited_for(job: Job) -> ExecResult | None:
    """Run a job while this thread waits; None where its thread does not come back in time."""
    job.await_here = _await_on_loop_of_its_own
    results: SimpleQueue[tuple[ExecResult | None, BaseException | None]] = SimpleQueue()
    context = contextvars.copy_context()
    context.run(_forget_the_loop)
    started = threading.Event()

    def run() -> None:
        started.set()
        try:
            results.put((context.run(job.run), None))
        except BaseException as error:
            results.put((None, error))

    try:
        _threads.run(run)
        in_time = _wait(job.finished, job.longest_s)
    except BaseException:
        job.interrupt()
        if started.is_set():
            job.stop()
        else:  # where it begins yet, it ends at once
            job.release()
        raise
    if not in_time:
        job.stop()
        return None
    result, error = results.get()
    if error is not None:
        raise error
    return result


def _forget_the_loop() -> None:
    # Trio says by a context variable that it runs here; in the job's thread it does not.
    if "sniffio" in sys.modules:
        sys.modules["sniffio"].current_async_library_cvar.set(None)


def _wait(event: threading.Event, seconds: float | None) -> bool:
    return event.wait(None if seconds is None else min(seconds, threading.TIMEOUT_MAX))


def _await_on_loop_of_its_own(awaitable: Awaitable[Any], seconds: float | None) -> Any:
    return anyio.run(_bounded, awaitable, seconds)


class _Threads:
    """Threads that are kept for the next job: starting one costs more than most jobs."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], None]]] = []

    def run(self, work: Callable[[], None]) -> None:
        try:
            queue = self._idle.pop()
        except IndexError:
            queue = SimpleQueue()
            threading.Thread(
                target=self._serve, args=(queue,), name="windtunnel-session", daemon=True
            ).start()
        queue.put(work)

    def _serve(self, queue: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            work = queue.get()
            work()
            del work
            self._idle.append(queue)


_threads = _Threads()


def _forget() -> None:
    global _threads
    _threads = _Threads()


forks.in_child(_forget)

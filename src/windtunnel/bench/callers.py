"""Those who make the calls of a job: one after the other, at once, or at a rate.

The four differ in how a call is made (plainly or awaited) and in who waits for whom. In an open
loop a call's time counts from the moment it should have started: when a slow call holds the next
ones up, their waiting is part of what their users would have seen. A loop that starts the next
call only when the one before has ended, and counts from there, leaves that out, which Gil Tene
named coordinated omission ("How NOT to Measure Latency").
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from itertools import repeat
from operator import length_hint
from typing import Any

from windtunnel.bench.tally import Job, Tally
from windtunnel.core import Clock

Function = Callable[[], Any]  # what it returns is nobody's business here
AsyncFunction = Callable[[], Awaitable[Any]]


class ToBeAwaitedError(BaseException):
    """A function that was called plainly returned something to be awaited; nobody awaited it.

    No ``Exception``: it is no failure of the function.
    """


def refuse_awaitable(result: object) -> None:
    """Raise where a plain function's result has to be awaited, as that of a lambda may."""
    if hasattr(result, "__await__"):
        close = getattr(result, "close", None)
        if close is not None:
            close()  # a coroutine that has not begun: so it does not warn
        raise ToBeAwaitedError


def call(fn: Function, job: Job, clock: Clock) -> Tally:
    """Make the calls of a job with a plain function."""
    now, tally = clock.monotonic, Tally()
    fn = _nothing if job.idle else fn
    begun = now()
    if job.concurrency != 1 or job.starts_s:
        _in_threads(fn, job, clock, begun, tally)
    elif job.inner == 1:
        for _ in _numbers(job, clock, begun):
            _one(fn, now, tally)
    else:
        _batches(fn, job, clock, begun, tally)
    tally.elapsed_s = now() - begun
    return tally


async def call_async(fn: AsyncFunction, job: Job, clock: Clock) -> Tally:
    """Make the calls of a job with a function whose result is awaited."""
    now, tally = clock.monotonic, Tally()
    fn = _nothing_async if job.idle else fn
    begun = now()
    if job.starts_s:
        await _at_a_rate(fn, job, clock, begun, tally)
    elif job.concurrency != 1:
        numbers = _numbers(job, clock, begun)

        async def work() -> None:
            for _ in numbers:
                await _one_async(fn, now, tally, now())

        async with asyncio.TaskGroup() as group:
            for _ in range(job.concurrency):
                group.create_task(work())
    elif job.inner == 1:
        for _ in _numbers(job, clock, begun):
            await _one_async(fn, now, tally, now())
    else:
        await _batches_async(fn, job, clock, begun, tally)
    tally.elapsed_s = now() - begun
    return tally


def _nothing() -> None:
    pass


async def _nothing_async() -> None:
    pass


def _numbers(job: Job, clock: Clock, begun: float) -> Iterator[int]:
    """The calls to make, 0, 1, 2 …; shared by all who make them."""
    until = None if job.for_s is None else begun + job.for_s
    if until is None:
        return iter(range(job.calls or 0))
    counted = itertools.count() if job.calls is None else iter(range(job.calls))
    now = clock.monotonic
    # An iterator in C with a Python predicate: unlike a generator it may be advanced by several
    # threads at once.
    return itertools.takewhile(lambda _: now() < until, counted)


def _one(fn: Function, now: Callable[[], float], tally: Tally, start: float | None = None) -> None:
    start = now() if start is None else start
    try:
        result = fn()
    except Exception as error:
        tally.fail(now() - start, error)
    else:
        tally.add(now() - start)
        if tally.calls == 1:
            refuse_awaitable(result)


async def _one_async(
    fn: AsyncFunction, now: Callable[[], float], tally: Tally, start: float
) -> None:
    try:
        await fn()
    except Exception as error:
        tally.fail(now() - start, error)
    else:
        tally.add(now() - start)


def _sizes(job: Job, clock: Clock, begun: float) -> Iterator[int]:
    """The sizes of the batches of a job; the last is smaller where they do not come out even."""
    until = None if job.for_s is None else begun + job.for_s
    left = job.calls
    while (left is None or left > 0) and (until is None or clock.monotonic() < until):
        inner = job.inner if left is None else min(job.inner, left)
        yield inner
        if left is not None:
            left -= inner


def _batches(fn: Function, job: Job, clock: Clock, begun: float, tally: Tally) -> None:
    now, add = clock.monotonic, tally.add
    for inner in _sizes(job, clock, begun):
        made = 0
        while made < inner:  # more than once only after a failure
            calls = repeat(None, inner - made)
            start = now()
            try:
                for _ in calls:
                    fn()
                took = now() - start
            except Exception as error:
                took = now() - start
                done = inner - made - length_hint(calls) - 1
                tally.broken_batch(took, done, error)
                made += done + 1
            else:
                add(took / (inner - made), inner - made)
                break


async def _batches_async(
    fn: AsyncFunction, job: Job, clock: Clock, begun: float, tally: Tally
) -> None:
    now, add = clock.monotonic, tally.add
    for inner in _sizes(job, clock, begun):
        made = 0
        while made < inner:
            calls = repeat(None, inner - made)
            start = now()
            try:
                for _ in calls:
                    await fn()
                took = now() - start
            except Exception as error:
                took = now() - start
                done = inner - made - length_hint(calls) - 1
                tally.broken_batch(took, done, error)
                made += done + 1
            else:
                add(took / (inner - made), inner - made)
                break


def _in_threads(fn: Function, job: Job, clock: Clock, begun: float, tally: Tally) -> None:
    """Closed at a concurrency, or open at the starts given: threads that share the numbers."""
    count = job.concurrency or min(len(job.starts_s), 256)
    starts = job.starts_s
    numbers = iter(range(len(starts))) if starts else _numbers(job, clock, begun)
    lock = threading.Lock()
    stopped: list[BaseException] = []

    def work(mine: Tally) -> None:
        now = clock.monotonic
        while not stopped:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            if not starts:
                _one(fn, now, mine)
                continue
            due = begun + starts[number]
            if due > now():
                clock.sleep(due - now())
            mine.late.append(max(0.0, now() - due))
            _one(fn, now, mine, due)

    def guarded(mine: Tally) -> None:
        try:
            work(mine)
        except BaseException as error:  # raised again by the thread that asked
            stopped.append(error)

    tallies = [Tally() for _ in range(count)]
    threads = [
        threading.Thread(
            # Each in a context of its own: a context can be entered by one thread at a time.
            target=contextvars.copy_context().run,
            args=(guarded, mine),
            name=f"windtunnel-bench-{number}",
        )
        for number, mine in enumerate(tallies)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if stopped:
        raise stopped[0]
    for mine in tallies:
        tally.join(mine)


async def _at_a_rate(fn: AsyncFunction, job: Job, clock: Clock, begun: float, tally: Tally) -> None:
    now = clock.monotonic
    free = asyncio.Semaphore(job.concurrency) if job.concurrency else None

    async def one(due: float) -> None:
        if free is not None:
            await free.acquire()
        try:
            tally.late.append(max(0.0, now() - due))
            await _one_async(fn, now, tally, due)
        finally:
            if free is not None:
                free.release()

    async with asyncio.TaskGroup() as group:
        for start in job.starts_s:
            due = begun + start
            # Also when late: those who are under way get their turn.
            await asyncio.sleep(max(0.0, due - now()))
            group.create_task(one(due))

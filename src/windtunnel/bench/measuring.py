"""``measure``: the calls of a function, timed.

What is done is one procedure, a generator that asks for jobs (:class:`Job`) and is sent what
came of them; who makes the calls, plainly or awaiting, is none of its business. Its order:
calibrate how many calls make a sample, warm up until steady, measure, and look at memory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
from collections.abc import Callable, Generator
from time import process_time
from typing import Any, TypeAlias

from windtunnel.bench.callers import ToBeAwaitedError, call, call_async, refuse_awaitable
from windtunnel.bench.memory import Memory, MemoryPass
from windtunnel.bench.plan import Plan
from windtunnel.bench.recording import put_on_record
from windtunnel.bench.result import Result
from windtunnel.bench.steady import is_steady
from windtunnel.bench.tally import Job, Tally
from windtunnel.bench.target import is_async
from windtunnel.bench.virtual import LoopClock, in_simulation
from windtunnel.core import REAL_CLOCK, UsageError

Procedure: TypeAlias = Generator[Job, Tally, Result]

_LEAST_SAMPLE_S = 100e-6  # a clock read costs some 50 ns: less than a thousandth of it
_MOST_INNER = 1 << 20
_LEAST_SAMPLES = 30
_IDLE_CALLS = 20
_SHORTEST_S = 10e-9  # no call of Python takes less
_WARMUP_MOST_CALLS = 100_000
_MEMORY_CALLS = 8


class FailedResultError(Exception):
    """A call returned, and what it returned was judged a failure by ``failed``."""


def measure(fn: Callable[..., Any], *args: Any, **options: Any) -> Result:
    """Measure a function: plain, or asynchronous, for which an event loop is run.

    Failures are counted, timed and shown. Each sample is put on record under ``name``.

    :param fn: called with ``args``. An object with ``async def __call__`` is asynchronous too.
    :param name: what it is called in the record; the function's qualified name where not given.
    :param iterations: calls to measure; where not given, as many as ``budget_s`` has room for.
    :param budget_s: seconds to measure for, where ``iterations`` are not given; 0.5.
    :param warmup: calls made before; ``"auto"`` makes them until timings have settled, for at most
        ``warmup_s`` seconds (1).
    :param concurrency: calls under way at a time: threads for a plain function, tasks for an
        asynchronous one. In an open loop, the most calls under way; 0 is without limit.
    :param rate: calls a second that are started whether or not those before have ended: an open
        loop. A call's time counts from when it should have started.
    :param arrivals: ``even``, or ``poisson``: independent users, drawn from the run's seed.
    :param failed: judges what a call returned: true counts as a failure.
    :param isolation: ``"process"`` measures in ``processes`` fresh processes (5), one after the
        other, so that what differs from process to process is among the samples.
    :param memory: whether to look at memory in a pass of its own afterwards, untimed.
    :param single: time each call by itself, however short, so that percentiles are those of calls.
    :param clock: whose time it is; the machine's.
    :raises UsageError: where options contradict each other, or where an asynchronous function is
        given inside a running loop: there, ``await measure_async(...)``.

    >>> result = measure(sorted, [3, 1, 2], iterations=1000)
    >>> result.n, result.failures, 0 < result.min <= result.median <= result.max
    (1000, 0, True)
    """
    plan = _plan(fn, args, options)
    if plan.isolation == "process":
        from windtunnel.bench.isolated import measure_isolated

        return put_on_record(measure_isolated(fn, args, options, plan))
    if is_async(fn):
        if _loop_is_running():
            raise _refused(plan.name)
        return asyncio.run(_measure_awaiting(fn, args, plan))
    procedure, function = _procedure(plan), _counting_failures(fn, args, plan)
    try:
        return _finish(procedure, lambda job: call(function, job, plan.clock))
    except ToBeAwaitedError:
        if _loop_is_running():
            raise _refused(plan.name) from None
        return asyncio.run(_measure_awaiting(fn, args, plan))


async def measure_async(fn: Callable[..., Any], *args: Any, **options: Any) -> Result:
    """Measure a function, as a rule an asynchronous one, in the running event loop.

    A plain function is called plainly, unless what it returns is to be awaited.

    :param fn: this and all others as for :func:`measure`.
    :raises UsageError: where options contradict each other.

    >>> import asyncio
    >>> async def answer():
    ...     await asyncio.sleep(0)
    >>> asyncio.run(measure_async(answer, iterations=50, concurrency=5)).n
    50
    """
    plan = _plan(fn, args, options)
    if plan.isolation == "process":
        return measure(fn, *args, **options)  # the loop waits: nothing is to disturb them
    if not is_async(fn):
        function = _counting_failures(fn, args, plan)
        try:
            return _finish(_procedure(plan), lambda job: call(function, job, plan.clock))
        except ToBeAwaitedError:
            pass
    return await _measure_awaiting(fn, args, plan)


async def _measure_awaiting(fn: Callable[..., Any], args: tuple[Any, ...], plan: Plan) -> Result:
    procedure, function = _procedure(plan), _counting_failures_async(fn, args, plan)
    job = next(procedure)
    while True:
        try:
            job = procedure.send(await call_async(function, job, plan.clock))
        except StopIteration as end:
            return put_on_record(end.value)
        except BaseException:
            procedure.close()
            raise


def _refused(name: str) -> UsageError:
    return UsageError(
        "measure() cannot run an asynchronous function inside a running event loop",
        found=name,
        fix="write: await bench.measure_async(...)",
    )


def _plan(fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Plan:
    plan = Plan.of(fn, args, options)
    if plan.clock is REAL_CLOCK and in_simulation():
        return dataclasses.replace(plan, clock=LoopClock())
    return plan


def _finish(procedure: Procedure, make: Callable[[Job], Tally]) -> Result:
    job = next(procedure)
    try:
        while True:
            job = procedure.send(make(job))
    except StopIteration as end:
        return put_on_record(end.value)
    finally:
        procedure.close()


def _procedure(plan: Plan) -> Procedure:
    virtual = in_simulation()
    warm = _Warmth()
    inner = 1
    if not virtual and plan.warmup != 0:
        if isinstance(plan.warmup, int):
            inner = yield from _given_calls(plan, plan.warmup, warm)
        else:
            inner = (yield from _calibrate(plan, warm)) if plan.batches else 1
            yield from _until_steady(plan, inner, warm)
        if warm.failed:
            inner = 1  # failures want to be timed by themselves
    elif virtual and isinstance(plan.warmup, int) and plan.warmup:
        warm.take((yield Job(calls=plan.warmup)))
    job = plan.job(inner, virtual=virtual)
    gc.collect()
    cpu = process_time()
    tally = yield job
    cpu_s = None if virtual else process_time() - cpu
    memory = (yield from _memory(plan, tally)) if plan.memory and not virtual else None
    return Result(
        name=plan.name,
        times_s=tuple(tally.times),
        failed_s=tuple(tally.failed),
        errors=tuple(tally.errors.most_common()),
        n=tally.calls,
        inner=job.inner,
        elapsed_s=tally.elapsed_s,
        cpu_s=cpu_s,
        warmup_calls=warm.calls,
        steady=warm.steady,
        concurrency=plan.concurrency,
        rate=plan.rate,
        late_s=max(tally.late) if tally.late else None,
        clock="virtual" if virtual else "real",
        memory=memory,
    )


@dataclasses.dataclass(slots=True)
class _Warmth:
    """The calls before the measured ones."""

    calls: int = 0
    elapsed_s: float = 0.0
    failed: bool = False
    steady: bool | None = None

    def take(self, tally: Tally) -> Tally:
        self.calls += tally.calls
        self.elapsed_s += tally.elapsed_s
        self.failed = self.failed or bool(tally.failed)
        return tally


def _calibrate(plan: Plan, warm: _Warmth) -> Generator[Job, Tally, int]:
    """Double the calls of a sample until it is long beside the clock's own cost."""
    most, inner = _most_inner(plan), 1
    while True:
        tally = warm.take((yield Job(calls=3 * inner, inner=inner)))
        if tally.failed or inner >= most or warm.calls >= _WARMUP_MOST_CALLS * 10:
            break
        if tally.times and min(tally.times) * inner >= _LEAST_SAMPLE_S:
            break
        inner = min(inner * 2, most)
    return 1 if warm.failed else inner


def _given_calls(plan: Plan, calls: int, warm: _Warmth) -> Generator[Job, Tally, int]:
    """So many calls and no more; how short they are, beside calls of nothing, says how many make
    a sample."""
    tally = warm.take((yield Job(calls=calls, concurrency=plan.crowd)))
    if not plan.batches or not tally.times:
        return 1
    idle = yield Job(calls=_IDLE_CALLS, idle=True)
    each = max(_SHORTEST_S, min(tally.times) - min(idle.times))
    inner = 1
    while inner * each < _LEAST_SAMPLE_S and inner < _most_inner(plan):
        inner *= 2
    return min(inner, _most_inner(plan))


def _most_inner(plan: Plan) -> int:
    return _MOST_INNER if plan.iterations is None else max(1, plan.iterations // _LEAST_SAMPLES)


def _until_steady(plan: Plan, inner: int, warm: _Warmth) -> Generator[Job, Tally, None]:
    times: list[float] = []
    warm.steady = False
    while warm.elapsed_s < plan.warmup_s and warm.calls < _WARMUP_MOST_CALLS * inner:
        # A fifth more each time, so that looking costs little beside calling.
        size = max(5, 5 * plan.crowd, len(times) // 5) * inner
        job = Job(calls=size, for_s=plan.warmup_s, inner=inner, concurrency=plan.crowd)
        tally = warm.take((yield job))
        times += tally.times + tally.failed
        if is_steady(times):
            warm.steady = True
            return


def _memory(plan: Plan, tally: Tally) -> Generator[Job, Tally, Memory]:
    """A pass in which nothing is timed, and before it one in which nothing is called."""
    calls = _memory_calls(plan, tally)
    idle, busy = MemoryPass(calls), MemoryPass(calls)
    crowd = max(1, min(plan.crowd, calls))
    for watch in (idle, busy):
        with watch.watching():
            yield Job(
                calls=calls,
                inner=calls if crowd == 1 else 1,
                concurrency=crowd,
                idle=watch is idle,
            )
    return busy.beyond(idle)


def _memory_calls(plan: Plan, tally: Tally) -> int:
    """Enough to see what is retained, few enough to be done while one would still wait."""
    most = min(tally.calls, _MEMORY_CALLS * max(1, plan.crowd))
    each = tally.elapsed_s / max(1, tally.calls)
    return max(1, most if each < 0.05 else 1)


def _counting_failures(fn: Callable[..., Any], args: tuple[Any, ...], plan: Plan) -> Any:
    bound = functools.partial(fn, *args) if args else fn
    failed = plan.failed
    if failed is None:
        return bound

    def judged() -> None:
        result = bound()
        refuse_awaitable(result)
        if failed(result):
            raise FailedResultError(_told(result))

    return judged


def _counting_failures_async(fn: Callable[..., Any], args: tuple[Any, ...], plan: Plan) -> Any:
    bound = functools.partial(fn, *args) if args else fn
    failed = plan.failed
    if failed is None:
        return bound

    async def judged() -> None:
        result = await bound()
        if failed(result):
            raise FailedResultError(_told(result))

    return judged


def _told(result: Any) -> str:
    """What a result says of its failure, as those of executors do, or else the result."""
    kind, error = getattr(result, "error_type", None), getattr(result, "error", None)
    return f"{kind}: {error}" if kind else repr(result)[:120]


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

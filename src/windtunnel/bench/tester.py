"""``PerformanceTester`` and ``quick_benchmark``: measuring by the names that adopters know.

Thin: each method is one or two calls of :func:`windtunnel.bench.measure_async`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from windtunnel.bench.joining import joined
from windtunnel.bench.measuring import measure, measure_async
from windtunnel.bench.result import Result
from windtunnel.bench.units import duration
from windtunnel.core import UsageError


class CodeExecutor(Protocol):
    """Whoever runs code: every executor of room ``sessions``, or one's own."""

    async def execute(self, code: str) -> Any:
        """Run the code; a result whose ``ok`` is false is a failed call."""
        ...


Subject: TypeAlias = "Callable[..., Any] | str"
"""A function, or code for the tester's executor."""


@dataclasses.dataclass(frozen=True, slots=True)
class Overhead:
    """What one way to do something costs over another.

    :param per_call_s: the difference of the medians, seconds a call.
    :param low_s: its 95 % interval from here,
    :param high_s: to here. An interval around 0 means that no difference was seen.
    :param with_it: the measurement of the longer way.
    :param without: that of the shorter.
    """

    per_call_s: float
    low_s: float
    high_s: float
    with_it: Result
    without: Result

    def __str__(self) -> str:
        return (
            f"{duration(self.per_call_s)} a call "
            f"({duration(self.low_s)} to {duration(self.high_s)}, 95 %): "
            f"{duration(self.with_it.median)} with it, {duration(self.without.median)} without"
        )


class PerformanceTester:
    """Measures functions, and code on an executor.

    :param executor: runs what is given as code. Without one, functions only.

    >>> import asyncio
    >>> tester = PerformanceTester()
    >>> async def answer():
    ...     return 42
    >>> result = asyncio.run(tester.benchmark_async_execution(answer, iterations=50))
    >>> result.n, result.failures
    (50, 0)
    """

    def __init__(self, executor: CodeExecutor | None = None) -> None:
        self.executor = executor

    async def benchmark_async_execution(
        self, subject: Subject, *args: Any, iterations: int = 100, warmup: int = 5, **options: Any
    ) -> Result:
        """Calls one after the other.

        :param subject: a function with ``args``, asynchronous or plain, or code.
        :param iterations: calls to measure.
        :param warmup: calls made before.
        :param options: any other of :func:`windtunnel.bench.measure`.
        """
        return await self._measure(subject, args, iterations=iterations, warmup=warmup, **options)

    async def benchmark_concurrent_executions(
        self, subject: Subject, *args: Any, concurrency: int = 10, iterations: int = 100,
        **options: Any,
    ) -> Result:  # fmt: skip
        """``concurrency`` calls under way at a time, ``iterations`` in all."""
        options = {"warmup": concurrency, **options}
        return await self._measure(
            subject, args, iterations=iterations, concurrency=concurrency, **options
        )

    async def benchmark_with_warmup(
        self, subject: Subject, *args: Any, iterations: int = 100, **options: Any
    ) -> Result:
        """Calls until timings have settled, and only then those that count.

        :attr:`Result.steady` says whether they did, :attr:`Result.warmup_calls` after how many.
        """
        return await self._measure(
            subject, args, iterations=iterations, **{"warmup": "auto", **options}
        )

    async def benchmark_callback_overhead(
        self,
        with_callback: Subject,
        without: Subject,
        *args: Any,
        iterations: int = 200,
        rounds: int = 5,
    ) -> Overhead:
        """What a callback costs: the same work with it and without, in turn, as a difference.

        :param with_callback: does the work through the callback, as ``lambda: callback(1)``.
        :param without: does the same directly, as ``lambda: function(1)``.
        :param rounds: how often the two take turns, so that both meet the machine's slow phases.
        """
        each = max(1, iterations // rounds)
        longer: list[Result] = []
        shorter: list[Result] = []
        for number in range(rounds):
            turn = [(with_callback, longer), (without, shorter)]
            for subject, kept in turn if number % 2 else reversed(turn):
                warmup: int | str = 2 if number else 5
                kept.append(
                    await self._measure(subject, args, iterations=each, warmup=warmup, memory=False)
                )
        return _overhead(joined(longer), joined(shorter))

    async def compare(
        self, subjects: dict[str, Subject], *, iterations: int = 100, rounds: int = 5
    ) -> dict[str, Result]:
        """Several subjects in turn, in one process: results by name, fastest median first.

        For a verdict whether one is slower, with known error rates, see
        :func:`windtunnel.bench.compare`.
        """
        taken: dict[str, list[Result]] = {name: [] for name in subjects}
        for number in range(rounds):
            names = list(subjects)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                taken[name].append(
                    await self._measure(
                        subjects[name], (), name=name, warmup=2 if number else 5,
                        iterations=max(1, iterations // rounds), memory=not number,
                    )
                )  # fmt: skip
        whole = {name: joined(results) for name, results in taken.items()}
        return dict(sorted(whole.items(), key=lambda item: item[1].median))

    async def _measure(self, subject: Subject, args: tuple[Any, ...], **options: Any) -> Result:
        if isinstance(subject, str):
            fn, options = _running(subject, self.executor, options)
            return await measure_async(fn, **options)
        return await measure_async(subject, *args, **options)


def quick_benchmark(
    subject: Subject, *args: Any, iterations: int = 100, executor: CodeExecutor | None = None,
    **options: Any,
) -> Result:  # fmt: skip
    """Measure, print what was found, return it. Not for inside a running event loop.

    :param subject: a function with ``args``, plain or asynchronous, or code for ``executor``.
    :raises UsageError: where an asynchronous one is given inside a running loop.

    >>> result = quick_benchmark(sorted, [3, 1, 2], iterations=1000)
    sorted: 1,000 calls ...
    >>> result.failures
    0
    """
    if isinstance(subject, str):
        fn, options = _running(subject, executor, options)
        result = measure(fn, iterations=iterations, **options)
    else:
        result = measure(subject, *args, iterations=iterations, **options)
    print(result)
    return result


def _running(
    code: str, executor: CodeExecutor | None, options: dict[str, Any]
) -> tuple[Callable[[], Any], dict[str, Any]]:
    if executor is None:
        raise UsageError(
            "code needs an executor to be measured on",
            found=repr(code[:60]),
            fix="write PerformanceTester(executor), or give a function",
        )

    async def run() -> Any:
        return await executor.execute(code)

    first = (code.strip().splitlines() or ["no code"])[0][:60]
    return run, {"name": first, "failed": _not_ok, **options}


def _not_ok(result: Any) -> bool:
    return getattr(result, "ok", True) is False


def _overhead(longer: Result, shorter: Result) -> Overhead:
    """The difference of two medians; its interval from both of theirs, as independent errors."""
    difference = longer.median - shorter.median
    low, high = longer.interval("median")
    base_low, base_high = shorter.interval("median")
    down = ((longer.median - low) ** 2 + (base_high - shorter.median) ** 2) ** 0.5
    up = ((high - longer.median) ** 2 + (shorter.median - base_low) ** 2) ** 0.5
    return Overhead(difference, difference - down, difference + up, longer, shorter)

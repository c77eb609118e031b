"""Budgets: what a function may take, judged with its uncertainty.

A budget is met when the whole interval of the figure lies within it, exceeded when none of it
does; between the two nobody knows, and what nobody knows is no pass.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, TypeVar

from windtunnel.bench import statistics
from windtunnel.bench.joining import joined
from windtunnel.bench.measuring import measure, measure_async
from windtunnel.bench.result import Result
from windtunnel.bench.target import is_async
from windtunnel.bench.units import duration, rate, size
from windtunnel.core import Judgement, UsageError, Verdict, WindtunnelError

F = TypeVar("F", bound=Callable[..., Any])

_DURATION = re.compile(r"(min|mean|median|max|p\d{1,2}(?:_\d+)?)_(ns|us|ms|s)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_MIB = 2**20
_ROUNDS = 4


class BudgetExceededError(WindtunnelError, AssertionError):
    """A figure lies beyond its budget."""


class BudgetUnknownError(WindtunnelError, AssertionError):
    """A figure is too uncertain to say whether it lies within its budget."""


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """One figure and its bound.

    :param figure: ``p95``, ``mean``, ``throughput``, ``memory``, ``failures`` …
    :param limit: in seconds, calls a second, bytes, or as a share from 0 to 1.
    """

    figure: str
    limit: float

    def judge(self, result: Result) -> Judgement:
        """Whether the result keeps it; the reason names figure, bound, n and spread."""
        low, value, high = _figure(result, self.figure)
        if self.figure == "throughput":
            verdict = _verdict(-high, -low, -self.limit)
        else:
            verdict = _verdict(low, high, self.limit)
        if math.isnan(value):
            verdict = Verdict.FAIL if not result.times_s and result.failures else Verdict.UNKNOWN
        return Judgement(verdict, self._reason(result, low, value, high))

    def _reason(self, result: Result, low: float, value: float, high: float) -> str:
        show = _SHOWN.get(self.figure, duration)
        between = f" ({show(low)} to {show(high)}, 95 %)" if low != high else ""
        most = "at least" if self.figure == "throughput" else "at most"
        spread = f"MAD {duration(result.mad)}" if result.times_s else "no call succeeded"
        virtual = ", virtual time" if result.clock == "virtual" else ""
        return (
            f"{self.figure} {show(value)}{between}, budget {most} {show(self.limit)}; "
            f"n = {result.n:,}, {result.failures:,} failed, {spread}{virtual}"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """Several bounds, made by :func:`budget_of`."""

    bounds: tuple[Bound, ...]

    def judge(self, result: Result) -> Judgement:
        """The verdict on all bounds, with the reasons of those that are not kept.

        >>> result = Result(name="f", times_s=(0.004,) * 500, n=500, elapsed_s=2.0)
        >>> budget_of(p95_ms=5).judge(result).verdict
        <Verdict.PASS: 'pass'>
        >>> print(budget_of(p95_ms=3).judge(result).reason)
        p95 4.00 ms, budget at most 3.00 ms; n = 500, 0 failed, MAD 0 s
        """
        judged = [bound.judge(result) for bound in self.bounds]
        verdict = Verdict.all_of(it.verdict for it in judged)
        shown = [it for it in judged if it.verdict is verdict]
        return Judgement(verdict, "\n         ".join(it.reason for it in shown))

    def check(self, result: Result) -> Result:
        """The result, if it keeps the budget.

        :raises BudgetExceededError: where a figure lies beyond its bound.
        :raises BudgetUnknownError: where that cannot be told.
        """
        judgement = self.judge(result)
        if judgement.verdict is Verdict.FAIL:
            raise BudgetExceededError(
                f"{result.name} exceeds its budget",
                found=judgement.reason,
                fix="; ".join(f"{count} x {error}" for error, count in result.errors[:3]),
            )
        if judgement.verdict is Verdict.UNKNOWN:
            raise BudgetUnknownError(
                f"whether {result.name} keeps its budget is unknown, which is not a pass",
                found=judgement.reason,
                fix="give more iterations or a larger budget_s, or run on a quieter machine",
            )
        return result


def budget_of(**bounds: float) -> Budget:
    """The budget of these bounds.

    :param bounds: a duration as figure and unit, ``p95_ms=5``, ``mean_us=20``, ``max_s=1``,
        ``p99_9_ms=50``; ``throughput``, calls a second at the least; ``memory_mb``, MiB held at
        once at the most; ``failures``, the share of calls that may fail, 0 where not given.
    :raises UsageError: where a figure is not known.
    """
    made = [Bound("failures", bounds.pop("failures", 0.0))]
    for name, limit in bounds.items():
        if not limit > 0:
            raise UsageError(f"a budget is above 0: {name}", found=repr(limit))
        match = _DURATION.fullmatch(name)
        if match:
            figure = match[1].replace("_", ".")
            made.append(Bound(figure, limit * _UNITS[match[2]]))
        elif name == "throughput":
            made.append(Bound(name, limit))
        elif name == "memory_mb":
            made.append(Bound("memory", limit * _MIB))
        else:
            raise UsageError(
                f"there is no budget {name!r}",
                found=f"{name}={limit!r}",
                fix="write p95_ms=5, mean_us=20, max_s=1, throughput=100, memory_mb=16, failures=0",
            )
    if len(made) == 1:
        raise UsageError("a budget names a figure", fix="write budget(p95_ms=5)")
    return Budget(tuple(made))


def budget(
    *, p95_ms: float | None = None, throughput: float | None = None,
    memory_mb: float | None = None, options: dict[str, Any] | None = None, **bounds: float,
) -> Callable[[F], F]:  # fmt: skip
    """Make a test of a budget: the test's body is measured, each call by itself.

    The body is called many times, each time with the same values of the test's fixtures. Where the
    figures are too uncertain, more is measured, up to four times as much.

    :param p95_ms: the 95th percentile at the most; other durations as in :func:`budget_of`.
    :param throughput: calls a second at the least.
    :param memory_mb: MiB held at once at the most.
    :param options: of :func:`windtunnel.bench.measure`, as ``{"concurrency": 10}``.
    :raises UsageError: where a figure is not known.

    >>> @budget(p95_ms=1000, memory_mb=10)
    ... def test_sorts():
    ...     sorted(range(1000))
    >>> test_sorts()
    """
    given = {"p95_ms": p95_ms, "throughput": throughput, "memory_mb": memory_mb, **bounds}
    limits = budget_of(**{name: limit for name, limit in given.items() if limit is not None})
    wanted: dict[str, Any] = {"single": True, **(options or {})}

    def decorate(test: F) -> F:
        made: Any = _test_async(test, limits, wanted) if is_async(test) else _test(
            test, limits, wanted
        )  # fmt: skip
        return made  # type: ignore[no-any-return]

    return decorate


def _test(test: Callable[..., Any], limits: Budget, options: dict[str, Any]) -> Any:
    @functools.wraps(test)
    def within_budget(*args: Any, **kwargs: Any) -> None:
        result: Result | None = None
        for _ in range(_ROUNDS):
            more = measure(lambda: test(*args, **kwargs), **_named(test, options))
            result = more if result is None else joined([result, more])
            if limits.judge(result).verdict is not Verdict.UNKNOWN:
                break
        if result is not None:
            limits.check(result)

    return within_budget


def _test_async(test: Callable[..., Any], limits: Budget, options: dict[str, Any]) -> Any:
    @functools.wraps(test)
    async def within_budget(*args: Any, **kwargs: Any) -> None:
        async def call() -> None:
            await test(*args, **kwargs)

        result: Result | None = None
        for _ in range(_ROUNDS):
            more = await measure_async(call, **_named(test, options))
            result = more if result is None else joined([result, more])
            if limits.judge(result).verdict is not Verdict.UNKNOWN:
                break
        if result is not None:
            limits.check(result)

    return within_budget


def _named(test: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    name = inspect.unwrap(test).__qualname__.rpartition("<locals>.")[2]
    return {"name": name, **options}


def _verdict(low: float, high: float, limit: float) -> Verdict:
    if high <= limit:
        return Verdict.PASS
    return Verdict.FAIL if low > limit else Verdict.UNKNOWN


def _figure(result: Result, figure: str) -> tuple[float, float, float]:
    """The figure between its bounds; a figure of these very calls has none."""
    exact: float | None = None
    if figure == "failures":
        exact = result.failure_rate
    elif figure == "memory":
        exact = math.nan if result.memory is None else float(result.memory.peak_bytes)
    elif figure in ("min", "max"):
        exact = getattr(result, figure)
    if exact is not None:
        return exact, exact, exact
    if figure in ("mean", "throughput"):
        low, high = result.interval(figure)
        return low, getattr(result, figure), high
    place = 50.0 if figure == "median" else float(figure[1:])
    low, high = statistics.quantile_bounds(sorted(result.times_s), place / 100)
    return low, result.percentile(place), high


_SHOWN: dict[str, Callable[[float], str]] = {
    "throughput": rate,
    "memory": size,
    "failures": lambda share: f"{share:.1%}",
}

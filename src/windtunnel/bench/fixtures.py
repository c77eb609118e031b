"""The fixtures ``benchmark_async`` and ``benchmark``: measuring inside a test.

A measurement is on record under the test's name, among the test's properties (JUnit has them),
and in the run's summary where the tests run in the main process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from windtunnel.bench.callers import call
from windtunnel.bench.measuring import measure, measure_async
from windtunnel.bench.recording import put_on_record
from windtunnel.bench.result import Result
from windtunnel.bench.tally import Job, Tally
from windtunnel.bench.units import duration, rate
from windtunnel.core import REAL_CLOCK, UsageError, WindtunnelError

_PLUGIN = "windtunnel-bench-summary"
_RESULTS = pytest.StashKey[list[tuple[str, Result]]]()


class CallsFailedError(WindtunnelError):
    """Calls of a benchmark raised, and the test did not say that it allows that."""


class BenchmarkAsync:
    """What the fixture ``benchmark_async`` is: awaited with a function, it measures it."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._report = _Reporter(request)

    async def __call__(
        self, fn: Callable[..., Any], *args: Any, allow_failures: bool = False, **options: Any
    ) -> Result:
        """Measure ``fn``, asynchronous or plain; options as :func:`windtunnel.bench.measure`.

        :param allow_failures: return a result with failures, rather than fail the test.
        :raises CallsFailedError: where calls failed and that is not allowed.
        """
        options.setdefault("name", self._report.name)
        result = await measure_async(fn, *args, **options)
        return self._report.take(result, allow_failures=allow_failures)


class Benchmark:
    """What the fixture ``benchmark`` is, where pytest-benchmark does not provide it.

    Called as that one is: ``benchmark(fn, *args)`` returns what ``fn`` returns.
    """

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._report = _Reporter(request)
        self._result: Result | None = None
        self.extra_info: dict[str, Any] = {}
        self.group: str | None = None
        self.name = self._report.name

    @property
    def result(self) -> Result:
        """What was measured.

        :raises UsageError: before anything was.
        """
        if self._result is None:
            raise UsageError("nothing was measured yet", fix="call benchmark(fn) first")
        return self._result

    @property
    def stats(self) -> Stats:
        """The figures by pytest-benchmark's names."""
        return Stats(self.result)

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Measure ``fn(*args, **kwargs)``; returns what a first call, not measured, returned."""
        returned = fn(*args, **kwargs)
        bound = (lambda: fn(*args, **kwargs)) if kwargs else fn
        given = () if kwargs else args
        result = measure(bound, *given, name=self.name)
        self._result = self._report.take(result, allow_failures=False)
        return returned

    def pedantic(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        setup: Callable[[], Any] | None = None,
        rounds: int = 1,
        warmup_rounds: int = 0,
        iterations: int = 1,
    ) -> Any:
        """``rounds`` samples of ``iterations`` calls each, with ``setup`` before each round.

        :param setup: may return ``(args, kwargs)`` for the round; then ``iterations`` is 1.
        :returns: what the last call returned.
        :raises UsageError: where ``setup`` is given together with several ``iterations``.
        """
        if setup is not None and iterations != 1:
            raise UsageError(
                "a setup before each round goes with one iteration a round",
                found=f"iterations={iterations}",
            )
        tally, returned = Tally(), None
        for number in range(-warmup_rounds, rounds):
            given = setup() if setup is not None else None
            round_args, round_kwargs = given if given is not None else (args, kwargs or {})

            def once(args: Any = round_args, kwargs: Any = round_kwargs) -> None:
                nonlocal returned
                returned = target(*args, **kwargs)

            taken = call(once, Job(calls=iterations, inner=iterations), REAL_CLOCK)
            if number >= 0:
                tally.join(taken)
        result = put_on_record(
            Result(
                name=self.name,
                times_s=tuple(tally.times),
                failed_s=tuple(tally.failed),
                errors=tuple(tally.errors.most_common()),
                n=tally.calls,
                inner=iterations,
                elapsed_s=tally.elapsed_s,
                warmup_calls=warmup_rounds * iterations,
            )
        )
        self._result = self._report.take(result, allow_failures=False)
        return returned


class Stats:
    """A result by pytest-benchmark's names, as attributes and as keys; durations in seconds."""

    def __init__(self, result: Result) -> None:
        self.min, self.max, self.mean = result.min, result.max, result.mean
        self.median, self.stddev = result.median, result.std
        self.rounds, self.iterations = len(result.times_s), result.inner
        self.total = result.elapsed_s
        self.ops = 1 / result.mean if result.mean else float("inf")
        self.stats = self

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)


def benchmark_async(request: pytest.FixtureRequest) -> BenchmarkAsync:
    """Body of the fixture ``benchmark_async``."""
    return BenchmarkAsync(request)


def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    """Body of the fixture ``benchmark``."""
    return Benchmark(request)


class _Reporter:
    """Where the results of one test go."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._item: Any = request.node
        self.name = str(self._item.nodeid).rpartition("/")[2]
        config = request.config
        if not config.pluginmanager.has_plugin(_PLUGIN):
            config.stash[_RESULTS] = []
            config.pluginmanager.register(_Summary(), _PLUGIN)
        self._results = config.stash[_RESULTS]

    def take(self, result: Result, *, allow_failures: bool) -> Result:
        self._results.append((self._item.nodeid, result))
        self._item.user_properties.append((f"bench {result.name}", _line(result)))
        self._item.add_report_section("call", "benchmark", str(result))
        if result.failures and not allow_failures:
            raise CallsFailedError(
                f"{result.failures:,} of {result.n:,} calls of {result.name} failed",
                found="; ".join(f"{count} x {error}" for error, count in result.errors[:3]),
                fix="mend the function, or measure with allow_failures=True",
            )
        return result


class _Summary:
    """Tells the results at the end of the run."""

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        results = config.stash[_RESULTS]
        if not results:
            return
        terminalreporter.section("benchmarks")
        for _, result in results:
            terminalreporter.write_line(f"{result.name}: {_line(result)}")


def _line(result: Result) -> str:
    virtual = ", virtual time" if result.clock == "virtual" else ""
    return (
        f"median {duration(result.median)}, p95 {duration(result.p95)}, "
        f"{rate(result.throughput)}, {result.n:,} calls, {result.failures} failed{virtual}"
    )

"""Measuring what you test: every figure with its spread, failures counted.

None of these asserts that something takes less than so many milliseconds on whatever machine runs
the tests; compare two measurements of the same run, or hold a budget where you know the machine.
"""

from functools import partial

import pytest

from windtunnel import bench
from windtunnel.bench import PerformanceTester, quick_benchmark


def fibonacci(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def test_basic():
    result = quick_benchmark(fibonacci, 50, iterations=200)
    assert (result.n, result.failures) == (200, 0)
    assert 0 < result.min <= result.median <= result.p95 <= result.max


@pytest.mark.asyncio
async def test_an_execution(executor):
    tester = PerformanceTester(executor)
    result = await tester.benchmark_async_execution("sum(range(100))", iterations=20)
    assert (result.n, result.failures) == (20, 0)


@pytest.mark.asyncio
async def test_a_complex_execution(session):
    await session.run("def sort(n): return sorted([(i * 7919) % n for i in range(n)])")
    result = await PerformanceTester().benchmark_async_execution(
        session.call, "sort", 200, iterations=20
    )
    assert result.failures == 0
    low, high = result.interval("median")
    assert low <= result.median <= high


@pytest.mark.asyncio
async def test_concurrent_executions(executor):
    tester = PerformanceTester(executor)
    result = await tester.benchmark_concurrent_executions("1 + 1", concurrency=4, iterations=20)
    assert (result.n, result.failures) == (20, 0)
    assert result.throughput > 0


@pytest.mark.asyncio
async def test_failures_are_counted_and_not_dropped(executor):
    tester = PerformanceTester(executor)
    result = await tester.benchmark_async_execution("1 / 0", iterations=10)
    assert (result.n, result.failures) == (10, 10)


@pytest.mark.asyncio
async def test_callback_overhead(session):
    """What the way into the guest costs, as a difference."""
    await session.run("def double(x): return x * 2")
    double = session.callback("double")
    overhead = await PerformanceTester().benchmark_callback_overhead(
        partial(double.call, 21), lambda: 21 * 2, iterations=50
    )
    assert overhead.low_s <= overhead.per_call_s <= overhead.high_s


@pytest.mark.asyncio
async def test_after_warming_up():
    result = await PerformanceTester().benchmark_with_warmup(fibonacci, 20, iterations=100)
    assert result.warmup_calls > 0


@pytest.mark.asyncio
async def test_several_ways_in_turn():
    results = await PerformanceTester().compare(
        {"few": lambda: fibonacci(10), "many": lambda: fibonacci(2000)}, iterations=50
    )
    assert list(results) == ["few", "many"]  # the fastest first


def test_scaling():
    """How the time grows with the size, by name; None where the machine is too noisy to tell."""
    growth = bench.scaling(lambda n: sum(range(n)), sizes=[1000, 2000, 4000, 8000, 16000])
    assert growth.order in ("O(n)", "O(n log n)", None)


def test_a_regression_is_told_from_noise():
    """The new code against the old, interleaved; the verdict may also be that nobody can tell."""
    verdict = bench.compare(new_total, old_total, budget_s=1.0).verdict
    assert verdict in ("same", "faster", "unknown")


def old_total():
    return sum(n * n for n in range(2000))


def new_total():
    return 1999 * 2000 * 3999 // 6

"""Budgets and growth: three-valued, on figures that are known beforehand."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from windtunnel import bench
from windtunnel.core import UsageError, Verdict


def result(*times_s: float, failed: int = 0, **fields: object) -> bench.Result:
    n = len(times_s) + failed
    elapsed = sum(times_s) or 1.0
    return bench.Result(
        name="f", times_s=times_s, failed_s=(1.0,) * failed, n=n, elapsed_s=elapsed, **fields
    )  # type: ignore[arg-type]


def spread(n: int, seed: int = 1) -> tuple[float, ...]:
    rng = random.Random(seed)
    return tuple(rng.lognormvariate(math.log(0.010), 0.2) for _ in range(n))


@pytest.mark.parametrize(
    ("limit_ms", "verdict"),
    [(20, Verdict.PASS), (14, Verdict.UNKNOWN), (10, Verdict.FAIL)],
)
def test_a_budget_is_kept_exceeded_or_unknown(limit_ms: float, verdict: Verdict):
    budget = bench.budget_of(p95_ms=limit_ms)
    assert isinstance(budget, bench.Budget)
    judged = budget.judge(result(*spread(200)))
    assert judged.verdict is verdict


def test_the_reason_names_figure_bound_count_and_spread():
    with pytest.raises(bench.BudgetExceededError) as error:
        bench.budget_of(p95_ms=10).check(result(*spread(200)))
    text = str(error.value)
    assert text.startswith("f exceeds its budget")
    for part in ("p95 13.", "95 %)", "budget at most 10.0 ms", "n = 200", "0 failed", "MAD 1."):
        assert part in text


def test_unknown_is_an_error_of_its_own_and_no_pass():
    with pytest.raises(bench.BudgetUnknownError, match="unknown, which is not a pass"):
        bench.budget_of(p95_ms=14).check(result(*spread(200)))


def test_a_high_percentile_of_few_calls_is_unknown_however_low_they_lie():
    few = result(*([0.001] * 50))
    assert bench.budget_of(p99_ms=5).judge(few).verdict is Verdict.UNKNOWN
    assert bench.budget_of(p99_ms=5).judge(result(*([0.001] * 500))).verdict is Verdict.PASS


def test_throughput_is_a_lower_bound():
    found = result(*spread(400))  # some 98 calls a second
    assert bench.budget_of(throughput=80).judge(found).verdict is Verdict.PASS
    assert bench.budget_of(throughput=98).judge(found).verdict is Verdict.UNKNOWN
    assert bench.budget_of(throughput=150).judge(found).verdict is Verdict.FAIL


def test_a_failing_call_breaks_a_budget_unless_it_allows_failures():
    found = result(*([0.001] * 99), failed=1)
    assert bench.budget_of(median_ms=5).judge(found).verdict is Verdict.FAIL
    assert bench.budget_of(median_ms=5, failures=0.02).judge(found).verdict is Verdict.PASS


def test_memory_is_held_to_its_bound_and_unknown_where_nobody_looked():
    memory = bench.Memory(peak_bytes=3 << 20, retained_bytes=0, retained_blocks=0, calls=1)
    assert bench.budget_of(memory_mb=4).judge(result(1.0, memory=memory)).verdict is Verdict.PASS
    assert bench.budget_of(memory_mb=2).judge(result(1.0, memory=memory)).verdict is Verdict.FAIL
    assert bench.budget_of(memory_mb=2).judge(result(1.0)).verdict is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ({"p95": 5}, "no budget 'p95'"),
        ({"latency_ms": 5}, "no budget 'latency_ms'"),
        ({"p95_ms": 0}, "above 0: p95_ms"),
        ({}, "names a figure"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused(bounds: dict[str, float], message: str):
    with pytest.raises(UsageError, match=message):
        bench.budget_of(**bounds)


def test_units_and_decimals_of_percentiles_are_read():
    bounds = bench.budget_of(p99_9_us=50, mean_s=2).bounds
    assert [(it.figure, it.limit) for it in bounds[1:]] == [
        ("p99.9", pytest.approx(5e-5)),
        ("mean", 2.0),
    ]


def test_a_test_becomes_a_budget_with_its_fixtures(pytester: pytest.Pytester):
    pytester.makepyfile(
        """
        import pytest
        from windtunnel import bench

        quick = {"iterations": 400, "warmup": 1, "memory": False}

        @pytest.fixture
        def document():
            return list(range(100))

        @bench.budget(p95_ms=10_000, options=quick)
        def test_sorts(document):
            sorted(document)

        @bench.budget(median_us=0.000001, options=quick)
        def test_too_slow(document):
            sorted(document)

        @bench.budget(p95_ms=10_000, options=quick)
        async def test_asynchronous(document):
            assert document == []

        @bench.budget(p99_9_ms=10_000, options={**quick, "iterations": 20})
        def test_too_few():
            pass
        """
    )
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    outcome = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    outcome.assert_outcomes(passed=1, failed=3)
    outcome.stdout.fnmatch_lines(
        [
            "*BudgetExceededError: test_too_slow exceeds its budget",
            "*found: median *, budget at most 0.00 ns; n = 400, 0 failed, MAD *",
            "*BudgetExceededError: test_asynchronous exceeds its budget",
            "*found: failures 100.0%, budget at most 0.0%; n = 400, 400 failed*",
            "*to fix: 400 x AssertionError*",
            "*BudgetUnknownError: whether test_too_few keeps its budget is unknown*",
        ]
    )


TRUE_ORDERS = {
    "O(1)": lambda n: 1.0,
    "O(log n)": lambda n: math.log2(n),
    "O(n)": lambda n: n,
    "O(n log n)": lambda n: n * math.log2(n),
    "O(n^2)": lambda n: n**2,
    "O(n^3)": lambda n: n**3,
}
WIDE, NARROW = (16, 64, 256, 1024, 4096, 16384), (100, 150, 200, 400)


def times(order: str, sizes: tuple[int, ...], seed: int, base: float = 3.0) -> list[bench.Point]:
    rng = random.Random(f"{order}{seed}")
    grow = TRUE_ORDERS.get(order, lambda n: n**1.5)
    first = base * grow(sizes[0])
    return [
        bench.Point(n, (grow(n) + first) * 1e-6 * math.exp(rng.gauss(0, 0.02)), 0.03) for n in sizes
    ]


@pytest.mark.parametrize("order", TRUE_ORDERS)
def test_the_order_of_growth_is_named_and_never_a_wrong_one(order: str):
    found = [bench.fit_growth(times(order, WIDE, seed)).order for seed in range(8)]
    assert set(found) <= {order, None}
    assert found.count(order) >= 6


def test_an_order_that_is_none_of_the_known_is_undecided():
    found = [bench.fit_growth(times("n^1.5", WIDE, seed)) for seed in range(5)]
    assert {growth.order for growth in found} == {None}
    assert "undecided: " in str(found[0])


def test_sizes_that_lie_close_together_leave_it_undecided():
    assert bench.fit_growth(times("O(n)", NARROW, 1)).order is None


def test_growth_is_held_to_a_bound_in_three_values():
    linear = bench.fit_growth(times("O(n)", WIDE, 1))
    assert linear.at_most("O(n log n)") is Verdict.PASS
    assert linear.at_most("O(log n)") is Verdict.FAIL
    assert bench.fit_growth(times("O(n)", NARROW, 1)).at_most("O(n)") is Verdict.UNKNOWN
    with pytest.raises(UsageError, match="no such order"):
        linear.at_most("O(n!)")


class HandClock:
    def __init__(self) -> None:
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_scaling_calls_the_function_at_every_size_and_times_it_alone():
    clock = HandClock()

    def quadratic(items: list[int]) -> None:
        clock.now += len(items) ** 2 * 1e-6

    def make(size: int) -> list[int]:
        clock.now += 1000.0  # not timed
        return [0] * size

    growth = bench.scaling(quadratic, (10, 40, 160, 640), make=make, clock=clock)
    assert isinstance(growth, bench.Growth)
    assert growth.order == "O(n^2)"
    assert growth.exponent == pytest.approx(2.0)
    assert [(p.size, p.seconds) for p in growth.points] == [
        (n, pytest.approx(n * n * 1e-6)) for n in (10, 40, 160, 640)
    ]


def test_scaling_measures_asynchronous_functions_too():
    clock = HandClock()

    async def linear(n: int) -> None:
        await asyncio.sleep(0)
        clock.now += n * 1e-3

    assert bench.scaling(linear, (10, 40, 160, 640), clock=clock).order == "O(n)"


def test_scaling_refuses_too_few_sizes_and_functions_that_fail():
    with pytest.raises(UsageError, match="four different sizes"):
        bench.scaling(len, (1, 2, 3))

    def fails(n: int) -> None:
        if n == 40:
            raise ValueError("forty")

    with pytest.raises(UsageError, match="fails at size 40"):
        bench.scaling(fails, (10, 40, 160, 640))

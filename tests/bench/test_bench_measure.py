"""Measuring, on a clock of the tests' own: every figure is known beforehand."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable

import pytest

from windtunnel import bench
from windtunnel.core import Sample, UsageError, set_sink

pytestmark = pytest.mark.once  # a clock of its own, the same on each


class HandClock:
    """Time that passes when a measured function says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def taking(clock: HandClock, *durations: float) -> Callable[[], None]:
    """A function whose calls take these times, the last one for ever after."""
    left = list(durations)

    def call() -> None:
        clock.now += left.pop(0) if len(left) > 1 else left[0]

    return call


def test_every_call_is_timed_and_the_figures_are_those_of_the_calls(clock: HandClock):
    fn = taking(clock, 1.0, 2.0, 3.0, 4.0)
    result = bench.measure(fn, iterations=4, warmup=0, clock=clock, memory=False)
    assert result.times_s == pytest.approx((1.0, 2.0, 3.0, 4.0))
    assert (result.n, result.failures, result.inner) == (4, 0, 1)
    assert (result.min, result.mean, result.median, result.max) == (1.0, 2.5, 2.5, 4.0)
    assert result.p90 == pytest.approx(3.7)
    assert result.p95 == pytest.approx(3.85)
    assert result.p99 == pytest.approx(3.97)
    assert result.std == pytest.approx(1.2909944)
    assert result.mad == 1.0
    assert result.throughput == pytest.approx(4 / 10)


def test_failures_are_counted_timed_and_shown_and_not_among_the_figures(clock: HandClock):
    calls = iter(range(6))

    def sometimes() -> None:
        clock.now += 1.0
        if next(calls) % 3 == 2:
            clock.now += 5.0
            raise ValueError("every third")

    result = bench.measure(sometimes, iterations=6, warmup=0, clock=clock, memory=False)
    assert (result.n, result.failures, result.failure_rate) == (6, 2, pytest.approx(1 / 3))
    assert result.failed_s == (6.0, 6.0)
    assert result.errors == (("ValueError: every third", 2),)
    assert result.max == 1.0
    assert result.throughput == pytest.approx(4 / 16)
    assert "2 of 6 calls FAILED (33.3%), in 6.00 s … 6.00 s" in str(result)
    assert "2 x ValueError: every third" in str(result)


def test_a_failure_within_a_batch_loses_no_call_of_it(clock: HandClock):
    from windtunnel.bench.callers import call
    from windtunnel.bench.tally import Job

    calls = iter(range(100))

    def one_fails() -> None:
        clock.now += 1.0
        if next(calls) == 13:
            raise OSError("once")

    tally = call(one_fails, Job(calls=30, inner=10), clock)
    assert (tally.calls, len(tally.failed)) == (30, 1)
    assert tally.times == [1.0, 1.0, 1.0, 1.0]  # 10, 3 before the failure, 6 after it, 10
    assert next(calls) == 30


def test_what_a_call_returns_can_be_judged_a_failure(clock: HandClock):
    answers = iter([1, 0, 1, 1])

    def answer() -> int:
        return next(answers)

    result = bench.measure(
        answer, iterations=4, warmup=0, clock=clock, failed=lambda x: x == 0, memory=False
    )
    assert result.errors == (("FailedResultError: 0", 1),)


def test_nothing_succeeding_is_said_and_has_no_figures(clock: HandClock):
    def fails() -> None:
        raise KeyError("x")

    result = bench.measure(fails, iterations=3, warmup=0, clock=clock, memory=False)
    assert result.failures == 3
    assert "no call succeeded" in str(result)
    assert result.to_json()["median"] is None
    assert "no call succeeded" in str(result.histogram())


def test_short_calls_are_timed_together_and_the_result_says_how_many(clock: HandClock):
    result = bench.measure(taking(clock, 1e-6), iterations=30_000, clock=clock, memory=False)
    assert result.inner == 128  # the first power of two that lasts 100 microseconds
    assert result.n == 30_000
    assert len(result.times_s) == -(-30_000 // 128)
    assert result.median == pytest.approx(1e-6)
    assert "30,000 calls in 235 samples of 128" in str(result)


def test_the_warm_up_ends_when_timings_have_settled(clock: HandClock):
    fn = taking(clock, *[0.01 * 0.8**i + 0.001 for i in range(40)], 0.001)
    result = bench.measure(fn, iterations=100, clock=clock, memory=False)
    assert result.steady is True
    assert result.warmup_calls >= 20
    assert result.max < 0.0011


def test_timings_that_never_settle_are_measured_and_called_not_steady(clock: HandClock):
    took = iter(range(10_000, 0, -1))

    def faster() -> None:
        clock.now += next(took) * 1e-4

    result = bench.measure(faster, iterations=10, clock=clock, memory=False)
    assert result.steady is False
    assert "NOT STEADY" in str(result)


def test_a_given_number_of_calls_warms_up(clock: HandClock):
    fn = taking(clock, 9.0, 9.0, 1.0)
    result = bench.measure(fn, iterations=5, warmup=2, clock=clock, memory=False)
    assert result.times_s == (1.0,) * 5
    assert (result.warmup_calls, result.steady) == (2, None)


def test_so_many_calls_warm_up_and_no_more_also_where_calls_are_short(clock: HandClock):
    made = 0

    def short() -> None:
        nonlocal made
        made += 1
        clock.now += 1e-6

    result = bench.measure(short, iterations=30_000, warmup=7, clock=clock, memory=False)
    assert (result.inner, result.warmup_calls, made) == (128, 7, 30_007)


def test_an_open_loop_counts_from_when_a_call_was_due(clock: HandClock):
    # One call a second is due. The first takes 3.5 s and holds up the two behind it.
    fn = taking(clock, 3.5, 0.1)
    result = bench.measure(
        fn, iterations=5, rate=1.0, concurrency=1, warmup=0, clock=clock, memory=False
    )
    assert result.times_s == pytest.approx((3.5, 2.6, 1.7, 0.8, 0.1))
    assert result.late_s == pytest.approx(2.5)
    assert "open loop at 1.00/s" in str(result)


def test_a_closed_loop_at_the_same_would_have_hidden_the_waiting(clock: HandClock):
    fn = taking(clock, 3.5, 0.1)
    result = bench.measure(fn, iterations=5, warmup=0, clock=clock, memory=False)
    assert result.times_s == pytest.approx((3.5, 0.1, 0.1, 0.1, 0.1))


def test_poisson_arrivals_come_from_the_seed_and_not_evenly(clock: HandClock):
    def starts() -> tuple[float, ...]:
        plan = bench.Plan(name="users", iterations=200, rate=10.0, arrivals="poisson")
        return plan.job(1, virtual=False).starts_s

    gaps = [b - a for a, b in zip(starts(), starts()[1:], strict=False)]
    assert starts() == starts()
    assert 0.05 < sum(gaps) / len(gaps) < 0.15
    assert max(gaps) > 3 * min(gaps)


def test_an_asynchronous_function_is_measured_with_and_without_a_running_loop():
    calls = []

    async def job() -> None:
        await asyncio.sleep(0)
        calls.append(1)

    assert bench.measure(job, iterations=20, warmup=0, memory=False).n == 20
    inside = asyncio.run(bench.measure_async(job, iterations=20, warmup=0, memory=False))
    assert (inside.n, len(calls)) == (20, 40)

    async def wrongly() -> None:
        bench.measure(job)

    with pytest.raises(UsageError, match=r"await bench\.measure_async"):
        asyncio.run(wrongly())


def test_a_lambda_that_returns_a_coroutine_is_awaited_with_and_without_a_running_loop():
    ran = []

    async def job(ok: bool) -> bool:
        await asyncio.sleep(0)
        ran.append(ok)
        return ok

    options = {"iterations": 10, "warmup": 0, "memory": False}
    assert bench.measure(lambda: job(True), **options).n == 10
    assert asyncio.run(bench.measure_async(lambda: job(True), **options)).n == 10
    assert len(ran) == 20
    judged = bench.measure(lambda: job(False), failed=lambda ok: not ok, **options)
    assert (judged.failures, len(ran)) == (10, 30)

    async def wrongly() -> None:
        bench.measure(lambda: job(True), **options)

    with pytest.raises(UsageError, match=r"await bench\.measure_async"):
        asyncio.run(wrongly())


def test_measure_async_calls_a_plain_function_plainly():
    result = asyncio.run(bench.measure_async(len, "abc", iterations=10, memory=False))
    assert (result.n, result.failures) == (10, 0)


def test_as_many_calls_are_under_way_as_concurrency_says():
    under_way = most = 0

    async def job() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(3):
            await asyncio.sleep(0)
        under_way -= 1

    result = bench.measure(job, iterations=50, concurrency=7, warmup=0, memory=False)
    assert (result.n, most, result.concurrency) == (50, 7, 7)


def test_plain_functions_run_at_a_time_in_threads():
    together = threading.Barrier(4)

    def meets() -> None:
        together.wait(timeout=60)  # breaks unless four are here at once

    result = bench.measure(meets, iterations=12, concurrency=4, warmup=0, memory=False)
    assert (result.n, result.failures) == (12, 0)


def test_an_open_loop_without_limit_starts_calls_while_others_are_under_way():
    async def scenario() -> bench.Result:
        gate = asyncio.Event()
        started = 0

        async def waits_for_all() -> None:
            nonlocal started
            started += 1
            if started == 10:
                gate.set()
            await gate.wait()

        return await bench.measure_async(
            waits_for_all, iterations=10, rate=10_000.0, warmup=0, memory=False
        )

    result = asyncio.run(scenario())
    assert (result.n, result.failures) == (10, 0)


def test_memory_is_looked_at_in_a_pass_of_its_own():
    kept: list[bytes] = []

    def keeps() -> None:
        kept.append(bytes(10_000))

    result = bench.measure(keeps, iterations=8, warmup=0)
    assert result.memory is not None
    assert len(kept) == result.n + result.memory.calls
    assert 10_000 <= result.memory.retained_bytes < 11_000
    assert result.memory.peak_bytes >= 10_000 * result.memory.calls


def test_what_is_freed_at_once_is_peak_and_not_retained():
    memory = bench.measure(lambda: bytes(100_000), iterations=5).memory
    assert memory is not None
    assert 99_000 <= memory.peak_bytes < 110_000
    assert memory.retained_bytes < 100


def test_cpu_time_is_told_apart_from_waiting():
    async def waits() -> None:
        await asyncio.sleep(0.02)

    result = bench.measure(waits, iterations=5, warmup=0, memory=False)
    assert result.min >= 0.02
    assert result.cpu_per_call_s < result.mean


def test_samples_go_on_record_failures_marked(clock: HandClock):
    seen: list[Sample] = []
    before = set_sink(lambda event: seen.append(event) if isinstance(event, Sample) else None)
    calls = iter(range(4))

    def one_fails() -> None:
        clock.now += 2.0
        if next(calls) == 1:
            raise ValueError

    try:
        bench.measure(one_fails, name="job", iterations=4, warmup=0, clock=clock, memory=False)
    finally:
        set_sink(before)
    samples = [(it.value, it.unit, it.failed) for it in seen if it.name == "bench/job"]
    assert samples == [(2.0, "s", False)] * 3 + [(2.0, "s", True)]
    rest = {it.name: (it.value, it.unit) for it in seen[4:]}
    assert rest["bench/job/failures"] == (1, "calls")
    assert rest["bench/measured"] == (4, "job")
    assert rest["bench/on"][1].endswith("CPUs")


def top_level() -> int:
    return sum(range(100))


def test_isolation_measures_in_processes_of_their_own():
    result = bench.measure(
        top_level, iterations=10, warmup=1, isolation="process", processes=3, memory=False
    )
    assert (result.n, result.processes, result.failures) == (10, 3, 0)
    assert "in 3 processes" in str(result)


def test_a_closure_is_isolated_in_a_fork_and_leaves_this_process_alone():
    here: list[int] = []

    def adds() -> None:
        here.append(1)

    result = bench.measure(
        adds, iterations=6, warmup=0, isolation="process", processes=2, memory=False
    )
    assert (result.n, here) == (6, [])


def test_isolation_works_inside_a_running_loop():
    async def job() -> None:
        await asyncio.sleep(0)

    options = {"iterations": 4, "warmup": 0, "isolation": "process", "processes": 2}
    result = asyncio.run(bench.measure_async(job, memory=False, **options))
    assert (result.n, result.processes, result.failures) == (4, 2, 0)


def test_a_process_that_dies_is_an_error_with_its_exit_code():
    import os

    with pytest.raises(bench.ProcessFailedError, match="exit code 7"):
        bench.measure(lambda: os._exit(7), iterations=2, warmup=0, isolation="process")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"iteration": 3}, "no option 'iteration'"),
        ({"iterations": 0}, "iterations=0"),
        ({"budget_s": 0}, "budget_s=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"rate": 0.0}, "rate=0.0"),
        ({"rate": 1.0, "arrivals": "odd"}, "arrivals='odd'"),
        ({"isolation": "vm"}, "isolation='vm'"),
        ({"processes": 0}, "processes=0"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_by_name(options: dict, message: str):
    with pytest.raises(UsageError, match=message):
        bench.measure(top_level, **options)


def test_what_is_not_callable_is_refused():
    with pytest.raises(UsageError, match="has to be callable"):
        bench.measure(3)  # type: ignore[arg-type]


def test_a_result_is_frozen_and_its_json_has_every_figure(clock: HandClock):
    result = bench.measure(taking(clock, 1.0), iterations=3, warmup=0, clock=clock, memory=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.n = 4  # type: ignore[misc]
    document = result.to_json()
    assert document["format"] == 1
    assert {document[name] for name in ("min", "mean", "median", "p90", "p95", "p99", "max")} == {
        1.0
    }
    assert document["failures"] == 0

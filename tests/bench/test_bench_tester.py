"""PerformanceTester, quick_benchmark and the drawings, by their public names."""

from __future__ import annotations

import asyncio
import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from windtunnel import bench
from windtunnel.bench.pictures import percentiles
from windtunnel.core import UsageError
from windtunnel.draw import STYLE, document

pytestmark = pytest.mark.once  # names over what is tested on each


@dataclasses.dataclass
class Answer:
    ok: bool


class Engine:
    """Runs nothing; code with "fail" in it fails, code with "raise" in it raises."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.under_way = self.most = 0

    async def execute(self, code: str) -> Answer:
        self.seen.append(code)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        if "raise" in code:
            raise OSError("gone")
        return Answer(ok="fail" not in code)


def test_code_is_measured_on_the_executor_and_its_failures_counted():
    async def scenario() -> None:
        engine = Engine()
        tester = bench.PerformanceTester(engine)
        good = await tester.benchmark_async_execution(
            "1 + 1", iterations=10, warmup=3, memory=False
        )
        assert (good.name, good.n, good.failures) == ("1 + 1", 10, 0)
        assert len(engine.seen) == 13
        bad = await tester.benchmark_async_execution("fail", iterations=10, memory=False)
        assert (bad.failures, bad.errors[0][1]) == (10, 10)
        worse = await tester.benchmark_async_execution("raise", iterations=4, memory=False)
        assert worse.errors == (("OSError: gone", 4),)

    asyncio.run(scenario())


def test_code_without_an_executor_is_refused():
    with pytest.raises(UsageError, match="code needs an executor"):
        asyncio.run(bench.PerformanceTester().benchmark_async_execution("1 + 1"))
    with pytest.raises(UsageError, match="code needs an executor"):
        bench.quick_benchmark("1 + 1")


def test_executions_run_at_a_time():
    engine = Engine()
    tester = bench.PerformanceTester(engine)
    result = asyncio.run(
        tester.benchmark_concurrent_executions("x", concurrency=6, iterations=30, memory=False)
    )
    assert (result.n, result.concurrency, engine.most) == (30, 6, 6)


def test_a_plain_function_with_arguments_is_measured_too():
    tester = bench.PerformanceTester()
    result = asyncio.run(
        tester.benchmark_async_execution(sorted, [2, 1], iterations=9, memory=False)
    )
    assert (result.name, result.n) == ("sorted", 9)


def test_warm_up_goes_on_until_timings_settle():
    calls = []

    async def job() -> None:
        calls.append(1)

    tester = bench.PerformanceTester()
    result = asyncio.run(tester.benchmark_with_warmup(job, iterations=50, memory=False))
    assert result.steady is not None
    assert result.warmup_calls == len(calls) - 50 >= 20


def test_callback_overhead_is_the_difference_of_both_ways():
    def function(x: int) -> int:
        return x + 1

    def callback(x: int) -> int:
        for _ in range(200):
            pass
        return function(x)

    overhead = asyncio.run(
        bench.PerformanceTester().benchmark_callback_overhead(
            lambda: callback(1), lambda: function(1), iterations=2000
        )
    )
    assert isinstance(overhead, bench.Overhead)
    assert overhead.with_it.n == overhead.without.n == 2000
    difference = overhead.with_it.median - overhead.without.median
    assert overhead.per_call_s == pytest.approx(difference)
    assert overhead.low_s <= overhead.per_call_s <= overhead.high_s
    assert overhead.low_s > 0  # two hundred steps are seen on any machine
    assert "with it" in str(overhead)


def test_several_subjects_take_turns_and_are_listed_fastest_first():
    order: list[str] = []

    def quick() -> None:
        order.append("quick")

    def slow() -> None:
        order.append("slow")
        for _ in range(5000):
            pass

    found = asyncio.run(
        bench.PerformanceTester().compare({"slow": slow, "quick": quick}, iterations=100, rounds=4)
    )
    assert list(found) == ["quick", "slow"]
    assert [result.n for result in found.values()] == [100, 100]
    turns = [a for a, b in zip(order, [*order[1:], ""], strict=True) if a != b]
    assert len(turns) >= 5  # each round changes who begins


def test_quick_benchmark_prints_what_it_found(capsys: pytest.CaptureFixture[str]):
    async def job() -> None:
        await asyncio.sleep(0)

    result = bench.quick_benchmark(job, iterations=20, memory=False)
    assert capsys.readouterr().out == f"{result}\n"
    on_engine = bench.quick_benchmark("fail", executor=Engine(), iterations=5, memory=False)
    assert on_engine.failures == 5


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.text]


def test_the_histogram_has_every_bin_and_marks_median_and_p95():
    times = tuple(0.010 + i % 50 * 1e-5 for i in range(500))
    result = bench.Result(name="a<b", times_s=times, n=500)
    svg = document(result.histogram(), STYLE)
    shown = texts(svg)
    assert "a<b" in shown
    assert {"median 10.2 ms", "p95 10.5 ms"} <= set(shown)
    counted = sum(int(text.rpartition(": ")[2]) for text in shown if " to " in text)
    assert counted == 500
    assert svg == document(result.histogram(), STYLE)


def test_a_long_tail_is_one_bin_that_says_so():
    result = bench.Result(name="f", times_s=(*([0.001, 0.0011] * 100), 9.0), n=201)
    shown = texts(document(result.histogram(), STYLE))
    assert "longer" in shown
    assert any(text.endswith("to longer: 1") for text in shown)


def test_percentiles_are_drawn_for_several_results_with_their_names():
    one = bench.Result(name="one", times_s=tuple(i / 1000 for i in range(1, 1001)), n=1000)
    two = bench.Result(name="two", times_s=tuple(i / 900 for i in range(1, 1001)), n=1000)
    shown = texts(document(percentiles([one, two]), STYLE))
    assert {"one", "two", "p50", "p90", "p99"} <= set(shown)
    alone = texts(document(one.percentiles(), STYLE))
    assert "percentiles of one" in alone


def test_a_single_sample_and_none_can_be_drawn():
    single = bench.Result(name="f", times_s=(0.5,), n=1)
    assert "500 ms" in " ".join(texts(document(single.histogram(), STYLE)))
    assert texts(document(single.percentiles(), STYLE))
    none = bench.Result(name="f", times_s=(), failed_s=(1.0,), n=1)
    assert texts(document(none.percentiles(), STYLE))[-1] == "f: no call succeeded"

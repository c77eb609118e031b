"""The fixtures, and measuring on virtual time, in sessions of their own."""

from __future__ import annotations

import pytest


def run(pytester: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(body)
    pytester.makeini(
        "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
    )
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *arguments)


def test_benchmark_async_measures_and_the_summary_tells(pytester: pytest.Pytester):
    result = run(
        pytester,
        """
        async def test_answers(benchmark_async):
            async def answer():
                return 42
            result = await benchmark_async(answer, iterations=60, warmup=1, memory=False)
            assert (result.n, result.failures) == (60, 0)
            plain = await benchmark_async(sorted, [2, 1], name="sorting", iterations=10, warmup=1)
            assert plain.name == "sorting"
        """,
        "--junitxml=out.xml",
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["*= benchmarks =*", "*::test_answers: median *60 calls, 0 failed", "sorting: *10 calls*"]
    )
    assert 'property name="bench sorting"' in (pytester.path / "out.xml").read_text()


def test_failing_calls_fail_the_test_unless_it_allows_them(pytester: pytest.Pytester):
    result = run(
        pytester,
        """
        async def broken():
            raise OSError("no route")

        async def test_strict(benchmark_async):
            await benchmark_async(broken, iterations=5, warmup=0, memory=False)

        async def test_lenient(benchmark_async):
            found = await benchmark_async(
                broken, iterations=5, warmup=0, memory=False, allow_failures=True
            )
            assert found.failures == 5
        """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*CallsFailedError: 5 of 5 calls of *::test_strict failed"])
    result.stdout.fnmatch_lines(["*found: 5 x OSError: no route"])


def test_benchmark_returns_what_the_function_returns_and_has_the_known_stats(
    pytester: pytest.Pytester,
):
    result = run(
        pytester,
        """
        def test_plain(benchmark):
            assert benchmark(sorted, [3, 1, 2], reverse=True) == [3, 2, 1]
            assert benchmark.stats["min"] <= benchmark.stats.stats.median <= benchmark.stats["max"]
            assert benchmark.result.failures == 0

        def test_pedantic(benchmark):
            made = []
            def setup():
                made.append(1)
                return (len(made),), {}
            assert benchmark.pedantic(lambda n: n * 10, setup=setup, rounds=4) == 40
            assert (benchmark.stats["rounds"], len(made)) == (4, 4)

        def test_setup_with_several_iterations(benchmark):
            benchmark.pedantic(len, setup=lambda: ((), {}), iterations=2)

        def test_too_early(benchmark):
            benchmark.stats
        """,
    )
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        ["*UsageError: a setup before each round goes with one iteration a round"]
    )
    result.stdout.fnmatch_lines(["*UsageError: nothing was measured yet"])


def test_a_benchmark_of_another_plugin_or_of_the_project_wins(pytester: pytest.Pytester):
    # pytest-benchmark registers under this name, by its entry point.
    pytester.syspathinsert()
    pytester.makepyfile(
        benchmark="""
        import pytest

        @pytest.fixture
        def benchmark():
            return "another plugin's"
        """,
        conftest="""
        import pytest

        @pytest.fixture
        def benchmark_async():
            return "the project's"
        """,
    )
    result = run(
        pytester,
        """
        def test_both(benchmark, benchmark_async):
            assert (benchmark, benchmark_async) == ("another plugin's", "the project's")
        """,
        "-p",
        "benchmark",
    )
    result.assert_outcomes(passed=1)


def test_in_the_simulated_world_time_is_virtual_and_the_figure_says_so(
    pytester: pytest.Pytester,
):
    result = run(
        pytester,
        """
        import asyncio
        import windtunnel as wt

        @wt.simulated(seeds=1)
        async def test_waits_for_minutes(benchmark_async):
            result = await benchmark_async(
                asyncio.sleep, 60.0, name="minutes", iterations=20, concurrency=4
            )
            assert result.clock == "virtual"
            assert 60.0 <= result.min <= result.max < 60.001
            assert 300 <= result.elapsed_s < 300.01
            assert result.cpu_s is None
            assert "virtual time" in str(result)
        """,
    )
    result.assert_outcomes(passed=1)

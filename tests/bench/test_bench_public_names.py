"""Errors of measuring, by their public names."""

from __future__ import annotations

import pytest

from windtunnel import bench
from windtunnel.core import WindtunnelError


def test_a_result_that_is_judged_a_failure_is_counted_by_the_name_of_its_error() -> None:
    result = bench.measure(lambda: "no", failed=lambda answer: answer == "no", iterations=5)
    assert (result.n, result.failures) == (5, 5)
    ((error, count),) = result.errors
    assert error.startswith(bench.FailedResultError.__name__)
    assert count == 5


@pytest.mark.asyncio
async def test_calls_that_fail_fail_the_test_of_the_fixture(benchmark_async) -> None:
    async def fails() -> None:
        raise OSError("no disk")

    with pytest.raises(bench.CallsFailedError, match="5 of 5 calls") as caught:
        await benchmark_async(fails, iterations=5)
    assert isinstance(caught.value, WindtunnelError)
    assert "no disk" in str(caught.value)

"""Faults of other released code that are found, and the releases in which they are not."""

from __future__ import annotations

import sys

import pytest
from proofs import prove, seeds_run, soaking

SEEDS = 1_000 if soaking() else 100


def test_anyio_4_13_0_loses_a_lock(pytester: pytest.Pytester) -> None:
    result = prove(pytester, "anyio_lock.py", 1_000, ("anyio", "4.13.0"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*deadlock: nothing can run and no timer is set*"])


@pytest.mark.once
def test_anyio_4_14_0_does_not(pytester: pytest.Pytester) -> None:
    result = prove(pytester, "anyio_lock.py", SEEDS, ("anyio", "4.14.0"))
    result.assert_outcomes(passed=1)
    assert seeds_run(pytester) == SEEDS


def test_httpcore_1_0_9_loses_connections(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WT_HTTPCORE", "httpcore")
    result = prove(pytester, "httpcore_pool.py", 1_000, ("httpcore", "1.0.9"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*PoolTimeout*"])


@pytest.mark.once
def test_httpcore2_does_not(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WT_HTTPCORE", "httpcore2")
    result = prove(pytester, "httpcore_pool.py", SEEDS)
    result.assert_outcomes(passed=1)
    assert seeds_run(pytester) == SEEDS


def test_conditions_of_python_before_3_13_lose_a_notification(pytester: pytest.Pytester) -> None:
    result = prove(pytester, "condition_notify.py", 300)
    if sys.version_info < (3, 13):
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*1 items are left, and takers wait*"])
    else:
        result.assert_outcomes(passed=1)
        assert seeds_run(pytester) == 300

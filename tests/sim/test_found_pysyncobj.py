"""A fault of a released PySyncObj, a Raft library, is found, and its fix is not accused."""

from __future__ import annotations

import pytest
from proofs import prove, seeds_run, soaking


def test_pysyncobj_0_3_15_elects_two_leaders_in_a_term(pytester: pytest.Pytester) -> None:
    # Under one seed of 23: 200 would miss it once in ten thousand runs.
    result = prove(pytester, "pysyncobj_terms.py", 1_000, ("pysyncobj", "0.3.15"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: term * has the leaders *", "*replay: *"])


@pytest.mark.once
def test_pysyncobj_0_3_17_is_clean(pytester: pytest.Pytester) -> None:
    seeds = 1_000 if soaking() else 100
    result = prove(pytester, "pysyncobj_terms.py", seeds, ("pysyncobj", "0.3.17"))
    result.assert_outcomes(passed=1)
    assert seeds_run(pytester) == seeds

"""A fault of a released redis-py is found, and its fix is not accused."""

from __future__ import annotations

import pytest
from proofs import prove, seeds_run, soaking

_TIMEOUT = ("async-timeout", "4.0.3")


def test_redis_4_5_1_answers_with_the_reply_to_a_cancelled_command(
    pytester: pytest.Pytester,
) -> None:
    result = prove(pytester, "redis_reply.py", 100, ("redis", "4.5.1"), _TIMEOUT)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert b'foo' == b'bar'*", "*replay: *"])


@pytest.mark.once
def test_redis_4_5_5_is_clean(pytester: pytest.Pytester) -> None:
    seeds = 10_000 if soaking() else 1_000
    result = prove(pytester, "redis_reply.py", seeds, ("redis", "4.5.5"), _TIMEOUT)
    result.assert_outcomes(passed=1)
    assert seeds_run(pytester) == seeds

"""Two samples told apart by ranks: the Mann-Whitney test, plain and in blocks.

Timings have long tails and no known distribution; ranks ask only which of two values is larger.
In blocks, values are compared only with values taken near them in time, so that a machine that is
slow for a minute is slow for both (van Elteren, "On the combination of independent two sample
tests of Wilcoxon", 1960).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TypeAlias

Block: TypeAlias = "tuple[Sequence[float], Sequence[float]]"
"""Values of the one and of the other, taken close together in random order."""


@dataclasses.dataclass(frozen=True, slots=True)
class RankSum:
    """The outcome of a Mann-Whitney test.

    :param u: pairs in which the first sample's value is larger; ties count half.
    :param p: two-sided probability of so uneven a count where both come from one distribution,
        by the normal approximation with correction for ties and continuity.
    """

    u: float
    p: float


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> RankSum:
    """Test whether values of ``a`` tend to be larger or smaller than those of ``b``.

    H. B. Mann and D. R. Whitney, "On a test of whether one of two random variables is
    stochastically larger than the other", 1947.

    >>> mann_whitney([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]).u
    0.0
    >>> round(mann_whitney(range(20), range(5, 25)).p, 4)
    0.0185
    """
    m, n = len(a), len(b)
    ordered = sorted([(x, 0) for x in a] + [(x, 1) for x in b])
    ranks = ties = 0.0
    start = 0
    while start < len(ordered):
        end = start
        while end < len(ordered) and ordered[end][0] == ordered[start][0]:
            end += 1
        count = end - start
        ties += count**3 - count
        ranks += (start + 1 + end) / 2 * sum(side == 0 for _, side in ordered[start:end])
        start = end
    u = ranks - m * (m + 1) / 2
    total = m + n
    variance = m * n / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return RankSum(u, 1.0)
    z = max(0.0, abs(u - m * n / 2) - 0.5) / math.sqrt(variance)
    return RankSum(u, math.erfc(z / math.sqrt(2)))


@dataclasses.dataclass(frozen=True, slots=True)
class Shift:
    """By how much the one side's values exceed the other's.

    :param middle: the median of all differences within blocks (Hodges and Lehmann, "Estimates of
        location based on rank tests", 1963).
    :param low: the shift lies from here; ``-inf`` where there are too few values to say.
    :param high: to here.
    """

    low: float
    middle: float
    high: float


def shift(blocks: Sequence[Block], z: float) -> Shift:
    """The shifts that the blockwise test would not reject, ``z`` standard errors to each side.

    Under a shift d, the number of pairs (x, y) of a block with x - y > d has a known mean and
    variance, whatever the distribution. So the bounds are two of the sorted differences.

    >>> blocks = [([1.1, 2.1], [1.0, 2.0])] * 10
    >>> round(shift(blocks, 2.0).middle, 3)
    0.1
    """
    differences: list[float] = []
    variance = 0.0
    for a, b in blocks:
        differences += [x - y for x in a for y in b]
        variance += len(a) * len(b) * (len(a) + len(b) + 1) / 12
    differences.sort()
    count = len(differences)
    if not count:
        return Shift(-math.inf, math.nan, math.inf)
    reach = z * math.sqrt(variance)
    low, high = math.floor(count / 2 - reach), math.ceil(count / 2 + reach)
    return Shift(
        low=differences[low] if low >= 0 else -math.inf,
        middle=(differences[(count - 1) // 2] + differences[count // 2]) / 2,
        high=differences[high - 1] if high <= count else math.inf,
    )

"""Statistics of one sample: quantiles, spread, outliers and bootstrap intervals.

Pure functions over numbers, without a library. Two samples are told apart in ``ranksum``.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

_BLOCKS = 256
_REPLICATES = 1000


def quantile(ordered: Sequence[float], q: float) -> float:
    """The ``q`` quantile of a sorted sample, interpolated linearly between the two ranks beside
    it (type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", 1996).

    :param ordered: in ascending order; an empty one has no quantile, which is ``nan``.
    :param q: from 0 to 1.

    >>> quantile([1.0, 2.0, 3.0, 4.0], 0.5)
    2.5
    """
    if not ordered:
        return math.nan
    place = q * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def median(values: Sequence[float]) -> float:
    """The middle of a sample in any order.

    >>> median([3.0, 1.0, 2.0])
    2.0
    """
    return quantile(sorted(values), 0.5)


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; ``nan`` of nothing."""
    return math.fsum(values) / len(values) if values else math.nan


def std(values: Sequence[float]) -> float:
    """The sample's standard deviation, n - 1 below the line; 0 of a single value.

    >>> std([2.0, 4.0])
    1.4142135623730951
    """
    if len(values) < 2:
        return 0.0 if values else math.nan
    middle = mean(values)
    return math.sqrt(math.fsum((x - middle) ** 2 for x in values) / (len(values) - 1))


def mad(values: Sequence[float]) -> float:
    """The median absolute deviation from the median, as it is: not scaled to a normal's std.

    >>> mad([1.0, 1.0, 2.0, 2.0, 4.0, 6.0, 9.0])
    1.0
    """
    middle = median(values)
    return median([abs(x - middle) for x in values])


@dataclasses.dataclass(frozen=True, slots=True)
class Outliers:
    """How many values lie beyond Tukey's fences (*Exploratory Data Analysis*, 1977).

    :param low: below the first quartile by more than 1.5 interquartile ranges.
    :param high: above the third by as much.
    :param far: of both, those that are beyond 3 ranges.
    """

    low: int
    high: int
    far: int

    @property
    def count(self) -> int:
        """All of them."""
        return self.low + self.high


def outliers(values: Sequence[float]) -> Outliers:
    """Count the outliers.

    >>> outliers([1.0, 1.1, 1.2, 1.3, 1.4, 1.9, 9.0])
    Outliers(low=0, high=1, far=1)
    """
    ordered = sorted(values)
    first, third = quantile(ordered, 0.25), quantile(ordered, 0.75)
    width = third - first
    return Outliers(
        low=sum(x < first - 1.5 * width for x in ordered),
        high=sum(x > third + 1.5 * width for x in ordered),
        far=sum(x < first - 3 * width or x > third + 3 * width for x in ordered),
    )


def quantile_interval(
    ordered: Sequence[float], q: float, confidence: float = 0.95
) -> tuple[float, float]:
    """A percentile bootstrap interval of the ``q`` quantile, without resampling.

    The quantile of a resample of n values is one of the sample's own, and its rank is the number
    of n uniform draws below a point: the k-th of n uniforms is distributed as Beta(k, n - k + 1).
    So a replicate is one Beta draw, however large the sample (Efron, "Bootstrap methods", 1979,
    section 3, has the median's exact distribution). Values are taken as independent.

    >>> low, high = quantile_interval([float(x) for x in range(101)], 0.5)
    >>> low < 50 < high
    True
    """
    n = len(ordered)
    if n < 2:
        return (-math.inf, math.inf)
    place = q * (n - 1) + 1
    draw = random.Random(f"quantile/{n}/{q}").betavariate
    ranks = sorted(draw(place, n - place + 1) for _ in range(_REPLICATES))
    tail = (1 - confidence) / 2

    def value(u: float) -> float:
        return ordered[min(n - 1, int(u * n))]

    return value(quantile(ranks, tail)), value(quantile(ranks, 1 - tail))


def quantile_bounds(
    ordered: Sequence[float], q: float, confidence: float = 0.95
) -> tuple[float, float]:
    """Bounds of the population's ``q`` quantile that hold whatever the distribution.

    How many of n values lie below the quantile is binomial, so two order statistics enclose it
    (Conover, *Practical Nonparametric Statistics*, on confidence intervals for quantiles). With few
    values none is certainly above a high quantile: then the upper bound is infinite, which no
    bootstrap can say.

    >>> quantile_bounds([float(x) for x in range(1, 101)], 0.5)
    (40.0, 61.0)
    >>> quantile_bounds([1.0, 2.0, 3.0], 0.99)
    (2.0, inf)
    """
    n = len(ordered)
    tail = (1 - confidence) / 2
    below, low, high = 0.0, -math.inf, math.inf
    for k in range(n + 1):  # k values lie below the quantile
        if below <= tail and k:
            low = ordered[k - 1]
        below += _binomial(n, k, q)
        if below >= 1 - tail:
            return low, ordered[k] if k < n else math.inf
    return low, high


def _binomial(n: int, k: int, q: float) -> float:
    if q <= 0 or q >= 1:
        return float(k == (n if q >= 1 else 0))
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(ways + k * math.log(q) + (n - k) * math.log1p(-q))


def bootstrap(
    values: Sequence[float],
    statistic: Callable[[Sequence[float]], float] = mean,
    confidence: float = 0.95,
    *,
    replicates: int = _REPLICATES,
) -> tuple[float, float]:
    """A percentile bootstrap interval of a statistic of values that may hang together in time.

    Neighbours in a series of timings resemble each other, and resampling them one by one makes
    the interval too narrow. The series is cut into at most 256 blocks, and blocks are drawn
    (Carlstein, "The use of subseries values", 1986); for the mean, a block is its own mean.

    >>> low, high = bootstrap([1.0, 2.0, 3.0, 4.0, 5.0] * 20)
    >>> low < 3.0 < high
    True
    """
    n = len(values)
    if n < 2:
        return (-math.inf, math.inf)
    length = math.ceil(n / _BLOCKS)
    blocks = [values[i : i + length] for i in range(0, n - length + 1, length)]
    rng = random.Random(f"bootstrap/{n}/{replicates}")
    if statistic is mean:
        means = [mean(block) for block in blocks]
        found = sorted(mean(rng.choices(means, k=len(means))) for _ in range(replicates))
    else:
        found = sorted(
            statistic([x for block in rng.choices(blocks, k=len(blocks)) for x in block])
            for _ in range(replicates)
        )
    tail = (1 - confidence) / 2
    return quantile(found, tail), quantile(found, 1 - tail)

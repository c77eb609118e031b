"""Beta distributions and mixtures of them: the little mathematics that the judges stand on.

It is not a statistics library: only the logarithm of the beta function, the distribution function
of a beta distribution (the regularized incomplete beta function, by its continued fraction, DLMF
8.17.22, evaluated with Lentz's method) and quantiles of a mixture, so that no judge needs scipy.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

_TINY = 1e-300
_PRECISION = 1e-12


@dataclasses.dataclass(frozen=True, slots=True)
class Beta:
    """A belief about a rate: as if ``a`` failures and ``b`` passes had been seen before.

    >>> Beta(1, 3).mean
    0.25
    >>> Beta(1, 1).after(failures=2, passes=6)
    Beta(a=3, b=7)
    """

    a: float
    b: float

    @property
    def mean(self) -> float:
        """The expected rate."""
        return self.a / (self.a + self.b)

    def after(self, failures: int, passes: int) -> Beta:
        """The belief after so many more results."""
        return Beta(self.a + failures, self.b + passes)

    def log_likelihood(self, failures: int, passes: int) -> float:
        """Logarithm of the probability of these results in one given order (beta-binomial
        without the number of orders, which is the same under every hypothesis).

        >>> round(math.exp(Beta(1, 1).log_likelihood(1, 1)), 6)  # 1/2 * 1/3
        0.166667
        """
        return log_beta(self.a + failures, self.b + passes) - log_beta(self.a, self.b)

    def below(self, rate: float) -> float:
        """Probability that the rate is at most ``rate``.

        >>> Beta(1, 1).below(0.3)
        0.3
        """
        return incomplete_beta(self.a, self.b, rate)


@functools.lru_cache(maxsize=65_536)  # a history asks for few counts, and for each many times
def log_beta(a: float, b: float) -> float:
    """Logarithm of the beta function."""
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), for a, b > 0 and x from 0 to 1.

    >>> round(incomplete_beta(2, 3, 0.4), 6)  # 1 - P(at most 1 of 4 at 0.4)
    0.5248
    """
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(a * math.log(x) + b * math.log1p(-x) - log_beta(a, b))
    # The fraction converges fast only below the mean; above it the mirror image does.
    if x < (a + 1) / (a + b + 2):
        result = front * _continued_fraction(a, b, x) / a
    else:
        result = 1.0 - front * _continued_fraction(b, a, 1.0 - x) / b
    return min(1.0, max(0.0, result))


def _continued_fraction(a: float, b: float, x: float) -> float:
    c = 1.0
    d = 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, 10_000):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _away_from_zero(1.0 + even * d)
        c = _away_from_zero(1.0 + even / c)
        value *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1.0 / _away_from_zero(1.0 + odd * d)
        c = _away_from_zero(1.0 + odd / c)
        step = d * c
        value *= step
        if abs(step - 1.0) < _PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


Mixture = Sequence[tuple[float, Beta]]
"""Beta distributions with their weights; the weights need not sum to one."""


def credible_interval(mixture: Mixture, mass: float = 0.95) -> tuple[float, float]:
    """The central interval that holds ``mass`` of the mixture, to 0.00001.

    >>> low, high = credible_interval([(1.0, Beta(1, 1))])
    >>> round(low, 3), round(high, 3)
    (0.025, 0.975)
    """
    total = sum(weight for weight, _ in mixture)
    heavy = [(weight / total, beta) for weight, beta in mixture if weight > 1e-5 * total]
    tail = (1.0 - mass) / 2
    return _quantile(heavy, tail), _quantile(heavy, 1.0 - tail)


def _quantile(mixture: Mixture, share: float) -> float:
    # Bisection: near 0 and 1 the mixture is as good as a step, where cleverer methods crawl.
    low, high = 0.0, 1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        if sum(weight * beta.below(middle) for weight, beta in mixture) < share:
            low = middle
        else:
            high = middle
    return low if share < 0.5 else high

"""Whether a change in failure rate is more than chance."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True)
class Rate:
    """Failures among runs.

    >>> str(Rate(3, 10)), Rate(3, 10).mixed, Rate(10, 10).always
    ('3/10', True, True)
    """

    failures: int
    runs: int

    def __str__(self) -> str:
        return f"{self.failures}/{self.runs}"

    def __add__(self, other: Rate) -> Rate:
        return Rate(self.failures + other.failures, self.runs + other.runs)

    @property
    def never(self) -> bool:
        """Whether there were runs, and none failed."""
        return self.runs > 0 and self.failures == 0

    @property
    def always(self) -> bool:
        """Whether there were runs, and all failed."""
        return 0 < self.runs == self.failures

    @property
    def mixed(self) -> bool:
        """Whether some failed and some did not."""
        return 0 < self.failures < self.runs

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the failure rate (Wilson 1927).

        >>> low, high = Rate(0, 10).interval()
        >>> round(low, 3), round(high, 3)
        (0.0, 0.278)
        """
        if self.runs == 0:
            return 0.0, 1.0
        z, n = 1.959964, self.runs
        share = self.failures / n
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        low = 0.0 if self.never else max(0.0, middle - half)
        return low, 1.0 if self.always else min(1.0, middle + half)


def fisher_exact(one: Rate, other: Rate) -> float:
    """The two-sided p-value that both have the same failure rate (Fisher 1922).

    The sum of the probabilities of all tables with these margins that are no likelier than the
    one seen.

    >>> round(fisher_exact(Rate(0, 10), Rate(5, 5)), 6)
    0.000333
    >>> fisher_exact(Rate(1, 3), Rate(1, 3))
    1.0
    """
    failures, runs = one.failures + other.failures, one.runs + other.runs
    if not one.runs or not other.runs:
        return 1.0

    def weight(failed: int) -> int:
        return math.comb(one.runs, failed) * math.comb(other.runs, failures - failed)

    seen = weight(one.failures)
    lowest, highest = max(0, failures - other.runs), min(one.runs, failures)
    extreme = sum(w for k in range(lowest, highest + 1) if (w := weight(k)) <= seen)
    return min(1.0, extreme / math.comb(runs, failures))

"""When a warm-up is over: the latest timings are like those just before them.

The later half of the series is cut in two, and the two quarters are told apart by ranks
(Mann-Whitney), so that a single interruption does not look like a phase, and a trend is seen as
soon as it stands out of the noise. The earlier half may be as it will: that was the warm-up.
"""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.bench.ranksum import mann_whitney
from windtunnel.bench.statistics import median

LEAST = 20
"""So many timings are needed to say anything."""

_ALIKE_P = 0.05
_SMALL = 0.01  # a difference below 1 % is none, however certain


def is_steady(times: Sequence[float]) -> bool:
    """Whether the later half of a series has no trend that could be seen.

    :param times: durations in the order they were taken; fewer than 20 are never steady.

    >>> is_steady([9.0] * 10 + [1.0] * 30)
    True
    >>> is_steady([float(x) for x in range(40, 0, -1)])
    False
    >>> is_steady([1.0] * 5)
    False
    """
    count = len(times)
    if count < LEAST:
        return False
    third, fourth = times[count // 2 : 3 * count // 4], times[3 * count // 4 :]
    before, after = median(third), median(fourth)
    if abs(after - before) <= _SMALL * before:
        return True
    return mann_whitney(third, fourth).p > _ALIKE_P

"""When a warm-up is over: the series of timings has become steady.

MSER (White, "An effective truncation heuristic for bias reduction in simulation output", 1997)
cuts the beginning off where the rest has the smallest standard error of its mean: as long as
the beginning differs from the rest, cutting more of it lowers the error; after that, cutting
only makes the rest shorter. When the best cut lies in the second half, the series has not settled
yet. The values are medians of five, so that a single interruption does not look like a phase.
"""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.bench.statistics import median

_GROUP = 5
_LEAST_REST = 4


def settled_at(times: Sequence[float]) -> int | None:
    """The index from which a series is steady; None when it is not, or too short to say.

    :param times: durations in the order they were taken.

    >>> settled_at([9.0] * 10 + [1.0] * 30)
    10
    >>> settled_at([float(x) for x in range(40, 0, -1)]) is None
    True
    >>> settled_at([1.0] * 5) is None
    True
    """
    groups = [median(times[i : i + _GROUP]) for i in range(0, len(times) - _GROUP + 1, _GROUP)]
    count = len(groups)
    if count < 2 * _LEAST_REST:
        return None
    best, cut = float("inf"), 0
    total = squares = 0.0
    # From the end: sums of the rest grow by one group a step. The last groups alone would always
    # agree with each other, so the rest has at least four.
    shift = groups[-1]  # keeps the squares small beside the spread
    for index in range(count - 1, -1, -1):
        value = groups[index] - shift
        total += value
        squares += value * value
        left = count - index
        if left < _LEAST_REST:
            continue
        error = max(0.0, squares - total * total / left) / (left * left)
        if error <= best:
            best, cut = error, index
    return cut * _GROUP if cut < count / 2 else None

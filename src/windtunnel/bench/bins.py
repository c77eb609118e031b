"""Bins for histograms: of equal width, up to where the bulk ends, the tail in the last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from windtunnel.bench.statistics import quantile

Bin: TypeAlias = tuple[float, float, int]
"""From, to, and how many."""


def bins(values: Sequence[float], most: int = 12) -> list[Bin]:
    """The values in at most ``most`` bins; every value is in one.

    Where a few values lie far out, bins that reach to them would put all others into the first.
    Then the last bin begins where the bulk ends, and takes all that are beyond.

    >>> bins([1.0, 2.0, 3.0], 2)
    [(1.0, 2.0, 1), (2.0, 3.0, 2)]
    >>> bins([1.0, 1.0])
    [(1.0, 1.0, 2)]
    """
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if low == high:
        return [(low, high, len(ordered))]
    bulk = high
    third = quantile(ordered, 0.75)
    far = max(third + 5 * (third - quantile(ordered, 0.25)), quantile(ordered, 0.95))
    if low < far < high and most > 2:
        bulk = far
        most -= 1
    width = (bulk - low) / most
    counts = [0] * most
    beyond = 0
    for value in ordered:
        if value > bulk:
            beyond += 1
        else:
            counts[min(most - 1, int((value - low) / width))] += 1
    made = [(low + i * width, low + (i + 1) * width, count) for i, count in enumerate(counts)]
    return [*made, (bulk, high, beyond)] if beyond else made

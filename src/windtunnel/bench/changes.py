"""Change points: where a series of figures took another level, and stayed there.

E-divisive (Matteson and James, "A nonparametric approach for multiple change point analysis of
multivariate data", 2014): a series is cut where the energy distance between what lies before and
after is largest, if it is larger than nearly all that the same values in random order give; then
each part is looked at in the same way. No distribution is assumed, and nobody says how many.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
from collections.abc import Sequence

from windtunnel.bench.statistics import median

_LEAST = 4  # values on each side
_PERMUTATIONS = 499
_SIGNIFICANT = 0.01


@dataclasses.dataclass(frozen=True, slots=True)
class ChangePoint:
    """A new level.

    :param index: of the first value that belongs to it.
    :param before: median of the values back to the change before it, or to the beginning.
    :param after: median of the values up to the next change, or to the end.
    :param p: share of random orders of the same values whose best cut is as good.
    """

    index: int
    before: float
    after: float
    p: float

    @property
    def ratio(self) -> float:
        """The new level over the old."""
        return self.after / self.before if self.before else float("inf")


def change_points(
    values: Sequence[float],
    *,
    significance: float = _SIGNIFICANT,
    floor: float = 0.0,
    permutations: int = _PERMUTATIONS,
) -> list[ChangePoint]:
    """The change points of a series, in the order of time.

    :param values: one figure a run, oldest first.
    :param significance: a cut counts when no larger share of random orders is as good.
    :param floor: leave out changes of level up to this share, 0.02 being 2 %.
    :param permutations: random orders at the most; fewer where it is clear before.

    >>> [point.index for point in change_points([1.0, 1.1, 1.0, 0.9, 1.0, 1.1] * 3 + [2.0] * 8)]
    [18]
    >>> change_points([1.0, 1.1, 0.9, 1.0] * 5)
    []
    """
    rng = random.Random(f"changes/{len(values)}")
    cuts: dict[int, float] = {}
    waiting = [(0, len(values))]
    while waiting:
        start, end = waiting.pop()
        part = list(values[start:end])
        if len(part) < 2 * _LEAST:
            continue
        shared = _Values(part)
        best, place = shared.best_cut(part)
        p = _rarity(shared, part, best, significance, permutations, rng)
        if p <= significance:
            cuts[start + place] = p
            waiting += [(start, start + place), (start + place, end)]
    return _points(values, cuts, floor)


def _points(values: Sequence[float], cuts: dict[int, float], floor: float) -> list[ChangePoint]:
    """The cuts with their levels; one below the floor joins its neighbours, smallest first."""
    places = sorted(cuts)
    while True:
        edges = [0, *places, len(values)]
        levels = [median(values[a:b]) for a, b in itertools.pairwise(edges)]
        made = [
            ChangePoint(place, levels[i], levels[i + 1], cuts[place])
            for i, place in enumerate(places)
        ]
        slight = [point for point in made if abs(point.ratio - 1) < floor]
        if not slight:
            return made
        places.remove(min(slight, key=lambda point: abs(point.ratio - 1)).index)


class _Values:
    """What the same values have in common in every order."""

    def __init__(self, part: Sequence[float]) -> None:
        ordered = sorted(part)
        self.count = len(ordered)
        self.rank = {value: place for place, value in enumerate(ordered, 1)}
        self.far: dict[float, float] = {}
        """From each value, the sum of its distances to all."""
        total, below = math.fsum(ordered), 0.0
        pairs = 0.0
        for place, value in enumerate(ordered):
            self.far[value] = value * place - below + total - below - value * (len(ordered) - place)
            pairs += self.far[value]
            below += value
        self.pairs = pairs / 2
        """The sum of the distances of all pairs."""

    def best_cut(self, order: Sequence[float]) -> tuple[float, int]:
        """The largest scaled energy distance of all cuts of an order, and where it is.

        Moving the cut by one value moves its distances from one sum to another. Those to the
        values before it are read off sums up to a rank, kept in a Fenwick tree ("A new data
        structure for cumulative frequency tables", 1994): n log n steps rather than n squared.
        """
        n = self.count
        tree = _Sums(n)
        within_left, within_right, left_sum = 0.0, self.pairs, 0.0
        best, place = -1.0, _LEAST
        for index, value in enumerate(order):
            below, below_sum = tree.up_to(self.rank[value])
            above_sum, above = left_sum - below_sum, index - below
            to_left = value * below - below_sum + above_sum - value * above
            within_left += to_left
            within_right -= self.far[value] - to_left
            tree.add(self.rank[value], value)
            left_sum += value
            m, k = index + 1, n - index - 1
            if m < _LEAST or k < _LEAST:
                continue
            between = self.pairs - within_left - within_right
            energy = 2 * between / (m * k) - 2 * within_left / (m * (m - 1))
            energy = (energy - 2 * within_right / (k * (k - 1))) * m * k / n
            if energy > best:
                best, place = energy, m
        return best, place


class _Sums:
    """How many values up to a rank there are so far, and their sum."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts = [0] * (size + 1)
        self._sums = [0.0] * (size + 1)

    def add(self, rank: int, value: float) -> None:
        while rank <= self._size:
            self._counts[rank] += 1
            self._sums[rank] += value
            rank += rank & -rank

    def up_to(self, rank: int) -> tuple[int, float]:
        count, total = 0, 0.0
        while rank > 0:
            count += self._counts[rank]
            total += self._sums[rank]
            rank -= rank & -rank
        return count, total


def _rarity(
    values: _Values,
    part: list[float],
    best: float,
    significance: float,
    permutations: int,
    rng: random.Random,
) -> float:
    """How rarely a random order has so good a cut; given up once it is not rare enough."""
    enough = significance * (permutations + 1)
    as_good = 1  # the order that was seen is one of them
    shuffled = list(part)
    for made in range(1, permutations + 1):
        rng.shuffle(shuffled)
        as_good += values.best_cut(shuffled)[0] >= best
        if as_good > enough:
            return as_good / (made + 1)
    return as_good / (permutations + 1)

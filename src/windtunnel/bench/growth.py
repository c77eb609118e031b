"""How the time of a function grows with the size of its input, by name: O(n), O(n log n) …

Each order is a line ``a + b g(n)`` with neither part negative, fitted to the times in units of
their own errors. The orders are compared by how badly they miss, with a point against those that
use both parts (Schwarz's criterion, 1978). A name is given only when it also wins where the times
are jittered by their errors, and when the fit is close; else the growth is undecided.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from windtunnel.bench.target import is_async
from windtunnel.bench.undisturbed import samples
from windtunnel.bench.units import duration
from windtunnel.core import REAL_CLOCK, Clock, UsageError, Verdict

ORDERS: dict[str, Callable[[float], float]] = {
    "O(1)": lambda n: 1.0,
    "O(log n)": lambda n: math.log2(n + 1),
    "O(n)": lambda n: n,
    "O(n log n)": lambda n: n * math.log2(n + 1),
    "O(n^2)": lambda n: n**2,
    "O(n^3)": lambda n: n**3,
}
"""The orders that are told apart, slowest growth first."""

_JITTERS = 200
_WINS = 0.95
_MISS_MOST = 0.08  # what caches and allocators do to a time is less
_FLAT = 0.1  # a growth by less than this over all sizes is none
_RATIO_LEAST = 16
_ERROR_LEAST = 0.03
_SAMPLES = 7


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    """One size.

    :param size: what the function was called with.
    :param seconds: its shortest sample, without waits for a processor, seconds a call.
    :param error: how uncertain that is, as a share.
    """

    size: float
    seconds: float
    error: float


@dataclasses.dataclass(frozen=True, slots=True)
class Fit:
    """One order, fitted: ``base_s + slope_s * g(n)``.

    :param miss: the root mean square of what it misses the times by, as a share of each.
    :param criterion: the smaller the better, among fits to the same times.
    """

    order: str
    base_s: float
    slope_s: float
    miss: float
    criterion: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What :func:`scaling` found.

    :param order: by name, None when it is undecided.
    :param best: the order that fits best, decided or not.
    :param certainty: how often it stays the best where times are jittered by their errors.
    :param exponent: the slope of the times in a doubly logarithmic plot: 1 for O(n).
    :param fits: every order, best first.
    :param points: what was measured.
    """

    order: str | None
    best: str
    certainty: float
    exponent: float
    fits: tuple[Fit, ...]
    points: tuple[Point, ...]

    def at_most(self, order: str) -> Verdict:
        """Whether it grows no faster than ``order``; unknown when undecided.

        :raises UsageError: where there is no such order.
        """
        names = list(ORDERS)
        if order not in names:
            raise UsageError(
                "there is no such order of growth", found=repr(order), fix=", ".join(names)
            )
        if self.order is None:
            return Verdict.UNKNOWN
        within = names.index(self.order) <= names.index(order)
        return Verdict.PASS if within else Verdict.FAIL

    def __str__(self) -> str:
        fit = self.fits[0]
        if self.order is not None:
            head = f"{self.order}, certain to {self.certainty:.0%}"
        else:
            second = next(other.order for other in self.fits if other.order != self.best)
            head = f"undecided: {self.best} fits best, {second} next"
        lines = [
            f"{head}; misses the times by {fit.miss:.1%}, exponent {self.exponent:.2f}",
            *(f"  n = {p.size:<10g} {duration(p.seconds)}" for p in self.points),
        ]
        return "\n".join(lines)


def scaling(
    fn: Callable[[Any], Any],
    sizes: Sequence[int],
    *,
    make: Callable[[int], Any] | None = None,
    rounds: int = 2,
    clock: Clock = REAL_CLOCK,
) -> Growth:
    """Measure a function at several sizes and name how its time grows.

    :param fn: called with a size, or with what ``make`` made of it; plain or asynchronous.
    :param sizes: at least four, above 0; where the largest is not 16 times the smallest, or more,
        the growth stays undecided.
    :param make: builds the input, which is not timed.
    :param rounds: how often all sizes are gone through, so that a slow moment meets several.
    :raises UsageError: where there are too few sizes, or where the function fails.

    >>> growth = scaling(lambda n: sum(range(n)), [1000, 4000, 16000, 64000])
    >>> growth.order in ("O(n)", None)
    True
    """
    wanted = sorted(set(sizes))
    if len(wanted) < 4 or wanted[0] <= 0:
        raise UsageError(
            "the growth shows at four different sizes above 0, or more", found=repr(list(sizes))
        )
    taken: dict[int, list[float]] = {size: [] for size in wanted}
    for _ in range(rounds):
        for size in wanted:
            given = make(size) if make is not None else size
            found = samples(_bound(fn, given), warmup=1, count=_SAMPLES, clock=clock)
            if found["failures"]:
                raise UsageError(
                    f"the function fails at size {size}",
                    found=found["error"],
                    fix="measure a function that succeeds at every size",
                )
            taken[size] += found["times_s"]
    return fit_growth([_point(size, times) for size, times in taken.items()])


def fit_growth(points: Sequence[Point]) -> Growth:
    """Name the growth of times that are known already.

    >>> points = [Point(n, 1e-6 * n * n, 0.03) for n in (10, 30, 100, 300, 1000)]
    >>> fit_growth(points).order
    'O(n^2)'
    """
    fits = _fits(points)
    best, span = fits[0].order, max(p.size for p in points) / min(p.size for p in points)
    rng = random.Random("growth")
    wins = 0
    for _ in range(_JITTERS):
        jittered = [
            dataclasses.replace(p, seconds=p.seconds * math.exp(rng.gauss(0, p.error)))
            for p in points
        ]
        wins += _fits(jittered)[0].order == best
    certainty = wins / _JITTERS
    decided = certainty >= _WINS and fits[0].miss <= _MISS_MOST and span >= _RATIO_LEAST
    return Growth(
        order=best if decided else None,
        best=best,
        certainty=certainty,
        exponent=_exponent(points),
        fits=tuple(fits),
        points=tuple(points),
    )


def _bound(fn: Callable[[Any], Any], given: Any) -> Callable[[], Any]:
    if is_async(fn):

        async def call_async() -> Any:
            return await fn(given)

        return call_async
    return lambda: fn(given)


def _point(size: int, times: list[float]) -> Point:
    ordered = sorted(times)
    shortest, quarter = max(ordered[0], 1e-12), ordered[len(ordered) // 4]
    return Point(size, shortest, max(_ERROR_LEAST, (quarter - shortest) / shortest))


def _fits(points: Sequence[Point]) -> list[Fit]:
    found = [_fit(order, [g(p.size) for p in points], points) for order, g in ORDERS.items()]
    found.sort(key=lambda fit: fit.criterion)
    smallest, largest = min(p.size for p in points), max(p.size for p in points)
    grows, fit = ORDERS[found[0].order], found[0]
    if fit.slope_s * (grows(largest) - grows(smallest)) < _FLAT * fit.base_s:
        found.sort(key=lambda fit: fit.order != "O(1)")  # a slope so slight is an error's
    return found


def _fit(order: str, grown: Sequence[float], points: Sequence[Point]) -> Fit:
    """Least squares of ``a + b g`` in units of the errors, neither part negative."""
    weights = [1 / (p.error * p.seconds) ** 2 for p in points]
    times = [p.seconds for p in points]
    scale = max(grown)
    g = [x / scale for x in grown]
    base, slope, parts = _line(g, times, weights) if order != "O(1)" else (-1.0, 0.0, 1)
    if base < 0 or slope < 0 or order == "O(1)":
        # On the border one part is nothing, and the other fits alone.
        slope = _through_zero(g, times, weights)
        base, parts = 0.0, 1
    missed = [(base + slope * x - t) / t for x, t in zip(g, times, strict=True)]
    squares = sum((m / p.error) ** 2 for m, p in zip(missed, points, strict=True))
    return Fit(
        order=order,
        base_s=base,
        slope_s=slope / scale,
        miss=math.sqrt(sum(m * m for m in missed) / len(missed)),
        criterion=squares + parts * math.log(len(points)),
    )


def _line(g: list[float], t: list[float], w: list[float]) -> tuple[float, float, int]:
    total = sum(w)
    mean_g = sum(x * y for x, y in zip(g, w, strict=True)) / total
    mean_t = sum(x * y for x, y in zip(t, w, strict=True)) / total
    spread = sum(y * (x - mean_g) ** 2 for x, y in zip(g, w, strict=True))
    if spread <= 0:
        return mean_t, 0.0, 1
    both = sum(y * (x - mean_g) * (z - mean_t) for x, y, z in zip(g, w, t, strict=True))
    slope = both / spread
    return mean_t - slope * mean_g, slope, 2


def _through_zero(g: list[float], t: list[float], w: list[float]) -> float:
    below = sum(y * x * x for x, y in zip(g, w, strict=True))
    return sum(y * x * z for x, y, z in zip(g, w, t, strict=True)) / below


def _exponent(points: Sequence[Point]) -> float:
    x = [math.log(p.size) for p in points]
    y = [math.log(p.seconds) for p in points]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - mean_x) ** 2 for a in x)

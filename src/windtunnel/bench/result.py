"""A measurement: every sample, and the figures read from them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

from windtunnel.bench import statistics
from windtunnel.bench.memory import Memory
from windtunnel.bench.statistics import Outliers

if TYPE_CHECKING:
    from windtunnel.draw import Element

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"

FIGURES = ("min", "mean", "median", "p90", "p95", "p99", "max", "std", "mad")
"""The figures of a result that are durations, by their names."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What :func:`windtunnel.bench.measure` found. All durations are in seconds a call.

    Figures such as :attr:`median` and :attr:`p95` are those of the calls that succeeded. Failures
    are counted and timed beside them: ``n`` has both.

    :param name: what was measured.
    :param times_s: the samples, in the order they ended. A sample is the mean of ``inner`` calls.
    :param failed_s: how long each call that raised took.
    :param errors: each error with how often it was raised, most frequent first.
    :param n: calls measured.
    :param inner: calls that were timed together as one sample, because a single one is short
        beside the clock's own cost. Percentiles are those of such means.
    :param elapsed_s: from the first measured call's start to the last one's end.
    :param cpu_s: CPU time that the process spent meanwhile, all its threads.
    :param warmup_calls: calls made before, not among ``n``.
    :param steady: whether the warm-up ended because timings had settled; None where it was not
        looked for, as with a number of warm-up calls that was given.
    :param concurrency: calls under way at a time; 0 in an open loop without limit.
    :param rate: the open loop's calls a second; None in a closed loop.
    :param late_s: an open loop: the longest that a call started after its time.
    :param clock: whose time it is: ``virtual`` in a simulated test.
    :param processes: how many processes the samples come from; 0 is the caller's own.
    :param memory: what a pass of its own found; None where there was none.
    """

    name: str
    times_s: tuple[float, ...]
    failed_s: tuple[float, ...] = ()
    errors: tuple[tuple[str, int], ...] = ()
    n: int
    inner: int = 1
    elapsed_s: float = 0.0
    cpu_s: float | None = None
    warmup_calls: int = 0
    steady: bool | None = None
    concurrency: int = 1
    rate: float | None = None
    late_s: float | None = None
    clock: Literal["real", "virtual"] = "real"
    processes: int = 0
    memory: Memory | None = None
    # Sorted once; filled in by __post_init__.
    _ordered: tuple[float, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ordered", tuple(sorted(self.times_s)))

    @property
    def failures(self) -> int:
        """Calls that raised, or whose result was judged a failure."""
        return len(self.failed_s)

    @property
    def failure_rate(self) -> float:
        """Share of calls that failed, from 0 to 1."""
        return self.failures / self.n if self.n else 0.0

    @property
    def min(self) -> float:
        """The shortest sample."""
        return self._ordered[0] if self._ordered else math.nan

    @property
    def max(self) -> float:
        """The longest sample."""
        return self._ordered[-1] if self._ordered else math.nan

    @property
    def mean(self) -> float:
        """The arithmetic mean."""
        return statistics.mean(self._ordered)

    @property
    def median(self) -> float:
        """The middle sample."""
        return self.percentile(50)

    @property
    def p90(self) -> float:
        """The 90th percentile."""
        return self.percentile(90)

    @property
    def p95(self) -> float:
        """The 95th percentile."""
        return self.percentile(95)

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return self.percentile(99)

    @property
    def std(self) -> float:
        """The standard deviation of the samples."""
        return statistics.std(self._ordered)

    @property
    def mad(self) -> float:
        """The median absolute deviation from the median."""
        return statistics.mad(self._ordered)

    @property
    def outliers(self) -> Outliers:
        """Samples beyond Tukey's fences. They stay among the samples."""
        return statistics.outliers(self._ordered)

    @property
    def throughput(self) -> float:
        """Calls that succeeded, a second."""
        return (self.n - self.failures) / self.elapsed_s if self.elapsed_s > 0 else math.nan

    @property
    def cpu_per_call_s(self) -> float:
        """CPU time a call, failures among them; ``nan`` where it was not taken."""
        return math.nan if self.cpu_s is None or not self.n else self.cpu_s / self.n

    def percentile(self, p: float) -> float:
        """The ``p``-th percentile, from 0 to 100, in seconds."""
        return statistics.quantile(self._ordered, p / 100)

    def interval(self, figure: str = "median", confidence: float = 0.95) -> tuple[float, float]:
        """A bootstrap confidence interval of a figure.

        :param figure: ``mean``, ``median``, ``std``, ``mad``, ``throughput`` or ``p`` and a
            number, as ``p95`` or ``p99.9``.
        :param confidence: from 0 to 1.
        :raises UsageError: where there is no such figure.

        >>> result = Result(name="x", times_s=tuple(float(x) for x in range(1, 100)), n=99)
        >>> low, high = result.interval("median")
        >>> low < result.median < high
        True
        """
        resampled: dict[str, Callable[..., float]] = {
            "mean": statistics.mean,
            "std": statistics.std,
            "mad": statistics.mad,
        }
        if figure in resampled:
            few = 1000 if figure == "mean" else 200  # each is a sort, or two
            return statistics.bootstrap(self.times_s, resampled[figure], confidence, replicates=few)
        if figure == "throughput":
            low, high = self.interval("mean", confidence)
            scale = self.throughput * self.mean
            return (scale / high if high > 0 else 0.0, scale / low if low > 0 else math.inf)
        place = 50.0 if figure == "median" else _percentile_of(figure)
        return statistics.quantile_interval(self._ordered, place / 100, confidence)

    def to_json(self) -> dict[str, Json]:
        """The figures as plain data, format 1; durations in seconds a call."""
        from windtunnel.bench.export import to_json

        return to_json(self)

    def __str__(self) -> str:
        from windtunnel.bench.show import text

        return text(self)

    def histogram(self, *, width: float = 640) -> Element:
        """The samples as a histogram, a drawing for :func:`windtunnel.draw.document`."""
        from windtunnel.bench.pictures import histogram

        return histogram(self, width=width)

    def percentiles(self, *, width: float = 640) -> Element:
        """The durations over their percentiles, the far end stretched: a drawing."""
        from windtunnel.bench.pictures import percentiles

        return percentiles([self], width=width)


def _percentile_of(figure: str) -> float:
    from windtunnel.core import UsageError

    try:
        place = float(figure.removeprefix("p"))
    except ValueError:
        place = -1.0
    if not figure.startswith("p") or not 0 <= place <= 100:
        raise UsageError(
            "there is no interval of this figure",
            found=repr(figure),
            fix="name mean, median, std, mad, throughput or a percentile such as p95",
        )
    return place

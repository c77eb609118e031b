"""How long an answer takes: time to the first token and time between tokens, as distributions.

Times are drawn from the server's seed and spent on the clock of whoever sends the plan: the event
loop's, which is virtual in a simulated world, so that a simulated test waits for nothing.

>>> import random
>>> pace = Pace(first_token_s=lognormal(0.3, 0.5), tokens_per_s=50)
>>> chance = random.Random(7)
>>> 0 < pace.first(chance) < 5, pace.between(10, chance)
(True, 0.2)
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import TypeAlias

from windtunnel.core.errors import UsageError

Distribution: TypeAlias = Callable[[random.Random], float]
"""Draws a number of seconds, or of tokens a second."""


def uniform(low: float, high: float) -> Distribution:
    """Anything from ``low`` to ``high``, equally likely."""
    return lambda chance: chance.uniform(low, high)


def normal(mean: float, deviation: float) -> Distribution:
    """The normal distribution, never below zero."""
    return lambda chance: max(0.0, chance.gauss(mean, deviation))


def lognormal(median: float, sigma: float) -> Distribution:
    """The log-normal distribution, which latencies of services look like: half of the draws are
    below ``median``; ``sigma`` is the deviation of the logarithm."""
    if median <= 0:
        raise UsageError("the median of a log-normal distribution is above 0", found=repr(median))
    return lambda chance: chance.lognormvariate(math.log(median), sigma)


def exponential(mean: float) -> Distribution:
    """The exponential distribution with that mean."""
    return lambda chance: chance.expovariate(1.0 / mean)


def empirical(samples: Sequence[float]) -> Distribution:
    """One of the samples, equally likely."""
    kept = tuple(samples)
    if not kept:
        raise UsageError("an empirical distribution needs at least one sample", found="none")
    return lambda chance: chance.choice(kept)


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """The speed of a model.

    :param first_token_s: seconds until the first token.
    :param tokens_per_s: tokens written a second; None for all at once.
    :raises UsageError: for a negative time or speed.
    """

    first_token_s: float | Distribution = 0.0
    tokens_per_s: float | Distribution | None = None

    def __post_init__(self) -> None:
        for name in ("first_token_s", "tokens_per_s"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not value >= 0:
                raise UsageError(f"{name} is not negative", found=repr(value))
        if self.tokens_per_s == 0:
            raise UsageError("tokens_per_s is above 0", found="0", fix="use the fault `stall`")

    def first(self, chance: random.Random) -> float:
        """Seconds until the first token."""
        value = self.first_token_s
        return value(chance) if callable(value) else value

    def between(self, tokens: int, chance: random.Random) -> float:
        """Seconds that so many more tokens take."""
        speed = self.tokens_per_s
        if speed is None or tokens <= 0:
            return 0.0
        return tokens / max(1e-9, speed(chance) if callable(speed) else speed)

    def whole(self, tokens: int, chance: random.Random) -> float:
        """Seconds that an answer of so many tokens takes."""
        return self.first(chance) + self.between(tokens - 1, chance)


def pace_of(latency: float | Distribution | Pace | None) -> Pace | None:
    """A pace, from what a user gives for a latency: seconds, a distribution, or a pace."""
    if latency is None or isinstance(latency, Pace):
        return latency
    return Pace(latency)


__all__ = [
    "Distribution",
    "Pace",
    "empirical",
    "exponential",
    "lognormal",
    "normal",
    "pace_of",
    "uniform",
]

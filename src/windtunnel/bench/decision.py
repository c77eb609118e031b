"""Faster, slower, the same or unknown: decided while the evidence comes in.

The rule looks again and again and stops as soon as it can say something, which by itself would
make false alarms likelier with every look. Three things hold them down: the bounds stand three
standard errors off, a change counts only from an effect floor up, and the first look comes when
there is enough to look at. How often the rule errs is shown on recorded noise and on the machine
itself by ``benchmarks/bench_compare.py``.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Sequence

from windtunnel.bench.ranksum import Block, Shift, shift
from windtunnel.core import UsageError


class Change(enum.StrEnum):
    """What a comparison says of the candidate, beside the baseline."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "same"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to say what.

    :param floor: a change up to this share of the baseline is none, 0.02 being 2 %.
    :param z: standard errors that bounds stand off to each side. A change is one when its bounds
        lie beyond the floor, and none when they lie within two floors.
    :param first: blocks before the first look.
    :param each: blocks between looks.
    """

    floor: float = 0.02
    z: float = 3.0
    first: int = 6
    each: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.floor < 1:
            raise UsageError(
                "the effect floor is a share of the baseline's time",
                found=repr(self.floor),
                fix="give 0.02 for 2 %",
            )

    def looks_at(self, blocks: int) -> bool:
        """Whether to look after so many blocks."""
        return blocks >= self.first and (blocks - self.first) % self.each == 0

    def decide(self, blocks: Sequence[Block]) -> Change:
        """What the blocks say, ``UNKNOWN`` where they do not say it yet.

        :param blocks: logarithms of durations, the candidate's first.
        """
        if len(blocks) < self.first:
            return Change.UNKNOWN
        found = shift(blocks, self.z)
        floor = math.log1p(self.floor)
        if found.low > floor:
            return Change.SLOWER
        if found.high < -floor:
            return Change.FASTER
        if -2 * floor < found.low and found.high < 2 * floor:
            return Change.SAME
        return Change.UNKNOWN

    def ratio(self, blocks: Sequence[Block]) -> Shift:
        """Candidate over baseline, with the bounds that decide, as ratios."""
        found = shift(blocks, self.z)
        return Shift(math.exp(found.low), math.exp(found.middle), math.exp(min(700, found.high)))

"""What a hunt found out about a test, with the figures that show it.

The words are those of the literature: a *victim* passes alone and fails after a *polluter*; a
*brittle* test fails alone and passes after a *state-setter*; a *cleaner*, run between polluter
and victim, undoes the pollution.

Sources: A. Shi et al., "iFixFlakies: A Framework for Automatically Fixing Order-Dependent Flaky
Tests", ESEC/FSE 2019; W. Lam et al., "iDFlakies: A Framework for Detecting and Partially
Classifying Flaky Tests", ICST 2019; M. Gruber et al., "An Empirical Study of Flaky Tests in
Python", ICST 2021.
"""

from __future__ import annotations

import dataclasses
import enum

from windtunnel.probe.statistics import Rate, fisher_exact

JSON_VERSION = 1


class Cause(enum.StrEnum):
    """Why a test is flaky."""

    VICTIM = "order-dependent victim"
    BRITTLE = "order-dependent brittle"
    TIME = "time"
    RANDOMNESS = "randomness"
    CONCURRENCY = "concurrency or async wait"
    NETWORK = "network"
    RESOURCE = "resource"
    UNKNOWN = "unknown"
    NOT_REPRODUCED = "not reproduced"

    @property
    def explained(self) -> bool:
        """Whether a cause was found."""
        return self not in (Cause.UNKNOWN, Cause.NOT_REPRODUCED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """A failure rate without and with a change made on purpose.

    :param before: how the test was run, and ``after``: what was changed.
    """

    before: str
    before_rate: Rate
    after: str
    after_rate: Rate

    @property
    def p_value(self) -> float:
        """The chance of a difference at least so large if the change did nothing."""
        return fisher_exact(self.before_rate, self.after_rate)

    def __str__(self) -> str:
        return (
            f"fails {self.before_rate} {self.before}, {self.after_rate} {self.after} "
            f"(p = {self.p_value:.2g})"
        )

    def as_json(self) -> dict[str, object]:
        """As it stands in the output of ``--json``."""
        return {
            "before": self.before,
            "before_failures": self.before_rate.failures,
            "before_runs": self.before_rate.runs,
            "before_interval": list(self.before_rate.interval()),
            "after": self.after,
            "after_failures": self.after_rate.failures,
            "after_runs": self.after_rate.runs,
            "after_interval": list(self.after_rate.interval()),
            "p_value": self.p_value,
        }


@dataclasses.dataclass(slots=True, kw_only=True)
class Finding:
    """What is known of one test. Filled in as the hunt goes.

    :param reason: one sentence that says why it is flaky.
    :param shown_by: the contrast that shows the cause.
    :param tried: contrasts that do not show it.
    :param polluters: tests each of which, run before the victim, makes it fail.
    :param state_setters: tests each of which, run before the brittle test, makes it pass.
    :param together: where no single test does so, the smallest set found that does, in order.
    :param candidates_tried: of the ``candidates`` other tests, how many were tried singly.
    :param command: what reproduces the failure (for a brittle test, the pass is with setters).
    :param confirmed: failures of that command in fresh processes, among its runs.
    :param message: the failure in one line.
    :param stacks: of a hang, where its threads were.
    """

    nodeid: str
    cause: Cause = Cause.UNKNOWN
    reason: str = ""
    shown_by: Contrast | None = None
    tried: list[Contrast] = dataclasses.field(default_factory=list[Contrast])
    polluters: list[str] = dataclasses.field(default_factory=list[str])
    state_setters: list[str] = dataclasses.field(default_factory=list[str])
    cleaners: list[str] = dataclasses.field(default_factory=list[str])
    together: list[str] = dataclasses.field(default_factory=list[str])
    candidates: int = 0
    candidates_tried: int = 0
    where: str = ""
    command: str = ""
    confirmed: Rate | None = None
    message: str = ""
    stacks: str = ""
    notes: list[str] = dataclasses.field(default_factory=list[str])
    duration_s: float = 0.0

    def as_json(self) -> dict[str, object]:
        """As it stands in the output of ``--json``."""
        confirmed = self.confirmed
        plain = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("shown_by", "tried", "confirmed", "cause")
        }
        return {
            **plain,
            "cause": self.cause.value,
            "shown_by": self.shown_by.as_json() if self.shown_by else None,
            "tried": [contrast.as_json() for contrast in self.tried],
            "confirmed": (
                {"failures": confirmed.failures, "runs": confirmed.runs} if confirmed else None
            ),
        }

"""What is known of one test's steadiness: the noun that judges make and reports show."""

from __future__ import annotations

import dataclasses
import enum


class Stability(enum.StrEnum):
    """What a test is, judged from its history."""

    STABLE = "stable"
    FLAKY = "flaky"
    BROKEN = "broken"
    REGRESSED = "regressed"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flakiness:
    """The judgement of one test in one environment.

    :param nodeid: the test.
    :param environment: fingerprint of the environment the results come from.
    :param stability: what the test is held to be.
    :param results: number of results that count (skips do not).
    :param failures: how many of those were bad.
    :param p_stable: posterior probability, likewise ``p_flaky`` and ``p_broken``; they sum to 1.
    :param rate_low: lower end of the 95 % credible interval of the failure rate.
    :param rate_high: upper end of it.
    :param strip: the recent outcomes as letters, oldest first.
    :param reason: one sentence that says why.
    :param simple_rule: whether the plain rule holds as well: enough results, both outcomes,
        failure rate at the threshold or over it.
    :param quarantine_recommended: whether it failed often enough, long enough, to be set apart.
    :param damage_s: seconds of work a week its failures cost; what lists are sorted by.
    """

    nodeid: str
    environment: str
    stability: Stability
    results: int
    failures: int
    p_stable: float
    p_flaky: float
    p_broken: float
    rate_low: float
    rate_high: float
    strip: str
    reason: str
    simple_rule: bool
    quarantine_recommended: bool
    damage_s: float

    @property
    def failure_rate(self) -> float:
        """Share of bad results among those that count; 0 where none count."""
        return self.failures / self.results if self.results else 0.0

    @property
    def suspect(self) -> bool:
        """Whether to list it: held to be flaky, or undecided where the simple rule says so."""
        return self.stability is Stability.FLAKY or (
            self.simple_rule and self.stability is Stability.UNKNOWN
        )

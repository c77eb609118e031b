"""How a history came about: a handful of rival explanations, weighed by Bayes' rule.

Results are grouped by the code they ran on, since a change of code may change what a test does
and nothing else may. The rivals:

steady
    A test that always does the same on the same code: it passes, or since some change it fails
    (a regression), or since some change it passes again (a fix). Between groups, good turns bad
    with probability :data:`REGRESSION` and bad turns good with :data:`FIX`. Whatever contradicts
    that (a failure and a pass on the same code) has to be noise from outside of test, code and
    environment, :data:`STABLE`, which is why such a pair is near-proof of flakiness.
flaky
    It fails at some constant rate, whatever the code: a draw from :data:`FLAKY`.
turned
    It was steady and became flaky with some change, or was flaky and was mended or broken by it.

The prior, and where it comes from:

* :data:`P_FLAKY` 0.16: "almost 16 % of our tests have some level of flakiness", J. Micco, *Flaky
  Tests at Google and How We Mitigate Them*, Google Testing Blog, May 2016.
* :data:`FLAKY` has that article's mean: 1.5 % of all runs flaky over 16 % of the tests is a mean
  rate of 9.4 %. Its shape, Beta(0.5, 4.8), is our choice: most flaky tests fail rarely, a few fail
  every other time. It fits an independent study: Gruber et al., *An Empirical Study of Flaky Tests
  in Python*, ICST 2021 (876,186 tests), need 170 passes on average for 95 % confidence that a test
  is not flaky; under this prior 170 passes give 97 %.
* :data:`REGRESSION` 0.003 a change and :data:`FIX` 0.1 a change: Micco reports that 84 % of changes
  from pass to fail are flaky; 16/84 of 1.5 % is 0.3 %. FIX makes a single failure between passes
  on different code flaky with about that 84 %.
* :data:`STABLE`, one noisy result in 100,000, :data:`P_BROKEN` 0.05 and :data:`P_TURNED` 0.2 of the
  flaky tests are assumptions of ours; no published figure was found.

The weights are fixed, not fitted to the suite: a judgement rests on the test's own history alone
and does not move when other tests come and go.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

from windtunnel.judge.mixture import Beta, credible_interval

STABLE = Beta(1.0, 99_999.0)
FLAKY = Beta(0.5, 4.8)
BROKEN = Beta(99_999.0, 1.0)
P_FLAKY = 0.16
P_BROKEN = 0.05
P_TURNED = 0.2
REGRESSION = 0.003
FIX = 0.1

# What a flaky test was, or became, where a change turned it, and how likely each is.
_TURNS: tuple[tuple[Beta, Beta, float], ...] = (
    (STABLE, FLAKY, 0.45),
    (FLAKY, STABLE, 0.45),
    (FLAKY, BROKEN, 0.05),
    (BROKEN, FLAKY, 0.05),
)

Group = tuple[int, int]
"""Failures and passes on one state of the code."""


@dataclasses.dataclass(frozen=True, slots=True)
class Posterior:
    """What a test is now, given its history: probabilities, and its present failure rate.

    :param low: lower end of the 95 % credible interval of the failure rate as it is now.
    :param high: upper end of it.
    """

    stable: float
    flaky: float
    broken: float
    low: float
    high: float


def explain(groups: Sequence[Group]) -> Posterior:
    """Weigh the explanations of a history, given as failures and passes a state of the code.

    >>> explain([(0, 1)] * 30).stable > 0.9
    True
    >>> explain([(0, 1)] * 29 + [(1, 1)]).flaky > 0.95  # passed and failed on the same code
    True
    >>> explain([(0, 1)] * 20 + [(1, 0)] * 4).broken > 0.95  # a regression
    True
    """
    return _explain(tuple(groups))


@functools.lru_cache(maxsize=65_536)  # most tests of a suite share one history: all passed
def _explain(groups: tuple[Group, ...]) -> Posterior:
    failures = sum(bad for bad, _ in groups)
    passes = sum(good for _, good in groups)
    steady_good, steady_bad = _steady(groups)
    may_turn = len(groups) > 1
    prior = P_FLAKY * (1 - P_TURNED) if may_turn else P_FLAKY
    # A change can break a flaky test as well as any other; here none did.
    unbroken = (len(groups) - 1) * math.log1p(-REGRESSION)
    always = math.log(prior) + unbroken + FLAKY.log_likelihood(failures, passes)
    turned = [_turned(groups, *turn, unbroken) for turn in _TURNS] if may_turn else []
    became = [(weight, now) for (_, now, _), (weight, _) in zip(_TURNS, turned, strict=False)]

    logs = [steady_good, steady_bad, always, *(weight for weight, _ in turned)]
    top = max(logs)
    weights = [math.exp(value - top) for value in logs]
    total = sum(weights)
    weights = [weight / total for weight in weights]
    stable, broken, flaky = weights[:3]
    rates = [
        (stable, STABLE),
        (broken, BROKEN),
        (flaky, FLAKY.after(failures, passes)),
    ]
    for share, (_, now), (_, since) in zip(weights[3:], became, turned, strict=True):
        if now is FLAKY:
            flaky += share
        elif now is STABLE:
            stable += share
        else:
            broken += share
        rates.append((share, now.after(*since) if now is FLAKY else now))
    low, high = credible_interval(rates)
    return Posterior(stable, flaky, broken, low, high)


def _steady(groups: tuple[Group, ...]) -> tuple[float, float]:
    """Log weight of the steady explanations that end well, and of those that end badly.

    The forward algorithm of a two-state hidden Markov model (Rabiner 1989), rescaled a group.
    """
    noise = STABLE.mean
    quiet = 1.0 - noise
    good, bad = 1.0 - P_FLAKY - P_BROKEN, P_BROKEN
    scale = 0.0
    for index, (failures, passes) in enumerate(groups):
        if index:
            good, bad = (
                good * (1 - REGRESSION) + bad * FIX,
                bad * (1 - FIX) + good * REGRESSION,
            )
        # In logarithms, since noise to the power of many contradictions underflows.
        if_good = failures * math.log(noise) + passes * math.log(quiet)
        if_bad = failures * math.log(quiet) + passes * math.log(noise)
        likelier = max(if_good, if_bad)
        good *= math.exp(if_good - likelier)
        bad *= math.exp(if_bad - likelier)
        total = good + bad
        good, bad, scale = good / total, bad / total, scale + likelier + math.log(total)
    return (
        scale + math.log(good) if good > 0 else -math.inf,
        scale + math.log(bad) if bad > 0 else -math.inf,
    )


def _turned(
    groups: tuple[Group, ...], before: Beta, after: Beta, kind: float, unbroken: float
) -> tuple[float, Group]:
    """Log weight of "was ``before``, is ``after``" over all points where it may have turned,
    and the results since the likeliest of them."""
    each = math.log(P_FLAKY * P_TURNED * kind / (len(groups) - 1)) + unbroken
    rest_bad = sum(bad for bad, _ in groups)
    rest_good = sum(good for _, good in groups)
    seen_bad = seen_good = 0
    best, since, logs = -math.inf, (0, 0), list[float]()
    for index, (bad, good) in enumerate(groups[:-1]):
        seen_bad += bad
        seen_good += good
        rest_bad -= bad
        rest_good -= good
        weight = before.log_likelihood(seen_bad, seen_good) + after.log_likelihood(
            rest_bad, rest_good
        )
        # What is broken is likely to be mended soon, here as in the steady explanations.
        broken = index if before is BROKEN else len(groups) - 2 - index if after is BROKEN else 0
        weight += broken * math.log1p(-FIX)
        logs.append(weight)
        if weight > best:
            best, since = weight, (rest_bad, rest_good)
    return each + best + math.log(sum(math.exp(value - best) for value in logs)), since

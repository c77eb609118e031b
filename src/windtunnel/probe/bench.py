"""One test on the bench: runs it, alone or after others, and counts.

A :class:`Bench` hides which lab an experiment runs in, keeps the budget, excludes tests that take
the process down with them, and remembers how the test failed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from windtunnel.core import REAL_CLOCK, Outcome, WindtunnelError
from windtunnel.probe.experiment import AS_IT_IS, Conditions, Result, Trial
from windtunnel.probe.lab import Fresh, Lab, rivals
from windtunnel.probe.statistics import Rate

_BREAKERS_MOST = 20
_SHARE_LEAST_S = 30.0


class OutOfBudget(WindtunnelError):
    """The hunt's time is used up."""


class Budget:
    """Seconds that a hunt may take, and what is told while it takes them."""

    def __init__(self, seconds: float, tell: Callable[[str], None]) -> None:
        self.began = REAL_CLOCK.monotonic()
        self.seconds = seconds
        self.tell = tell

    def share(self, parts: int) -> Budget:
        """A budget of its own for one of ``parts`` tests that share what is left."""
        fair_s = self.left_s / max(1, parts)
        return Budget(min(self.left_s, max(fair_s, _SHARE_LEAST_S)), self.tell)

    @property
    def left_s(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.began + self.seconds - REAL_CLOCK.monotonic())

    def check(self) -> None:
        """Raise :class:`OutOfBudget` when no time is left."""
        if self.left_s <= 0:
            raise OutOfBudget(
                f"the budget of {self.seconds:g} s is used up", fix="give more with --budget"
            )


class Bench:
    """The target test with the labs it is tried in.

    :param suite: the tests of the whole suite in their own order, the target among them.
    :param lab: forks the session that collected the whole suite; None when it cannot be forked.
    :param small: likewise, but only the target's own file is collected.
    """

    def __init__(
        self,
        target: str,
        suite: Sequence[str],
        *,
        lab: Lab | None,
        small: Lab | None,
        fresh: Fresh,
        budget: Budget,
    ) -> None:
        self.target = target
        self.suite = list(suite)
        self.lab = lab
        self.small = small
        self.fresh = fresh
        self.budget = budget
        self.failure: Result | None = None
        self.breakers: list[str] = []
        self.reached: set[str] = set()
        self.missing: dict[str, str] = {}
        self.longest_s = 0.0

    @property
    def others(self) -> list[str]:
        """Every other test of the suite that lets the process live, in the suite's order."""
        return [n for n in self.suite if n != self.target and n not in self.breakers]

    @property
    def predecessors(self) -> list[str]:
        """Those that the suite's own order runs before the target."""
        before = set(self.suite[: self.suite.index(self.target)])
        return [nodeid for nodeid in self.others if nodeid in before]

    def fails_after(
        self, before: Sequence[str], conditions: Conditions = AS_IT_IS, *, fresh: bool = False
    ) -> bool | None:
        """Run the target after those; whether it failed, None when that says nothing."""
        order = [nodeid for nodeid in before if nodeid not in self.breakers]
        while True:
            trial = self._run([*order, self.target], conditions, fresh=fresh)
            result = trial.of(self.target)
            if result is not None or not trial.results:
                break
            last = trial.results[-1]
            if last.outcome not in (Outcome.CRASHED, Outcome.TIMEOUT) or last.nodeid not in order:
                break
            if len(self.breakers) < _BREAKERS_MOST and len(order) > 1:
                self.breakers.append(last.nodeid)
            order.remove(last.nodeid)
        return self._note(result)

    def fails_alone(self, lab: Lab | None, conditions: Conditions = AS_IT_IS) -> bool | None:
        """Run the target alone in a forked child of ``lab``, or in a fresh process."""
        self.budget.check()
        trial = (
            lab.run([self.target], conditions)
            if lab is not None
            else self.fresh.run([self.target], conditions)
        )
        self._learn(trial)
        result = trial.of(self.target)
        if result is not None and result.outcome is Outcome.TIMEOUT and conditions.slowing:
            return None  # it may only have been slow, and no failure of its own was seen
        return self._note(result)

    def rate(self, run: Callable[[], bool | None], runs: int) -> Rate:
        """Count the failures of so many runs; those that say nothing do not count."""
        seen = [failed for _ in range(runs) if (failed := run()) is not None]
        return Rate(sum(seen), len(seen))

    def alone(self, runs: int, conditions: Conditions = AS_IT_IS, *, fresh: bool = False) -> Rate:
        """The failure rate of the target alone, only its own file collected."""
        lab = None if fresh else self.small
        with contextlib.nullcontext() if lab is None else rivals(conditions):
            return self.rate(lambda: self.fails_alone(lab, conditions), runs)

    def _run(self, order: Sequence[str], conditions: Conditions, *, fresh: bool) -> Trial:
        self.budget.check()
        if fresh or self.lab is None:
            trial = self.fresh.run(order, conditions)
        else:
            trial = self.lab.run(order, conditions)
        self._learn(trial)
        return trial

    def _learn(self, trial: Trial) -> None:
        self.reached.update(trial.reached)
        self.missing.update(trial.missing)

    def _note(self, result: Result | None) -> bool | None:
        if result is None or not result.counts:
            return None
        if result.failed:
            if self.failure is None or (result.stacks and not self.failure.stacks):
                self.failure = result
        else:
            self.longest_s = max(self.longest_s, result.duration_s)
        return result.failed

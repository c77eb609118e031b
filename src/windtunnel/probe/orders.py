"""Order dependence: does what ran before decide how a test ends, and which of it?

:func:`investigate` runs the test in the suite's order, reversed and shuffled, after each other
test alone, and reduces an order that changes its outcome by delta debugging. A test that passes
alone is looked at as a possible victim, one that fails alone as possibly brittle; the search is
the same with the outcomes exchanged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from windtunnel.core import Seed
from windtunnel.probe.bench import Bench, OutOfBudget
from windtunnel.probe.ddmin import ddmin
from windtunnel.probe.experiment import Conditions
from windtunnel.probe.findings import Cause, Contrast, Finding
from windtunnel.probe.statistics import Rate

_MANY = 200  # other tests: from so many on, an order is reduced before each is tried singly
_SURE = 0.01
_CONFIRMED_MOST = 12


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much is tried.

    :param orders: shuffled orders of the suite.
    :param repeats: runs of each of two cases that are compared.
    :param cleaners: whether to look for cleaners.
    """

    orders: int
    repeats: int
    seed: Seed
    cleaners: bool = False


def investigate(bench: Bench, finding: Finding, alone: Rate, plan: Plan) -> bool:
    """Fill in the finding if the test is order-dependent; whether it is.

    :param alone: the failure rate alone, which is 0 or 1.
    """
    search = _Search(bench, finding, alone, plan)
    try:
        return search.run()
    except OutOfBudget as error:
        finding.notes.append(f"stopped while looking at orders: {error.what}")
        return search.conclude()


class _Search:
    def __init__(self, bench: Bench, finding: Finding, alone: Rate, plan: Plan) -> None:
        self.bench, self.finding, self.alone, self.plan = bench, finding, alone, plan
        self.wanted = alone.never  # the outcome (failed or not) that an order may bring about
        self.tries = 1  # runs of one case until it is held not to show what is wanted
        self.singles: list[str] = []
        self.flipping: list[str] | None = None
        self.contrast: Contrast | None = None

    def run(self) -> bool:
        self._orders()
        if self.flipping is not None and len(self.bench.others) > _MANY:
            self._reduce()
        self._each_alone_before()
        if self.flipping is not None and not self.singles and not self.finding.together:
            self._reduce()
        return self.conclude()

    def shows(self, before: Sequence[str]) -> bool:
        return any(self.bench.fails_after(before) is self.wanted for _ in range(self.tries))

    def _orders(self) -> None:
        """The suite's order, reversed and shuffled, as far as the target."""
        for name, order in self._candidates():
            if not order:
                continue
            self.bench.budget.tell(f"{name} ({len(order)} tests before it)")
            rate = self.bench.rate(lambda order=order: self.bench.fails_after(order), 2)  # type: ignore[misc]
            contrast = Contrast(before="alone", before_rate=self.alone, after=name, after_rate=rate)
            hits = rate.failures if self.wanted else rate.runs - rate.failures
            self.finding.tried.append(contrast)
            if hits:
                self.flipping = list(order)
                self.tries = 1 if hits == rate.runs else 5
                return

    def _candidates(self) -> list[tuple[str, list[str]]]:
        suite, target = self.bench.suite, self.bench.target
        shuffles: list[tuple[str, list[str]]] = []
        stream = self.plan.seed.stream("hunt/orders")
        for number in range(self.plan.orders):
            order = list(suite)
            stream.shuffle(order)
            shuffles.append((f"in shuffled order {number + 1}", order[: order.index(target)]))
        backwards = suite[::-1]
        return [
            ("in the suite's order", suite[: suite.index(target)]),
            ("in reversed order", backwards[: backwards.index(target)]),
            *shuffles,
        ]

    def _each_alone_before(self) -> None:
        """Every other test alone before the target: a complete list of who can do it alone."""
        predecessors = self.bench.predecessors
        known = set(predecessors)
        candidates = predecessors + [n for n in self.bench.others if n not in known]
        if self.finding.together:
            first = self.finding.together
            candidates = first + [n for n in candidates if n not in first]
        self.finding.candidates = len(candidates)
        for number, nodeid in enumerate(candidates, 1):
            if number % 25 == 1:
                self.bench.budget.tell(f"each test before it: {number} of {len(candidates)}")
            if nodeid not in self.bench.breakers and self._holds([nodeid]):
                self.singles.append(nodeid)
            self.finding.candidates_tried = number

    def _holds(self, before: Sequence[str]) -> bool:
        """Shows it, and shows it again: one hit alone may be chance."""
        return self.shows(before) and (self.shows(before) and self.shows(before))

    def _reduce(self) -> None:
        assert self.flipping is not None
        self.bench.budget.tell(f"reducing {len(self.flipping)} tests to those that do it")
        order = [nodeid for nodeid in self.flipping if nodeid not in self.bench.breakers]
        self.finding.together = ddmin(order, self.shows)

    def conclude(self) -> bool:
        """Name what was found, and compare it with the test alone."""
        finding, bench = self.finding, self.bench
        if len(finding.together) == 1:
            if finding.together[0] not in self.singles:
                self.singles.insert(0, finding.together[0])
            finding.together = []
        before = self.singles[:1] or finding.together
        if not before:
            return False
        if self.singles:
            finding.together = []
        try:
            rate = bench.rate(lambda: bench.fails_after(before), max(5, self.plan.repeats // 2))
        except OutOfBudget:
            rate = Rate(int(self.wanted) * 3, 3)  # what _holds or the reduction saw
        contrast = Contrast(
            before="alone",
            before_rate=self.alone,
            after=f"after {before[0]}" if len(before) == 1 else f"after {len(before)} others",
            after_rate=rate,
        )
        if contrast.p_value > _SURE and len(bench.others) > 0 and not self._scarce(rate):
            finding.tried.append(contrast)
            finding.together = []
            return False
        finding.shown_by = contrast
        finding.tried = [tried for tried in finding.tried if tried.after_rate.runs]
        _name(finding, self.singles, victim=self.wanted)
        _details(bench, finding, before, self.singles, self.wanted, self.plan)
        return True

    def _scarce(self, rate: Rate) -> bool:
        """Too few runs for significance, for want of time, but not one that contradicts."""
        return self.bench.budget.left_s <= 0 and (rate.always if self.wanted else rate.never)


def _name(finding: Finding, singles: list[str], *, victim: bool) -> None:
    if victim:
        finding.cause, finding.polluters = Cause.VICTIM, list(singles)
        finding.reason = (
            f"it passes alone and fails after {_count(singles, 'polluter')}"
            if singles
            else f"it passes alone and fails after {len(finding.together)} tests together"
        )
    else:
        finding.cause, finding.state_setters = Cause.BRITTLE, list(singles)
        finding.reason = (
            f"it fails alone and passes after {_count(singles, 'state-setter')}"
            if singles
            else f"it fails alone and passes after {len(finding.together)} tests together"
        )


def _count(names: Sequence[str], noun: str) -> str:
    return f"one {noun}" if len(names) == 1 else f"any of {len(names)} {noun}s"


def _details(
    bench: Bench,
    finding: Finding,
    before: list[str],
    singles: list[str],
    wanted: bool,
    plan: Plan,
) -> None:
    """Where the state lives, who cleans it, and whether fresh processes agree."""
    try:
        if bench.lab is not None:
            apart = bench.rate(lambda: bench.fails_after(before, Conditions(apart=True)), 2)
            in_memory = apart.never if wanted else apart.always
            on_disk = apart.always if wanted else apart.never
            finding.where = (
                "in the process's memory: gone when the others run in processes of their own"
                if in_memory
                else "outside the process, as in files: it stays when the others run apart"
                if on_disk
                else ""
            )
        _confirm(bench, finding, singles or [], before, wanted)
        if plan.cleaners and wanted:
            bench.budget.tell("looking for cleaners")
            finding.cleaners = [
                nodeid
                for nodeid in bench.others
                if nodeid not in before and bench.fails_after([*before, nodeid]) is False
            ]
    except OutOfBudget as error:
        finding.notes.append(f"not all of it confirmed: {error.what}")


def _confirm(
    bench: Bench, finding: Finding, singles: list[str], before: list[str], wanted: bool
) -> None:
    bench.budget.tell("confirming in fresh processes")
    rate = bench.rate(lambda: bench.fails_after(before, fresh=True), 2)
    finding.confirmed = rate
    for nodeid in singles[1:_CONFIRMED_MOST]:
        if bench.fails_after([nodeid], fresh=True) is not wanted:
            finding.notes.append(f"{nodeid} does it in a forked session, not in a fresh one")
    if len(singles) > _CONFIRMED_MOST:
        finding.notes.append(
            f"{_CONFIRMED_MOST} of the {len(singles)} were confirmed in fresh processes, the "
            "others in forked ones"
        )

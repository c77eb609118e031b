"""What is shown of a run: one frozen value, read out of the record.

Terminal, page, job summary and properties all show a :class:`RunView`; none of them reads the
record by itself. Judgements of flakiness come through a callable, since a report shows what
judges decide and does not know them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pytest

from windtunnel.core import Flakiness, Outcome, Settings
from windtunnel.record.protocol import (
    OutcomeRow,
    RecentRow,
    ResourceRow,
    RunRow,
    UnfinishedRow,
    ViolationRow,
)

if TYPE_CHECKING:
    from windtunnel.record import Record

FlakyJudge: TypeAlias = "Callable[[Record, Settings, Collection[str]], list[Flakiness]]"
"""Judges the named tests of a record, most damaging first."""

FLAKY_JUDGE = pytest.StashKey[FlakyJudge]()
"""Where ``config.stash`` holds the judge of flakiness, if there is one."""

_ORDER = (
    Outcome.CRASHED,
    Outcome.TIMEOUT,
    Outcome.FAILED,
    Outcome.ERROR,
    Outcome.XPASSED,
    Outcome.PASSED,
    Outcome.XFAILED,
    Outcome.SKIPPED,
)


@dataclasses.dataclass(frozen=True, slots=True)
class TestView:
    """One test of the run: its deciding attempt, and what came before it.

    :param last: the attempt that decided, or the latest there is.
    :param attempts: number of attempts.
    :param total_s: seconds of all attempts.
    :param strip: letters of its recent runs, oldest first.
    """

    __test__ = False

    last: OutcomeRow
    attempts: int
    total_s: float
    strip: str = ""

    @property
    def nodeid(self) -> str:
        """The test's name."""
        return self.last.nodeid

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.last.outcome

    @property
    def fails(self) -> bool:
        """Whether it fails the run: bad, and not quarantined."""
        return self.outcome.bad and not self.last.quarantined

    @property
    def passed_on_rerun(self) -> bool:
        """Whether it was good only when run again."""
        return self.attempts > 1 and self.outcome.good


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """How well the workers were used.

    :param lanes: number of workers the work was spread over.
    :param work_s: seconds of all attempts together.
    :param longest_s: seconds of the longest attempt.
    :param makespan_s: from the first attempt's start to the last one's end.
    """

    lanes: int
    work_s: float
    longest_s: float
    makespan_s: float

    @property
    def bound_s(self) -> float:
        """The time below which no schedule gets: an even share each, or the longest test."""
        return max(self.work_s / max(1, self.lanes), self.longest_s)

    @property
    def ratio(self) -> float:
        """Makespan over the lower bound; 1 is perfect, and 1 is said of a run without work."""
        return self.makespan_s / self.bound_s if self.bound_s > 0 else 1.0


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """The violations of one rule on one subject, taken together.

    :param count: how many there are.
    :param nodeids: the tests they are laid at, in order, each once.
    """

    rule: str
    subject: str
    detail: str
    location: str
    fails: bool
    count: int
    nodeids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RunView:
    """A run as it is shown.

    :param attempts: every attempt, in order of start.
    :param tests: every test, worst outcome first, then longest first.
    :param broken: rules that were broken; a capability that was refused to a test that passed is
        on record, and no complaint.
    :param unfinished: attempts that began and never ended: the run or their process was stopped.
    :param flaky: tests held to be flaky, most damaging first; empty without a judge.
    :param judged: whether a judge was asked.
    :param page: path of the written page as a reader would type it; empty when none is written.
    """

    run: RunRow
    attempts: tuple[OutcomeRow, ...] = ()
    tests: tuple[TestView, ...] = ()
    unfinished: tuple[UnfinishedRow, ...] = ()
    broken: tuple[Broken, ...] = ()
    resources: tuple[ResourceRow, ...] = ()
    flaky: tuple[Flakiness, ...] = ()
    judged: bool = False
    page: str = ""

    @property
    def counts(self) -> dict[Outcome, int]:
        """Tests by outcome, worst outcome first, those in quarantine not among them."""
        found = Counter(test.outcome for test in self.tests if not test.last.quarantined)
        return {outcome: found[outcome] for outcome in _ORDER if found[outcome]}

    @property
    def quarantined(self) -> list[TestView]:
        """Tests in quarantine, the bad ones first."""
        return [test for test in self.tests if test.last.quarantined]

    @property
    def pace(self) -> Pace:
        """How well the workers were used."""
        return pace_of(self.run, self.attempts)

    @property
    def duration_s(self) -> float:
        """Seconds the run took, or has taken as far as is known."""
        if self.run.duration_s is not None:
            return self.run.duration_s
        return max((_end(row) for row in self.attempts), default=self.run.started) - (
            self.run.started
        )

    @property
    def flaky_names(self) -> frozenset[str]:
        """Tests marked as flaky: by a judge, or because they passed only when run again."""
        rerun = {test.nodeid for test in self.tests if test.passed_on_rerun}
        return frozenset(rerun | {judged.nodeid for judged in self.flaky})

    def rule(self, name: str) -> list[Broken]:
        """What was found broken of that rule."""
        return [broken for broken in self.broken if broken.rule == name]

    def with_outcome(self, *outcomes: Outcome) -> list[TestView]:
        """Tests that ended so, in the order of :attr:`tests`."""
        return [test for test in self.tests if test.outcome in outcomes]


def view_of(
    record: Record,
    run: RunRow,
    *,
    settings: Settings | None = None,
    judge: FlakyJudge | None = None,
    page: str = "",
) -> RunView:
    """Read out of ``record`` what is shown of ``run``.

    :param judge: who says which tests are flaky; asked with ``settings``, about those tests of
        the run that ended in more than one way, since no other can be flaky.
    """
    rows = sorted(record.outcomes(run.number), key=lambda row: (row.started, row.order))
    recent = {row.nodeid: row for row in record.recent()} if rows else {}
    strips = {nodeid: row.strip for nodeid, row in recent.items()}
    mixed = _mixed(rows, recent, record.rerun() if rows else set())
    judged = [] if judge is None or not mixed else judge(record, settings or Settings(), mixed)
    tests = _tests(rows, strips)
    return RunView(
        run=run,
        attempts=tuple(rows),
        tests=tests,
        unfinished=tuple(record.unfinished(run.number)),
        broken=_together(_complaints(record.violations(run.number), tests)),
        resources=tuple(record.resources(run.number)),
        flaky=tuple(
            one for one in judged if one.suspect and one.environment in ("", run.environment)
        ),
        judged=judge is not None,
        page=page,
    )


def _mixed(
    rows: Iterable[OutcomeRow], recent: Mapping[str, RecentRow], rerun: Collection[str]
) -> list[str]:
    """Tests among ``rows`` that both went well and went wrong, in this run or before."""
    ends: defaultdict[str, set[bool]] = defaultdict(set)
    for row in rows:
        if row.outcome.bad or row.outcome.good:
            ends[row.nodeid].add(row.outcome.bad)
    for nodeid, seen in ends.items():
        before = recent.get(nodeid)
        if before is not None:
            seen |= {True} if before.failures else set()
            seen |= {False} if before.failures < before.results else set()
    return sorted(nodeid for nodeid, seen in ends.items() if len(seen) > 1 or nodeid in rerun)


def _tests(rows: Iterable[OutcomeRow], strips: Mapping[str, str]) -> tuple[TestView, ...]:
    attempts: defaultdict[str, list[OutcomeRow]] = defaultdict(list)
    for row in rows:
        attempts[row.nodeid].append(row)
    views = [
        TestView(
            last=max(mine, key=lambda row: (row.final, row.attempt)),
            attempts=max(len(mine), *(row.attempt for row in mine)),
            total_s=sum(row.duration_s for row in mine),
            strip=strips.get(nodeid, ""),
        )
        for nodeid, mine in attempts.items()
    ]
    return tuple(sorted(views, key=_worst_first))


def _worst_first(test: TestView) -> tuple[bool, bool, int, bool, float, str]:
    return (
        not test.fails,
        not test.outcome.bad,
        _ORDER.index(test.outcome),
        not test.passed_on_rerun,
        -test.total_s,
        test.nodeid,
    )


def pace_of(run: RunRow, attempts: Sequence[OutcomeRow]) -> Pace:
    """How well the workers of ``run`` were used by ``attempts``."""
    durations = [row.duration_s for row in attempts]
    first = min((row.started for row in attempts), default=0.0)
    return Pace(
        # Not the names in the rows: a worker that died has a successor by another name.
        lanes=run.workers or max(1, len({row.worker for row in attempts})),
        work_s=sum(durations),
        longest_s=max(durations, default=0.0),
        makespan_s=max((_end(row) for row in attempts), default=first) - first,
    )


def _end(row: OutcomeRow) -> float:
    return row.started + row.duration_s


def _complaints(rows: Iterable[ViolationRow], tests: Iterable[TestView]) -> Iterable[ViolationRow]:
    """Without the refusals that tests which passed asked for: those are what they test."""
    passed = {test.nodeid for test in tests if test.outcome.good}
    return (row for row in rows if row.rule != "capability" or row.nodeid not in passed)


def _together(rows: Iterable[ViolationRow]) -> tuple[Broken, ...]:
    groups: defaultdict[tuple[str, str], list[ViolationRow]] = defaultdict(list)
    for row in rows:
        groups[row.rule, row.subject].append(row)
    return tuple(
        Broken(
            rule=rule,
            subject=subject,
            detail=mine[0].detail,
            location=mine[0].location,
            fails=any(row.fails for row in mine),
            count=len(mine),
            nodeids=tuple(dict.fromkeys(row.nodeid for row in mine if row.nodeid)),
        )
        for (rule, subject), mine in groups.items()
    )

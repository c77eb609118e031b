"""What is read out of the record: rows, as frozen dataclasses."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from windtunnel.core import Outcome


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. ``finished`` and ``exit_code`` are None while it goes on, or if it was killed."""

    number: int
    run_id: str
    started: float
    argv: str
    root: str
    commit: str
    tree: str
    environment: str
    environment_text: str
    isolation: str
    world: str
    workers: int
    seed: int
    ci: str
    finished: float | None
    exit_code: int | None
    duration_s: float | None
    collected: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRow:
    """One attempt at a test, with the facts of its run that judges need.

    ``run`` is the run's number in this record: it grows with time.
    """

    run: int
    nodeid: str
    outcome: Outcome
    attempt: int
    final: bool
    phase: str
    setup_s: float
    call_s: float
    teardown_s: float
    started: float
    worker: str
    order: int
    isolation: str
    message: str
    output: str
    quarantined: bool
    replay: str
    seed: int
    commit: str
    tree: str
    environment: str

    @property
    def duration_s(self) -> float:
        """Seconds for all three phases."""
        return self.setup_s + self.call_s + self.teardown_s


class RecentRow(NamedTuple):
    """A test's last 20 runs: one letter a run (its deciding attempt), oldest first.

    A tuple, unlike the other rows: there is one for every test, and a tuple is made in a seventh
    of the time.

    ``results`` counts the deciding outcomes of all recorded runs, skips left out; ``failures``
    the bad ones among them.
    """

    nodeid: str
    strip: str
    results: int
    failures: int
    last_run: int


@dataclasses.dataclass(frozen=True, slots=True)
class DurationRow:
    """How long a test takes, in seconds, over its last 10 runs that were neither skipped nor
    crashed, whose number is ``results``."""

    nodeid: str
    p75_s: float
    mean_s: float
    results: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ViolationRow:
    """One broken rule; the fields are those of :class:`windtunnel.core.Violation`."""

    run: int
    time: float
    rule: str
    subject: str
    detail: str
    nodeid: str
    worker: str
    location: str
    fails: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRow:
    """One thing taken or given back; the fields of :class:`windtunnel.core.Resource`."""

    run: int
    time: float
    action: str
    resource: str
    name: str
    nodeid: str
    worker: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SampleRow:
    """One measurement; the fields of :class:`windtunnel.core.Sample`."""

    run: int
    time: float
    name: str
    value: float
    unit: str
    nodeid: str
    failed: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedRow:
    """An attempt that began and whose end was never told: it goes on, or all of its run died.

    Where a worker alone dies, the run's controller reports the test as crashed, and there is an
    outcome instead of this.
    """

    run: int
    nodeid: str
    attempt: int
    started: float
    worker: str
    order: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a record holds: how many of each, its file's ``size`` in bytes and its format."""

    format: int
    size: int
    runs: int
    tests: int
    outcomes: int
    samples: int
    violations: int
    resources: int

"""Events: typed, timestamped facts, and the one function that emits them.

An event is made where the fact happens and handed to :func:`emit`. Whoever runs the process
(the plugin, a worker) has installed a sink, as a rule the process's spool file; with no sink an
event goes nowhere, so that a room works the same outside a test run.

The fields of an event are scalars, so that it can be written as one flat JSON array and read
into one database row. New fields are added at the end with a default: readers of older spools
then still understand the newer writer's events, and the other way round.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from collections.abc import Callable
from typing import ClassVar, TypeAlias

from windtunnel.core.clock import REAL_CLOCK


class Outcome(enum.StrEnum):
    """How one attempt at a test ended.

    ``ERROR`` is a failure in set-up or teardown, as pytest counts it; ``CRASHED`` means the
    process died under the test, ``TIMEOUT`` that it was stopped at its deadline.
    """

    PASSED = "passed"
    FAILED = "failed"
    ERROR = "error"
    SKIPPED = "skipped"
    XFAILED = "xfailed"
    XPASSED = "xpassed"
    CRASHED = "crashed"
    TIMEOUT = "timeout"

    @property
    def letter(self) -> str:
        """One character for strips: ``.FEsxXCT``.

        >>> Outcome.PASSED.letter, Outcome.TIMEOUT.letter
        ('.', 'T')
        """
        return _LETTERS[self]

    @classmethod
    def from_letter(cls, letter: str) -> Outcome:
        """The outcome drawn as that character."""
        return _FROM_LETTER[letter]

    @property
    def bad(self) -> bool:
        """Whether the test did not do what it should: failed, error, crashed or timeout."""
        return self in _BAD

    @property
    def good(self) -> bool:
        """Whether the test did what it should: passed, or failed as expected."""
        return self in _GOOD


_LETTERS = {
    Outcome.PASSED: ".",
    Outcome.FAILED: "F",
    Outcome.ERROR: "E",
    Outcome.SKIPPED: "s",
    Outcome.XFAILED: "x",
    Outcome.XPASSED: "X",
    Outcome.CRASHED: "C",
    Outcome.TIMEOUT: "T",
}
_FROM_LETTER = {letter: outcome for outcome, letter in _LETTERS.items()}
_BAD = frozenset({Outcome.FAILED, Outcome.ERROR, Outcome.CRASHED, Outcome.TIMEOUT})
_GOOD = frozenset({Outcome.PASSED, Outcome.XFAILED, Outcome.XPASSED})

Scalar: TypeAlias = str | int | float | bool | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events. ``time`` is in seconds since the epoch on the house's clock."""

    __test__: ClassVar[bool] = False  # two of its subclasses begin with "Test"
    kind: ClassVar[str]
    time: float = dataclasses.field(default_factory=REAL_CLOCK.time)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began.

    :param run_id: the run's name, unique in the record (it sorts by time).
    :param argv: the command, as a shell would take it.
    :param root: absolute path of the project's root.
    :param commit: the commit checked out, empty outside a repository.
    :param tree: content hash of commit and uncommitted changes: equal trees, equal code.
    :param environment: fingerprint of interpreter, platform and installed packages.
    :param environment_text: the same, readable: ``"CPython 3.11.7 linux x86_64"``.
    :param isolation: what isolation the run really has, sorted, comma-separated.
    :param world: ``"real"`` or ``"simulated"``.
    :param workers: number of worker processes; 0 when tests run in the main process.
    :param seed: the run's seed.
    :param ci: name of the CI system, or empty.
    """

    kind = "run_started"
    run_id: str
    argv: str
    root: str
    commit: str = ""
    tree: str = ""
    environment: str = ""
    environment_text: str = ""
    isolation: str = ""
    world: str = "real"
    workers: int = 0
    seed: int = 0
    ci: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run ended by itself. A run without this event was killed."""

    kind = "run_finished"
    exit_code: int
    duration_s: float
    collected: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TestStarted(Event):
    """An attempt at a test began; with no ``TestFinished`` after it, its process died."""

    kind = "test_started"
    nodeid: str
    worker: str
    attempt: int = 1
    order: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TestFinished(Event):
    """An attempt at a test ended.

    :param outcome: an :class:`Outcome`'s value.
    :param attempt: 1 for the first, 2 for the first rerun and so on.
    :param final: whether this attempt decided the test's outcome.
    :param phase: where it went wrong: ``setup``, ``call``, ``teardown``, empty when it did not.
    :param setup_s: duration of the phase, likewise ``call_s`` and ``teardown_s``.
    :param started: when the attempt began, seconds since the epoch.
    :param worker: the worker's name (``gw0``), ``main`` without workers.
    :param order: position among the tests that worker ran, from 0.
    :param isolation: the isolation this test really had, sorted, comma-separated.
    :param message: the failure's last line, shortened.
    :param output: captured output, where the configuration keeps it.
    :param quarantined: whether a failure of this test does not fail the run.
    :param replay: what repeats a failure: a token or a command, empty when there is none.
    :param seed: the test's own seed, drawn from the run's.
    """

    kind = "test_finished"
    nodeid: str
    outcome: str
    worker: str
    attempt: int = 1
    final: bool = True
    phase: str = ""
    setup_s: float = 0.0
    call_s: float = 0.0
    teardown_s: float = 0.0
    started: float = 0.0
    order: int = 0
    isolation: str = ""
    message: str = ""
    output: str = ""
    quarantined: bool = False
    replay: str = ""
    seed: int = 0

    @property
    def duration_s(self) -> float:
        """Seconds for all three phases."""
        return self.setup_s + self.call_s + self.teardown_s


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Event):
    """A measurement: ``value`` of ``name`` in ``unit``, ``failed`` when the call failed."""

    kind = "sample"
    name: str
    value: float
    unit: str = "s"
    nodeid: str = ""
    failed: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Violation(Event):
    """A rule was broken.

    :param rule: which: ``pollution``, ``leak``, ``vacuous``, ``quarantine-expired``,
        ``isolation-unavailable``, ``capability`` …
    :param subject: what it was broken on, by name: ``os.environ['X']``, ``port 8080``.
    :param detail: what was expected and what was found.
    :param location: ``file:line`` where known.
    :param fails: whether this violation fails the test or the run.
    """

    kind = "violation"
    rule: str
    subject: str
    detail: str = ""
    nodeid: str = ""
    worker: str = ""
    location: str = ""
    fails: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Resource(Event):
    """Something that needs an owner was taken or given back.

    :param action: ``acquired``, ``released``, ``leaked`` or ``reaped``.
    :param resource: what kind: ``port``, ``process``, ``redis``, ``postgres``, ``file`` …
    :param name: which one: ``"6379"``, ``"pid 4711"``.
    """

    kind = "resource"
    action: str
    resource: str
    name: str
    nodeid: str = ""
    worker: str = ""


EVENT_TYPES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (RunStarted, RunFinished, TestStarted, TestFinished, Sample, Violation, Resource)
}
"""Every event there is, by kind."""


def current_test() -> str:
    """The node id of the test that pytest runs in this process now, empty where there is none.

    pytest names it in the environment (``PYTEST_CURRENT_TEST``), which threads and children see.
    """
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" (")[0]


Sink: TypeAlias = Callable[[Event], None]

_sink: Sink | None = None


def set_sink(sink: Sink | None) -> Sink | None:
    """Send this process's events to ``sink``; None drops them. Returns the sink before."""
    global _sink
    before, _sink = _sink, sink
    return before


def emit(event: Event) -> None:
    """Put an event on record. When this returns, the event survives ``kill -9`` of the process.

    >>> seen = []
    >>> before = set_sink(seen.append)
    >>> emit(Sample(name="latency", value=0.012))
    >>> seen[0].name, seen[0].unit
    ('latency', 's')
    >>> _ = set_sink(before)
    """
    if _sink is not None:
        _sink(event)

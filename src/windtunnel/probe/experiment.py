"""What an experiment is: some tests in an order, under conditions, and what came of it.

The data here crosses a process border as JSON: from the hunter to a lab and back.
"""

from __future__ import annotations

import dataclasses

from windtunnel.core import Outcome


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What is changed on purpose. The defaults change nothing.

    :param environment: environment variables set before the interpreter starts.
    :param seed: what ``random``, ``numpy.random``, ``os.urandom`` and all that draw on them are
        seeded with, before the first import and again before the first test.
    :param network: False leaves the test the loopback interface alone.
    :param core: the one core the tests may use.
    :param rivals: busy processes that run on that core meanwhile.
    :param nice: how much the tests' priority is lowered.
    :param files: highest number of open file descriptors.
    :param switch_s: seconds after which the interpreter lets another thread run.
    :param paused: stop the process most of the time, as a machine does that has no time for it.
    :param noise: sleep for a moment between lines of the project's code, at random.
    :param zone: the time zone, as TZ takes it, set before the tests begin.
    :param listing: ``"sorted"``, ``"reversed"`` or ``"shuffled"``: order of directory listings.
    :param apart: run each test but the last in a forked process of its own, with the same files.
    :param date: the wall clock's time at which the process begins its tests, in seconds since
        the epoch.
    :param frozen: whether the clock stands still at ``date``.
    """

    environment: tuple[tuple[str, str], ...] = ()
    seed: int | None = None
    network: bool = True
    core: int | None = None
    rivals: int = 0
    nice: int = 0
    files: int | None = None
    switch_s: float | None = None
    paused: bool = False
    noise: bool = False
    zone: str = ""
    listing: str = ""
    apart: bool = False
    date: float | None = None
    frozen: bool = False

    @property
    def slowing(self) -> bool:
        """Whether a test takes longer under them, though nothing is wrong with it."""
        return bool(self.rivals or self.paused or self.noise)

    def wishes(self) -> dict[str, object]:
        """Those of the fields that differ from their defaults, without ``environment``."""
        return {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "environment" and getattr(self, field.name) != field.default
        }


AS_IT_IS = Conditions()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one test ended in an experiment.

    :param phase: the phase it was decided in: ``setup``, ``call`` or ``teardown``.
    :param message: the failure in one line, or for a hang or crash what is known of it.
    :param stacks: where every thread was when a hanging test was stopped.
    """

    nodeid: str
    outcome: Outcome
    phase: str = "call"
    duration_s: float = 0.0
    message: str = ""
    stacks: str = ""

    @property
    def failed(self) -> bool:
        """Whether the test failed, in whatever way."""
        return self.outcome.bad

    @property
    def counts(self) -> bool:
        """Whether this says anything about flakiness: a skip does not."""
        return self.outcome is not Outcome.SKIPPED


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of one experiment.

    :param results: of the tests that ran, in the order they ran in.
    :param missing: conditions that could not be had, each with the reason.
    :param reached: hosts outside this machine that the tests tried to reach.
    :param order: the tests in the order that a fresh process gave them.
    """

    results: tuple[Result, ...]
    missing: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    reached: tuple[str, ...] = ()
    order: tuple[str, ...] = ()

    def of(self, nodeid: str) -> Result | None:
        """The last result of that test; None when it did not run."""
        for result in reversed(self.results):
            if result.nodeid == nodeid:
                return result
        return None


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A collected test.

    :param path: absolute path of its file.
    :param inner: the node id after the path: ``TestA::test_b[1]``.
    """

    nodeid: str
    path: str
    inner: str

"""The seeds of one simulated test, one after another in one process."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import mmap
import resource
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from _pytest.skipping import evaluate_xfail_marks

from windtunnel.core import UsageError
from windtunnel.explore import examples, loops, plain
from windtunnel.explore.marker import DEFAULT_SEEDS, Plan
from windtunnel.explore.one_seed import OneSeed, Request, Told
from windtunnel.run.attempt import in_process
from windtunnel.run.rerun import forget_attempt
from windtunnel.run.session import RunState

_MEMORY_MB = 512


@dataclasses.dataclass(slots=True)
class Failure:
    """What is known of the seed that failed."""

    index: int
    seed: int
    world: dict[str, Any]
    steps: int
    at_ns: int
    error: str
    message: str
    told: Told
    choices: tuple[str, ...]
    tape: array[int]


class Progress:
    """Which seed is being run, where both a child and its parent see it."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)

    @property
    def index(self) -> int:
        return int(struct.unpack("=q", self._shared[:8])[0])

    @index.setter
    def index(self, index: int) -> None:
        self._shared[:8] = struct.pack("=q", index)


@dataclasses.dataclass(slots=True)
class Summary:
    """What came of the seeds that were run.

    :param next: index of the seed with which to go on.
    :param to_go_on: whether there is more to be run, in another process.
    """

    next: int = 0
    total: int = 0
    passed: int = 0
    failed: int = 0
    steps: int = 0
    virtual_ns: int = 0
    to_go_on: bool = False
    failure: Failure | None = None
    leaks: dict[str, str] = dataclasses.field(default_factory=dict[str, str])
    died_at: int | None = None
    progress: Progress = dataclasses.field(default_factory=Progress)

    def add(self, part: Summary) -> None:
        """Add what another process did."""
        self.next, self.total, self.to_go_on = part.next, part.total, part.to_go_on
        self.failure = self.failure or part.failure
        self.leaks |= part.leaks
        for name in ("passed", "failed", "steps", "virtual_ns"):
            setattr(self, name, getattr(self, name) + getattr(part, name))

    def note_death(self) -> None:
        """The process died under the seed that it was running."""
        self.died_at = self.progress.index
        self.failed += 1

    def __getstate__(self) -> dict[str, Any]:
        names = (field.name for field in dataclasses.fields(self))
        return {name: getattr(self, name) for name in names if name != "progress"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


class SeedRuns:
    """Runs an item under some of its seeds.

    :param first: index of the first seed.
    :param most: how many this process may run.
    :param wanted: runs to make in place of the plan's seeds.
    :param progress: where it says which seed it is at.
    :param traces: folder for the trace of each seed; None writes none.
    """

    def __init__(
        self,
        item: pytest.Item,
        plan: Plan,
        *,
        state: RunState,
        first: int,
        most: int,
        wanted: Sequence[Request] | None,
        progress: Progress,
        traces: Path | None = None,
    ) -> None:
        self._item = item
        self._plan = plan
        self._state = state
        self._first = first
        self._most = most
        self._wanted = wanted
        self._progress = progress
        self._traces = traces
        self._log_handler = getattr(
            item.config.pluginmanager.getplugin("logging-plugin"), "report_handler", None
        )
        config: Any = item.config
        # The fixture tmp_path is for files that are real.
        self._writable = (str(config._tmp_path_factory.getbasetemp()),)
        self._xfail = evaluate_xfail_marks(item) is not None
        self.present: OneSeed | None = None
        self.before_each: Callable[[], object] = lambda: None
        total = len(wanted) if wanted is not None else seeds_of(plan, item.config, state)
        self.summary = Summary(next=first, total=total, progress=progress)

    def run(self, item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
        """Run until a seed fails, unless all are wanted; the reports that tell of the test."""
        summary, kept = self.summary, None
        end = min(summary.total, self._first + self._most)
        base, config = self._state.seed.child(item.nodeid), self._plan.config
        if self._traces is not None:
            config = dataclasses.replace(config, trace=True)
        spent: dict[str, float] = {}
        reports: list[pytest.TestReport] = []
        for index in range(self._first, end):
            self._progress.index = index
            request = (
                self._wanted[index]
                if self._wanted is not None
                else Request(base.child(str(index)), config)
            )
            reports = self._run_one(index, request, nextitem)
            summary.next = index + 1
            for report in reports:
                phase = str(report.when)
                spent[phase] = spent.get(phase, 0.0) + report.duration
            if self._ends(reports):
                kept = kept or reports
                if not self._state.settings.all_seeds or self._xfail:
                    break
            if all(report.skipped for report in reports if report.when == "setup"):
                break
            if _memory_mb() > _MEMORY_MB:
                break
        else:
            summary.to_go_on = summary.next < summary.total
        told = kept or reports
        for report in told:
            report.duration = spent[str(report.when)]
        return told

    def _run_one(
        self, index: int, request: Request, nextitem: pytest.Item | None
    ) -> list[pytest.TestReport]:
        item = self._item
        self.before_each()
        forget_attempt(item)
        run = self.present = OneSeed(
            request, log_handler=self._log_handler, writable=self._writable
        )
        try:
            with run.armed(), self._hypothesis(run):
                reports = in_process(item, nextitem)
        finally:
            self.present = None
        self._take_down(index, run, reports)
        return reports

    @contextlib.contextmanager
    def _hypothesis(self, run: OneSeed) -> Iterator[None]:
        function: Any = self._item
        if not examples.is_hypothesis_test(function.obj):
            yield
            return
        # pytest-asyncio would run the examples in a loop of the fixtures' world.
        function.runtest = lambda: pytest.Function.runtest(function)
        try:
            with examples.under(run, function.obj):
                yield
        finally:
            del function.runtest

    def _take_down(self, index: int, run: OneSeed, reports: list[pytest.TestReport]) -> None:
        summary, world = self.summary, run.world
        summary.steps += world.scheduler.steps
        summary.virtual_ns += world.now_ns
        for what, where in run.leaks:
            summary.leaks.setdefault(what, where)
        if self._traces is not None:
            run.write_traces(self._traces / f"{index}.jsonl")
        bad = self._ends(reports)
        if not bad:
            summary.passed += 1
            return
        summary.failed += 1
        if summary.failure is None:
            steps, at_ns = run.ended_at()
            summary.failure = Failure(
                index=index,
                seed=run.request.seed.value,
                world=plain.to_plain(run.request.config),
                steps=steps,
                at_ns=at_ns,
                error=run.error_name,
                message=str(run.error),
                told=run.told(),
                choices=examples.choices_in(run.error),
                tape=world.tape.entries(),
            )

    def _ends(self, reports: list[pytest.TestReport]) -> bool:
        """Whether the seed decides about the test: it failed, or did as was expected of it."""
        if self._xfail:
            if any(hasattr(report, "wasxfail") and report.skipped for report in reports):
                return True
            return any(
                report.failed and "[XPASS(strict)]" not in str(report.longrepr)
                for report in reports
            )
        return any(report.failed for report in reports)


def refused_reports(
    item: pytest.Item, nextitem: pytest.Item | None, error: UsageError
) -> list[pytest.TestReport]:
    """The reports of a test that cannot be simulated: an error in its set-up."""
    function: Any = item

    def refuse() -> None:
        pytest.fail(str(error), pytrace=False)

    function.setup = refuse
    try:
        return in_process(item, nextitem)
    finally:
        del function.setup


def seeds_of(plan: Plan, config: pytest.Config, state: RunState) -> int:
    """Under how many seeds: what the command line says, else the marker, else the settings."""
    given = getattr(config.option, "wt_seeds", None)
    if given is not None:
        return max(1, state.settings.seeds)
    return plan.seeds or state.settings.seeds or DEFAULT_SEEDS


def refusal(item: pytest.Item) -> UsageError | None:
    """Why this test cannot be simulated as it stands; None where it can."""
    from _pytest.scope import Scope

    try:
        loops.refuse_foreign_loops()
    except loops.ForeignLoopError as error:
        return error
    function: Any = item
    known = function._fixtureinfo.name2fixturedefs
    for name in function.fixturenames:
        definition = known[name][-1] if known.get(name) else None
        if definition is None or not is_async_fixture(definition.func):
            continue
        if definition._scope is not Scope.Function:
            return UsageError(
                f"the async fixture {name!r} is wider than a simulated test",
                found=f'scope="{definition.scope}" in {definition.baseid or "a plugin"}',
                fix="give it function scope: each seed is a world of its own",
            )
        if examples.is_hypothesis_test(function.obj):
            return UsageError(
                f"the async fixture {name!r} cannot serve a simulated test with @given",
                found="each example runs in a world of its own",
                fix="make in the test's body what the fixture makes",
            )
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("anyio_backend")
    chosen, options = backend if isinstance(backend, tuple) else (backend, {})
    if chosen not in (None, "asyncio"):
        return UsageError(
            f"the anyio backend {chosen!r} cannot be simulated", fix="use the backend asyncio"
        )
    if options.get("use_uvloop"):
        return UsageError("uvloop cannot be simulated", fix="leave use_uvloop out")
    return None


def is_async_fixture(function: Any) -> bool:
    """Whether a fixture's function is a coroutine function or an async generator."""
    function = getattr(function, "__func__", function)
    return inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _memory_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)

"""One seed of one test: a world that is armed around the test's set-up, call and teardown."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import random
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, cast

from windtunnel.core import seed as core_seed
from windtunnel.core.seed import Seed
from windtunnel.explore import logs, loops
from windtunnel.explore.headcount import Headcount
from windtunnel.explore.until import StepReached, Until
from windtunnel.explore.verdict import Verdict, leaks
from windtunnel.sim import intercept, story, trace_file
from windtunnel.sim.config import WorldConfig
from windtunnel.sim.errors import DeadlockError, StallError
from windtunnel.sim.loop import SimLoop
from windtunnel.sim.world import World


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """Which run is wanted.

    :param seed: the world's seed.
    :param config: the world's configuration.
    :param replay: choices to repeat; None to draw them.
    :param until: the step before which to stop; 0 to run to the end.
    :param choices: what Hypothesis is to repeat; empty to let it search.
    :param at_stop: called with the world when it has come to ``until``.
    """

    seed: Seed
    config: WorldConfig
    replay: Any = None
    until: int = 0
    choices: tuple[str, ...] = ()
    at_stop: Callable[[World], object] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """The story of a run, as text and as a diagram."""

    text: str
    svg: str

    @classmethod
    def of(cls, world: World, error: BaseException | None) -> Told:
        """The story so far."""
        if isinstance(error, StepReached):
            error = None  # nothing was violated
        return cls(story.text(world, error).rstrip(), story.svg(world, error))


class OneSeed:
    """A run of a test under one seed. A Hypothesis test runs in several worlds, one an example.

    :param log_handler: whose text says of each record on which node and when it was made.
    :param writable: folders that may be written besides those of the configuration.
    :ivar world: the world of the present, or the last, example.
    :ivar verdict: what it had seen when the test's body ended; None while it has not.
    :ivar leaks: what the test left open: what it is, and where.
    """

    def __init__(
        self,
        request: Request,
        *,
        log_handler: logging.Handler | None = None,
        writable: tuple[str, ...] = (),
    ) -> None:
        self.request = request
        self._config = dataclasses.replace(
            request.config, writable=(*request.config.writable, *writable)
        )
        # Where Hypothesis repeats an example, steps are those of the example's world.
        watched = 0 if request.choices else request.until
        self.world = self._of_the_fixtures = self._new_world(until=watched)
        self.verdict: Verdict | None = None
        self.leaks: list[tuple[str, str]] = []
        self.error: BaseException | None = None
        self.by_examples = False
        self._in_body = False
        self._told: Told | None = None
        self._examples: list[str] = []
        self._log_handler = log_handler
        self._armed = contextlib.ExitStack()

    def _new_world(self, until: int) -> World:
        request = self.request
        world = World(request.seed, self._config, replay=request.replay)
        if until:
            Until(world, until, request.at_stop).watch()
        return world

    @contextlib.contextmanager
    def armed(self) -> Generator[OneSeed, None, None]:
        """Around the whole test: what draws from the run's seed draws from the world's."""
        loops.install()
        intercept.install()
        before = core_seed.run_seed()
        state = random.getstate()
        core_seed.set_run_seed(self.request.seed)
        random.seed(self.request.seed.value)
        loops.before_close = self._before_close
        loops.close_failed = self._close_failed
        try:
            with logs.marked(self._log_handler):
                self._arm(self.world)
                yield self
        finally:
            self._armed.close()
            loops.before_close = loops.close_failed = None
            random.setstate(state)
            core_seed.set_run_seed(before)

    def _arm(self, world: World) -> None:
        """Put a world in the place of the one that is armed."""
        self._armed.close()
        self._armed.enter_context(world.armed())

    # The body of the test.

    @contextlib.contextmanager
    def body(self) -> Generator[None, None, None]:
        """Around the body of the test: takes the verdict where it ends.

        :raises BaseException: what the body raised, or what the world holds against it.
        """
        __tracebackhide__ = True
        self._in_body = True
        census = Headcount.take()
        try:
            yield
        except BaseException as error:
            self._failed(error)
            raise
        finally:
            self._in_body = False
        verdict = self._verdict()
        verdict.unseen, left = census.since()
        self.leaks += [(line, "") for line in left]
        held = verdict.error()
        if held is not None:
            self._failed(held)
            raise held

    def _failed(self, error: BaseException) -> None:
        self.note_error(error)
        verdict = self._verdict()
        known = getattr(error, "__notes__", ())
        for line in verdict.others(error):
            if (note := f"windtunnel: also, {line}") not in known:
                error.add_note(note)

    def note_error(self, error: BaseException) -> None:
        """The test has failed with that; of several examples the last one is told of."""
        if error is not self.error:
            self.error = error
            self._told = Told.of(self.world, error)

    def _verdict(self) -> Verdict:
        if self.verdict is None:
            self.verdict = Verdict.of(self.world)
        return self.verdict

    def ended_at(self) -> tuple[int, int]:
        """After how many steps, and at what virtual time in ns, the body or the run ended."""
        verdict = self.verdict or Verdict.of(self.world)
        return verdict.steps, verdict.at_ns

    @contextlib.contextmanager
    def example(self) -> Generator[World, None, None]:
        """A world of its own for one example of Hypothesis, under the same seed: what an example
        does must depend on nothing but its choices."""
        of_the_fixtures = self._of_the_fixtures
        self.verdict = None
        self.world = self._new_world(until=self.request.until)
        self._arm(self.world)
        try:
            yield self.world
        finally:
            if self._config.trace:
                told = trace_file.lines(self.world, self.error)
                self._examples += [json.dumps(line) + "\n" for line in told]
            self._arm(of_the_fixtures)

    # What is told of it.

    @property
    def fixture(self) -> World:
        """What the test calls ``world``: under Hypothesis, that of each example in its turn."""
        return cast("World", _WorldOfExample(self)) if self.by_examples else self.world

    @property
    def error_name(self) -> str:
        """The class of what the body failed with; empty when something else failed."""
        return type(self.error).__name__ if self.error is not None else ""

    def told(self) -> Told:
        """What happened up to the verdict, or to the end where the body was not reached."""
        return self._told or Told.of(self.world, self.error)

    def write_traces(self, path: Path) -> None:
        """Write what happened step by step, in each of its worlds."""
        trace_file.write(self._of_the_fixtures, path, self.error)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(self._examples)

    # The end of its loop.

    def _before_close(self, loop: SimLoop) -> None:
        if self._in_body:
            self._verdict()  # the runner is the test's own, or unittest's
        for node in loop.world.nodes.values():
            if node is not loop.world.test:
                node.vanish()  # cancelling servers would only write errors into the log
        if self.verdict is not None and self.error is None:
            self.leaks += leaks(loop.world, loop)

    def _close_failed(self, error: DeadlockError | StallError) -> None:
        if self.error is None:
            self.leaks.append((f"the loop could not be ended: {error.what}", error.found))


class _WorldOfExample:
    """Stands for the world of the example that is being run."""

    def __init__(self, run: OneSeed) -> None:
        vars(self)["_run"] = run

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_run"].world, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(vars(self)["_run"].world, name, value)

    def __repr__(self) -> str:
        return repr(vars(self)["_run"].world)

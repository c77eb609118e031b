"""Whole programs over real libraries in simulated worlds, under several seeds and twice."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any

from windtunnel.core import Seed
from windtunnel.sim import DeadlockError, EscapeError, Node, World, WorldConfig, intercept, new_loop
from windtunnel.sim.trace import Note

Main = Callable[[World], Coroutine[Any, Any, Any]]
SEEDS = (1, 2, 3)


@dataclasses.dataclass
class Run:
    """What came of one run.

    :ivar result: what the main coroutine returned.
    :ivar choices: its tape.
    :ivar steps: its trace: when, on which node, what.
    """

    result: Any
    choices: list[int]
    steps: list[tuple[int, int, str]]
    notes: list[Note]
    failures: list[tuple[Node, BaseException]]
    escapes: list[EscapeError]
    virtual_s: float

    def digest(self) -> str:
        """A short text that is the same for the same run."""
        return hashlib.sha256(repr((self.steps, self.choices)).encode()).hexdigest()


def run(main: Main, seed: int, **config: Any) -> Run:
    """``main(world)`` on the test's node, as ``asyncio.run`` would run it."""
    intercept.install()
    world = World(Seed(seed), WorldConfig(trace=True, **config))
    with world.armed():
        runner = asyncio.Runner(loop_factory=new_loop)
        try:
            result = runner.run(main(world))
            failures, escapes = list(world.failures), list(world.escapes)
            choices, at_ns = list(world.tape.entries()), world.now_ns
            steps, notes = list(world.trace.steps), list(world.trace.notes)
        finally:
            # Some servers of Python 3.12 never end while a client is connected.
            with contextlib.suppress(DeadlockError):
                runner.close()
    return Run(result, choices, steps, notes, failures, escapes, at_ns / 1e9)


def under_seeds(main: Main, seeds: tuple[int, ...] = SEEDS, **config: Any) -> list[Run]:
    """Runs under several seeds, in which no node failed and nothing left the world; each seed
    is run twice and does the same."""
    runs = []
    for seed in seeds:
        first, again = run(main, seed, **config), run(main, seed, **config)
        assert first.failures == []
        assert first.escapes == []
        assert first.result == again.result
        assert first.steps == again.steps
        assert first.choices == again.choices
        runs.append(first)
    assert len({tuple(each.choices) for each in runs}) == len(runs), "seeds make no difference"
    return runs

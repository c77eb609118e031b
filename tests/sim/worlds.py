"""Simulated worlds for the tests of the room, run as asyncio.run does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from windtunnel.core import Seed
from windtunnel.sim import World, WorldConfig, new_loop

T = TypeVar("T")
Main = Callable[[World], Coroutine[Any, Any, T]]


def make(seed: int = 1, *, replay: Iterable[int] | None = None, **config: Any) -> World:
    return World(Seed(seed), WorldConfig(**config), replay=replay)


def run(main: Main[T], world: World | None = None, **given: Any) -> T:
    """``main(world)`` on the test's node of a new world."""
    world = world or make(**given)
    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(main(world))


def trace_of(main: Main[Any], **given: Any) -> list[tuple[int, int, str]]:
    """The steps of a run: when, on which node, what."""
    world = make(trace=True, **given)
    run(main, world)
    return world.trace.steps

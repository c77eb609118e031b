"""Putting all replacements in place when a world's loop begins to run, and taking them out."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

from windtunnel.core.clock import REAL_CLOCK, WORLD_CLOCK
from windtunnel.sim import inside
from windtunnel.sim.intercept import (
    clocks,
    dates,
    entropy,
    machine,
    neighbours,
    order,
    worker_threads,
)
from windtunnel.sim.intercept.functions import CodeReplacement
from windtunnel.sim.intercept.pointers import Replacement, check_layout, original
from windtunnel.sim.intercept.tasks import DirectTasks
from windtunnel.sim.intercept.thunks import Thunk
from windtunnel.sim.intercept.zone import Zone

if TYPE_CHECKING:
    from windtunnel.sim.clock import NodeClock
    from windtunnel.sim.world import World

Real = Callable[..., Any]
Makes = Callable[[Real], Real]


class _Change(Protocol):
    def put(self) -> None: ...
    def take_out(self) -> None: ...


_changes: list[_Change] = []
_known: set[int] = set()
_zone = Zone()
_numpy = neighbours.NumpyGenerator()
_installed = False
_optional = ("ssl",)
_seen: set[str] = set()


def install() -> None:
    """Prepare every replacement, once a process; later calls do nothing.

    :raises IsolationError: when this interpreter is not one whose functions can be taken over.
    """
    global _installed
    if _installed:
        return
    check_layout()
    # Found out by writing a file of a random name, once a process: not inside a step.
    tempfile.gettempdir()
    REAL_CLOCK.read_with(original(time.perf_counter), original(time.sleep))
    WORLD_CLOCK.ask(_clock_here)
    _changes.extend(_all())
    _installed = True


def _clock_here() -> NodeClock | None:
    """The clock of the node whose step this is."""
    world = inside.world
    return None if world is None or get_ident() != inside.thread else world.node.clock


def enter(world: World) -> None:
    """A loop of ``world`` begins to run in this thread: from now on its clocks are the world's."""
    if not _installed:
        install()
    _late_imports()
    for change in _changes:
        change.put()
    _zone.put(world.config.timezone)
    _numpy.put(world)


def leave(world: World) -> None:
    """The loop of ``world`` has stopped: everything is as before `enter`."""
    _numpy.take_out(world)
    _zone.take_out()
    for change in reversed(_changes):
        change.take_out()


def _all() -> Iterator[_Change]:
    beside = _functions_of_time_machine()
    for table in (clocks, entropy, machine):
        for function, makes in table.replacements():
            _known.add(id(function))
            if function not in beside:
                yield Replacement(function, makes)
    if beside:
        table_of_clocks = [pair for pair in clocks.replacements() if pair[0] in beside]
        yield neighbours.WallClockBesideTimeMachine(
            [Replacement(function, makes) for function, makes in table_of_clocks],
            [_unbound(function, makes) for function, makes in table_of_clocks],
        )
    for function, does in dates.thunks():
        yield Thunk(function, does)
    for code_table in (entropy, machine):
        for python_function, makes in code_table.code_replacements():
            yield CodeReplacement(python_function, makes)
    yield entropy.SharedGenerator()
    yield DirectTasks()


def _unbound(function: Real, makes: Makes) -> Thunk:
    does = makes(original(function))
    return Thunk(function, lambda _module: does())


def _functions_of_time_machine() -> tuple[Real, ...]:
    """The functions that time-machine, where it is installed, calls by their C functions."""
    if importlib.util.find_spec("_time_machine") is None:
        return ()
    return (time.time, time.time_ns)


def _late_imports() -> None:
    """Modules that were not there when `install` ran and have something to replace."""
    worker_threads.put()
    order.put()
    for name in _optional:
        if name in sys.modules and name not in _seen:
            _seen.add(name)
            for function, makes in entropy.replacements():
                if id(function) not in _known:
                    _known.add(id(function))
                    _changes.append(Replacement(function, makes))

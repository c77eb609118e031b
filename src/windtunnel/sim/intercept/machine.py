"""Facts of the machine and the process that programs mix into names and numbers.

Process number, processor times and host name differ from run to run; each node has its own.
"""

from __future__ import annotations

import os
import random
import tempfile
import types
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from windtunnel.sim import inside

Real = Callable[..., Any]
Makes = Callable[[Real], Real]

# Above what small containers use, below what a kernel hands out by default.
_FIRST_PID = 1000


def _getpid(real: Real) -> Real:
    def getpid(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return _FIRST_PID + world.node.index

    return getpid


def _times(real: Real) -> Real:
    def times(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        elapsed = world.node.clock.monotonic_ns() // 10_000_000 / 100
        return os.times_result((elapsed, 0.0, 0.0, 0.0, elapsed))

    return times


def _uname(real: Real) -> Real:
    def uname(_self: object = None) -> Any:
        found = real()
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return found
        return os.uname_result(
            (found.sysname, world.node.hostname, found.release, found.version, found.machine)
        )

    return uname


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Builtin functions that tell about the process, and what makes their replacements."""
    yield os.getpid, _getpid
    yield os.times, _times
    yield os.uname, _uname


def _temporary_names(real: Real) -> Real:
    def rng(self: Any) -> random.Random:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(self)  # type: ignore[no-any-return]
        return world.node.stream("tempfile")

    return rng


def _platform_node(real: Real) -> Real:
    def node() -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.hostname

    return node


def code_replacements() -> Iterator[tuple[types.FunctionType, Makes]]:
    """Python functions that tell about the machine, and what makes their replacements."""
    import platform

    names: Any = tempfile._RandomNameSequence  # type: ignore[attr-defined]
    yield names.rng.fget, _temporary_names
    # platform keeps what it once found out; a node's name must not reach another node.
    node: Any = platform.node
    yield node, _platform_node

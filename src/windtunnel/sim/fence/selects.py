"""``select.select`` and ``select.poll`` on simulated sockets: a look is answered, a wait refused.

HTTP clients look whether a pooled connection is readable (then it is dead) before they use it
again: ``poll`` with a timeout of 0. To wait is the loop's part.
"""

from __future__ import annotations

import errno
import os
import select
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.fence.refusal import blocked, escape

if TYPE_CHECKING:
    from windtunnel.sim.net.files import SocketFile
    from windtunnel.sim.world import World

Real = Callable[..., Any]
Makes = Callable[[Real], Real]

_FIX = "use asyncio's streams, or loop.add_reader; the loop does the waiting"


def _number(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())


def _socket(world: World, call: str, file: Any) -> SocketFile:
    number = _number(file)
    known = world.net.files.get(number)
    if known is None:
        raise escape(world, "waiting for a real descriptor", f"{call} on {number}", _FIX)
    return known


def _select(real: Real) -> Real:
    def simulated(reads: Any, writes: Any, others: Any, timeout: Any = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(reads, writes, others, timeout)
        reads, writes = list(reads), list(writes)
        for other in others:
            _socket(world, "select.select()", other)
        readable = [f for f in reads if _socket(world, "select.select()", f)._readable()]
        writable = [f for f in writes if _socket(world, "select.select()", f)._writable()]
        if not (readable or writable or timeout == 0):
            raise blocked("select.select()", _FIX)
        return readable, writable, []

    return simulated


class SimPoll:
    """What ``select.poll()`` gives within a step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wanted: dict[int, int] = {}

    def register(
        self, fd: Any, eventmask: int = select.POLLIN | select.POLLPRI | select.POLLOUT, /
    ) -> None:
        """Look at a descriptor from now on."""
        self._wanted[_number(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int, /) -> None:
        """Look for something else at a descriptor."""
        if _number(fd) not in self._wanted:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self._wanted[_number(fd)] = eventmask

    def unregister(self, fd: Any, /) -> None:
        """Look at a descriptor no more."""
        del self._wanted[_number(fd)]

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """What is ready now.

        :raises BlockingCallError: when nothing is, and ``timeout`` is not 0.
        """
        found = []
        for number, wanted in self._wanted.items():
            file = _socket(self._world, "poll()", number)
            ready = (select.POLLIN if file._readable() else 0) | (
                select.POLLOUT if file._writable() else 0
            )
            if ready & wanted:
                found.append((number, ready & wanted))
        if not found and timeout != 0:
            raise blocked("poll()", _FIX)
        return found


def _poll(real: Real) -> Real:
    def poll() -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return SimPoll(world)

    return poll


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Builtin functions that wait for descriptors, and what makes their replacements."""
    yield select.select, _select
    if hasattr(select, "poll"):
        yield select.poll, _poll

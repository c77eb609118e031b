"""``select.select`` and ``select.poll`` on simulated sockets: what is ready now.

Libraries ask with a timeout of 0 whether a connection was closed by its peer (httpcore), or run a
loop of their own that is told not to wait (PySyncObj). Both are answered. Nothing can wait inside
a step, so a call that would is refused; so is one about a real descriptor.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.errors import BlockingCallError, EscapeError
from windtunnel.sim.net.files import SocketFile
from windtunnel.sim.net.stream import StreamEnd

if TYPE_CHECKING:
    from windtunnel.sim.world import World

Real = Callable[..., Any]
Makes = Callable[[Real], Real]

_DEFAULT = select.POLLIN | select.POLLPRI | select.POLLOUT


class SimPoll:
    """What ``select.poll()`` gives inside a simulated step."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wanted: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = _DEFAULT) -> None:
        """Watch a socket, or change for what."""
        number = _number(fd)
        _file(self._world, number)
        self._wanted[number] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """:raises FileNotFoundError: when it is not watched."""
        number = _number(fd)
        if number not in self._wanted:
            raise FileNotFoundError(2, "No such file or directory")
        self._wanted[number] = eventmask

    def unregister(self, fd: Any) -> None:
        """:raises KeyError: when it is not watched."""
        del self._wanted[_number(fd)]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """The sockets that are ready, and for what.

        :param timeout: milliseconds; 0, unless something is ready.
        :raises BlockingCallError: when it would have to wait.
        """
        found = []
        for fd, wanted in self._wanted.items():
            file = self._world.net.files.get(fd)
            ready = select.POLLNVAL if file is None else _events(file, wanted)
            if ready:
                found.append((fd, ready))
        if not found and timeout != 0:
            raise _would_wait(self._world, "select.poll().poll", timeout)
        return found


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())


def _file(world: World, fd: int) -> SocketFile:
    file = world.net.files.get(fd)
    if file is None:
        if fd < 0:
            raise ValueError(f"file descriptor cannot be a negative integer ({fd})")
        error = EscapeError(
            "waiting for real descriptors would leave the simulated world",
            found=f"descriptor {fd}",
            fix="use asyncio's streams; the loop does the waiting",
        )
        world.escape(error)
        raise error
    return file


def _events(file: SocketFile, wanted: int) -> int:
    ready = 0
    if file.reader.ready():
        ready |= wanted & (select.POLLIN | getattr(select, "POLLRDNORM", 0))
    if file.writer.ready():
        ready |= wanted & (select.POLLOUT | getattr(select, "POLLWRNORM", 0))
    part = file.part
    if isinstance(part, StreamEnd):
        if part.error:
            ready |= select.POLLERR
        if part.over:
            ready |= select.POLLHUP
        if part.eof:
            ready |= wanted & getattr(select, "POLLRDHUP", 0)
    return ready


def _select(world: World, sides: tuple[Any, Any, Any], timeout: Any) -> Any:
    found: list[list[Any]] = [[], [], []]
    for place, side in enumerate(sides):
        for each in side:
            file = _file(world, _number(each))
            if place < 2 and (file.reader, file.writer)[place].ready():
                found[place].append(each)
    if not any(found) and timeout != 0:
        raise _would_wait(world, "select.select", timeout)
    return tuple(found)


def _would_wait(world: World, call: str, timeout: object) -> BlockingCallError:
    error = BlockingCallError(
        f"{call}() would block the one thread in which the simulated world runs",
        found=f"timeout={timeout!r}, and nothing is ready",
        fix="use asyncio's streams, or a timeout of 0",
    )
    world.escape(error)
    return error


def _selecting(real: Real) -> Real:
    def selecting(rlist: Any, wlist: Any, xlist: Any, timeout: Any = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(rlist, wlist, xlist, timeout)
        return _select(world, (rlist, wlist, xlist), timeout)

    return selecting


def _polling(real: Real) -> Real:
    def polling() -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return SimPoll(world)

    return polling


def replacements() -> Iterator[tuple[Real, Makes]]:
    """The builtin functions, and what makes their replacements."""
    yield select.select, _selecting
    if hasattr(select, "poll"):
        yield select.poll, _polling

"""The names of ``socket`` that lead into the simulated network while a world runs.

``socket.socket`` is a Python class and is changed in its ``__new__`` (see
:mod:`~windtunnel.sim.net.sock`); the functions of ``_socket`` are builtins and are changed inside
(see :mod:`~windtunnel.sim.intercept.pointers`), so a name that was bound before is caught too.
:func:`enter` puts that in place when a loop begins to run, :func:`leave` takes it away.
"""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable
from functools import cache
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.intercept.pointers import Replacement
from windtunnel.sim.net import operations, sock
from windtunnel.sim.net.files import SocketFile, os_error

if TYPE_CHECKING:
    from windtunnel.sim.net.resolver import Hosts

_FIRST_FD = 1_000_000


class _Half:
    """What ``_socket.socketpair`` gives to ``socket.socketpair``, which detaches it at once."""

    def __init__(self, file: SocketFile) -> None:
        self._file = file

    def detach(self) -> int:
        """The descriptor."""
        return self._file.fd

    fileno = detach


def _asks_hosts(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def makes(real: Callable[..., Any]) -> Callable[..., Any]:
        def asks(*args: Any, **kwargs: Any) -> Any:
            world = inside.world
            if world is None or inside.thread != get_ident():
                return real(*args, **kwargs)
            hosts: Hosts = world.net.hosts
            return getattr(hosts, name)(*args, **kwargs)

        return asks

    return makes


def _hostname(real: Callable[..., Any]) -> Callable[..., Any]:
    def gethostname() -> str:
        world = inside.world
        if world is None or inside.thread != get_ident():
            return str(real())
        return world.node.hostname

    return gethostname


def _pair(real: Callable[..., Any]) -> Callable[..., Any]:
    def socketpair(
        family: int | None = None, type: int = socket.SOCK_STREAM, proto: int = 0
    ) -> Any:
        world = inside.world
        if world is None or inside.thread != get_ident():
            return real(*[each for each in (family, type, proto) if each is not None])
        if family not in (None, socket.AF_UNIX):
            raise os_error(95)
        kind = type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        first, second = (
            SocketFile(world.net, world.node, socket.AF_UNIX, kind, proto) for _ in range(2)
        )
        operations.socket_pair(first, second)
        return _Half(first), _Half(second)

    return socketpair


def _on_descriptor(
    simulated: Callable[[SocketFile], Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def makes(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(fd: Any) -> Any:
            world = inside.world
            if world is None or inside.thread != get_ident() or not isinstance(fd, int):
                return real(fd)
            if fd < _FIRST_FD:
                return real(fd)
            file = world.net.files.get(fd)
            if file is None:
                raise os_error(9)
            return simulated(file)

        return call

    return makes


def _dup(file: SocketFile) -> int:
    file.refer()
    return file.fd


@cache
def _replacements() -> tuple[Replacement, ...]:
    made = [
        Replacement(getattr(_socket, name), _asks_hosts(name))
        for name in (
            "getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo",
        )
    ]  # fmt: skip
    made.append(Replacement(_socket.gethostname, _hostname))
    made.append(Replacement(_socket.socketpair, _pair))
    made.append(Replacement(_socket.close, _on_descriptor(SocketFile.close)))
    made.append(Replacement(_socket.dup, _on_descriptor(_dup)))
    return tuple(made)


def enter() -> None:
    """From now on, what this thread asks of ``socket`` it asks of the simulated network."""
    sock.install()
    for replacement in _replacements():
        replacement.put()


def leave() -> None:
    """Put back what was there."""
    for replacement in reversed(_replacements()):
        replacement.take_out()
    sock.remove()

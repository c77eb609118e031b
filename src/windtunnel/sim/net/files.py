"""What a simulated descriptor stands for: options, address, and who waits for it to be ready.

A :class:`SocketFile` is what POSIX calls an open file description of a socket. Socket objects
(:mod:`~windtunnel.sim.net.sock`) and transports are views of it; what it does on the network is
its part: a stream's end, a listener, a datagram port.
"""

from __future__ import annotations

import contextvars
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from windtunnel.sim.handle import Handle

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

Address: TypeAlias = Any
"""A socket address as Python has it: ``(host, port)``, ``(host, port, flow, scope)``, or the
path of a Unix socket."""


def os_error(number: int, text: str = "") -> OSError:
    """The OSError of an errno, as the kernel's caller sees it."""
    return OSError(number, text or os.strerror(number))


class Part(Protocol):
    """What a socket is on the network."""

    def readable(self) -> bool:
        """Whether a read (or an accept) would not wait."""
        ...

    def writable(self) -> bool:
        """Whether a write (or a connect) would not wait."""
        ...

    def take_error(self) -> int:
        """The pending errno, which is cleared by that; 0 for none."""
        ...

    def close(self) -> None:
        """The last descriptor is closed."""
        ...


class Watch:
    """One side of a descriptor that a loop looks after: the callback of ``add_reader`` or
    ``add_writer``. As with epoll it fires again as long as the descriptor is ready."""

    __slots__ = ("_file", "_handle", "_scheduled", "ready")

    def __init__(self, file: SocketFile, ready: Callable[[], bool]) -> None:
        self._file = file
        self.ready = ready
        self._handle: Handle | None = None
        self._scheduled = False

    def set(self, callback: Callable[..., object], args: tuple[Any, ...]) -> Handle:
        """Call it whenever the descriptor is ready, instead of what was called before."""
        if self._handle is not None:
            self._handle.cancel()
        context = contextvars.copy_context()
        handle = self._handle = Handle(callback, args, context, self._file.node)
        self.look()
        return handle

    def clear(self) -> bool:
        """Call nothing any more; whether something would have been called."""
        handle, self._handle = self._handle, None
        if handle is None:
            return False
        handle.cancel()
        return True

    @property
    def wanted(self) -> bool:
        """Whether somebody waits."""
        return self._handle is not None

    def look(self) -> None:
        """Something may have changed: schedule the callback if it is ready."""
        if self._handle is not None and not self._scheduled and self.ready():
            self._scheduled = True
            self._file.net.world.soon(self._fire, node=self._file.node)

    def _fire(self) -> None:
        self._scheduled = False
        handle = self._handle
        if handle is None or not self.ready():
            return
        callback = handle._callback
        if callback is None:
            self._handle = None
            return
        try:
            handle._context.run(callback, *handle._args)
        finally:
            self.look()


class SocketFile:
    """One simulated socket of one node.

    :ivar fd: its descriptor number, from a range that real ones do not reach.
    :ivar local: the address it is bound to, or None.
    :ivar remote: the address it is connected to, or None.
    :ivar connecting: a ``connect`` was begun whose success nobody has asked for.
    :ivar part: what it is on the network by now, or None for a socket that is neither
        connected nor listening.
    """

    __slots__ = (
        "_references", "closed", "connecting", "family", "fd", "listening", "local", "net", "node",
        "options", "part", "port_key", "proto", "reader", "remote", "transport", "type", "writer",
    )  # fmt: skip

    def __init__(self, net: Network, node: Node, family: int, kind: int, proto: int) -> None:
        self.net = net
        self.node = node
        self.family = family
        self.type = kind
        self.proto = proto
        self.fd = net.next_fd()
        self.local: Address = None
        self.remote: Address = None
        self.part: Part | None = None
        self.listening = False
        self.connecting = False
        self.closed = False
        self.port_key: tuple[int, int] | None = None
        self.options: dict[tuple[int, int], int | bytes] = {}
        self.transport: object = None
        self.reader = Watch(self, self._readable)
        self.writer = Watch(self, self._writable)
        self._references = 1
        net.files[self.fd] = self
        node.sockets.add(self)

    def _readable(self) -> bool:
        # As with epoll, a socket that is neither connected nor listening is ready (hung up).
        return self.part is None or self.part.readable()

    def _writable(self) -> bool:
        return self.part is None or self.part.writable()

    def flag(self, level: int, name: int) -> bool:
        """Whether an option is set to something else than 0."""
        value = self.options.get((level, name), 0)
        return bool(value) if isinstance(value, int) else any(value)

    def refer(self) -> None:
        """One descriptor more (``dup``)."""
        self._references += 1

    def abandon(self) -> None:
        """The program is gone, and with it whoever would have looked at the socket."""
        self.closed = True
        self.reader.clear()
        self.writer.clear()
        self.net.files.pop(self.fd, None)
        self.net.ports.release(self)
        self.listening = False
        transport: Any = self.transport
        if transport is not None:
            transport.abandon()

    def close(self) -> None:
        """One descriptor less; with the last one the socket is closed."""
        self._references -= 1
        if self._references > 0 or self.closed:
            return
        self.closed = True
        self.reader.clear()
        self.writer.clear()
        self.net.files.pop(self.fd, None)
        self.node.sockets.discard(self)
        if self.part is not None:
            self.part.close()
        self.net.ports.release(self)

    def __repr__(self) -> str:
        kind = "stream" if self.type == socket.SOCK_STREAM else "datagram"
        return f"<{kind} socket {self.fd} of {self.node.name} at {self.local}>"


def must_be_open(file: SocketFile | None) -> SocketFile:
    """:raises OSError: EBADF when there is nothing behind the descriptor."""
    if file is None or file.closed:
        raise os_error(errno.EBADF)
    return file


def lingers_for_nothing(file: SocketFile) -> bool:
    """Whether SO_LINGER asks that closing resets."""
    value = file.options.get((socket.SOL_SOCKET, socket.SO_LINGER))
    return isinstance(value, bytes) and len(value) >= 8 and struct.unpack("ii", value[:8]) == (1, 0)

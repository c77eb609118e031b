"""Who is bound to which address and port of which node, TCP, UDP and Unix.

Rules are those of Linux (socket(7), tcp(7), unix(7)): SO_REUSEADDR lets a server bind over
connections that linger, not over another that listens; a connection that was closed from this
side keeps its port for a while.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

from windtunnel.sim.net import addresses
from windtunnel.sim.net.files import Address, SocketFile, os_error

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

_FIRST, _LAST = 32_768, 60_999
_S = 1_000_000_000


class Ports:
    """The port tables and Unix namespaces of all nodes."""

    def __init__(self, net: Network) -> None:
        self._net = net
        self._bound: dict[tuple[str, int, int], list[SocketFile]] = {}
        self._lingering: dict[tuple[str, int], int] = {}
        self._next: dict[tuple[str, int, int], int] = {}
        self._paths: dict[tuple[str, str | bytes], SocketFile] = {}
        self._autobind = 0

    # Binding.

    def bind(self, file: SocketFile, host: str, port: int) -> None:
        """Give a socket an address of its node; port 0 takes a free one.

        :raises OSError: EADDRNOTAVAIL for an address the node does not have, EADDRINUSE.
        """
        addresses.refuse_groups(self._net.world, host)
        if not self._net.routes.is_local(file.node, host):
            raise os_error(errno.EADDRNOTAVAIL)
        if port == 0:
            port = self.free_port(file)
        elif self._taken(file, host, port):
            raise os_error(errno.EADDRINUSE)
        self.occupy(file, host, port)

    def occupy(self, file: SocketFile, host: str, port: int) -> None:
        """Note that a socket has that address, without asking whether it may."""
        file.local = addresses.make(file.family, host, port)
        file.port_key = (file.type, port)
        self._bound.setdefault((file.node.name, file.type, port), []).append(file)

    def free_port(self, file: SocketFile) -> int:
        """A port that nobody of that node has. One after the other, each family on its own:
        the order in which a server binds both families is not always the same."""
        key = (file.node.name, file.type, file.family)
        first = _FIRST + (1 if file.family == socket.AF_INET6 else 0)
        port = self._next.get(key, first)
        for _ in range(_FIRST, _LAST, 2):
            self._next[key] = port + 2 if port + 2 <= _LAST else first
            if not self._bound.get((file.node.name, file.type, port)):
                return port
            port = self._next[key]
        raise os_error(errno.EADDRINUSE)

    def _taken(self, file: SocketFile, host: str, port: int) -> bool:
        reuse = file.flag(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        share = file.flag(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        for other in self._bound.get((file.node.name, file.type, port), ()):
            if not _overlap(file, host, other):
                continue
            if share and other.flag(socket.SOL_SOCKET, socket.SO_REUSEPORT):
                continue
            may = reuse and other.flag(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            if not (may and not other.listening):
                return True
        if file.type == socket.SOCK_STREAM and not reuse:
            until = self._lingering.get((file.node.name, port), 0)
            return until > self._net.world.now_ns
        return False

    def check_listen(self, file: SocketFile) -> None:
        """:raises OSError: EADDRINUSE when another socket listens at that address already."""
        share = file.flag(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        for other in self._bound.get((file.node.name, file.type, file.local[1]), ()):
            if other is file or not other.listening or not _overlap(file, file.local[0], other):
                continue
            if not (share and other.flag(socket.SOL_SOCKET, socket.SO_REUSEPORT)):
                raise os_error(errno.EADDRINUSE)

    def release(self, file: SocketFile) -> None:
        """A socket is closed."""
        if file.family == socket.AF_UNIX:
            key = (file.node.name, _path_key(file.local))
            if file.local is not None and self._paths.get(key) is file:
                del self._paths[key]
        elif file.port_key is not None:
            entry = (file.node.name, *file.port_key)
            files = self._bound.get(entry)
            if files is not None and file in files:
                files.remove(file)
                if not files:
                    del self._bound[entry]

    def linger(self, file: SocketFile) -> None:
        """A connection was closed from this side: its port is not free at once (TIME_WAIT)."""
        if file.port_key is not None:
            wait = round(self._net.config.time_wait_s * _S)
            key = (file.node.name, file.port_key[1])
            self._lingering[key] = self._net.world.now_ns + wait

    # Finding.

    def receiver(
        self, node: Node, kind: int, family: int, host: str, port: int
    ) -> SocketFile | None:
        """The listening stream socket, or the datagram socket, that such an address reaches.

        One bound to that very address goes before one bound to all.
        """
        exact: list[SocketFile] = []
        general: list[SocketFile] = []
        for file in self._bound.get((node.name, kind, port), ()):
            if kind == socket.SOCK_STREAM and not file.listening:
                continue
            if not _hears(file, family):
                continue
            bound = file.local[0]
            if addresses.is_any(bound):
                general.append(file)
            elif addresses.same(bound, host):
                exact.append(file)
        found = exact or general
        if not found:
            return None
        if len(found) > 1:  # SO_REUSEPORT: the kernel spreads
            return found[self._net.world.choose("net.reuseport", len(found))]
        return found[0]

    # Unix sockets.

    def bind_path(self, file: SocketFile, path: Address) -> None:
        """Give a Unix socket a name in its node's own namespace; no file is made.

        :raises OSError: EADDRINUSE.
        """
        if path in ("", b""):
            self._autobind += 1
            path = b"\0%05x" % self._autobind
        key = (file.node.name, _path_key(path))
        if key in self._paths:
            raise os_error(errno.EADDRINUSE)
        self._paths[key] = file
        file.local = shown_path(path)

    def at_path(self, node: Node, path: Address) -> SocketFile | None:
        """The Unix socket of that name on a node."""
        return self._paths.get((node.name, _path_key(path)))


def shown_path(path: Address) -> str | bytes:
    """A Unix address as ``getsockname`` shows it: abstract ones as bytes."""
    if path in (None, "", b""):
        return ""
    raw = os.fsencode(path)
    return raw if raw[0] == 0 else os.fsdecode(raw)


def _path_key(path: Address) -> str | bytes:
    shown = shown_path(path)
    return os.path.abspath(shown) if isinstance(shown, str) else shown


def _hears(file: SocketFile, family: int) -> bool:
    if file.family == family:
        return True
    only = file.flag(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return file.family == socket.AF_INET6 and family == socket.AF_INET and not only


def _overlap(file: SocketFile, host: str, other: SocketFile) -> bool:
    """Whether two sockets on one port would hear some same message."""
    if not (_hears(file, other.family) or _hears(other, file.family)):
        return False
    bound = other.local[0]
    return addresses.is_any(host) or addresses.is_any(bound) or addresses.same(host, bound)

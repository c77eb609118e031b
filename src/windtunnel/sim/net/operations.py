"""The socket calls, as a kernel answers them without ever waiting.

A call that would have to wait raises BlockingIOError (or, for ``connect``, returns EINPROGRESS);
what to do about that is the caller's affair: :mod:`~windtunnel.sim.net.sock` for programs that
hold a socket, :mod:`~windtunnel.sim.net.calls` for the loop.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any

from windtunnel.sim.net import addresses
from windtunnel.sim.net.datagram import DatagramPort
from windtunnel.sim.net.files import Address, SocketFile, os_error
from windtunnel.sim.net.listener import Attempt, Listener, join, pair
from windtunnel.sim.net.ports import shown_path
from windtunnel.sim.net.stream import StreamEnd

_BUFFERS = {socket.SO_RCVBUF: "receive_buffer", socket.SO_SNDBUF: "send_buffer"}
_DEFAULTS = {
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 7200,
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 75,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 9,
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG): 536,
}


# Addresses.


def internet(file: SocketFile, address: Address, call: str) -> tuple[str, int]:
    """Host and port of an address for a TCP or UDP socket; names are looked up.

    :raises TypeError: when it is no such address.
    :raises OverflowError: for a port out of range.
    """
    if not isinstance(address, tuple) or len(address) < 2:
        family = socket.AddressFamily(file.family).name
        kind = type(address).__name__
        raise TypeError(f"{call}(): {family} address must be tuple, not {kind}")
    host, port = address[:2]
    if not isinstance(port, int):
        raise TypeError(f"'{type(port).__name__}' object cannot be interpreted as an integer")
    if not 0 <= port <= 65_535:
        raise OverflowError(f"{call}(): port must be 0-65535.")
    text = host.decode() if isinstance(host, (bytes, bytearray)) else str(host)
    ip = addresses.parse(text)
    if ip is None or (ip.version == 6 and file.family == socket.AF_INET):
        text = file.net.hosts.first(text, file.family)
    return text, port


def local_address(file: SocketFile) -> Address:
    """What ``getsockname`` says."""
    if file.local is not None:
        return file.local
    if file.family == socket.AF_UNIX:
        return ""
    return addresses.make(file.family, addresses.ANY[file.family], 0)


def remote_address(file: SocketFile) -> Address:
    """What ``accept`` says of the other side."""
    return "" if file.remote is None else file.remote


def is_connected(file: SocketFile) -> bool:
    """Whether there is another side."""
    part = file.part
    if isinstance(part, StreamEnd):
        return not part.over or not part.error
    return isinstance(part, DatagramPort) and file.remote is not None


def bind(file: SocketFile, address: Address) -> None:
    """:raises OSError: EINVAL when it is bound already, EADDRINUSE, EADDRNOTAVAIL."""
    if file.local is not None:
        raise os_error(errno.EINVAL)
    if file.family == socket.AF_UNIX:
        file.net.ports.bind_path(file, address)
    else:
        file.net.ports.bind(file, *internet(file, address, "bind"))
    if file.type == socket.SOCK_DGRAM:
        DatagramPort.of(file)


def _bind_for(file: SocketFile, host: str) -> None:
    """Give a socket that was not bound the address it has on the way to ``host``."""
    source = file.net.routes.source(file.node, file.family, host)
    if file.local is None:
        file.net.ports.occupy(file, source, file.net.ports.free_port(file))
    elif addresses.is_any(file.local[0]):
        file.local = addresses.make(file.family, source, file.local[1])


# Connections.


def listen(file: SocketFile, backlog: int) -> None:
    """:raises OSError: EADDRINUSE when another socket listens there already."""
    if file.type != socket.SOCK_STREAM:
        raise os_error(errno.EOPNOTSUPP)
    if isinstance(file.part, Listener):
        file.part.backlog = max(backlog, 0)
        return
    if file.part is not None:
        raise os_error(errno.EINVAL)
    if file.local is None:
        if file.family == socket.AF_UNIX:
            raise os_error(errno.EINVAL)
        file.net.ports.bind(file, addresses.ANY[file.family], 0)
    elif file.family != socket.AF_UNIX:
        file.net.ports.check_listen(file)
    file.part = Listener(file, backlog)


def accept(file: SocketFile) -> SocketFile:
    """:raises BlockingIOError: when there is no connection; EINVAL when it does not listen."""
    if not isinstance(file.part, Listener):
        raise os_error(errno.EINVAL)
    return file.part.accept()


def connect(file: SocketFile, address: Address) -> int:
    """Begin to connect.

    :returns: 0 when that is all, EINPROGRESS when the answer is awaited.
    :raises OSError: when it cannot even begin.
    """
    if file.type == socket.SOCK_DGRAM:
        _connect_datagrams(file, address)
        return 0
    part = file.part
    if isinstance(part, Attempt):
        if part.error:
            raise os_error(part.take_error())
        raise os_error(errno.EALREADY)
    if isinstance(part, StreamEnd):
        if file.connecting:  # the call after the answer is told of it, once
            file.connecting = False
            return 0
        raise os_error(errno.EISCONN)
    if part is not None:
        raise os_error(errno.EISCONN if isinstance(part, Listener) else errno.EINVAL)
    if file.family == socket.AF_UNIX:
        _connect_path(file, address)
        return 0
    host, port = internet(file, address, "connect")
    target = file.net.routes.route(file.node, host)
    if port == 0:
        raise os_error(errno.ECONNREFUSED)
    _bind_for(file, host)
    Attempt(file.net, file, addresses.make(file.family, host, port)).start(target)
    return errno.EINPROGRESS


def _connect_path(file: SocketFile, path: Address) -> None:
    other = file.net.ports.at_path(file.node, path)
    if other is None:
        raise os_error(errno.ECONNREFUSED if _is_abstract(path) else errno.ENOENT)
    if other.type != file.type:
        raise os_error(errno.EPROTOTYPE)
    listener = other.part
    if not isinstance(listener, Listener):
        raise os_error(errno.ECONNREFUSED)
    if listener.full:
        raise os_error(errno.EAGAIN)
    listener.promised += 1
    listener.add(pair(file.net, file, other, shown_path(path)))


def _is_abstract(path: Address) -> bool:
    shown = shown_path(path)
    return isinstance(shown, bytes)


def _connect_datagrams(file: SocketFile, address: Address) -> None:
    port = DatagramPort.of(file)
    if file.family == socket.AF_UNIX:
        other = file.net.ports.at_path(file.node, address)
        if other is None:
            raise os_error(errno.ECONNREFUSED if _is_abstract(address) else errno.ENOENT)
        if other.type != file.type:
            raise os_error(errno.EPROTOTYPE)
        file.remote = shown_path(address)
        port.attach(other)
        return
    host, number = internet(file, address, "connect")
    file.net.routes.route(file.node, host)
    _bind_for(file, host)
    file.remote = addresses.make(file.family, host, number)
    port.forget_strangers()


def socket_pair(file: SocketFile, other: SocketFile) -> None:
    """Connect two new Unix sockets to each other."""
    for each in (file, other):
        each.remote = ""
    if file.type == socket.SOCK_STREAM:
        join(file.net, file, other)
    else:
        DatagramPort.join(file, other)


def shut_down(file: SocketFile, how: int) -> None:
    """:raises OSError: ENOTCONN."""
    end = file.part
    if isinstance(end, DatagramPort) and file.remote is not None:
        return
    if not isinstance(end, StreamEnd) or end.over:
        raise os_error(errno.ENOTCONN)
    if how not in (socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR):
        raise os_error(errno.EINVAL)
    if how != socket.SHUT_RD:
        end.shut_down()
    if how != socket.SHUT_WR:
        end.stop_reading()


# Data.


def send(file: SocketFile, data: Any) -> int:
    """Bytes that were taken.

    :raises BlockingIOError: when none could be.
    :raises OSError: EPIPE, ECONNRESET, ENOTCONN ...
    """
    part = file.part
    if isinstance(part, StreamEnd):
        if not len(data):
            part.raise_error()
            return 0
        taken = part.offer(bytes(data) if len(data) < part.capacity else data)
        if not taken:
            raise os_error(errno.EAGAIN)
        return taken
    if isinstance(part, Attempt):
        if part.error:
            raise os_error(part.take_error())
        raise os_error(errno.EAGAIN if not part.done else errno.EPIPE)
    if file.type == socket.SOCK_DGRAM:
        if file.remote is None:
            raise os_error(errno.EDESTADDRREQ)
        return DatagramPort.of(file).send(bytes(data), file.remote)
    raise os_error(errno.EPIPE)


def send_to(file: SocketFile, data: Any, address: Address) -> int:
    """As ``send``, to an address of its own for datagrams."""
    if file.type == socket.SOCK_STREAM:
        if address is None or isinstance(file.part, StreamEnd):
            return send(file, data)
        raise os_error(errno.EPIPE)
    if address is None:
        return send(file, data)
    port = DatagramPort.of(file)
    if file.family == socket.AF_UNIX:
        return port.send(bytes(data), address)
    host, number = internet(file, address, "sendto")
    if file.local is None:
        any_host = addresses.ANY[file.family]
        file.net.ports.occupy(file, any_host, file.net.ports.free_port(file))
    return port.send(bytes(data), addresses.make(file.family, host, number))


def receive(file: SocketFile, most: int, flags: int = 0) -> tuple[bytes, Address]:
    """Bytes and, for datagrams, whom they are from.

    :raises BlockingIOError: when there are none.
    :raises OSError: ECONNRESET, ENOTCONN ...
    """
    peek = bool(flags & socket.MSG_PEEK)
    part = file.part
    if isinstance(part, StreamEnd):
        return part.read(most, peek=peek), None
    if file.type == socket.SOCK_DGRAM:
        return DatagramPort.of(file).receive(most, peek=peek)
    if isinstance(part, Attempt) and not part.done:
        raise os_error(errno.EAGAIN)
    if isinstance(part, Attempt) and part.error:
        raise os_error(part.take_error())
    raise os_error(errno.ENOTCONN)


# Options.


def set_option(file: SocketFile, level: int, name: int, *value: Any) -> None:
    """Keep an option; those that mean something here are looked up where they do."""
    given = value[0]
    if given is None:
        given = bytes(value[1])
    if isinstance(given, int):
        if level == socket.SOL_SOCKET and name in _BUFFERS:
            given = max(given, 1152) * 2
            if name == socket.SO_RCVBUF and isinstance(file.part, StreamEnd):
                file.part.peer.window = given
        file.options[level, name] = int(given)
    else:
        file.options[level, name] = bytes(given)


def get_option(file: SocketFile, level: int, name: int, length: int = 0) -> Any:
    """An option's value, or Linux's default for it."""
    value: Any
    if level == socket.SOL_SOCKET and name == socket.SO_ERROR:
        value = file.part.take_error() if file.part is not None else 0
    elif level == socket.SOL_SOCKET and name == socket.SO_TYPE:
        value = file.type
    elif level == socket.SOL_SOCKET and name == socket.SO_DOMAIN:
        value = file.family
    elif level == socket.SOL_SOCKET and name == socket.SO_PROTOCOL:
        value = file.proto
    elif level == socket.SOL_SOCKET and name == socket.SO_ACCEPTCONN:
        value = int(file.listening)
    elif level == socket.SOL_SOCKET and name in _BUFFERS:
        value = file.options.get((level, name), getattr(file.net.config, _BUFFERS[name]))
    else:
        value = file.options.get((level, name), _DEFAULTS.get((level, name), 0))
    if length:
        raw = struct.pack("i", value) if isinstance(value, int) else value
        return raw.ljust(length, b"\0")[:length]
    return value if isinstance(value, int) else int.from_bytes(value[:4], "little")

"""A listening socket, and how a connection comes about: SYN, SYN-ACK, ACK.

Failures come as on Linux: ECONNREFUSED when nobody listens, ETIMEDOUT when nobody answers
(``tcp_syn_retries``), EHOSTUNREACH when there is no machine at an address of the network.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from windtunnel.sim.net import addresses
from windtunnel.sim.net.files import Address, SocketFile, os_error
from windtunnel.sim.net.stream import StreamEnd

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

_S = 1_000_000_000


class Listener:
    """Connections that are there and not yet accepted.

    :param backlog: most of them; further attempts go unanswered and are made again.
    :ivar promised: how many were answered and are not there yet.
    """

    def __init__(self, file: SocketFile, backlog: int) -> None:
        self.file = file
        self.backlog = max(backlog, 0)
        self.promised = 0
        self._waiting: deque[SocketFile] = deque()
        file.listening = True

    @property
    def full(self) -> bool:
        """Whether the next one has to wait. (Linux keeps one more than was asked for.)"""
        return len(self._waiting) + self.promised > self.backlog

    def add(self, file: SocketFile) -> None:
        """A connection is established."""
        self.promised -= 1
        if self.file.closed:
            _refuse(file)
            return
        self._waiting.append(file)
        self.file.reader.look()

    def accept(self) -> SocketFile:
        """The oldest connection that was not accepted yet.

        :raises BlockingIOError: when there is none.
        """
        if not self._waiting:
            raise os_error(errno.EAGAIN)
        return self._waiting.popleft()

    def readable(self) -> bool:
        return bool(self._waiting)

    def writable(self) -> bool:
        return False

    def take_error(self) -> int:
        return 0

    def close(self) -> None:
        self.file.listening = False
        while self._waiting:
            _refuse(self._waiting.popleft())


def _refuse(file: SocketFile) -> None:
    """Nobody will accept that connection."""
    if isinstance(file.part, StreamEnd):
        file.part.close(abruptly=True)
    file.close()


class Attempt:
    """A ``connect`` that is under way."""

    def __init__(self, net: Network, file: SocketFile, remote: Address) -> None:
        self._net = net
        self._file = file
        self._remote = remote
        self._started_ns = net.world.now_ns
        self._tries = 0
        self.error = 0
        self.done = False
        file.part = self

    def start(self, target: Node | None) -> None:
        """Begin; ``target`` is the node that has the address, if one has."""
        world = self._net.world
        self._target = target
        if target is None:
            wait = round(self._net.config.unreachable_s * _S)
            world.at(world.now_ns + wait, self._fail, errno.EHOSTUNREACH)
            return
        self._there = self._net.link(self._file.node, target)
        self._back = self._net.link(target, self._file.node)
        self._ask()

    def _ask(self) -> None:
        if self._alive():
            self._net.carry(self._there, self._asked, self._ask_again)

    def _alive(self) -> bool:
        return not (self.done or self._file.closed)

    def _ask_again(self) -> None:
        """Nothing came of it: after 1, 2, 4 ... seconds once more, until it has been too long."""
        if not self._alive():
            return
        world = self._net.world
        self._tries += 1
        at = self._started_ns + (2**self._tries - 1) * _S
        deadline = self._started_ns + round(self._net.config.connect_timeout_s * _S)
        if at < deadline:
            world.at(at, self._ask)
        else:
            world.at(deadline, self._fail, errno.ETIMEDOUT)

    def _asked(self) -> None:
        """The request is at the other machine."""
        if not self._alive() or self._target is None:
            return
        host, port = self._remote[:2]
        found = self._net.ports.receiver(
            self._target, socket.SOCK_STREAM, _family(self._remote), host, port
        )
        listener = found.part if found is not None else None
        if not isinstance(listener, Listener):
            self._net.carry(self._back, lambda: self._fail(errno.ECONNREFUSED), self._ask_again)
        elif listener.full:
            self._ask_again()
        else:
            listener.promised += 1
            self._net.carry(
                self._back,
                partial(self._established, listener),
                partial(self._unanswered, listener),
            )

    def _unanswered(self, listener: Listener) -> None:
        listener.promised -= 1
        self._ask_again()

    def _established(self, listener: Listener) -> None:
        """The answer is here."""
        if not self._alive() or listener.file.closed:
            listener.promised -= 1
            self._fail(errno.ECONNREFUSED)
            return
        self.done = self._file.connecting = True
        accepted = pair(self._net, self._file, listener.file, self._remote)
        self._net.note("connect", self._file.part, port=self._remote[1])
        self._announce(listener, accepted)
        if self._file.transport is None:
            self._file.writer.look()

    def _announce(self, listener: Listener, accepted: SocketFile) -> None:
        def again() -> None:
            if not accepted.closed:
                now = self._net.world.now_ns
                self._net.world.at(now + _S, self._announce, listener, accepted)

        self._net.carry(self._there, lambda: listener.add(accepted), again)

    def _fail(self, number: int) -> None:
        if not self._alive():
            return
        self.done = True
        self.error = number
        self._file.remote = None
        world = self._net.world
        host, port = self._remote[:2]
        world.note(
            "connect failed", node=self._file.node.name, to=f"{host}:{port}",
            error=errno.errorcode[number],
        )  # fmt: skip
        self._file.writer.look()
        self._file.reader.look()

    def readable(self) -> bool:
        return self.error != 0

    def writable(self) -> bool:
        return self.done

    def take_error(self) -> int:
        error, self.error = self.error, 0
        if error:
            self._file.part = None
        return error

    def close(self) -> None:
        self.done = True


def _family(address: Address) -> int:
    ip = addresses.parse(addresses.unmapped(address[0]))
    return socket.AF_INET if ip is not None and ip.version == 4 else socket.AF_INET6


def pair(net: Network, file: SocketFile, listening: SocketFile, remote: Address) -> SocketFile:
    """Both ends of a new connection; the file of the end that is to be accepted."""
    accepted = SocketFile(net, listening.node, listening.family, listening.type, listening.proto)
    accepted.options = dict(listening.options)
    if file.family == socket.AF_UNIX:
        accepted.local, accepted.remote = listening.local, file.local or ""
    else:
        local = addresses.unmapped(remote[0])
        if addresses.is_any(local):
            local = file.local[0]
        net.ports.occupy(accepted, local, remote[1])
        accepted.remote = addresses.make(listening.family, *file.local[:2])
    file.remote = remote
    join(net, file, accepted)
    return accepted


def join(net: Network, first: SocketFile, second: SocketFile) -> None:
    """Make two sockets the two ends of one stream."""
    there = net.link(first.node, second.node)
    back = net.link(second.node, first.node)
    one, other = StreamEnd(net, first, there), StreamEnd(net, second, back)
    one.peer, other.peer = other, one
    net.remember(one)

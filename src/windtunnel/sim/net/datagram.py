"""A datagram socket, UDP or Unix: messages that arrive whole, twice, out of order, or not.

A UDP socket that is connected hears of a port at which nobody listens, as ECONNREFUSED at its
next call (udp(7)). A message to a full buffer is dropped; between Unix sockets the sender waits.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from windtunnel.sim.net import addresses
from windtunnel.sim.net.files import Address, SocketFile, os_error

if TYPE_CHECKING:
    from windtunnel.sim.net.links import Link
    from windtunnel.sim.node import Node

_LONGEST = 65_507
# What Linux counts for a message besides its bytes.
_OVERHEAD = 256


class DatagramPort:
    """What a datagram socket is on the network.

    :ivar sink: called with each message and its sender's address while a transport reads.
    """

    def __init__(self, file: SocketFile) -> None:
        self.file = file
        self._net = file.net
        self._kept: deque[tuple[bytes, Address]] = deque()
        self._kept_size = 0
        self._error = 0
        self._other: SocketFile | None = None
        self._waiting: list[SocketFile] = []
        self.sink: Callable[[], object] | None = None
        file.part = self

    @classmethod
    def of(cls, file: SocketFile) -> DatagramPort:
        """That socket's port, made with the first call that needs one."""
        part = file.part
        return part if isinstance(part, DatagramPort) else cls(file)

    @classmethod
    def join(cls, file: SocketFile, other: SocketFile) -> None:
        """Make two sockets a pair."""
        cls.of(file)._other, cls.of(other)._other = other, file

    def attach(self, other: SocketFile) -> None:
        """Send to that socket from now on, until it is closed: a Unix socket was connected."""
        self._other = other

    # Sending.

    def send(self, data: bytes, address: Address) -> int:
        """Send one message.

        :raises OSError: EMSGSIZE, ENETUNREACH, or what came back for an earlier message.
        """
        if self._error:
            raise os_error(self.take_error())
        if self.file.family == socket.AF_UNIX:
            return self._send_here(data, address)
        if len(data) > _LONGEST:
            raise os_error(errno.EMSGSIZE)
        host, port = address[:2]
        target = self._net.routes.route(self.file.node, host)
        if target is not None and port:
            self._launch(data, target, host, port)
        return len(data)

    def _launch(self, data: bytes, target: Node, host: str, port: int) -> None:
        net = self._net
        link = net.link(self.file.node, target)
        config = link.config
        world = net.world
        family = self.file.family
        if ":" not in addresses.unmapped(host):
            family = socket.AF_INET
        source = net.routes.source(self.file.node, self.file.family, host)
        sender = addresses.make(family, source, self.file.local[1])
        world.note("send", src=self.file.node.name, dst=target.name, bytes=len(data), udp=True)
        copies = 2 if link.chance("net.duplicate", config.duplicate) else 1
        for _ in range(copies):
            if link.blocked or link.chance("net.loss", config.loss):
                self._dropped(link, len(data))
                continue
            at = link.arrival_ns(len(data) + 28)
            if link.chance("net.reorder", config.reorder):
                at += world.choose("net.reorder.by", max(1, round(config.reorder_s * 1e9)))
            world.at(at, self._arrive, link, data, family, host, port, sender)

    def _dropped(self, link: Link, size: int) -> None:
        self._net.world.note(
            "drop", node=link.target.name, src=link.source.name, dst=link.target.name, bytes=size
        )

    def _arrive(
        self, link: Link, data: bytes, family: int, host: str, port: int, sender: Address
    ) -> None:
        if link.held:

            def again() -> None:
                self._arrive(link, data, family, host, port, sender)

            link.kept.append((again, lambda: None))
            return
        if link.blocked or link.target in self._net.down:
            self._dropped(link, len(data))
            return
        file = self._net.ports.receiver(link.target, socket.SOCK_DGRAM, family, host, port)
        if file is None:
            back = self._net.link(link.target, link.source)
            self._net.carry(back, self._refused, lambda: None)
            return
        there = DatagramPort.of(file)
        if file.remote is not None and not _is_from(file.remote, sender):
            return
        if file.family != family:
            sender = addresses.make(file.family, *sender[:2])
        if not there.put(data, sender):
            self._dropped(link, len(data))
            return
        self._net.world.note(
            "deliver", node=link.target.name, src=link.source.name, dst=link.target.name,
            bytes=len(data),
        )  # fmt: skip

    def _refused(self) -> None:
        """Nobody listens there; only a connected socket is told."""
        if self.file.remote is not None and not self.file.closed:
            self._error = errno.ECONNREFUSED
            self._changed()

    def _send_here(self, data: bytes, address: Address) -> int:
        """Between Unix sockets: at once, and if the other is full the sender waits."""
        other = self._other
        if other is None:
            other = self._net.ports.at_path(self.file.node, address)
            if other is None or other.type != socket.SOCK_DGRAM:
                raise os_error(errno.ENOENT if isinstance(address, str) else errno.ECONNREFUSED)
        if other.closed:
            raise os_error(errno.ECONNREFUSED)
        there = DatagramPort.of(other)
        if not there.put(data, self.file.local):
            there._waiting.append(self.file)
            raise os_error(errno.EAGAIN)
        return len(data)

    # Receiving.

    def put(self, data: bytes, sender: Address) -> bool:
        """Keep a message for the program; False when there is no room."""
        size = len(data) + _OVERHEAD
        if self._kept and self._kept_size + size > self._net.config.datagram_buffer:
            return False
        self._kept.append((data, sender))
        self._kept_size += size
        self._changed()
        return True

    def _changed(self) -> None:
        if self.sink is not None:
            self.sink()
        else:
            self.file.reader.look()

    def receive(self, most: int, *, peek: bool = False) -> tuple[bytes, Address]:
        """The oldest message, cut to ``most`` bytes, and whom it is from.

        :raises BlockingIOError: when there is none.
        :raises OSError: what came back for an earlier message.
        """
        if self._error:
            raise os_error(self.take_error())
        if not self._kept:
            raise os_error(errno.EAGAIN)
        if peek:
            data, sender = self._kept[0]
        else:
            data, sender = self._kept.popleft()
            self._kept_size -= len(data) + _OVERHEAD
            waiting, self._waiting = self._waiting, []
            for file in waiting:
                file.writer.look()
        return data[:most], sender

    def forget_strangers(self) -> None:
        """The socket was connected: messages of others are not for it any more."""
        remote = self.file.remote
        self._kept = deque(item for item in self._kept if _is_from(remote, item[1]))
        self._kept_size = sum(len(data) + _OVERHEAD for data, _ in self._kept)

    # State.

    def readable(self) -> bool:
        return bool(self._kept or self._error)

    def writable(self) -> bool:
        other = self._other
        if other is None or other.closed:
            return True
        there = DatagramPort.of(other)
        return there._kept_size < self._net.config.datagram_buffer or not there._kept

    def take_error(self) -> int:
        error, self._error = self._error, 0
        return error

    def close(self) -> None:
        self.sink = None
        self._kept.clear()


def _is_from(remote: Any, sender: Any) -> bool:
    return bool(
        addresses.same(addresses.unmapped(remote[0]), addresses.unmapped(sender[0]))
        and remote[1] == sender[1]
    )

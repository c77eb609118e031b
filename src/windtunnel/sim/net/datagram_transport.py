"""What asyncio's datagram protocols see of a simulated UDP or Unix datagram socket."""

from __future__ import annotations

import contextvars
import warnings
from asyncio import constants, transports, trsock
from asyncio.log import logger
from collections import deque
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.handle import Handle
from windtunnel.sim.net import operations
from windtunnel.sim.net.datagram import DatagramPort
from windtunnel.sim.node import IDENTITY

if TYPE_CHECKING:
    from windtunnel.sim.loop import SimLoop
    from windtunnel.sim.net.files import Address
    from windtunnel.sim.net.sock import SimSocket

_MOST = 256 * 1024
_HEADER = 8


class SimDatagramTransport(transports._FlowControlMixin, transports.DatagramTransport):
    """A transport over a simulated datagram socket."""

    _sock: SimSocket | None = None

    def __init__(
        self, loop: SimLoop, sock: SimSocket, protocol: Any, address: Address = None,
        waiter: Any = None, extra: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(extra, loop)
        self._file = file = sock._open()
        self._extra: dict[str, Any]
        self._extra["socket"] = trsock.TransportSocket(sock)
        self._extra["sockname"] = sock.getsockname()
        if "peername" not in self._extra:
            self._extra["peername"] = file.remote
        self._loop: Any = loop
        self._sock = sock
        self._node = file.node
        self._world = loop.world
        self._address = address
        self._protocol: Any = protocol
        self._buffer: deque[tuple[bytes, Address]] = deque()
        self._buffer_size = 0
        self._conn_lost = 0
        self._closing = self._reading = False
        self._port = DatagramPort.of(file)
        self._context = contextvars.copy_context()
        self._context.run(IDENTITY.set, (self._node, self._node.incarnation))
        file.transport = self
        self._schedule(self._start, waiter)

    def _schedule(self, callback: Any, *args: Any) -> None:
        handle = Handle(callback, args, self._context, self._node)
        self._world.scheduler.add_plain(handle)

    def _start(self, waiter: Any) -> None:
        try:
            self._protocol.connection_made(self)
        finally:
            if not self._closing:
                self._port.sink = self._arrived
                if self._port.readable():
                    self._arrived()
            if waiter is not None and not waiter.cancelled():
                waiter.set_result(None)

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} {self._extra['sockname']}>"

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def get_protocol(self) -> Any:
        return self._protocol

    # Receiving.

    def _arrived(self) -> None:
        """The kernel has something: the program reads it when its turn comes."""
        if not self._reading:
            self._reading = True
            self._schedule(self._read)

    def _read(self) -> None:
        self._reading = False
        if self._conn_lost or self._closing:
            return
        try:
            data, address = self._port.receive(_MOST)
        except BlockingIOError:
            return
        except OSError as error:
            self._protocol.error_received(error)
        else:
            self._protocol.datagram_received(data, address)
        if self._port.readable():
            self._arrived()

    # Sending.

    def sendto(self, data: Any, addr: Address = None) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._address:
            if addr not in (None, self._address):
                raise ValueError(f"Invalid address: must be None or {self._address}")
            addr = self._address
        if self._conn_lost and self._address:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        if not self._buffer and self._send(bytes(data), addr):
            return
        self._buffer.append((bytes(data), addr))
        self._buffer_size += len(data) + _HEADER
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def _send(self, data: bytes, addr: Address) -> bool:
        """Send one message; False when there is no room for it."""
        try:
            if self._extra["peername"]:
                operations.send(self._file, data)
            else:
                operations.send_to(self._file, data, addr)
        except BlockingIOError:
            self._file.writer.set(self._schedule, (self._writable,))
            return False
        except OSError as error:
            self._protocol.error_received(error)
        return True

    def _writable(self) -> None:
        buffer = self._buffer
        while buffer and self._send(*buffer[0]):
            data, _ = buffer.popleft()
            self._buffer_size -= len(data) + _HEADER
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if not buffer:
            self._file.writer.clear()
            if self._closing and self._sock is not None:
                self._call_connection_lost(None)

    def get_write_buffer_size(self) -> int:
        return self._buffer_size

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._port.sink = None
        if not self._buffer:
            self._conn_lost += 1
            self._schedule(self._call_connection_lost, None)

    def abort(self) -> None:
        if self._conn_lost:
            return
        self._buffer.clear()
        self._buffer_size = 0
        self._file.writer.clear()
        self._closing = True
        self._port.sink = None
        self._conn_lost += 1
        self._schedule(self._call_connection_lost, None)

    def abandon(self) -> None:
        """The program is gone: nobody is to be called back."""
        self._closing = True
        self._conn_lost += 1
        self._port.sink = None
        self._sock = None

    def _call_connection_lost(self, error: BaseException | None) -> None:
        if self._sock is None:
            return
        try:
            self._protocol.connection_lost(error)
        finally:
            self._sock.close()
            self._sock = None
            self._protocol = None
            self._loop = None

    def __del__(self) -> None:
        if self._sock is not None and inside.world is self._world:
            warnings.warn(
                f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self
            )
            self._sock.close()

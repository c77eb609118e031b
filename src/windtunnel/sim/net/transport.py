"""What asyncio's protocols see of a simulated stream: a transport without a socket call.

Bytes that arrive go from the timer of their segment straight into ``data_received``; bytes that
are written go straight onto the link. Callbacks come in the order, and with the exceptions, of
asyncio's own selector transport, for which its tests and documentation are the reference
(https://docs.python.org/3/library/asyncio-protocol.html).
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import socket
import warnings
from asyncio import base_events, constants, sslproto, transports, trsock
from asyncio.log import logger
from collections import deque
from heapq import heappush
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.handle import Handle
from windtunnel.sim.net.files import os_error
from windtunnel.sim.net.stream import StreamEnd
from windtunnel.sim.net.tls import PlainCount
from windtunnel.sim.node import IDENTITY

if TYPE_CHECKING:
    from windtunnel.sim.loop import SimLoop
    from windtunnel.sim.net.sock import SimSocket

_MOST = 256 * 1024
# From 3.13 on a server knows its transports.
_KNOWS = len(inspect.signature(base_events.Server._attach).parameters) > 1  # type: ignore[attr-defined]


class SimStreamTransport(transports._FlowControlMixin, transports.Transport):
    """A transport over one end of a simulated stream."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK
    _sock: SimSocket | None = None

    def __init__(
        self, loop: SimLoop, sock: SimSocket, protocol: Any, waiter: Any = None,
        extra: dict[str, Any] | None = None, server: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(extra, loop)
        file = sock._open()
        if not isinstance(file.part, StreamEnd):
            raise os_error(107)
        self._extra: dict[str, Any]
        self._extra["socket"] = trsock.TransportSocket(sock)
        self._extra["sockname"] = sock.getsockname()
        if "peername" not in self._extra:
            self._extra["peername"] = file.remote
        self._loop: Any = loop
        self._sock = sock
        self._fd = file.fd
        self._end = end = file.part
        self._node = file.node
        self._world = loop.world
        self._server = server
        self._buffer: deque[tuple[Any, int | None]] = deque()
        self._buffer_size = 0
        self._conn_lost = 0
        self._closing = self._paused = self._eof = self._eof_seen = self._started = False
        self._hindered = False
        self._plain: PlainCount | None = None
        self._context = contextvars.copy_context()
        self._context.run(IDENTITY.set, (self._node, self._node.incarnation))
        self.set_protocol(protocol)
        if server is not None:
            server._attach(*((self,) if _KNOWS else ()))
        end.transport = file.transport = self
        end.enter_context(self._context)
        if file.family != socket.AF_UNIX:
            file.options[socket.IPPROTO_TCP, socket.TCP_NODELAY] = 1
        self._schedule(self._start, waiter)

    def _schedule(self, callback: Any, *args: Any) -> None:
        """On this transport's node and in its context, whoever's step this is."""
        handle = Handle(callback, args, self._context, self._node)
        self._world.scheduler.add_plain(handle)

    def _start(self, waiter: Any) -> None:
        try:
            self._protocol.connection_made(self)
        finally:
            self._started = True
            if waiter is not None and not waiter.cancelled():
                waiter.set_result(None)
            self._listen()
            if self._sock is not None:
                self.readable()

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} fd={self._fd} write={self._buffer_size} bytes>"

    # Protocol and reading.

    def set_protocol(self, protocol: Any) -> None:
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        if isinstance(protocol, sslproto.SSLProtocol):
            self._plain = PlainCount(protocol)
        else:
            self._plain = None
        self._listen()

    def get_protocol(self) -> Any:
        return self._protocol

    def _listen(self) -> None:
        """Let what arrives go to the protocol, or let it be kept."""
        self._hindered = bool(
            self._eof or self._conn_lost or self._buffer or self._plain is not None
        )
        reading = self._started and not (self._closing or self._paused or self._eof_seen)
        if reading and not (self._buffered or self._end.kept):
            self._end.sink = self._protocol.data_received
        else:
            self._end.sink = None

    def is_reading(self) -> bool:
        return not (self._closing or self._paused)

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True
            self._listen()

    def resume_reading(self) -> None:
        if not self._closing and self._paused:
            self._paused = False
            if self._end.readable():
                self._schedule(self.readable)
            else:
                self._listen()

    def readable(self) -> None:
        """Bytes, the end of the stream or an error have arrived and were not handed over."""
        end = self._end
        while end.kept and self._reads():
            if not self._hand_over():
                return
        if not self._reads():
            return
        if end.error:
            self._fatal_error(os_error(end.take_error()), "Fatal read error on socket transport")
        elif end.eof:
            self._end_of_stream()
        else:
            self._listen()

    def _reads(self) -> bool:
        return self._started and not (self._closing or self._paused or self._eof_seen)

    def _hand_over(self) -> bool:
        """Give the protocol what it takes; False when it failed."""
        step = "data_received"
        try:
            if not self._buffered:
                self._protocol.data_received(self._end.read(_MOST))
                return True
            step = "get_buffer"
            buffer = self._protocol.get_buffer(-1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            step = "buffer_updated"
            data = self._end.read(len(buffer))
            buffer[: len(data)] = data
            self._protocol.buffer_updated(len(data))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.protocol_failed(step, error)
            return False
        return True

    def protocol_failed(self, step: str, error: BaseException) -> None:
        """A callback of the protocol raised: the connection is over."""
        self._fatal_error(error, f"Fatal error: protocol.{step}() call failed.")

    def _end_of_stream(self) -> None:
        self._eof_seen = True
        self._listen()
        try:
            keep_open = self._protocol.eof_received()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self.protocol_failed("eof_received", error)
            return
        if not keep_open:
            self.close()

    # Writing.

    def write(self, data: Any) -> None:
        end = self._end
        if type(data) is bytes and data and not self._hindered and not end.hindered:
            size = len(data)
            sent = end.sent + size
            if sent <= end.window:
                peer = end.peer
                inflight = peer.inflight
                if inflight:
                    end.send(data, size)
                    return
                # What `send` does when nothing is under way, here because most messages are
                # such, and a call for each would cost a twentieth of a round trip.
                end.sent = sent
                now = end.world.now_ns
                due = now + end.link.delay()
                segment = [due, size, data, now, end, -1]
                inflight.append(segment)
                end.log(segment)
                scheduler = end.scheduler
                scheduler._serial = serial = scheduler._serial + 1
                heappush(scheduler.timers, (due, serial, peer._timer))
                return
        self._write(data)

    def _write(self, data: Any) -> None:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"data argument must be a bytes-like object, not {type(data).__name__!r}"
            )
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not data:
            return
        if self._conn_lost:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        data = data if type(data) is bytes else bytes(data)
        size = None if self._plain is None else self._plain.since_last()
        if not self._buffer:
            try:
                taken = self._end.offer(data, size)
            except OSError as error:
                self._fatal_error(error, "Fatal write error on socket transport")
                return
            if size is not None and (taken or not size):
                return
            if size is None:
                data = memoryview(data)[taken:]
                if not data:
                    return
        self._buffer.append((data, size))
        self._buffer_size += len(data) if size is None else size
        self._hindered = True
        self._end.want_room()
        self._maybe_pause_protocol()  # type: ignore[attr-defined]

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def writable(self) -> None:
        """There is room in the kernel again."""
        buffer = self._buffer
        if self._conn_lost or not buffer:
            return
        try:
            while buffer:
                data, size = buffer[0]
                taken = self._end.offer(data, size)
                if not taken and (size is None or size):
                    break
                buffer.popleft()
                if size is None and taken < len(data):
                    buffer.appendleft((data[taken:], None))
                self._buffer_size -= taken
        except OSError as error:
            self._fatal_error(error, "Fatal write error on socket transport")
            return
        if buffer:
            self._end.want_room()
        else:
            self._listen()
        self._maybe_resume_protocol()  # type: ignore[attr-defined]
        if not buffer:
            if self._closing:
                self._conn_lost += 1
                self._call_connection_lost(None)
            elif self._eof:
                self._end.shut_down()

    def get_write_buffer_size(self) -> int:
        return self._buffer_size

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._eof = self._hindered = True
        if not self._buffer:
            self._end.shut_down()

    # The end.

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if self._closing:
            return
        self._closing = True
        self._listen()
        if not self._buffer:
            self._conn_lost += 1
            self._hindered = True
            self._schedule(self._call_connection_lost, None)

    def abort(self) -> None:
        self._force_close(None)

    def broken(self) -> None:
        """The connection is lost. A transport that neither reads nor writes finds out later."""
        self._schedule(self._broken)

    def _broken(self) -> None:
        if self._conn_lost:
            return
        if self._reads():
            self.readable()
        elif self._buffer:
            self.writable()

    def _fatal_error(self, error: BaseException, message: str = "Fatal error on transport") -> None:
        if not isinstance(error, OSError):
            self._loop.call_exception_handler(
                {
                    "message": message, "exception": error, "transport": self,
                    "protocol": self._protocol,
                }
            )  # fmt: skip
        self._force_close(error)

    def _force_close(self, error: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._buffer.clear()
        self._buffer_size = 0
        self._closing = True
        self._conn_lost += 1
        self._listen()
        self._schedule(self._call_connection_lost, error)

    def _call_connection_lost(self, error: BaseException | None) -> None:
        if self._sock is None:
            return
        try:
            self._protocol.connection_lost(error)
        finally:
            self._end.transport = None
            self._sock.close()
            self._sock = None
            self._protocol = None
            self._loop = None
            server, self._server = self._server, None
            if server is not None:
                server._detach(*((self,) if _KNOWS else ()))

    def abandon(self) -> None:
        """The program is gone: nobody is to be called back."""
        self._closing = self._hindered = True
        self._conn_lost += 1
        self._end.sink = None
        self._end.transport = None
        self._sock = None

    def __del__(self) -> None:
        if self._sock is not None and inside.world is self._world:
            warnings.warn(
                f"unclosed transport {self!r}", ResourceWarning, stacklevel=2, source=self
            )
            self._sock.close()

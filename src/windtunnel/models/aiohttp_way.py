"""The way in below aiohttp: its connector gets a pair of transports in memory."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from windtunnel.models.connection import Clients, Connection
from windtunnel.models.httpcore_way import Patched
from windtunnel.models.wiring import Opened, answering, guard


def connector(aiohttp: Any) -> Patched:
    """Replacement for ``TCPConnector``'s way to make a connection."""
    cls = aiohttp.TCPConnector
    create = cls.__dict__["_create_connection"]
    get = aiohttp.BaseConnector.__dict__["_get"]

    async def create_connection(self: Any, req: Any, traces: Any, timeout: Any) -> Any:
        if req.proxy:
            return await create(self, req, traces, timeout)
        host, port = req.url.host, req.url.port
        opened = answering(host, port)
        if opened is None:
            guard(host)
            return await create(self, req, traces, timeout)
        if opened.core.refusing:
            error = ConnectionRefusedError(111, "Connection refused")
            raise aiohttp.ClientConnectorError(req.connection_key, error)
        return connected(self._factory(), opened, asyncio.get_running_loop())

    async def get_kept(self: Any, key: Any, traces: Any) -> Any:
        connection = await get(self, key, traces)
        while connection is not None:
            transport = connection.transport
            if not isinstance(transport, MemoryTransport):
                break
            if transport.opened is answering(key.host, key.port):
                break
            # Kept by the pool from a server that has gone.
            connection.close()
            connection = await get(self, key, traces)
        return connection

    return [
        (cls, "_create_connection", create_connection),
        (aiohttp.BaseConnector, "_get", get_kept),
    ]


def connected(client: Any, opened: Opened, loop: asyncio.AbstractEventLoop) -> Any:
    """Connect a client protocol to a server, and return it."""
    server = Connection(opened.core, loop, Clients())
    near, far = MemoryTransport(loop, client, opened), MemoryTransport(loop, server, opened)
    near.peer, far.peer = far, near
    server.connection_made(far)
    client.connection_made(near)
    return client


class MemoryTransport(asyncio.Transport):
    """One end of a connection within one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any, opened: Opened) -> None:
        super().__init__()
        self.opened = opened
        self.peer: MemoryTransport
        self._loop = loop
        self._protocol: Any = protocol
        self._closing = False
        self._paused = False
        self._waiting: deque[bytes] = deque()
        self._ending: list[Exception | None] = []

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Let the other end have these bytes, soon."""
        if data and not self._closing:
            self.peer._waiting.append(bytes(data))
            self._loop.call_soon(self.peer._deliver)

    def can_write_eof(self) -> bool:
        """The other end only ever sees the whole connection end."""
        return False

    def get_write_buffer_size(self) -> int:
        """Nothing waits here."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none."""

    # -- reading ---------------------------------------------------------------------------------

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self._closing:
            self._protocol.data_received(self._waiting.popleft())
        if not self._waiting and self._ending and not self._closing:
            self._closing = True
            self._lost(self._ending[0])

    def pause_reading(self) -> None:
        """Have no more for now."""
        self._paused = True

    def resume_reading(self) -> None:
        """Have what has come since."""
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        """Whether bytes are wanted."""
        return not self._paused and not self._closing

    # -- ending ----------------------------------------------------------------------------------

    def close(self) -> None:
        """End the connection in order."""
        self._end(None)

    def abort(self) -> None:
        """Reset the connection."""
        self._end(ConnectionResetError(104, "Connection reset by peer"))

    def is_closing(self) -> bool:
        """Whether it has ended, or is about to."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Whose end it is."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Be another's end."""
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Addresses, as a socket on the loopback has them."""
        return ("127.0.0.1", 0) if name in ("peername", "sockname") else default

    def _end(self, why: Exception | None) -> None:
        if self._closing:
            return
        self._closing = True
        self._loop.call_soon(self._lost, None)
        self.peer._ending.append(why)
        self._loop.call_soon(self.peer._deliver)

    def _lost(self, why: Exception | None) -> None:
        self._protocol.connection_lost(why)


__all__ = ["MemoryTransport", "connected", "connector"]

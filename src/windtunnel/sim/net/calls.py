"""asyncio's network calls on the simulated network: what the loop adds to BaseEventLoop.

``create_connection``, ``create_server``, ``create_datagram_endpoint`` and ``start_tls`` are
asyncio's own; they come here for sockets and transports.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio import base_events, sslproto
from typing import TYPE_CHECKING, Any, NoReturn, cast

from windtunnel.sim.net import operations
from windtunnel.sim.net.datagram_transport import SimDatagramTransport
from windtunnel.sim.net.files import Address, SocketFile
from windtunnel.sim.net.resolver import stable
from windtunnel.sim.net.sock import SimSocket, wrap
from windtunnel.sim.net.sock_calls import SockCalls
from windtunnel.sim.net.transport import SimStreamTransport

if TYPE_CHECKING:
    from windtunnel.sim.loop import SimLoop

_NODES = "run a simulated node in its place (world.start), or stub the call in the test"


class NetCalls(SockCalls):
    """A mixin of the loop: sockets, transports, name resolution."""

    @property
    def _loop_of_asyncio(self) -> SimLoop:
        return cast("SimLoop", self)

    # Names.

    async def getaddrinfo(
        self, host: Any, port: Any, *, family: int = 0, type: int = 0, proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:  # fmt: skip
        """As asyncio's; the answer takes ``resolve_s`` of the network's configuration."""
        infos = self._world.net.hosts.getaddrinfo
        await self._resolving()
        return stable(infos_of(infos(host, port, family, type, proto, flags)))

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """As asyncio's."""
        await self._resolving()
        return self._world.net.hosts.getnameinfo(sockaddr, flags)

    async def _resolving(self) -> None:
        world = self._world
        done: asyncio.Future[None] = self.create_future()  # type: ignore[attr-defined]
        when = world.now_ns + round(world.config.network.resolve_s * 1e9)
        world.at(when, _finish, done, node=world.node)
        await done

    # Transports.

    def _make_socket_transport(
        self, sock: Any, protocol: Any, waiter: Any = None, *, extra: Any = None,
        server: Any = None,
    ) -> SimStreamTransport:  # fmt: skip
        return SimStreamTransport(
            self._loop_of_asyncio, self._simulated(sock), protocol, waiter, extra, server
        )

    def _make_ssl_transport(
        self, rawsock: Any, protocol: Any, sslcontext: Any, waiter: Any = None, *,
        server_side: bool = False, server_hostname: str | None = None, extra: Any = None,
        server: Any = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:  # fmt: skip
        tls = sslproto.SSLProtocol(
            self._loop_of_asyncio, protocol, sslcontext, waiter, server_side, server_hostname,
            ssl_handshake_timeout=cast("Any", ssl_handshake_timeout),
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )  # fmt: skip
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    def _make_datagram_transport(
        self, sock: Any, protocol: Any, address: Address = None, waiter: Any = None,
        extra: Any = None,
    ) -> SimDatagramTransport:  # fmt: skip
        return SimDatagramTransport(
            self._loop_of_asyncio, self._simulated(sock), protocol, address, waiter, extra
        )

    # Serving.

    def _start_serving(
        self, protocol_factory: Any, sock: Any, sslcontext: Any = None, server: Any = None,
        backlog: int = 100, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:  # fmt: skip
        file = self._file(sock)
        tls = (sslcontext, ssl_handshake_timeout, ssl_shutdown_timeout)
        file.reader.set(self._accept_all, (protocol_factory, file, server, tls))

    def _accept_all(self, protocol_factory: Any, file: SocketFile, server: Any, tls: Any) -> None:
        while not file.closed:
            try:
                accepted = operations.accept(file)
            except BlockingIOError:
                return
            conn = wrap(accepted)
            conn.setblocking(False)
            extra = {"peername": operations.remote_address(accepted)}
            self.create_task(self._serve(protocol_factory, conn, extra, server, tls))  # type: ignore[attr-defined]

    async def _serve(
        self, protocol_factory: Any, conn: SimSocket, extra: Any, server: Any, tls: Any
    ) -> None:
        protocol = transport = None
        context, handshake_timeout, shutdown_timeout = tls
        try:
            protocol = protocol_factory()
            waiter = self.create_future()  # type: ignore[attr-defined]
            if context:
                transport = self._make_ssl_transport(
                    conn, protocol, context, waiter, server_side=True, extra=extra,
                    server=server, ssl_handshake_timeout=handshake_timeout,
                    ssl_shutdown_timeout=shutdown_timeout,
                )  # fmt: skip
            else:
                transport = self._make_socket_transport(
                    conn, protocol, waiter, extra=extra, server=server
                )
            try:
                await waiter
            except BaseException:
                transport.close()
                raise
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            # As asyncio does: a client that fails its handshake is not the server's failure.
            if self.get_debug():  # type: ignore[attr-defined]
                self.call_exception_handler(  # type: ignore[attr-defined]
                    {
                        "message": "Error on transport creation for incoming connection",
                        "exception": error, "protocol": protocol, "transport": transport,
                    }
                )  # fmt: skip

    def _stop_serving(self, sock: Any) -> None:
        self._file(sock).reader.clear()
        sock.close()

    # Unix sockets.

    async def create_unix_connection(
        self, protocol_factory: Any, path: Any = None, *, ssl: Any = None, sock: Any = None,
        server_hostname: str | None = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:  # fmt: skip
        """As asyncio's, in the namespace of paths of the node that calls."""
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if not ssl and server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        sock = _unix_socket(path, sock)
        if path is not None:
            try:
                await self.sock_connect(sock, os.fspath(path))
            except BaseException:
                sock.close()
                raise
        return await self._create_connection_transport(  # type: ignore[attr-defined]
            sock, protocol_factory, ssl, server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )  # fmt: skip

    async def create_unix_server(
        self, protocol_factory: Any, path: Any = None, *, sock: Any = None, backlog: int = 100,
        ssl: Any = None, ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None, start_serving: bool = True,
        cleanup_socket: bool = True,
    ) -> asyncio.AbstractServer:  # fmt: skip
        """As asyncio's; no file is made, and the path is free again when the server closes."""
        if isinstance(ssl, bool):
            raise TypeError("ssl argument must be an SSLContext or None")
        sock = _unix_socket(path, sock)
        if path is not None:
            try:
                sock.bind(os.fspath(path))
            except OSError as error:
                sock.close()
                if error.errno == errno.EADDRINUSE:
                    text = f"Address {path!r} is already in use"
                    raise OSError(errno.EADDRINUSE, text) from None
                raise
        server = base_events.Server(
            self, [sock], protocol_factory, ssl, backlog, ssl_handshake_timeout,  # type: ignore[arg-type]
            ssl_shutdown_timeout,
        )  # fmt: skip
        if start_serving:
            server._start_serving()  # type: ignore[attr-defined]
            await asyncio.sleep(0)
        return server

    # What is not simulated.

    async def connect_read_pipe(self, protocol_factory: Any, pipe: Any) -> NoReturn:
        self._escape("pipes are not simulated", f"connect_read_pipe({pipe!r})")

    async def connect_write_pipe(self, protocol_factory: Any, pipe: Any) -> NoReturn:
        self._escape("pipes are not simulated", f"connect_write_pipe({pipe!r})")

    async def subprocess_shell(self, protocol_factory: Any, cmd: Any, **kwargs: Any) -> NoReturn:
        self._escape("processes are not simulated", f"subprocess_shell({cmd!r})", _NODES)

    async def subprocess_exec(
        self, protocol_factory: Any, program: Any, *args: Any, **kwargs: Any
    ) -> NoReturn:
        self._escape("processes are not simulated", f"subprocess_exec({program!r})", _NODES)


def _unix_socket(path: Any, sock: Any) -> Any:
    if path is not None:
        if sock is not None:
            raise ValueError("path and sock can not be specified at the same time")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    elif sock is None:
        raise ValueError("no path and sock were specified")
    elif sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
    sock.setblocking(False)
    return sock


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def infos_of(infos: list[Any]) -> list[Any]:
    """Entries with the enumerations that :func:`socket.getaddrinfo` puts in."""
    return [
        (socket.AddressFamily(family), socket.SocketKind(kind), proto, canonical, address)
        for family, kind, proto, canonical, address in infos
    ]

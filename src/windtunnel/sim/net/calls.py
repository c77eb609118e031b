"""asyncio's network calls on the simulated network: what the loop adds to BaseEventLoop.

``create_connection``, ``create_server``, ``create_datagram_endpoint`` and ``start_tls`` are
asyncio's own; they come here for sockets and transports.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from asyncio import base_events, sslproto, trsock
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, cast

from windtunnel.sim.errors import EscapeError
from windtunnel.sim.net import operations
from windtunnel.sim.net.datagram_transport import SimDatagramTransport
from windtunnel.sim.net.files import Address, SocketFile, os_error
from windtunnel.sim.net.listener import Attempt
from windtunnel.sim.net.resolver import stable
from windtunnel.sim.net.sock import SimSocket, wrap
from windtunnel.sim.net.transport import SimStreamTransport

if TYPE_CHECKING:
    from windtunnel.sim.loop import SimLoop
    from windtunnel.sim.world import World


class NetCalls:
    """A mixin of the loop: sockets, transports, name resolution."""

    _world: World

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

    async def _ensure_resolved(self, address: Any, **kwargs: Any) -> list[Any]:
        return stable(await super()._ensure_resolved(address, **kwargs))  # type: ignore[misc]

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

    # Descriptors.

    def _file(self, what: Any) -> SocketFile:
        """The simulated socket of a socket object or a descriptor number.

        :raises EscapeError: when it is a real one.
        """
        if isinstance(what, trsock.TransportSocket):
            what = what._sock  # type: ignore[attr-defined]
        if isinstance(what, SimSocket):
            return what._open()
        fd = what if isinstance(what, int) else what.fileno()
        file = self._world.net.files.get(fd)
        if file is None:
            if isinstance(fd, int) and fd < 0:
                raise ValueError(f"Invalid file descriptor: {fd}")
            self._escape("a real descriptor has no place in the simulated world", f"{what!r}")
        return file

    def _simulated(self, sock: Any) -> SimSocket:
        if isinstance(sock, trsock.TransportSocket):
            sock = sock._sock  # type: ignore[attr-defined]
        if not isinstance(sock, SimSocket):
            self._escape("a real socket has no place in the simulated world", repr(sock))
        return sock

    def _escape(self, what: str, found: str) -> NoReturn:
        error = EscapeError(what, found=found, fix="make the socket inside the simulated test")
        self._world.escape(error)
        raise error

    def _free_file(self, what: Any) -> SocketFile:
        file = self._file(what)
        transport = file.transport
        if transport is not None and not transport.is_closing():  # type: ignore[attr-defined]
            raise RuntimeError(f"File descriptor {what!r} is used by transport {transport!r}")
        return file

    def add_reader(self, fd: Any, callback: Any, *args: Any) -> None:
        self._free_file(fd).reader.set(callback, args)

    def remove_reader(self, fd: Any) -> bool:
        file = self._known(fd)
        return file is not None and file.reader.clear()

    def add_writer(self, fd: Any, callback: Any, *args: Any) -> None:
        self._free_file(fd).writer.set(callback, args)

    def remove_writer(self, fd: Any) -> bool:
        file = self._known(fd)
        return file is not None and file.writer.clear()

    def _known(self, what: Any) -> SocketFile | None:
        """The socket, if it is still open: removing is harmless when it is not."""
        fd = what if isinstance(what, int) else what.fileno()
        return self._world.net.files.get(fd)

    # Calls on sockets.

    def _non_blocking(self, sock: Any) -> SocketFile:
        base_events._check_ssl_socket(sock)  # type: ignore[attr-defined]
        file = self._file(sock)
        if self.get_debug() and sock.gettimeout() != 0:  # type: ignore[attr-defined]
            raise ValueError("the socket must be non-blocking")
        return file

    async def _when(self, file: SocketFile, side: str, attempt: Any) -> Any:
        """The result of ``attempt()``, tried again whenever that side of the file is ready."""
        try:
            return attempt()
        except BlockingIOError:
            pass
        self._free_file(file.fd)
        future = self.create_future()  # type: ignore[attr-defined]

        def again() -> None:
            if future.done():
                return
            try:
                result = attempt()
            except BlockingIOError:
                return
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        watch = file.reader if side == "read" else file.writer
        handle = watch.set(again, ())
        try:
            return await future
        finally:
            if not handle.cancelled():
                watch.clear()

    async def sock_recv(self, sock: Any, n: int) -> bytes:
        file = self._non_blocking(sock)
        data: bytes = (await self._when(file, "read", lambda: operations.receive(file, n)))[0]
        return data

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        return (await self.sock_recvfrom_into(sock, buf))[0]

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> tuple[bytes, Address]:
        file = self._non_blocking(sock)
        found = await self._when(file, "read", lambda: operations.receive(file, bufsize))
        return found[0], found[1]

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> tuple[int, Address]:
        view = memoryview(buf).cast("B")
        data, address = await self.sock_recvfrom(sock, nbytes or len(view))
        view[: len(data)] = data
        return len(data), address

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        file = self._non_blocking(sock)
        view = memoryview(data).cast("B")
        while view:
            attempt = partial(operations.send, file, view)
            view = view[await self._when(file, "write", attempt) :]

    async def sock_sendto(self, sock: Any, data: Any, address: Address) -> int:
        file = self._non_blocking(sock)
        sent: int = await self._when(file, "write", lambda: operations.send_to(file, data, address))
        return sent

    async def sock_accept(self, sock: Any) -> tuple[socket.socket, Address]:
        file = self._non_blocking(sock)
        accepted = await self._when(file, "read", lambda: operations.accept(file))
        conn = wrap(accepted)
        conn.setblocking(False)
        return conn, operations.remote_address(accepted)

    async def sock_connect(self, sock: Any, address: Address) -> None:
        file = self._non_blocking(sock)
        if file.family != socket.AF_UNIX:
            infos = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = infos[0][4]
        if operations.connect(file, address) == 0:
            return

        def answered() -> None:
            if isinstance(file.part, Attempt) and not file.part.done:
                raise os_error(errno.EAGAIN)
            number = operations.get_option(file, socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                raise OSError(number, f"Connect call failed {address}")

        await self._when(file, "write", answered)

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
        self._escape("processes are not simulated", f"subprocess_shell({cmd!r})")

    async def subprocess_exec(
        self, protocol_factory: Any, program: Any, *args: Any, **kwargs: Any
    ) -> NoReturn:
        self._escape("processes are not simulated", f"subprocess_exec({program!r})")


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

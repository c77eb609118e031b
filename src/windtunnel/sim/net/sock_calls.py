"""asyncio's calls on descriptors and sockets: ``add_reader`` and ``loop.sock_*``."""

from __future__ import annotations

import errno
import socket
from asyncio import base_events, trsock
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from windtunnel.sim.errors import EscapeError
from windtunnel.sim.fence.sites import caller
from windtunnel.sim.net import operations
from windtunnel.sim.net.files import Address, SocketFile, os_error
from windtunnel.sim.net.listener import Attempt
from windtunnel.sim.net.resolver import stable
from windtunnel.sim.net.sock import SimSocket, wrap

if TYPE_CHECKING:
    from windtunnel.sim.world import World

_OURS = "make the socket inside the simulated test"


class SockCalls:
    """A mixin of the loop: descriptors that are looked after, and calls on sockets."""

    _world: World

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

    def _escape(self, what: str, found: str, fix: str = _OURS) -> NoReturn:
        error = EscapeError(what, found=f"{found} at {caller()}", fix=fix)
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

    async def _ensure_resolved(self, address: Any, **kwargs: Any) -> list[Any]:
        return stable(await super()._ensure_resolved(address, **kwargs))  # type: ignore[misc]

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

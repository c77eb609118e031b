"""``socket.socket`` inside a simulated step.

Simulated sockets are instances of a subclass of ``socket.socket``, so ``isinstance`` holds and
real sockets are not touched: a call on one of those costs what it always did. Which of the two
``socket.socket(...)`` makes is decided in ``socket.socket.__new__``, in place, so the name may
have been imported long before. A class that a program derives from ``socket.socket`` gets a
simulated twin that puts :class:`SimSocket` between the two.

Nothing can wait inside a step. A call that would block, on a socket that is in blocking mode,
is refused with a clear error instead of stopping the whole world.
"""

from __future__ import annotations

import _socket
import errno
import socket
import warnings
from collections.abc import Callable, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from windtunnel.sim import inside
from windtunnel.sim.errors import EscapeError
from windtunnel.sim.net import operations
from windtunnel.sim.net.files import Address, SocketFile, must_be_open, os_error

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.world import World

T = TypeVar("T")

_FAMILIES = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
_KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
_MODE_BITS = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


class SimSocket(socket.socket):
    """A socket of the simulated network. Made by ``socket.socket(...)`` in a simulated step."""

    _file: SocketFile | None = None
    _wait: float | None = None

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        self._io_refs = 0
        self._closed = False
        world = inside.world
        if world is None:
            raise RuntimeError("a simulated socket is made inside a simulated step")
        self._wait = _socket.getdefaulttimeout()
        if fileno is not None:
            self._file = _existing(world.net, fileno)
            return
        family = socket.AF_INET if family == -1 else int(family)
        kind = socket.SOCK_STREAM if type == -1 else int(type)
        if kind & socket.SOCK_NONBLOCK:
            self._wait = 0.0
        kind &= ~_MODE_BITS
        if family not in _FAMILIES or kind not in _KINDS:
            error = EscapeError(
                "the simulated network has TCP, UDP and Unix sockets",
                found=f"socket.socket({family!r}, {kind!r})",
            )
            world.escape(error)
            raise error
        self._file = SocketFile(world.net, world.node, family, kind, max(proto, 0))

    # What it is.

    @property
    def family(self) -> Any:
        return socket.AddressFamily(self._file.family) if self._file else socket.AF_INET

    @property
    def type(self) -> Any:
        return socket.SocketKind(self._file.type) if self._file else socket.SOCK_STREAM

    @property
    def proto(self) -> int:
        return self._file.proto if self._file else 0

    @property
    def timeout(self) -> float | None:
        return self._wait

    def fileno(self) -> int:
        file = self._file
        return -1 if file is None else file.fd

    def _open(self) -> SocketFile:
        return must_be_open(self._file)

    def getsockname(self) -> Address:
        return operations.local_address(self._open())

    def getpeername(self) -> Address:
        file = self._open()
        if not operations.is_connected(file):
            raise os_error(errno.ENOTCONN)
        return file.remote

    # Modes and options.

    def settimeout(self, value: float | None) -> None:
        if value is not None and value < 0:
            raise ValueError("Timeout value out of range")
        self._wait = None if value is None else float(value)

    def gettimeout(self) -> float | None:
        return self._wait

    def setblocking(self, flag: bool) -> None:
        self._wait = None if flag else 0.0

    def getblocking(self) -> bool:
        return self._wait != 0.0

    def get_inheritable(self) -> bool:
        return self._open().flag(-1, 0)

    def set_inheritable(self, inheritable: bool) -> None:
        self._open().options[-1, 0] = int(inheritable)

    def setsockopt(self, *args: Any) -> None:
        operations.set_option(self._open(), *args)

    def getsockopt(self, level: int, optname: int, buflen: int = 0) -> Any:
        return operations.get_option(self._open(), level, optname, buflen)

    # Connections.

    def bind(self, address: Address) -> None:
        operations.bind(self._open(), address)

    def listen(self, backlog: int = 128) -> None:
        operations.listen(self._open(), backlog)

    def connect(self, address: Address) -> None:
        number = operations.connect(self._open(), address)
        if number == errno.EINPROGRESS and self._wait != 0.0:
            self._would_block("connect")
        if number:
            raise os_error(number)

    def connect_ex(self, address: Address) -> int:
        try:
            self.connect(address)
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno is None:
                raise
            return error.errno
        return 0

    def accept(self) -> tuple[socket.socket, Address]:
        accepted = self._doing("accept", lambda: operations.accept(self._open()))
        made = wrap(accepted)
        if _socket.getdefaulttimeout() is None and self._wait:
            made.setblocking(True)
        return made, operations.remote_address(accepted)

    def shutdown(self, how: int) -> None:
        operations.shut_down(self._open(), how)

    # Data.

    def send(self, data: Any, flags: int = 0) -> int:
        return self._doing("send", lambda: operations.send(self._open(), _view(data)))

    def sendall(self, data: Any, flags: int = 0) -> None:
        view = _view(data)
        while view:
            view = view[self.send(view, flags) :]

    def sendto(self, data: Any, *args: Any) -> int:
        address = args[-1]
        return self._doing("sendto", lambda: operations.send_to(self._open(), _view(data), address))

    def sendmsg(
        self, buffers: Iterable[Any], ancdata: Iterable[Any] = (), flags: int = 0,
        address: Address = None,
    ) -> int:  # fmt: skip
        if list(ancdata):
            self._refuse("sendmsg with ancillary data")
        data = b"".join(bytes(_view(each)) for each in buffers)
        return self.send(data, flags) if address is None else self.sendto(data, address)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        return self._doing("recv", lambda: operations.receive(self._open(), bufsize, flags)[0])

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        return self.recvfrom_into(buffer, nbytes, flags)[0]

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Address]:
        return self._doing("recvfrom", lambda: operations.receive(self._open(), bufsize, flags))

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Address]:
        view = memoryview(buffer).cast("B")
        data, address = self.recvfrom(nbytes or len(view), flags)
        view[: len(data)] = data
        return len(data), address

    def recvmsg(
        self, bufsize: int, ancbufsize: int = 0, flags: int = 0
    ) -> tuple[bytes, list[Any], int, Address]:
        data, address = self.recvfrom(bufsize, flags)
        return data, [], 0, address

    def recvmsg_into(self, *args: Any) -> NoReturn:
        self._refuse("recvmsg_into")

    def sendmsg_afalg(self, *args: Any, **kwargs: Any) -> NoReturn:
        self._refuse("sendmsg_afalg")

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        return int(self._sendfile_use_send(file, offset, count))  # type: ignore[attr-defined]

    # The end.

    def dup(self) -> SimSocket:
        file = self._open()
        file.refer()
        made = wrap(file)
        made.settimeout(self._wait)
        return made

    def detach(self) -> int:
        self._closed = True
        file, self._file = self._file, None
        return -1 if file is None else file.fd

    def _real_close(self, _ss: Any = None) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __del__(self) -> None:
        file = self._file
        if file is not None and not file.closed and inside.world is file.net.world:
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._real_close()

    # What cannot be.

    def _doing(self, what: str, call: Callable[[], T]) -> T:
        try:
            return call()
        except BlockingIOError:
            if self._wait == 0.0:
                raise
            return self._would_block(what)

    def _would_block(self, what: str) -> NoReturn:
        file = self._open()
        error = EscapeError(
            f"socket.{what}() would block the one thread in which the simulated world runs",
            found=f"a socket in blocking mode: {file!r}",
            fix="use asyncio's streams, or setblocking(False) with loop.sock_* calls",
        )
        file.net.world.escape(error)
        raise error

    def _refuse(self, what: str) -> NoReturn:
        error = EscapeError(f"{what} is not simulated", found=repr(self))
        self._open().net.world.escape(error)
        raise error


SimSocket.__name__ = SimSocket.__qualname__ = "socket"
SimSocket.__module__ = "socket"


def _view(data: Any) -> memoryview:
    view = memoryview(data)
    return view if view.format == "B" and view.contiguous else view.cast("B")


def _existing(net: Network, fd: int) -> SocketFile:
    file = net.files.get(fd)
    if file is None:
        raise os_error(errno.EBADF)
    return file


def wrap(file: SocketFile) -> SimSocket:
    """A socket object for a descriptor that is there already."""
    made = SimSocket.__new__(SimSocket)
    made._io_refs = 0
    made._closed = False
    made._file = file
    made._wait = _socket.getdefaulttimeout()
    return made


# socket.socket.__new__ in place.

_twins: dict[type, type] = {socket.socket: SimSocket}


def _twin(cls: type) -> type:
    known = _twins.get(cls)
    if known is None:
        known = type(cls.__name__, (cls, SimSocket), {"__module__": cls.__module__})
        known.__qualname__ = cls.__qualname__
        _twins[cls] = known
    return known


def _new(cls: type[socket.socket], *args: Any, **kwargs: Any) -> socket.socket:
    if inside.world is None or inside.thread != get_ident() or issubclass(cls, SimSocket):
        return _socket.socket.__new__(cls)
    fileno = kwargs.get("fileno", args[3] if len(args) > 3 else None)
    if isinstance(fileno, int) and fileno < 1_000_000:
        return _socket.socket.__new__(cls)  # a real descriptor: the fence has its say
    if any(base.__module__ == "ssl" for base in cls.__mro__):
        _refuse_ssl(inside.world)
    return _socket.socket.__new__(_twin(cls))


def _refuse_ssl(world: World) -> NoReturn:
    error = EscapeError(
        "a TLS connection over a socket object is not simulated",
        found="SSLContext.wrap_socket() of a simulated socket",
        fix="use asyncio's ssl= or start_tls, or SSLContext.wrap_bio()",
    )
    world.escape(error)
    raise error


def install() -> None:
    """From now on ``socket.socket(...)`` in a simulated step makes a simulated socket."""
    socket.socket.__new__ = staticmethod(_new)  # type: ignore[assignment,method-assign]


def remove() -> None:
    """Put back what was there."""
    if "__new__" in vars(socket.socket):
        del socket.socket.__new__

"""Where a server listens: in the event loop of whoever starts it, or in the house's own thread.

An asynchronous test's server stands in the test's loop, so that nothing runs beside it and a
simulated world decides what it does. But a test that blocks its loop with a synchronous client
would wait for ever; so the house's thread looks after the listening socket too, and takes a
connection that the loop has left waiting. A synchronous test's server stands in that thread.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from windtunnel.core.errors import ResourceError, UsageError
from windtunnel.models.connection import Clients, Connection

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

T = TypeVar("T")
_BACKLOG = 1024


def bound(host: str, port: int) -> socket.socket:
    """A socket bound to that address and listening.

    :raises ResourceError: when it cannot be had.
    :raises UsageError: when there is no such port.
    """
    return _made(host, port, listening=True)


def kept(host: str, port: int) -> socket.socket | None:
    """A socket bound to that address at which nobody listens, so that clients are refused there
    and no other process is given the port; None where one has it already."""
    try:
        return _made(host, port, listening=False)
    except ResourceError:
        return None


def listening_again(sock: socket.socket | None, host: str, port: int) -> socket.socket:
    """What :func:`kept` gave, listening; where nothing was kept, a new one.

    :raises ResourceError: when the address cannot be had.
    """
    if sock is None:
        return bound(host, port)
    sock.listen(_BACKLOG)
    return sock


def _made(host: str, port: int, *, listening: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        if listening:
            sock.listen(_BACKLOG)
    except OverflowError:
        sock.close()
        raise UsageError("a port is a number from 0 to 65535", found=str(port)) from None
    except OSError as error:
        sock.close()
        raise ResourceError(
            "a model server cannot listen there",
            found=f"{host}:{port}: {error}",
            fix="use port=0 for one that is free",
        ) from error
    return sock


class Listener:
    """A listening socket served by one event loop.

    :param core: what answers.
    :param sock: bound and listening; closed with the listener.
    """

    def __init__(
        self, core: ModelCore, sock: socket.socket, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.connections = Clients()
        self.loop = loop
        self._core = core
        self.sock = sock
        self._server: asyncio.AbstractServer | None = None

    def begin(self) -> None:
        """Serve from now on; called in the loop. Who connects earlier is kept waiting."""
        # Nothing in this waits, so it is done at once, inside a running loop too.
        self._server = _at_once(
            self.loop.create_server(self._connected, sock=self.sock, backlog=_BACKLOG)
        )

    def _connected(self) -> Connection:
        return Connection(self._core, self.loop, self.connections)

    def close(self) -> None:
        """Listen no more and drop all clients; called in the loop."""
        if self._server is not None:
            self._server.close()
        self.connections.drop()


class Lookout:
    """Takes the connections that the loop they were meant for leaves waiting.

    It stands in the house's thread and sees each connection come. What is not accepted within a
    moment is accepted here: the loop does not run yet, or is blocked by a synchronous client. The
    moment is given in parts, one after the other: a process that the machine did not let run for a
    while has lost one of them, and the loop its turn in none of the others.
    """

    _PART_S = 0.003
    _PARTS = 10

    def __init__(self, core: ModelCore, sock: socket.socket, loop: asyncio.AbstractEventLoop):
        self.connections = Clients()
        self.taken = 0
        """How many connections it took."""
        self._core = core
        self._loop = loop
        self._sock = sock.dup()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Look out from now on; called in the loop."""
        self._watch()

    def _watch(self) -> None:
        self._timer = None
        self._loop.add_reader(self._sock.fileno(), self._seen)

    def _seen(self) -> None:
        # Somebody knocks. Who should open gets a moment to do so.
        self._loop.remove_reader(self._sock.fileno())
        self._wait(self._PARTS)

    def _wait(self, parts: int) -> None:
        if parts:
            self._timer = self._loop.call_later(self._PART_S, self._wait, parts - 1)
        else:
            self._open()

    def _open(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                return
            self.taken += 1
            client.setblocking(False)
            self._loop.create_task(self._serve(client))
        self._watch()

    async def _serve(self, client: socket.socket) -> None:
        def connection() -> Connection:
            return Connection(self._core, self._loop, self.connections)

        await self._loop.connect_accepted_socket(connection, client)

    def close(self) -> None:
        """Look out no more and drop those taken in; called in the loop."""
        if self._timer is not None:
            self._timer.cancel()
        elif self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self.connections.drop()


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that only ever lets others go first, without letting them."""
    try:
        while True:
            awaited = work.send(None)
            if awaited is not None:
                raise RuntimeError(f"the event loop's create_server waits for {awaited!r}")
    except StopIteration as stop:
        result: T = stop.value
        return result


__all__ = ["Listener", "Lookout", "bound", "kept", "listening_again"]

"""A model server on a socket.

>>> from windtunnel.models import serve
>>> import urllib.request
>>> with serve(("ollama",)) as server:
...     server.set_response("Hello!")
...     urllib.request.urlopen(server.url + "/api/version").status
<Script on() at set_response, answered 0>
200
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator, Iterable, Sequence
from types import TracebackType
from typing import TypeVar

from windtunnel.core.clock import Clock
from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed
from windtunnel.models.core import ModelCore
from windtunnel.models.dialects import ALL
from windtunnel.models.listening import Listener, kept, listening_again
from windtunnel.models.thread import HOUSE
from windtunnel.models.verbs import Verbs
from windtunnel.models.wiring import Opened, close_server, open_server

S = TypeVar("S", bound="ModelServer")


class ModelServer(Verbs):
    """A server that speaks model APIs by script.

    Started inside a running event loop it stands in that loop; else it stands in a thread of the
    house. It is a context manager, synchronous and asynchronous, and ``start`` and ``stop`` may be
    awaited or not.

    :param dialects: the APIs it speaks: ``ollama``, ``openai``, ``anthropic``, ``gemini``.
    :param host: the address to listen on.
    :param port: the port, 0 for a free one.
    :param models: the only models it has; None for each API's usual ones.
    :param api_key: the key that clients must present; None takes any or none.
    :param seed: what defaults and identifiers are drawn from; None for the run's seed.
    :param clock: what the time is; None for the world's clock.
    :param strict: whether a call that no script fits is an error where there are scripts.
    :param journal: how many requests are kept for reading, the last ones; fewer, where they have
        more than 6.5 KiB each on average.
    """

    def __init__(
        self,
        dialects: Sequence[str] = ALL,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: Iterable[str] | None = None,
        api_key: str | None = None,
        seed: Seed | None = None,
        clock: Clock | None = None,
        strict: bool = True,
        journal: int = 10_000,
    ) -> None:
        self.core = ModelCore(
            dialects,
            models=models,
            api_key=api_key,
            seed=seed,
            clock=clock,
            strict=strict,
            journal=journal,
        )
        self.host = host
        self._wanted_port = port
        self._port: int | None = None
        self._listener: Listener | None = None
        self._kept_port: socket.socket | None = None  # the port, while nobody is let in
        self._in_house = False
        self._opened: Opened | None = None
        self._loopback = True

    # -- where it is -----------------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port it listens on.

        :raises UsageError: before it was started.
        """
        if self._port is None:
            raise UsageError(
                "the model server was not started", found="no port yet", fix="call start() first"
            )
        return self._port

    @property
    def url(self) -> str:
        """``http://host:port``, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def environment(self) -> dict[str, str]:
        """The environment variables by which official clients find this server."""
        found: dict[str, str] = {}
        key = self.core.api_key or "windtunnel"
        for spoken in self.core.dialects:
            found.update(spoken.environment(self.url, key))
        return found

    # -- start and stop --------------------------------------------------------------------------

    def start(self: S) -> S:
        """Listen. Does nothing where it does already.

        :raises ResourceError: when the address cannot be had.
        """
        if self._listener is not None:
            return self
        try:
            loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        sock = listening_again(self._kept_port, self.host, self._wanted_port)
        self._kept_port = None
        self._port = sock.getsockname()[1]
        if loop is not None:
            self._listener = Listener(self.core, sock, loop)
            self._listener.begin()
        else:
            self._in_house = True
            self._listener = Listener(self.core, sock, HOUSE.enter())
            HOUSE.post(self._listener.begin)  # it listens already: nobody need wait for this
        if self._opened is not None:  # opened before the port was known
            self.close_in_process()
            self.open_in_process(loopback=self._loopback)
        return self

    def stop(self: S) -> S:
        """Listen no more, and drop all clients. Does nothing where it does not listen."""
        self.close_in_process()
        if self._kept_port is not None:
            self._kept_port.close()
            self._kept_port = None
        listener, self._listener = self._listener, None
        if listener is None:
            return self
        if self._in_house:
            self._in_house = False
            HOUSE.call(listener.close)
            HOUSE.leave()
        elif listener.loop.is_closed():
            listener.sock.close()
        else:
            listener.close()
        return self

    def refuse_connections(self) -> None:
        """Let nobody connect for a while: in process and, where the server has its port to itself,
        on it, they are refused; the port stays this server's."""
        self.core.refused = True
        if self._listener is not None:
            opened, self._opened = self._opened, None  # it stays open in process
            port = self.port
            self.stop()
            self._wanted_port, self._opened = port, opened
            self._kept_port = kept(self.host, port)

    def accept_connections(self) -> None:
        """Let them connect again."""
        self.core.refused = False
        if self._port is not None:
            self.start()

    # -- in process ------------------------------------------------------------------------------

    def open_in_process(self: S, *, loopback: bool = True) -> S:
        """Answer in process, too: httpx, httpx2 and aiohttp clients that ask for a provider's own
        host, or for this server's address, need no socket; other connections to a provider are
        refused. For the whole process, until it is stopped or :meth:`close_in_process`.

        :param loopback: whether requests for this server's own address are answered so, too.
        """
        if self._opened is None:
            self._loopback = loopback
            self._opened = Opened(self.core, self.host, self._port, loopback=loopback)
            open_server(self._opened)
        return self

    def close_in_process(self) -> None:
        """Answer in process no more."""
        opened, self._opened = self._opened, None
        if opened is not None:
            close_server(opened)

    def allow(self, *hosts: str) -> None:
        """Let connections to these real hosts out, although they are a provider's."""
        if self._opened is None:
            raise UsageError(
                "nothing is refused while the server is not open in process",
                found=", ".join(hosts),
                fix="call open_in_process() first",
            )
        self._opened.allowed.update(hosts)

    @property
    def refused_hosts(self) -> list[str]:
        """The providers that somebody tried to reach."""
        return list(self._opened.refused) if self._opened is not None else []

    def __await__(self: S) -> Generator[None, None, S]:
        yield  # let the loop do what was begun
        return self

    def __enter__(self: S) -> S:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self: S) -> S:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        where = f"at {self.url}" if self._listener is not None else "not started"
        names = ", ".join(spoken.name for spoken in self.core.dialects)
        return f"<{type(self).__name__} {names}, {where}>"


class MockOllamaServer(ModelServer):
    """A :class:`ModelServer` that speaks Ollama alone.

    >>> server = MockOllamaServer(port=0).start()
    >>> server.url.startswith("http://127.0.0.1:")
    True
    >>> server.stop()
    <MockOllamaServer ollama, not started>
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        models: Iterable[str] | None = None,
        seed: Seed | None = None,
        clock: Clock | None = None,
        strict: bool = True,
    ) -> None:
        super().__init__(
            ("ollama",),
            host=host,
            port=port,
            models=models,
            seed=seed,
            clock=clock,
            strict=strict,
        )


def serve(
    dialects: Sequence[str] = ALL,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    models: Iterable[str] | None = None,
    api_key: str | None = None,
    seed: Seed | None = None,
    strict: bool = True,
    journal: int = 10_000,
) -> ModelServer:
    """A model server, not yet started: for ``with`` or ``async with``, or its ``start()``.

    The parameters are those of :class:`ModelServer`.
    """
    return ModelServer(
        dialects,
        host=host,
        port=port,
        models=models,
        api_key=api_key,
        seed=seed,
        strict=strict,
        journal=journal,
    )


__all__ = ["MockOllamaServer", "ModelServer", "serve"]

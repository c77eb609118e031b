"""JSON over HTTP/1.1 for a service: a table of routes in, one asyncio server out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Self, TypeAlias

LIMIT = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request: ``tail`` is what stood in place of the route's ``*``."""

    body: dict[str, Any]
    tail: str = ""


Reply: TypeAlias = tuple[HTTPStatus, dict[str, Any]]
Handler: TypeAlias = Callable[[Request], Awaitable[Reply]]


class Server:
    """Serves ``routes`` such as ``{"POST /jobs": submit, "GET /jobs/*": show}``.

    :param port: 0 lets the system choose; :attr:`url` says what it chose.
    :param sock: a bound socket to serve on, in place of host and port.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sock: socket.socket | None = None,
    ) -> None:
        self._routes = routes
        self._address = (host, port)
        self._sock = sock
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        if self._sock is None:
            self._server = await asyncio.start_server(self._connected, *self._address)
        else:
            self._server = await asyncio.start_server(self._connected, sock=self._sock)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        host, port = self._server.sockets[0].getsockname()[:2]
        if host == "0.0.0.0":  # every address of this machine, so others ask for its name
            host = socket.gethostname()
        return f"http://{host}:{port}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            status, body = await self._answer(reader)
            payload = json.dumps(body).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(payload)}\r\nConnection: close\r\n\r\n"
            )
            writer.write(head.encode() + payload)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client went away; there is nobody to tell
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        try:
            request_line, *lines = head.strip().split("\r\n")
            method, path, _ = request_line.split(" ")
            headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
            length = int(headers.get("content-length", "0"))
            if length > LIMIT:
                return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"more than {LIMIT} bytes"}
            raw = await reader.readexactly(length)
            body = json.loads(raw) if raw else {}
        except ValueError as error:
            return HTTPStatus.BAD_REQUEST, {"error": str(error)}
        handler, tail = self._route(method, path)
        if handler is None:
            return HTTPStatus.NOT_FOUND, {"error": f"no route for {method} {path}"}
        try:
            return await handler(Request(body, tail))
        except KeyError as error:
            return HTTPStatus.BAD_REQUEST, {"error": f"{error.args[0]} is missing"}

    def _route(self, method: str, path: str) -> tuple[Handler | None, str]:
        if handler := self._routes.get(f"{method} {path}"):
            return handler, ""
        parent, _, tail = path.rpartition("/")
        return self._routes.get(f"{method} {parent}/*"), tail

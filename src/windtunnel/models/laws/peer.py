"""The server that is put to the laws, and what it answers, over plain HTTP.

``http.client`` alone: it sends what a law wants sent, be it malformed, and any path and method; and
it shows what came back before any library has repaired it.
"""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

from windtunnel.core.errors import ResourceError, UsageError

T = TypeVar("T")
_ROOTS = ("/v1", "/v1beta", "/api")
_BROKEN = (OSError, http.client.HTTPException)


class BrokenError(Exception):
    """The law does not hold: what was found instead."""


class NotExercisedError(Exception):
    """The server did not come to what the law is about: why."""


def broken(why: str) -> NoReturn:
    """Say that the law does not hold."""
    raise BrokenError(why)


def expect(holds: bool, why: str) -> None:
    """Say that the law does not hold unless ``holds``."""
    if not holds:
        broken(why)


def take(value: Any, path: str, *kinds: type) -> Any:
    """What stands at a dotted path of parsed JSON, and is of one of these types.

    :raises BrokenError: where there is nothing, or something else.

    >>> take({"a": [{"b": 1}]}, "a.0.b", int)
    1
    """
    found = value
    for part in path.split("."):
        if isinstance(found, list) and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            broken(f"there is no {path} in {shown(value)}")
    if not isinstance(found, kinds) or (isinstance(found, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        broken(f"{path} is {shown(found)}, not {names}")
    return found


def shown(value: Any) -> str:
    """The beginning of a value, for a reason."""
    text = value.decode(errors="replace") if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= 120 else text[:117] + "..."


def parsed(text: str | bytes) -> Any:
    """The value that a JSON text holds.

    :raises BrokenError: where it is none.
    """
    try:
        return json.loads(text)
    except ValueError:
        broken(f"this is not JSON: {shown(text)}")


class Answer(NamedTuple):
    """One response, whole; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """Its content type, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip()

    def json(self, status: int = 200) -> Any:
        """Its JSON body, where it has that status.

        :raises BrokenError: where it has another, or is no JSON.
        """
        expect(self.status == status, f"status {self.status}, not {status}: {shown(self.body)}")
        return parsed(self.body)

    def lines(self) -> list[str]:
        """The lines of the body that are not empty."""
        return [line for line in self.body.decode("utf-8", "replace").splitlines() if line]

    def events(self) -> list[tuple[str, str]]:
        """Its server-sent events: name (empty for none) and data.

        :raises BrokenError: where it is no such stream.
        """
        expect(self.status == 200, f"status {self.status}: {shown(self.body)}")
        expect(self.kind == "text/event-stream", f"content-type is {self.kind!r}")
        found: list[tuple[str, str]] = []
        name, data = "", ""
        text = self.body.decode("utf-8", "replace").replace("\r\n", "\n")
        for line in [*text.split("\n"), ""]:
            if line.startswith("data:"):
                data += line[5:].removeprefix(" ")
            elif line.startswith("event:"):
                name = line[6:].strip()
            elif not line:
                if name or data:
                    found.append((name, data))
                name, data = "", ""
            else:
                expect(line.startswith((":", "id:", "retry:")), f"no frame of a stream: {line!r}")
        return found


@dataclasses.dataclass
class Peer:
    """A server that is put to the laws.

    :param url: where it is; ``/v1``, ``/v1beta`` or ``/api`` at its end are left away.
    :param headers: what every request bears.
    :param auth: the header of a key, made from the key.
    :param key: the key, None for none.
    :param model: the model that is asked; chosen from the server's list where it is empty.
    :param embedder: the model that embeds.
    :param timeout_s: seconds that one answer may take.

    :raises UsageError: where the URL is none.
    """

    url: str
    key: str | None = None
    model: str = ""
    embedder: str = ""
    timeout_s: float = 60.0
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict[str, str])
    auth: Callable[[str], Mapping[str, str]] = lambda key: {"authorization": f"Bearer {key}"}

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            self._at = parts.hostname or "", parts.port
        except ValueError:
            parts, self._at = urlsplit(""), ("", None)
        if parts.scheme not in ("http", "https") or not self._at[0]:
            raise UsageError(
                "check takes the URL of a server",
                found=repr(self.url),
                fix="begin it with http:// or https://",
            )
        self._secure = parts.scheme == "https"
        path = parts.path.rstrip("/")
        for root in _ROOTS:
            path = path.removesuffix(root)
        self._prefix = path

    def _send(
        self, method: str, path: str, body: Any, key: str | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(*self._at, timeout=self.timeout_s)
        headers = dict(self.headers)
        if key is not None:
            headers |= self.auth(key)
        if body is not None:
            headers["content-type"] = "application/json"
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, self._prefix + path, body, headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def ask(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:
        """Ask, and read the whole answer.

        :param body: what is sent as JSON; bytes are sent as they are.
        :param key: another key than the server's.
        :raises BrokenError: where there is no answer, or half of one.
        """
        try:
            connection, response = self._send(method, path, body, self.key if key is None else key)
            try:
                content = response.read()
            finally:
                connection.close()
        except _BROKEN as error:
            broken(f"no whole answer to {method} {path}: {type(error).__name__}: {error}")
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, content)

    def post(self, path: str, body: Any) -> Answer:
        """Ask with POST."""
        return self.ask("POST", path, body)

    def leave(self, path: str, body: Any) -> None:
        """Ask with POST, and go away when the first byte of the answer is there."""
        try:
            connection, response = self._send("POST", path, body, self.key)
            response.read(1)
            if connection.sock is not None:
                connection.sock.shutdown(socket.SHUT_RDWR)
            response.close()
            connection.close()
        except _BROKEN as error:
            broken(f"no answer to POST {path}: {type(error).__name__}: {error}")

    def reach(self) -> None:
        """Make sure that somebody listens.

        :raises ResourceError: where nobody does.
        """
        try:
            connection, _ = self._send("GET", "/", None, self.key)
            connection.close()
        except _BROKEN as error:
            raise ResourceError(
                "no server answers at the URL",
                found=f"{self.url}: {type(error).__name__}: {error}",
                fix="start the server, or give the URL it prints",
            ) from None


def at_once(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """What the tasks return, run at once in threads."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(task) for task in tasks]]

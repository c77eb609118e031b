"""Calls answered from a cassette or by a real server behind this one, and recorded.

``replay`` gives recorded answers only: a call that was not recorded is an error, which says how it
differs from the nearest one that was. ``record`` asks the real server every time and writes a new
cassette; ``record_missing`` asks it for what was not recorded yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from windtunnel.core.clock import WORLD_CLOCK
from windtunnel.core.errors import UsageError, WindtunnelError
from windtunnel.models.cassettes import Cassette, canonical, frame_end, key_of, split
from windtunnel.models.dialects import Dialect
from windtunnel.models.feed import Feed
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    ModelCall,
    RefusedError,
    ReplyError,
    Response,
)

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

Mode: TypeAlias = Literal["replay", "record", "record_missing"]
Recorder: TypeAlias = Callable[[int, str, bytes], None]
"""Told status, content type and body of an answer."""
_TIMEOUT_S = 600.0
# Of the connection, not of the message; and what would make the answer unreadable.
_NOT_FORWARDED = {"host", "connection", "content-length", "transfer-encoding", "accept-encoding"}


class Relay:
    """Answers calls for which no script fits, from a cassette; see the module."""

    def __init__(
        self,
        core: ModelCore,
        path: str | Path,
        mode: Mode = "replay",
        upstream: str | None = None,
        hidden: tuple[str, ...] = (),
    ) -> None:
        if mode not in ("replay", "record", "record_missing"):
            raise UsageError(
                "a cassette is used in the mode replay, record or record_missing", found=repr(mode)
            )
        if mode == "replay" and not Path(path).exists():
            raise UsageError(
                "there is no such cassette", found=str(path), fix='record it: mode="record"'
            )
        if mode == "record":
            Path(path).unlink(missing_ok=True)
        self._core = core
        self._mode = mode
        self._upstream = upstream
        self._passing = Passing()
        self.cassette = Cassette(path)
        self.cassette.hidden = hidden

    def __call__(self, call: ModelCall, spoken: Dialect) -> Response | Awaitable[Response]:
        """The answer to a call.

        :raises RefusedError: where it was not recorded and must have been.
        """
        if self._mode != "record":
            known = self.cassette.find(call)
            if known is not None:
                return known.response()
        if self._mode == "replay":
            from windtunnel.models.core import Unmatched

            why = (
                f"{self.cassette.path} has no such call recorded "
                f"({key_of(canonical(call))})\n{self.cassette.nearest(call)}"
            )
            self._core.unmatched.append(Unmatched(call, why))
            raise RefusedError(ReplyError(400, "invalid_request", why, code="not_recorded"))
        return self._asked(call, spoken)

    async def _asked(self, call: ModelCall, spoken: Dialect) -> Response:
        if self._upstream is None and not spoken.hosts:
            raise UsageError(
                "recording needs the real server", found=f"no upstream for {spoken.name}"
            )
        base = self._upstream or f"https://{spoken.hosts[0]}"
        record = self._recorder(call)
        return await asyncio.to_thread(forward, base, call.request, record, self._passing)

    def wait(self, timeout_s: float = 60.0) -> None:
        """Wait until streams whose clients have hung up are read to their ends, and recorded.

        :raises UsageError: where one has not ended by then.
        """
        deadline = WORLD_CLOCK.monotonic() + timeout_s
        for thread in self._passing.threads():
            thread.join(max(0.0, deadline - WORLD_CLOCK.monotonic()))
        if self._passing.threads():
            raise UsageError(
                "a stream of the real server has not ended", found=f"{timeout_s:g} s later"
            )

    def _recorder(self, call: ModelCall) -> Recorder:
        def record(status: int, kind: str, body: bytes) -> None:
            try:
                self.cassette.add(call, status, kind, body)
            except (OSError, WindtunnelError) as error:
                self._core.defects.append(error)  # the client is answered; the test is told

        return record


class Passing:
    """The threads that pass streams on; calls at once begin theirs at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def begin(self, work: Callable[[], None]) -> None:
        """Have a thread do that."""
        thread = threading.Thread(target=work, daemon=True)
        with self._lock:
            self._threads = [one for one in self._threads if one.is_alive()]
            thread.start()
            self._threads.append(thread)

    def threads(self) -> list[threading.Thread]:
        """Those that have not ended."""
        with self._lock:
            return [one for one in self._threads if one.is_alive()]


def forward(base: str, request: HttpRequest, record: Recorder, passing: Passing) -> Response:
    """Send a request to the server at ``base``. A stream is passed on frame by frame as it comes;
    anything else is waited for.

    :param record: told the answer when it is whole: also where the client of a stream has hung up
        before that, and not where the server did.
    :param passing: begins the thread that passes a stream on.
    :raises RefusedError: with status 502, where it cannot be reached.
    """
    there = urlsplit(base)
    secure = there.scheme == "https"
    host = there.hostname or ""
    connection = http.client.HTTPConnection(host, timeout=_TIMEOUT_S)
    headers = {key: value for key, value in request.headers if key not in _NOT_FORWARDED}
    headers["accept-encoding"] = "identity"
    target = there.path.rstrip("/") + request.path + (f"?{request.query}" if request.query else "")
    try:
        connection.sock = _connected(host, there.port or (443 if secure else 80), secure)
        connection.request(request.method, target, request.body, headers)
        answer = connection.getresponse()
        kind = answer.getheader("content-type") or "application/json"
        end = frame_end(kind)
        if end is not None:
            feed = Feed()
            passing.begin(lambda: _pass_on(connection, answer, feed, end, record))
            return Response(answer.status, feed.chunks(), kind)
        with contextlib.closing(connection):
            data = answer.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        message = f"{base} cannot be reached: {error}"
        raise RefusedError(ReplyError(502, "server", message)) from error
    record(answer.status, kind, data)
    return Response(answer.status, data, kind)


def _pass_on(
    connection: http.client.HTTPConnection,
    answer: http.client.HTTPResponse,
    feed: Feed,
    end: re.Pattern[bytes],
    record: Recorder,
) -> None:
    """Read a stream to its end, frame by frame, and have it recorded before its end is told."""
    parts: list[bytes] = []
    rest = b""
    try:
        with contextlib.closing(connection):
            while data := answer.read1(1 << 16):
                parts.append(data)
                *frames, rest = split(rest + data, end)
                for frame in frames:
                    feed.put(Chunk(frame, 1))
    except (OSError, http.client.HTTPException) as error:
        feed.break_off(f"{type(error).__name__}: {error}")
        return
    if rest:
        feed.put(Chunk(rest))
    record(answer.status, answer.getheader("content-type") or "", b"".join(parts))
    feed.finish()


def _connected(host: str, port: int, secure: bool) -> Any:
    """A connection past our own patches, which would lead back here."""
    import _socket

    problem: OSError | None = None
    for family, kind, protocol, _, address in _socket.getaddrinfo(
        host, port, 0, socket.SOCK_STREAM
    ):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_TIMEOUT_S)
            sock.connect(address)
            if not secure:
                return sock
            return ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        except OSError as error:
            sock.close()
            problem = error
    raise problem or OSError(f"{host} has no address")


def import_vcr(source: str | Path, target: str | Path, core: ModelCore) -> Cassette:
    """Make a cassette of one recorded by VCR.py.

    What asks no model (lists, files) is left out, and so is what no dialect of the server knows.

    :param source: VCR.py's YAML or JSON file.
    :param target: where the cassette is written.
    :raises UsageError: when ``source`` is no cassette of VCR.py.
    """
    from windtunnel.models.files import read

    document = read(Path(source))
    if not isinstance(document, dict) or "interactions" not in document:
        raise UsageError(f"{source} is no cassette of VCR.py", found=str(document)[:80])
    made = Cassette(target)
    for number, entry in enumerate(document["interactions"]):
        try:
            request, answer = _vcr_request(entry["request"]), entry["response"]
            status = int(answer["status"]["code"])
            headers = {key.lower(): value for key, value in (answer.get("headers") or {}).items()}
            body = _vcr_body(answer["body"].get("string", b""), _first(headers, "content-encoding"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"{source}: interactions[{number}] is incomplete", found=repr(error)
            ) from None
        call = core.read(request)
        if call is not None:
            kind = _first(headers, "content-type") or "application/json"
            made.add_raw(call, status, kind, body)
    made.save()
    return made


def _vcr_request(given: Any) -> HttpRequest:
    url = urlsplit(given["uri"])
    headers = [("host", url.hostname or "")]
    for name, value in (given.get("headers") or {}).items():
        headers.append((name.lower(), value[0] if isinstance(value, list) else str(value)))
    body = given.get("body") or b""
    data = body.encode() if isinstance(body, str) else bytes(body)
    return HttpRequest(given["method"], url.path, url.query, tuple(headers), data)


def _first(headers: dict[str, Any], name: str) -> str:
    value = headers.get(name) or ""
    return str(value[0]) if isinstance(value, list) else str(value)


def _vcr_body(body: Any, encoding: str) -> bytes:
    data = body.encode() if isinstance(body, str) else bytes(body)
    if encoding == "gzip" and data[:2] == b"\x1f\x8b":
        import gzip

        return gzip.decompress(data)
    if encoding == "deflate":
        import zlib

        return zlib.decompress(data)
    return data


__all__ = ["Mode", "Recorder", "Relay", "forward", "import_vcr"]

"""HTTP/1.1 requests out of bytes as they arrive, without a socket.

A client on a kept connection sends the same head again and again, with another length at most. So
a head is found by its blank line and looked up whole among those already read; only one not seen
before is parsed, by llhttp (httptools), which refuses what is malformed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

from windtunnel.core.errors import MissingExtraError
from windtunnel.models.protocol import HttpRequest

try:
    import httptools
except ImportError as error:
    raise MissingExtraError("models", needed_for="a model server") from error

MAX_HEAD = 64 * 1024
MAX_BODY = 1 << 30
_CACHED = 1024
_END = b"\r\n\r\n"
_new = tuple.__new__  # what a NamedTuple's own call does, but at once
_HEX = re.compile(rb"[0-9a-fA-F]{1,15}")


class BadRequestError(Exception):
    """The bytes are no request that can be answered otherwise; the connection must be closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclasses.dataclass(frozen=True, slots=True)
class Head:
    """A request's head, parsed.

    :param length: bytes of the body, -1 where it is chunked.
    :param continues: whether the client waits for ``100 Continue`` before it sends the body.
    """

    method: str
    path: str
    query: str
    headers: tuple[tuple[str, str], ...]
    version: str
    keep_alive: bool
    length: int
    continues: bool

    def with_body(self, body: bytes) -> HttpRequest:
        """The request."""
        fields = self.method, self.path, self.query, self.headers, body, self.version
        return _new(HttpRequest, (*fields, self.keep_alive))


class _Parsing:
    """What llhttp tells about one request."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[str, str]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))


_heads: dict[bytes, Head] = {}


def _parse_head(data: bytes) -> Head:
    told = _Parsing()
    parser = httptools.HttpRequestParser(told)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # nothing is upgraded: it is answered as it stands
    except httptools.HttpParserError as error:
        raise BadRequestError(400, f"malformed request: {error}") from None
    except UnicodeDecodeError as error:
        raise BadRequestError(400, f"malformed request: {error}") from None
    method = parser.get_method().decode("ascii")
    target = told.url
    if target[:1] != b"/" and b"://" in target:  # absolute form, as to a proxy
        target = b"/" + target.split(b"://", 1)[1].partition(b"/")[2]
    raw_path, _, query = target.decode("latin-1").partition("?")
    headers = dict(told.headers)
    chunked = "transfer-encoding" in headers
    length = -1 if chunked else int(headers.get("content-length") or 0)
    if length > MAX_BODY:
        raise BadRequestError(413, f"a body of {length} bytes is larger than {MAX_BODY}")
    version = parser.get_http_version()
    if version not in ("1.1", "1.0"):
        raise BadRequestError(505, f"HTTP/{version} is not spoken here, but HTTP/1.1 is")
    return Head(
        method,
        raw_path,
        query.partition("#")[0],
        tuple(told.headers),
        version,
        # llhttp forgets this as soon as a message without a body is complete.
        version != "1.0" and "close" not in headers.get("connection", "").lower(),
        length,
        headers.get("expect", "").lower() == "100-continue",
    )


class RequestReader:
    """Cuts requests out of what arrives on one connection.

    >>> reader = RequestReader(lambda: None)
    >>> reader.feed(b"POST /a?b=c HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 2\\r\\n\\r\\nhiGET")
    >>> reader.next().body
    b'hi'
    >>> print(reader.next())
    None

    :param proceed: called when a client waits for ``100 Continue``.
    """

    __slots__ = ("_chunks", "_data", "_head", "_parts", "_proceed", "_size")

    def __init__(self, proceed: Callable[[], None]) -> None:
        self._proceed = proceed
        self._data = b""
        self._head: Head | None = None  # of the request whose body is being read
        self._parts: list[bytes] = []
        self._size = 0
        self._chunks: Chunked | None = None

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        if self._head is not None and self._chunks is None:
            self._parts.append(data)
            self._size += len(data)
        else:
            self._data = self._data + data if self._data else data

    @property
    def pending(self) -> int:
        """Bytes taken that belong to no finished request."""
        return len(self._data) + self._size

    def next(self) -> HttpRequest | None:
        """The next whole request, None until more arrives.

        :raises BadRequestError: where there will never be one.
        """
        head = self._head
        if head is not None:
            return self._continued(head)
        data = self._data
        end = data.find(_END)
        if end < 0:
            if data:
                self._check_beginning(data)
            return None
        end += 4
        block = data[:end]
        head = _heads.get(block)
        if head is None:
            head = self._new_head(block)
        length = head.length
        if length >= 0:
            after = end + length
            size = len(data)
            if after == size:
                self._data = b""
                return head.with_body(data[end:])
            if after < size:
                self._data = data[after:]
                return head.with_body(data[end:after])
        return self._begin_body(head, data[end:])

    def _new_head(self, block: bytes) -> Head:
        if len(block) > MAX_HEAD:
            raise BadRequestError(431, f"a head of more than {MAX_HEAD} bytes")
        start = len(block) - len(block.lstrip(b"\r\n"))
        head = _parse_head(block[start:])
        if len(block) <= 4096:
            if len(_heads) >= _CACHED:
                _heads.clear()
            _heads[block] = head
        return head

    def _check_beginning(self, data: bytes) -> None:
        if len(data) > MAX_HEAD:
            raise BadRequestError(431, f"a head of more than {MAX_HEAD} bytes")
        first = data.lstrip(b"\r\n")
        if first and not first[:1].isalpha():
            raise BadRequestError(400, "malformed request: it begins with no method")
        if b"\r\n" in first or b"\n\n" in first:
            # A wrong request line shall not wait for the rest of its head.
            try:
                httptools.HttpRequestParser(_Parsing()).feed_data(first)
            except httptools.HttpParserError as error:
                raise BadRequestError(400, f"malformed request: {error}") from None

    def _begin_body(self, head: Head, rest: bytes) -> HttpRequest | None:
        if head.continues and not rest:
            self._proceed()
        self._head = head
        if head.length < 0:
            self._chunks = Chunked()
            self._data = rest
            return self._continued(head)
        self._data = b""
        self._parts = [rest]
        self._size = len(rest)
        return None

    def _continued(self, head: Head) -> HttpRequest | None:
        if self._chunks is not None:
            self._data = self._chunks.feed(self._data)
            if not self._chunks.complete:
                return None
            body = b"".join(self._chunks.parts)
            self._head = self._chunks = None
            return head.with_body(body)
        if self._size < head.length:
            return None
        data = b"".join(self._parts)
        self._parts, self._size, self._head = [], 0, None
        self._data = data[head.length :]
        return head.with_body(data[: head.length])


class Chunked:
    """The chunked transfer coding (RFC 9112, 7.1), undone.

    >>> body = Chunked()
    >>> body.feed(b"3\\r\\nabc\\r\\n0\\r\\n\\r\\nGET /"), body.complete, body.parts
    (b'GET /', True, [b'abc'])
    """

    __slots__ = ("_left", "_size", "_trailer", "complete", "parts")

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.complete = False
        self._left = 0  # of the present chunk, its line end included
        self._size = 0
        self._trailer = False

    def feed(self, data: bytes) -> bytes:
        """Take bytes; those that cannot be used yet, or belong to what follows, are returned.

        :raises BadRequestError: where it is no chunked body, or too long a one.
        """
        at = 0
        while not self.complete:
            if self._left:
                used = self._inside(data, at)
                if not used:
                    break
                at += used
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > MAX_HEAD:
                    raise BadRequestError(400, "malformed chunked body: a line without end")
                break
            line, at = data[at:end], end + 2
            if self._trailer:
                self.complete = not line
            else:
                self._begin(line)
        return data[at:]

    def _begin(self, line: bytes) -> None:
        size = line.partition(b";")[0].strip()
        if not _HEX.fullmatch(size):
            raise BadRequestError(400, "malformed chunked body: no chunk size")
        length = int(size, 16)
        self._trailer = length == 0
        self._left = length + 2 if length else 0
        self._size += length
        if self._size > MAX_BODY:
            raise BadRequestError(413, f"a body larger than {MAX_BODY} bytes")

    def _inside(self, data: bytes, at: int) -> int:
        """Take what is there of a chunk; how many bytes that were."""
        there = len(data) - at
        if there >= self._left:
            end = at + self._left
            if data[end - 2 : end] != b"\r\n":
                raise BadRequestError(400, "malformed chunked body: a chunk of another length")
            self.parts.append(data[at : end - 2])
            used, self._left = self._left, 0
            return used
        used = min(there, self._left - 2)  # its line end stays until it is whole
        if used > 0:
            self.parts.append(data[at : at + used])
            self._left -= used
        return max(used, 0)

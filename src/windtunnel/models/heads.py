"""Response heads, built once and kept: status line and headers as the bytes that go out."""

from __future__ import annotations

import http
from email.utils import formatdate
from functools import lru_cache

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus} | {529: "Overloaded"}


@lru_cache(maxsize=256)
def status_line(status: int) -> bytes:
    """``HTTP/1.1 200 OK`` and its line end."""
    return f"HTTP/1.1 {status} {_PHRASES.get(status, 'Unknown')}\r\n".encode()


def line(name: str, value: str) -> bytes:
    """One header line. Line breaks in a value become spaces: nothing can be smuggled in."""
    if "\n" in value or "\r" in value:
        value = value.replace("\r", " ").replace("\n", " ")
    return f"{name}: {value}\r\n".encode("latin-1", "replace")


@lru_cache(maxsize=1)
def date_line(second: int) -> bytes:
    """The ``date`` header for that second."""
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode()


def built(status: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The head up to those headers."""
    return b"%bserver: windtunnel\r\ncontent-type: %b\r\n%b" % (
        status_line(status),
        content_type.encode("latin-1", "replace"),
        b"".join(line(name, value) for name, value in headers),
    )


@lru_cache(maxsize=256)
def constant(status: int, content_type: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """What the heads of a dialect's responses of one kind have in common."""
    return built(status, content_type, headers)


__all__ = ["built", "constant", "date_line", "line", "status_line"]

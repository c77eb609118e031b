"""The host functions of the prompt: files, addresses and environment, each behind a capability."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from windtunnel.sessions.hosting import HostFunction, host_function

_LONGEST_BODY = 10_000_000


@host_function(needs="fs.read", operation="read", resource="path")
def read_file(path: str) -> str:
    """The text of a file."""
    return Path(path).read_text(encoding="utf-8")


@host_function(needs="fs.read", operation="list", resource="path")
def list_dir(path: str) -> list[str]:
    """The names in a folder, sorted."""
    return sorted(os.listdir(path))


@host_function(needs="fs.write", operation="write", resource="path")
def write_file(path: str, text: str) -> int:
    """Write a file; returns the number of characters."""
    return Path(path).write_text(text, encoding="utf-8")


@host_function(needs="net.connect", operation="get", resource="url")
def fetch(url: str) -> str:
    """The body of a page, as text. A redirect is an error: it leads to what was not asked for."""
    opener = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({}))
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("fetch reads http and https")
    with opener.open(url, timeout=30) as answer:
        body: bytes = answer.read(_LONGEST_BODY + 1)
    if len(body) > _LONGEST_BODY:
        raise ValueError(f"the body is longer than {_LONGEST_BODY} bytes")
    return body.decode("utf-8", "replace")


@host_function(needs="env.read", operation="read", resource="name")
def getenv(name: str) -> str | None:
    """A variable of the environment."""
    return os.environ.get(name)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        raise urllib.error.HTTPError(req.full_url, code, f"{msg} (not followed)", headers, fp)


FUNCTIONS: tuple[HostFunction, ...] = (read_file, list_dir, write_file, fetch, getenv)

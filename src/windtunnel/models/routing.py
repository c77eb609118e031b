"""Which dialect and which endpoint a request is for.

A path without a name in it is one dictionary look-up. Where several dialects have the same path,
the one whose provider's host is asked for answers, else the first that claims the request by its
headers, else the first that has the path. A first segment that is a dialect's name
(``/anthropic/v1/models``) decides it outright.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import unquote

from windtunnel.models.dialects import Dialect
from windtunnel.models.protocol import HttpRequest, Params, ReplyError

_NAME = re.compile(r"\{(\w+)(:path)?\}")
_NONE: dict[str, str] = {}
_DECIDED = 256

Found = tuple[Dialect, str, Params]


@lru_cache(maxsize=32)
def routes_of(dialects: tuple[Dialect, ...]) -> Routes:
    """The routes of these dialects, compiled once."""
    return Routes(dialects)


class Routes:
    """The routes of a server's dialects.

    :meth:`find` gives the endpoint ``""`` where no dialect has the path or method; the dialect
    then is the one most likely meant, which writes the error.
    """

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self._dialects = dialects
        self._by_name = {spoken.name: spoken for spoken in dialects}
        self._hosts = {host: spoken for spoken in dialects for host in spoken.hosts}
        self._static: dict[tuple[str, str], list[Found]] = {}
        self._decided: dict[tuple[int, str], tuple[object, Found]] = {}
        self._patterns: list[tuple[str, re.Pattern[str], Dialect, str]] = []
        self._marks = {mark: spoken for spoken in dialects for mark in getattr(spoken, "marks", ())}
        # Paths that a dialect has only because it imitates another are first the other's.
        routes = [(spoken, route) for spoken in dialects for route in spoken.routes]
        routes.sort(key=lambda pair: pair[1].endpoint in getattr(pair[0], "imitated", ()))
        for spoken, route in routes:
            if "{" in route.path:
                pattern = re.compile(_expression(route.path))
                self._patterns.append((route.method, pattern, spoken, route.endpoint))
            else:
                key = route.method, route.path
                self._static.setdefault(key, []).append((spoken, route.endpoint, _NONE))

    def find(self, request: HttpRequest) -> Found:
        """The dialect, endpoint and parameters of a request."""
        found = self._static.get((request.method, request.path))
        if found is None:
            return self._find(request)
        if len(self._dialects) == 1:
            return found[0]
        # Heads are kept parsed (see `wire`): the same headers are mostly the same object.
        headers = request.headers
        key = id(headers), request.path
        decided = self._decided.get(key)
        if decided is None or decided[0] is not headers or request.query:
            decided = headers, self._best(request, found)
            if len(self._decided) >= _DECIDED:
                self._decided.clear()
            if not request.query:
                self._decided[key] = decided
        return decided[1]

    def refusal(self, request: HttpRequest, spoken: Dialect) -> ReplyError:
        """Why that dialect has no endpoint: the path is unknown to it, or the method is wrong."""
        path = _plain(request.path)
        if self._has(path, spoken) or self._has(self._stripped(path)[1], spoken):
            return ReplyError(405, "invalid_request", f"Not allowed to {request.method} on {path}")
        return ReplyError(404, "not_found", f"Invalid URL ({request.method} {path})")

    def _has(self, path: str, spoken: Dialect) -> bool:
        return any(path == route.path for route in spoken.routes) or any(
            owner is spoken and pattern.fullmatch(path) for _, pattern, owner, _ in self._patterns
        )

    def _find(self, request: HttpRequest) -> Found:
        path = _plain(request.path)
        candidates = self._of_method(request.method, path)
        named = None
        if not candidates:
            named, path = self._stripped(path)
            if named is not None:
                candidates = self._of_method(request.method, path)
                candidates = [found for found in candidates if found[0] is named]
        if not candidates:
            return named or self._likely(request, path), "", _NONE
        if named is not None:
            return candidates[0]
        return self._best(request, candidates)

    def _of_method(self, method: str, path: str) -> list[Found]:
        candidates = self._candidates(method, path)
        if not candidates and method == "HEAD":
            candidates = self._candidates("GET", path)
        return candidates

    def _stripped(self, path: str) -> tuple[Dialect | None, str]:
        """The dialect that the first segment names, and the path without it."""
        first, _, rest = path[1:].partition("/")
        named = self._by_name.get(first)
        return (named, f"/{rest}") if named is not None else (None, path)

    def _candidates(self, method: str, path: str) -> list[Found]:
        found = list(self._static.get((method, path), ()))
        for verb, pattern, spoken, endpoint in self._patterns:
            if verb == method and (match := pattern.fullmatch(path)):
                params = {name: unquote(value) for name, value in match.groupdict().items()}
                found.append((spoken, endpoint, params))
        return found

    def _best(self, request: HttpRequest, candidates: list[Found]) -> Found:
        host = self._hosts.get(request.header("host").partition(":")[0])
        for found in candidates:
            if found[0] is host:
                return found
        if len(candidates) > 1:
            for found in candidates:
                if found[0].claims(request):
                    return found
        # A client of an API that has no such path is not answered by one that has.
        for name, _ in request.headers:
            stranger = self._marks.get(name)
            if stranger is not None and all(found[0] is not stranger for found in candidates):
                return stranger, "", _NONE
        return candidates[0]

    def _likely(self, request: HttpRequest, path: str) -> Dialect:
        """Whose error an unknown path gets: the host's, or, among the dialects with routes below
        the same first segment (all, where none has), the claimant's or the first's."""
        host = self._hosts.get(request.header("host").partition(":")[0])
        if host is not None:
            return host
        first = "/".join(path.split("/")[:2])
        near = [
            spoken
            for spoken in self._dialects
            if any(f"{route.path}/".startswith(f"{first}/") for route in spoken.routes)
        ]
        for spoken in near or self._dialects:
            if spoken.claims(request):
                return spoken
        return (near or self._dialects)[0]


def _plain(path: str) -> str:
    """The path as the routes write it, with neither doubled nor trailing slashes."""
    if "//" in path or (len(path) > 1 and path[-1] == "/"):
        return re.sub("/+", "/", path).rstrip("/") or "/"
    return path


def _expression(path: str) -> str:
    parts, end = [], 0
    for match in _NAME.finditer(path):
        parts.append(re.escape(path[end : match.start()]))
        # A segment stops at a colon too: /v1beta/models/{model}:generateContent
        inside = ".+" if match[2] else "[^/]+?"
        parts.append(f"(?P<{match[1]}>{inside})")
        end = match.end()
    return "".join((*parts, re.escape(path[end:])))

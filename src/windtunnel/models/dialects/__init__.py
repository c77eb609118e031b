"""The model APIs, one dialect each, and what a dialect is.

A dialect is stateless: it reads requests, writes responses, and keeps what must be kept in the
:class:`~windtunnel.models.state.ServerState` it is handed. It knows its provider's validation,
error bodies, identifiers and stream frames; it does not know scripts, faults, pacing or sockets.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Protocol

from windtunnel.core.errors import UsageError
from windtunnel.models.protocol import (
    Headers,
    HttpRequest,
    ModelCall,
    Params,
    RateState,
    Reply,
    ReplyError,
    Response,
    Route,
    Usage,
)
from windtunnel.models.state import ServerState


class Dialect(Protocol):
    """One model API.

    Attributes that are looked at once, when a server is made:

    - ``name``: the word for it, ``"openai"``.
    - ``hosts``: the provider's own host names; in-process clients that call them are answered.
    - ``routes``: what it answers, the commonest first.
    - ``default_models``: names listed when the user lists none.
    - ``request_id_header``: the header that bears the request's id, empty for none.
    - ``headers``: what every response bears, such as the API's version.

    And, where it has them: ``pure``, the endpoints whose calls follow from the bytes of a request
    and the models there are, alone; ``marks``, names of headers that no other API's clients send;
    ``imitated``, endpoints that are there as another API has them.
    """

    name: str
    hosts: tuple[str, ...]
    routes: Sequence[Route]
    default_models: tuple[str, ...]
    request_id_header: str
    headers: tuple[tuple[str, str], ...]

    def claims(self, request: HttpRequest) -> bool:
        """Whether a request on a path that two dialects have (``/v1/models``) is this one's, by
        its headers or query."""
        ...

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        """Read a request and validate it as the provider does.

        :returns: the call, or, for what needs no model (lists, files, batches), the response.
        :raises RefusedError: where the provider would refuse the request.
        """
        ...

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        """Write a reply; streamed where ``call.stream``. ``reply`` has no error, and is complete:
        text that satisfies the schema, vectors for embeddings are the core's to make, except
        seeded embeddings and media, which are made here where the reply has none.

        The body of a stream may be a generator, taken frame by frame as they are sent.
        """
        ...

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        """An error in the provider's body; ``retry-after`` is added by the core. ``message`` and
        ``code`` may be empty: then the provider's usual ones for that kind."""
        ...

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        """The frame by which the provider reports an error in the midst of a stream."""
        ...

    def key_of(self, request: HttpRequest) -> str | None:
        """The API key the request presents, None for none."""
        ...

    def request_id(self, state: ServerState) -> str:
        """A new request id, as the provider writes them; empty where it has none."""
        ...

    def rate_headers(self, rate: RateState) -> Headers:
        """The provider's rate-limit headers."""
        ...

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        """Environment variables by which the official clients find a server at ``url`` (which has
        no slash at its end)."""
        ...


_HOMES: dict[str, tuple[str, str]] = {
    "openai": ("windtunnel.models.dialects.openai", "OpenAI"),
    "ollama": ("windtunnel.models.dialects.ollama", "Ollama"),
    "anthropic": ("windtunnel.models.dialects.anthropic", "Anthropic"),
    "gemini": ("windtunnel.models.dialects.gemini", "Gemini"),
}

ALL: tuple[str, ...] = tuple(_HOMES)
"""The names of all dialects; on a path that several have, an earlier one is asked first."""

_loaded: dict[str, Dialect] = {}


def dialect(name: str) -> Dialect:
    """The dialect of that name, imported when first asked for.

    :raises UsageError: where there is none.
    """
    found = _loaded.get(name)
    if found is None:
        if name not in _HOMES:
            raise UsageError(
                "there is no such dialect", found=repr(name), fix=f"use {', '.join(ALL)}"
            )
        module, cls = _HOMES[name]
        made: Dialect = getattr(importlib.import_module(module), cls)()
        _loaded[name] = found = made
    return found


def register(made: Dialect) -> None:
    """Add a dialect of one's own, under its name."""
    _HOMES[made.name] = ("", "")
    _loaded[made.name] = made

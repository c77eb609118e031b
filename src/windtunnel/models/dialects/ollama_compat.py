"""The OpenAI and Anthropic endpoints of an Ollama server: those dialects with Ollama's models.

Requests, answers and streams are those of the dialects proper; the models are Ollama's, as are the
words when there is no such model, and errors below ``/v1`` have the short shape that Ollama's
compatibility layer gives them.

Source: https://github.com/ollama/ollama/blob/main/openai/openai.go, middleware/openai.go.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from windtunnel.models.dialects import Dialect, dialect
from windtunnel.models.dialects import ollama_models as models
from windtunnel.models.dialects.ollama_requests import answer
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import (
    HttpRequest,
    JsonObject,
    ModelCall,
    Params,
    RefusedError,
    Reply,
    ReplyError,
    Response,
    Route,
    Usage,
)
from windtunnel.models.state import ModelEntry, ServerState
from windtunnel.models.vectors import vector

_PREFIX = "/v1"
_MESSAGES = "/v1/messages"

# Endpoints as the other dialect names them, found once by asking for its routes.
_WANTED: tuple[tuple[str, str, str], ...] = (
    ("openai", "POST", "/v1/chat/completions"),
    ("openai", "POST", "/v1/completions"),
    ("openai", "POST", "/v1/embeddings"),
    ("openai", "POST", "/v1/responses"),
    ("openai", "POST", "/v1/images/generations"),
    ("openai", "POST", "/v1/audio/transcriptions"),
    ("anthropic", "POST", "/v1/messages"),
)
ROUTES: tuple[Route, ...] = (
    *(Route(method, path, f"{name} {path}") for name, method, path in _WANTED),
    Route("GET", "/v1/models", "v1 models"),
    Route("GET", "/v1/models/{model:path}", "v1 model"),
)
# What these ask follows from their bytes and the models alone, as in the dialects they are of.
PURE = frozenset(
    f"{name} {path}"
    for name, _, path in _WANTED
    if path.rpartition("/v1/")[2] in ("chat/completions", "completions", "embeddings", "messages")
)
_TYPES = {400: "invalid_request_error", 404: "not_found_error"}


def covers(path: str) -> bool:
    """Whether a path is one of these."""
    return path.removeprefix("/ollama").startswith(_PREFIX)


def parse(
    endpoint: str, request: HttpRequest, params: Params, state: ServerState
) -> ModelCall | Response:
    """Read a request for one of these endpoints."""
    if endpoint == "v1 models":
        listed = [_card(entry) for entry in state.models.of("ollama")]
        return answer({"object": "list", "data": listed})
    if endpoint == "v1 model":
        return answer(_card(models.wanted(params["model"], state)))
    name, path = endpoint.split(" ", 1)
    _check_model(request, state)
    other = dialect(name)
    return other.parse(_endpoint(other, path), request, params, state)


def _check_model(request: HttpRequest, state: ServerState) -> None:
    """Refuse a body that names a model which is not there; one that names none is left to the
    dialect's refusal."""
    try:
        body = loads(request.body)
    except ValueError:
        return
    name = body.get("model") if isinstance(body, dict) else None
    if isinstance(name, str) and name:
        models.wanted(name, state)


def _endpoint(other: Dialect, path: str) -> str:
    for route in other.routes:
        if route.method == "POST" and route.path == path:
            return route.endpoint
    raise RefusedError(ReplyError(404, "not_found", f"Invalid URL (POST {path})"))


def render(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """Write a reply as the dialect it was asked in; embeddings have the size of Ollama's model."""
    entry = models.find(call.model, state)
    if entry is not None:
        models.load(entry, state, None)
    if entry is not None and call.kind == "embedding" and not reply.embeddings:
        wanted = call.raw.get("dimensions")
        size = wanted if isinstance(wanted, int) and wanted else models.dimensions(entry)
        vectors = tuple(tuple(vector(text, size, state.seed.value)) for text in call.inputs)
        reply = dataclasses.replace(reply, embeddings=vectors)
    return dialect(call.dialect).render(call, reply, usage, state)


def error(error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
    """An error as the compatibility layer writes it."""
    if _MESSAGES in request.path:
        return dialect("anthropic").error(error, request, state)
    if error.message.startswith("Invalid URL ("):
        return Response(404, b"404 page not found", "text/plain")
    plain = dialect("openai").error(error, request, state)
    message = error.message or _message_in(plain)
    body: JsonObject = {
        "message": message,
        "type": _TYPES.get(error.status, "api_error"),
        "param": None,
        "code": None,
    }
    return Response(error.status, dumps({"error": body}), "application/json; charset=utf-8")


def _message_in(response: Response) -> str:
    body: Any = loads(response.body) if isinstance(response.body, bytes) else {}
    return str(body.get("error", {}).get("message", ""))


def stream_error(error: ReplyError, call: ModelCall) -> bytes:
    """The frame for an error in the midst of a stream."""
    return dialect(call.dialect).stream_error(error, call)


def key_of(request: HttpRequest) -> str | None:
    """The bearer token of a request."""
    kind, _, token = request.header("authorization").partition(" ")
    if kind.lower() == "bearer" and token:
        return token.strip()
    return request.header("x-api-key") or None


def _card(entry: ModelEntry) -> JsonObject:
    return {
        "id": models.tagged(entry.name),
        "object": "model",
        "created": int(entry.details.get("modified_at", entry.created)),
        "owned_by": "library",
    }

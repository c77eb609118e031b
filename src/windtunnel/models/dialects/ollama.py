"""Ollama's API: its own endpoints below ``/api``, and the OpenAI and Anthropic ones it has besides.

Source: https://github.com/ollama/ollama/blob/main/docs/api.md and server/routes.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from windtunnel.models.dialects import ollama_compat as compat
from windtunnel.models.dialects import ollama_replies as replies
from windtunnel.models.dialects import ollama_requests as requests
from windtunnel.models.dialects import ollama_shelf as shelf
from windtunnel.models.jsonio import dumps
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

_MODEL_CALLS: Mapping[str, Callable[[HttpRequest, ServerState], ModelCall | Response]] = {
    "chat": requests.chat,
    "generate": requests.generate,
    "embed": requests.embed,
    "embeddings": requests.embeddings,
}
_OTHERS: Mapping[str, Callable[[HttpRequest, Params, ServerState], Response]] = {
    "running": shelf.running,
    "version": shelf.version,
    "status": shelf.status,
    "me": shelf.me,
    "tags": shelf.tags,
    "ps": shelf.ps,
    "show": shelf.show,
    "copy": shelf.copy,
    "delete": shelf.delete,
    "pull": shelf.pull,
    "push": shelf.push,
    "create": shelf.create,
    "head_blob": shelf.head_blob,
    "create_blob": shelf.create_blob,
}
_MESSAGES = {
    "authentication": "unauthorized",
    "permission": "forbidden",
    "not_found": "404 page not found",
    "model_not_found": "model not found",
    "too_large": "http: request body too large",
    "rate_limit": "you've reached your usage limit, please try again later",
    "quota": "you've reached your usage limit, please upgrade to continue",
    "server": (
        "model runner has unexpectedly stopped, this may be due to resource limitations or an "
        "internal error, check ollama server logs for details"
    ),
    "overloaded": "server busy, please try again.  maximum pending requests exceeded",
    "unavailable": "server busy, please try again.  maximum pending requests exceeded",
    "timeout": "timed out waiting for llama runner to start",
    "context_length": "the input length exceeds the context length",
    "content_filter": "the response was stopped by a content filter",
}


class Ollama:
    """The dialect ``ollama``."""

    name = "ollama"
    hosts: tuple[str, ...] = ("ollama.com",)
    routes: Sequence[Route] = (
        Route("POST", "/api/chat", "chat"),
        Route("POST", "/api/generate", "generate"),
        Route("POST", "/api/embed", "embed"),
        Route("POST", "/api/embeddings", "embeddings"),
        Route("GET", "/api/tags", "tags"),
        Route("GET", "/api/ps", "ps"),
        Route("POST", "/api/show", "show"),
        Route("GET", "/api/version", "version"),
        Route("GET", "/", "running"),
        Route("POST", "/api/pull", "pull"),
        Route("POST", "/api/push", "push"),
        Route("POST", "/api/create", "create"),
        Route("POST", "/api/copy", "copy"),
        Route("DELETE", "/api/delete", "delete"),
        Route("HEAD", "/api/blobs/{digest}", "head_blob"),
        Route("POST", "/api/blobs/{digest}", "create_blob"),
        Route("GET", "/api/status", "status"),
        Route("POST", "/api/me", "me"),
        *compat.ROUTES,
    )
    default_models: tuple[str, ...] = (
        "llama3.2",
        "llama3.1:8b",
        "qwen3",
        "gpt-oss:20b",
        "deepseek-r1:8b",
        "gemma3",
        "mistral",
        "llava",
        "nomic-embed-text",
        "all-minilm",
    )
    imitated = frozenset(route.endpoint for route in compat.ROUTES)
    # Models are loaded when they answer, not when it is read what they are asked.
    pure = frozenset({"chat", "generate", "embed", "embeddings"}) | compat.PURE
    request_id_header = ""
    headers: tuple[tuple[str, str], ...] = ()

    def claims(self, request: HttpRequest) -> bool:
        """Whether the client says that it is Ollama's."""
        return request.header("user-agent").startswith("ollama-")

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        """Read a request; see :class:`~windtunnel.models.dialects.Dialect`."""
        read = _MODEL_CALLS.get(endpoint)
        if read is not None:
            return read(request, state)
        other = _OTHERS.get(endpoint)
        if other is not None:
            return other(request, params, state)
        return compat.parse(endpoint, request, params, state)

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        """Write a reply; see :class:`~windtunnel.models.dialects.Dialect`."""
        if call.dialect != self.name:
            return compat.render(call, reply, usage, state)
        if call.kind == "embedding":
            return replies.embed(call, reply, usage, state)
        if call.endpoint == "chat":
            return replies.chat(call, reply, usage, state)
        return replies.generate(call, reply, usage, state)

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        """An error as Ollama writes it: ``{"error": "..."}``; plain text for an unknown path."""
        if compat.covers(request.path):
            return compat.error(error, request, state)
        if error.param is None and error.message.startswith(("Invalid URL (", "Not allowed to ")):
            words = b"404 page not found" if error.status == 404 else b"405 method not allowed"
            return Response(error.status, words, "text/plain")
        status = 503 if error.status == 529 else error.status  # which is Anthropic's alone
        return Response(status, dumps({"error": message_of(error)}), requests.JSON)

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        """The line by which Ollama reports an error once it has begun to answer."""
        if call.dialect != self.name:
            return compat.stream_error(error, call)
        return dumps({"error": message_of(error)}) + b"\n"

    def key_of(self, request: HttpRequest) -> str | None:
        """The key of ollama.com, which a local server does not ask for."""
        return compat.key_of(request)

    def request_id(self, state: ServerState) -> str:
        """Ollama gives its requests no ids."""
        return ""

    def rate_headers(self, rate: RateState) -> Headers:
        """Ollama has no rate limits to tell of."""
        return ()

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        """Where the clients, and litellm, look for the server."""
        return {
            "OLLAMA_HOST": url,
            "OLLAMA_BASE_URL": url,
            "OLLAMA_API_BASE": url,
            "OLLAMA_API_KEY": key,
        }


def message_of(error: ReplyError) -> str:
    """The error's message, or Ollama's usual one for its kind."""
    return error.message or _MESSAGES.get(error.kind, "something went wrong")

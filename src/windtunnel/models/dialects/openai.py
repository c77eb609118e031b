"""OpenAI's API: which paths there are, and which function reads or writes what.

Everything is in the modules beside this one: ``openai_chat_*``, ``openai_responses_*``,
``openai_plain`` (completions, embeddings, moderations), ``openai_images``, ``openai_audio``,
``openai_files``, ``openai_batches``, ``openai_conversations`` and ``openai_models``.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from windtunnel.models.dialects import (
    openai_audio,
    openai_batches,
    openai_conversations,
    openai_files,
    openai_images,
    openai_models,
    openai_responses_store,
)
from windtunnel.models.dialects.openai_chat_reply import render_chat
from windtunnel.models.dialects.openai_chat_request import parse_chat
from windtunnel.models.dialects.openai_errors import error_response, fields_of, key_of
from windtunnel.models.dialects.openai_plain import (
    parse_completion,
    parse_embedding,
    parse_moderation,
    render_completion,
    render_embedding,
    render_moderation,
)
from windtunnel.models.dialects.openai_responses_events import error_event
from windtunnel.models.dialects.openai_responses_reply import render_response
from windtunnel.models.dialects.openai_responses_request import parse_response
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

_Named: TypeAlias = Callable[[HttpRequest, Params, ServerState], Response]
_Parse: TypeAlias = Callable[[HttpRequest, ServerState], ModelCall]
_Deployed: TypeAlias = Callable[..., ModelCall]
_Render: TypeAlias = Callable[[ModelCall, Reply, Usage, ServerState], Response]

# Method, path below /v1, and what answers it without a model.
_SERVED: tuple[tuple[str, str, _Named], ...] = (
    ("GET", "models", openai_models.models),
    ("GET", "models/{model:path}", openai_models.model),
    ("DELETE", "models/{model:path}", openai_models.delete_model),
    ("GET", "chat/completions", openai_models.completions),
    ("GET", "chat/completions/{completion_id}", openai_models.completion),
    ("POST", "chat/completions/{completion_id}", openai_models.change_completion),
    ("DELETE", "chat/completions/{completion_id}", openai_models.delete_completion),
    ("GET", "chat/completions/{completion_id}/messages", openai_models.completion_messages),
    ("POST", "responses/compact", openai_responses_store.compact),
    ("POST", "responses/input_tokens", openai_responses_store.input_tokens),
    ("GET", "responses/{response_id}", openai_responses_store.retrieve),
    ("DELETE", "responses/{response_id}", openai_responses_store.delete),
    ("POST", "responses/{response_id}/cancel", openai_responses_store.cancel),
    ("GET", "responses/{response_id}/input_items", openai_responses_store.input_items),
    ("POST", "conversations", openai_conversations.create),
    ("GET", "conversations/{conversation_id}", openai_conversations.retrieve),
    ("POST", "conversations/{conversation_id}", openai_conversations.update),
    ("DELETE", "conversations/{conversation_id}", openai_conversations.delete),
    ("GET", "conversations/{conversation_id}/items", openai_conversations.items),
    ("POST", "conversations/{conversation_id}/items", openai_conversations.add_items),
    ("GET", "conversations/{conversation_id}/items/{item_id}", openai_conversations.item),
    ("DELETE", "conversations/{conversation_id}/items/{item_id}", openai_conversations.delete_item),
    ("GET", "files", openai_files.listed),
    ("POST", "files", openai_files.create),
    ("GET", "files/{file_id}", openai_files.retrieve),
    ("DELETE", "files/{file_id}", openai_files.delete),
    ("GET", "files/{file_id}/content", openai_files.content),
    ("POST", "uploads", openai_files.create_upload),
    ("POST", "uploads/{upload_id}/parts", openai_files.add_part),
    ("POST", "uploads/{upload_id}/complete", openai_files.complete_upload),
    ("POST", "uploads/{upload_id}/cancel", openai_files.cancel_upload),
    ("GET", "batches", openai_batches.listed),
    ("POST", "batches", openai_batches.create),
    ("GET", "batches/{batch_id}", openai_batches.retrieve),
    ("POST", "batches/{batch_id}/cancel", openai_batches.cancel),
    ("GET", "images/files/{name}", openai_images.image_file),
)
# The endpoints that a model answers: path below /v1, endpoint, reading and writing.
_ANSWERED: tuple[tuple[str, str, _Parse, _Render], ...] = (
    ("chat/completions", "chat", parse_chat, render_chat),
    ("responses", "responses", parse_response, render_response),
    ("embeddings", "embeddings", parse_embedding, render_embedding),
    ("completions", "completions", parse_completion, render_completion),
    ("moderations", "moderations", parse_moderation, render_moderation),
    (
        "images/generations",
        "images.generate",
        openai_images.parse_generation,
        openai_images.render_images,
    ),
    ("images/edits", "images.edit", openai_images.parse_edit, openai_images.render_images),
    (
        "images/variations",
        "images.variation",
        openai_images.parse_variation,
        openai_images.render_images,
    ),
    ("audio/speech", "audio.speech", openai_audio.parse_speech, openai_audio.render_speech),
    (
        "audio/transcriptions",
        "audio.transcription",
        openai_audio.parse_transcription,
        openai_audio.render_transcription,
    ),
    (
        "audio/translations",
        "audio.translation",
        openai_audio.parse_translation,
        openai_audio.render_transcription,
    ),
)
# Azure's clients name the model in the path.
_DEPLOYED: tuple[tuple[str, str, _Deployed], ...] = (
    ("chat/completions", "chat.deployed", parse_chat),
    ("completions", "completions.deployed", parse_completion),
    ("embeddings", "embeddings.deployed", parse_embedding),
)


class OpenAI:
    """The dialect; see :class:`~windtunnel.models.dialects.Dialect`."""

    name = "openai"
    hosts = ("api.openai.com",)
    routes = (
        *(Route("POST", f"/v1/{path}", endpoint) for path, endpoint, _, _ in _ANSWERED),
        *(Route(method, f"/v1/{path}", f"{method} {path}") for method, path, _ in _SERVED),
        *(
            Route("POST", f"{stem}/deployments/{{model}}/{path}", endpoint)
            for path, endpoint, _ in _DEPLOYED
            for stem in ("", "/openai")
        ),
    )
    default_models = openai_models.DEFAULTS
    request_id_header = "x-request-id"
    headers = (
        ("openai-organization", "org-windtunnel"),
        ("openai-version", "2020-10-01"),
        ("openai-processing-ms", "7"),
    )
    # What these read follows from the bytes of the request and the models there are, alone.
    pure = frozenset({"chat", "completions", "embeddings", "moderations"})

    def __init__(self) -> None:
        self._parsers = {endpoint: parse for _, endpoint, parse, _ in _ANSWERED}
        self._renderers = {endpoint: render for _, endpoint, _, render in _ANSWERED}
        self._served = {f"{method} {path}": serve for method, path, serve in _SERVED}
        self._deployed = {endpoint: parse for _, endpoint, parse in _DEPLOYED}

    def claims(self, request: HttpRequest) -> bool:
        """Whether a key came as OpenAI's clients send it."""
        headers = {name for name, _ in request.headers}
        if "anthropic-version" in headers or "x-goog-api-key" in headers:
            return False
        return "openai-organization" in headers or request.header("authorization").startswith(
            "Bearer "
        )

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        """Read a request."""
        parse = self._parsers.get(endpoint)
        if parse is not None:
            return parse(request, state)
        served = self._served.get(endpoint)
        if served is not None:
            return served(request, params, state)
        return self._deployed[endpoint](request, state, model=params["model"])

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        """Write a reply."""
        return self._renderers[call.endpoint](call, reply, usage, state)

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        """Write an error."""
        return error_response(error, request)

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        """The frame of an error in a stream."""
        inner = fields_of(error)
        if call.endpoint == "responses":
            return error_event(inner, call.options["sent"][0])
        return b"data: " + dumps({"error": inner}) + b"\n\n"

    def key_of(self, request: HttpRequest) -> str | None:
        """The key that a request presents."""
        return key_of(request)

    def request_id(self, state: ServerState) -> str:
        """A new request id."""
        return state.ids.hex("req_", 32)

    def rate_headers(self, rate: RateState) -> Headers:
        """The ``x-ratelimit-*`` headers."""
        return (
            ("x-ratelimit-limit-requests", str(rate.limit_requests)),
            ("x-ratelimit-limit-tokens", str(rate.limit_tokens)),
            ("x-ratelimit-remaining-requests", str(rate.remaining_requests)),
            ("x-ratelimit-remaining-tokens", str(rate.remaining_tokens)),
            ("x-ratelimit-reset-requests", _duration(rate.reset_requests_s)),
            ("x-ratelimit-reset-tokens", _duration(rate.reset_tokens_s)),
        )

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        """Where the official clients look for the server and the key."""
        base = f"{url}/v1"
        return {"OPENAI_BASE_URL": base, "OPENAI_API_BASE": base, "OPENAI_API_KEY": key}


def _duration(seconds: float) -> str:
    """A time as the rate-limit headers write it: ``6ms``, ``1.5s``, ``1m30s``."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}m{rest:.0f}s" if minutes else f"{rest:g}s"

"""Anthropic's API: messages, their batches, token counts, and models.

Source: https://docs.claude.com/en/api/overview.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from windtunnel.core.clock import WORLD_CLOCK
from windtunnel.models import tokens
from windtunnel.models.dialects import anthropic_batches as batches
from windtunnel.models.dialects import anthropic_completions as completions
from windtunnel.models.dialects import anthropic_messages as messages
from windtunnel.models.dialects import anthropic_models as models
from windtunnel.models.dialects.anthropic_checks import refused
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Headers,
    HttpRequest,
    JsonObject,
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

_TYPES = {
    "authentication": "authentication_error",
    "permission": "permission_error",
    "not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "too_large": "request_too_large",
    "rate_limit": "rate_limit_error",
    "quota": "billing_error",
    "server": "api_error",
    "overloaded": "overloaded_error",
    "unavailable": "api_error",
    "timeout": "timeout_error",
}
_MESSAGES = {
    "authentication": "invalid x-api-key",
    "permission": "Your API key does not have permission to use the specified resource.",
    "not_found": "Not Found",
    "model_not_found": "model: not found",
    "too_large": "Request exceeds the maximum size",
    "rate_limit": (
        "This request would exceed your organization's rate limit. Please try again later."
    ),
    "quota": (
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing"
        " to upgrade or purchase credits."
    ),
    "server": "Internal server error",
    "overloaded": "Overloaded",
    "unavailable": "Service temporarily unavailable",
    "timeout": "Request timed out",
    "context_length": "prompt is too long: 200001 tokens > 200000 maximum",
    "content_filter": "Output blocked by content filtering policy",
    "invalid_request": "Invalid request",
}


class Anthropic:
    """The dialect ``anthropic``."""

    name = "anthropic"
    hosts: tuple[str, ...] = ("api.anthropic.com",)
    routes: Sequence[Route] = (
        Route("POST", "/v1/messages", "messages"),
        Route("POST", "/v1/messages/count_tokens", "count_tokens"),
        Route("GET", "/v1/models", "models"),
        Route("GET", "/v1/models/{model:path}", "model"),
        Route("POST", "/v1/messages/batches", "batch_create"),
        Route("GET", "/v1/messages/batches", "batch_list"),
        Route("GET", "/v1/messages/batches/{batch}", "batch"),
        Route("DELETE", "/v1/messages/batches/{batch}", "batch_delete"),
        Route("POST", "/v1/messages/batches/{batch}/cancel", "batch_cancel"),
        Route("GET", "/v1/messages/batches/{batch}/results", "batch_results"),
        Route("POST", "/v1/complete", "complete"),
    )
    default_models: tuple[str, ...] = models.DEFAULT_MODELS
    pure = frozenset({"messages"})
    marks = frozenset({"anthropic-version"})
    request_id_header = "request-id"
    headers: tuple[tuple[str, str], ...] = (
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
    )

    def claims(self, request: HttpRequest) -> bool:
        """Whether the request bears one of Anthropic's headers, or its path is one of its own."""
        if request.path.startswith("/v1/messages"):
            return True
        return any(name in ("anthropic-version", "x-api-key") for name, _ in request.headers)

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        """Read a request; see :class:`~windtunnel.models.dialects.Dialect`."""
        if not request.header("anthropic-version"):
            raise refused("anthropic-version: header is required")
        if endpoint == "messages":
            return messages.parse(request, state)
        if endpoint == "count_tokens":
            call = messages.parse(request, state, counting=True)
            read = tokens.usage_of(call, Reply()).input_tokens
            return Response(200, dumps({"input_tokens": max(read, 1)}))
        if endpoint == "complete":
            return completions.parse(request, state)
        if endpoint == "models":
            return models.listed(request, state)
        if endpoint == "model":
            return models.retrieved(params["model"], state)
        return self._batch(endpoint, request, params, state)

    def _batch(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> Response:
        if endpoint == "batch_create":
            return batches.create(request, state)
        if endpoint == "batch_list":
            return batches.listed(request, state)
        name = params["batch"]
        if endpoint == "batch":
            return batches.retrieved(name, request, state)
        if endpoint == "batch_cancel":
            return batches.cancelled(name, request, state)
        if endpoint == "batch_delete":
            return batches.deleted(name, state)
        return batches.results(name, request, state)

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        """Write a reply; see :class:`~windtunnel.models.dialects.Dialect`."""
        if call.endpoint == "complete":
            return completions.render(call, reply, state)
        return messages.render(call, reply, usage, state)

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        """An error in Anthropic's body."""
        if error.kind == "authentication" and not error.message and self.key_of(request) is None:
            said = "x-api-key header is required"
        else:
            said = error.message
        name = self.request_id(state)
        body = dumps(_body(error, said) | {"request_id": name})
        return Response(error.status, body, headers=((self.request_id_header, name),))

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        """The ``error`` event."""
        return messages.frame("error", dumps(_body(error, error.message))).data

    def key_of(self, request: HttpRequest) -> str | None:
        """The key in ``x-api-key``, or a bearer token."""
        key = request.header("x-api-key")
        if key:
            return key
        kind, _, token = request.header("authorization").partition(" ")
        return token.strip() or None if kind.lower() == "bearer" else None

    def request_id(self, state: ServerState) -> str:
        """A new request id."""
        return state.ids.base58("req_011C", 20)

    def rate_headers(self, rate: RateState) -> Headers:
        """What is left of the minute, and when it is whole again."""
        now = WORLD_CLOCK.time()
        requests_reset = models.stamp(int(now + rate.reset_requests_s + 1))
        tokens_reset = models.stamp(int(now + rate.reset_tokens_s + 1))
        found = [
            ("requests-limit", str(rate.limit_requests)),
            ("requests-remaining", str(rate.remaining_requests)),
            ("requests-reset", requests_reset),
        ]
        for kind in ("tokens", "input-tokens", "output-tokens"):
            found += [
                (f"{kind}-limit", str(rate.limit_tokens)),
                (f"{kind}-remaining", str(rate.remaining_tokens)),
                (f"{kind}-reset", tokens_reset),
            ]
        return tuple((f"anthropic-ratelimit-{name}", value) for name, value in found)

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        """Where the official clients look for the API and its key."""
        return {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}


def _body(error: ReplyError, message: str) -> JsonObject:
    kind = error.code or _TYPES.get(error.kind, "invalid_request_error")
    said = message or _MESSAGES.get(error.kind, _MESSAGES["invalid_request"])
    return {"type": "error", "error": {"type": kind, "message": said}}

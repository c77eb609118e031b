"""Errors as OpenAI writes them: ``{"error": {"message", "type", "param", "code"}}``.

Source: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from typing import NamedTuple

from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import HttpRequest, ReplyError, Response


class _Usual(NamedTuple):
    """What the API says of an error of a kind when nobody said otherwise."""

    type: str
    code: str | None
    message: str


_INVALID = "invalid_request_error"
_USUAL = {
    "invalid_request": _Usual(_INVALID, None, "The request was invalid."),
    "authentication": _Usual(_INVALID, "invalid_api_key", "Incorrect API key provided."),
    "permission": _Usual(
        _INVALID, "insufficient_permissions", "You have insufficient permissions for this request."
    ),
    "not_found": _Usual(_INVALID, None, "The requested resource was not found."),
    "model_not_found": _Usual(
        _INVALID,
        "model_not_found",
        "The model does not exist or you do not have access to it.",
    ),
    "too_large": _Usual(_INVALID, None, "The request body is larger than the maximum size."),
    "rate_limit": _Usual(
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for requests. Please try again later.",
    ),
    "quota": _Usual(
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "server": _Usual(
        "server_error", None, "The server had an error while processing your request. Sorry!"
    ),
    "overloaded": _Usual(
        "server_error", None, "The engine is currently overloaded, please try again later."
    ),
    "unavailable": _Usual(
        "server_error", None, "The server is currently unavailable, please try again later."
    ),
    "timeout": _Usual("server_error", None, "The request timed out."),
    "context_length": _Usual(
        _INVALID,
        "context_length_exceeded",
        "Your input exceeds the context window of this model. Please adjust your input and try "
        "again.",
    ),
    "content_filter": _Usual(
        _INVALID,
        "content_policy_violation",
        "Your request was rejected as a result of our safety system.",
    ),
}
_NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
)
_TOO_LONG = (
    "This model's maximum context length is 128000 tokens. However, your messages resulted in more "
    "than that. Please reduce the length of the messages."
)


def fields_of(error: ReplyError) -> dict[str, str | None]:
    """The inner object of an error body."""
    usual = _USUAL.get(error.kind) or _USUAL["server" if error.status >= 500 else "invalid_request"]
    return {
        "message": error.message or usual.message,
        "type": usual.type,
        "param": error.param,
        "code": error.code or usual.code,
    }


def error_response(error: ReplyError, request: HttpRequest) -> Response:
    """The whole response."""
    inner = fields_of(error)
    if error.kind == "authentication" and not error.message:
        key = key_of(request)
        if key is None:
            inner["message"], inner["code"] = _NO_KEY, None
        else:
            inner["message"] = (
                f"Incorrect API key provided: {masked(key)}. You can find your API key at "
                "https://platform.openai.com/account/api-keys."
            )
    if error.kind == "context_length" and not error.message and "/chat/" in request.path:
        inner["message"], inner["param"] = _TOO_LONG, "messages"
    return Response(error.status, dumps({"error": inner}))


def key_of(request: HttpRequest) -> str | None:
    """The key in ``Authorization: Bearer``, or in ``api-key`` as Azure's clients send it."""
    scheme, _, key = request.header("authorization").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    return request.header("api-key") or None


def masked(key: str) -> str:
    """A key as the API shows it: its middle hidden.

    >>> masked("sk-abcdefghijklmnop")
    'sk-abcde*******mnop'
    """
    if len(key) <= 12:
        return key[:2] + "*" * max(len(key) - 2, 0)
    return key[:8] + "*" * (len(key) - 12) + key[-4:]

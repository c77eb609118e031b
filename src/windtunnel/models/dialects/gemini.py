"""Google's Gemini API: generateContent, streaming, function calling, embeddings, tokens, models.

Source: https://ai.google.dev/api.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from windtunnel.models import tokens
from windtunnel.models.dialects import gemini_models as models
from windtunnel.models.dialects import gemini_replies as replies
from windtunnel.models.dialects import gemini_requests as requests
from windtunnel.models.dialects.gemini_fields import violations_in
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

_VERSIONS = ("v1beta", "v1", "v1alpha")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    412: "FAILED_PRECONDITION",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_MESSAGES = {
    "authentication": "API key not valid. Please pass a valid API key.",
    "permission": "The caller does not have permission",
    "not_found": "Requested entity was not found.",
    "model_not_found": "Requested entity was not found.",
    "too_large": "Request payload size exceeds the limit: 20971520 bytes.",
    "rate_limit": (
        "You exceeded your current quota, please check your plan and billing details. For more"
        " information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits."
    ),
    "quota": "You exceeded your current quota, please check your plan and billing details.",
    "server": (
        "An internal error has occurred. Please retry or report in"
        " https://developers.generativeai.google/guide/troubleshooting"
    ),
    "overloaded": "The model is overloaded. Please try again later.",
    "unavailable": "The service is currently unavailable.",
    "timeout": "Deadline expired before operation could complete.",
    "context_length": (
        "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
    ),
    "invalid_request": "Request contains an invalid argument.",
}
_UNREGISTERED = (
    "Method doesn't allow unregistered callers (callers without established identity). Please use"
    " API Key or other form of API consumer identity to call this API."
)


def _routes() -> tuple[Route, ...]:
    found: list[Route] = []
    for version in _VERSIONS:
        base = f"/{version}/models"
        for method in (
            "generateContent",
            "streamGenerateContent",
            "countTokens",
            "embedContent",
            "batchEmbedContents",
        ):
            found.append(Route("POST", base + "/{model}:" + method, f"{version} {method}"))
        found.append(Route("GET", base, f"{version} list"))
        found.append(Route("GET", base + "/{model}", f"{version} get"))
    return tuple(found)


class Gemini:
    """The dialect ``gemini``."""

    name = "gemini"
    hosts: tuple[str, ...] = ("generativelanguage.googleapis.com",)
    routes: Sequence[Route] = _routes()
    default_models: tuple[str, ...] = models.DEFAULT_MODELS
    marks = frozenset({"x-goog-api-key"})
    pure = frozenset(route.endpoint for route in _routes() if route.method == "POST")
    request_id_header = ""
    headers: tuple[tuple[str, str], ...] = (
        ("vary", "Origin, X-Origin, Referer"),
        ("x-content-type-options", "nosniff"),
    )

    def claims(self, request: HttpRequest) -> bool:
        """Whether the request bears a Google key, or its path is one of Gemini's own."""
        if request.header("x-goog-api-key") or request.path.startswith("/v1beta/"):
            return True
        return "key=" in request.query and "key" in parse_qs(request.query)

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        """Read a request; see :class:`~windtunnel.models.dialects.Dialect`."""
        version, method = endpoint.split(" ", 1)
        if method == "list":
            return models.listed(request, state)
        model = params["model"]
        if method == "get":
            return models.retrieved(model, state, version)
        if method == "embedContent":
            return requests.embed(model, request, state, version)
        if method == "batchEmbedContents":
            return requests.embed_batch(model, request, state, version)
        if method == "countTokens":
            call = requests.count(model, request, state, version)
            return replies.counted(max(tokens.usage_of(call, Reply()).input_tokens, 1))
        stream = method == "streamGenerateContent"
        return requests.generate(model, request, state, version, stream=stream)

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        """Write a reply; see :class:`~windtunnel.models.dialects.Dialect`."""
        if call.kind == "embedding":
            return replies.embed(call, reply, usage, state)
        return replies.render(call, reply, usage, state)

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        """An error in Google's body; a blocked prompt is an answer without candidates."""
        streamed = request.path.endswith(":streamGenerateContent")
        sse = streamed and requests.is_sse(request)
        if error.kind == "content_filter":
            return _blocked(error, streamed, sse, state)
        body = _body(error, keyless=self.key_of(request) is None)
        status = body["error"]["code"]
        written = [body] if streamed and not sse else body
        return Response(status, dumps(written), replies.JSON)

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        """The error as one more part of the stream."""
        return replies.error_frame(_body(error, keyless=False), sse=bool(call.options["sse"]))

    def key_of(self, request: HttpRequest) -> str | None:
        """The key in ``x-goog-api-key`` or in the query, or a bearer token."""
        key = request.header("x-goog-api-key")
        if key:
            return key
        if "key=" in request.query:
            given = parse_qs(request.query).get("key")
            if given:
                return given[0]
        kind, _, token = request.header("authorization").partition(" ")
        return token.strip() or None if kind.lower() == "bearer" else None

    def request_id(self, state: ServerState) -> str:
        """Gemini tells no request ids in its headers; its answers have a ``responseId``."""
        return ""

    def rate_headers(self, rate: RateState) -> Headers:
        """Gemini tells nothing of its limits until they are exceeded."""
        return ()

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        """Where the official clients, and litellm, look for the API and its key."""
        return {
            "GOOGLE_GEMINI_BASE_URL": url,
            "GEMINI_API_BASE": f"{url}/v1beta",
            "GEMINI_API_KEY": key,
        }


def _body(error: ReplyError, *, keyless: bool) -> JsonObject:
    status = error.status
    message = error.message
    details: list[JsonObject] = []
    if error.kind == "authentication":
        # A wrong key is a bad request; none at all is a caller without permission.
        status = 403 if keyless else 400
        message = message or (_UNREGISTERED if keyless else _MESSAGES["authentication"])
        if not keyless:
            details = [_info("API_KEY_INVALID"), _localized(message)]
    elif error.kind == "overloaded":
        status = 503
    elif error.kind in ("rate_limit", "quota"):
        details = _exhausted(error)
    elif violations := violations_in(error.param):
        details = [
            {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations}
        ]
    written: JsonObject = {
        "code": status,
        "message": message or _MESSAGES.get(error.kind, _MESSAGES["invalid_request"]),
        "status": error.code or _STATUSES.get(status, "UNKNOWN"),
    }
    if details:
        written["details"] = details
    return {"error": written}


def _info(reason: str) -> JsonObject:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": {"service": "generativelanguage.googleapis.com"},
    }


def _localized(message: str) -> JsonObject:
    kind = "type.googleapis.com/google.rpc.LocalizedMessage"
    return {"@type": kind, "locale": "en-US", "message": message}


def _exhausted(error: ReplyError) -> list[JsonObject]:
    violation = {
        "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
        "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier",
    }
    details: list[JsonObject] = [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}
    ]
    if error.retry_after_s is not None:
        delay = f"{error.retry_after_s:g}s"
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay})
    return details


def _blocked(error: ReplyError, streamed: bool, sse: bool, state: ServerState) -> Response:
    feedback: JsonObject = {"blockReason": error.code or "PROHIBITED_CONTENT"}
    if error.message:
        feedback["blockReasonMessage"] = error.message
    body = {
        "promptFeedback": feedback,
        "usageMetadata": {"promptTokenCount": 1, "totalTokenCount": 1},
        "responseId": state.ids.alnum("", 22),
    }
    if sse:
        return Response(200, b"data: %b\r\n\r\n" % dumps(body), replies.EVENTS)
    return Response(200, dumps([body] if streamed else body), replies.JSON)

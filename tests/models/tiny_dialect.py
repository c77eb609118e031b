"""A dialect of a few lines, so that the core is tested without any provider's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.models import jsonio, tokens
from windtunnel.models.dialects import register
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    Message,
    ModelCall,
    Params,
    RateState,
    RefusedError,
    Reply,
    ReplyError,
    Response,
    Route,
    Tool,
    ToolResult,
    Usage,
)
from windtunnel.models.state import ServerState


class Tiny:
    """Text in, text out; lines of JSON when streamed."""

    name = "tiny"
    hosts = ("api.tiny.example",)
    routes = (
        Route("POST", "/tiny/say", "say"),
        Route("GET", "/tiny/models", "models"),
        Route("GET", "/tiny/models/{model}", "model"),
    )
    default_models = ("tiny-1",)
    pure = frozenset({"say"})
    request_id_header = "x-request-id"
    headers = (("tiny-version", "1"),)

    def claims(self, request: HttpRequest) -> bool:
        return False

    def parse(
        self, endpoint: str, request: HttpRequest, params: Params, state: ServerState
    ) -> ModelCall | Response:
        if endpoint == "models":
            names = [entry.name for entry in state.models.of("tiny")]
            return Response(body=jsonio.dumps({"models": names}))
        if endpoint == "model":
            return Response(body=jsonio.dumps({"name": params["model"]}))
        try:
            raw: dict[str, Any] = jsonio.loads(request.body)
        except ValueError as error:
            raise RefusedError(ReplyError(400, "invalid_request", str(error))) from None
        if not isinstance(raw, dict) or "text" not in raw:
            raise RefusedError(ReplyError(400, "invalid_request", "text is missing"))
        model = raw.get("model", "tiny-1")
        if not state.models.known(model):
            raise RefusedError(ReplyError(404, "model_not_found", f"no model {model}"))
        messages = [Message("user", raw["text"])]
        if "results" in raw:
            results = tuple(ToolResult(k, k, v) for k, v in raw["results"].items())
            messages += [Message("assistant"), Message("tool", tool_results=results)]
        return ModelCall(
            "tiny",
            "say",
            model,
            messages=tuple(messages),
            system=raw.get("system", ""),
            tools=tuple(Tool(name) for name in raw.get("tools", ())),
            schema=raw.get("schema"),
            stream=raw.get("stream", False),
            raw=raw,
            request=request,
        )

    def render(self, call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
        if call.stream:
            return Response(body=self._frames(reply), content_type="application/x-ndjson")
        calls = [{"name": used.name, "arguments": used.arguments} for used in reply.tool_calls]
        said = {"text": reply.text, "calls": calls, "tokens": usage.total_tokens}
        return Response(body=jsonio.dumps({"id": state.ids.alnum("say-", 8), **said}))

    def _frames(self, reply: Reply) -> Any:
        yield Chunk(b'{"begin":true}\n', 0, "begin")
        for piece in reply.pieces or tokens.pieces(reply.text):
            yield Chunk(jsonio.dumps({"text": piece}) + b"\n", 1, "text")
        yield Chunk(b'{"end":true}\n', 0, "end")

    def error(self, error: ReplyError, request: HttpRequest, state: ServerState) -> Response:
        said = {"error": {"kind": error.kind, "message": error.message or "an error"}}
        return Response(error.status, jsonio.dumps(said))

    def stream_error(self, error: ReplyError, call: ModelCall) -> bytes:
        return jsonio.dumps({"error": {"kind": error.kind}}) + b"\n"

    def key_of(self, request: HttpRequest) -> str | None:
        return request.header("x-key") or None

    def request_id(self, state: ServerState) -> str:
        return state.ids.hex("req_", 16)

    def rate_headers(self, rate: RateState) -> tuple[tuple[str, str], ...]:
        return (("x-left", str(rate.remaining_requests)),)

    def environment(self, url: str, key: str) -> Mapping[str, str]:
        return {"TINY_URL": url, "TINY_KEY": key}


register(Tiny())


def asked(text: str = "hello", **more: Any) -> HttpRequest:
    """A request in this dialect."""
    return HttpRequest("POST", "/tiny/say", body=jsonio.dumps({"text": text, **more}))


def sent(plan: Any) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a plan, as they go out; a chunked body is undone."""
    data = b"".join(step.data for step in plan.steps)
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    if headers.get("transfer-encoding") == "chunked":
        from windtunnel.models.wire import Chunked

        undone = Chunked()
        undone.feed(body)
        body = b"".join(undone.parts)
    return int(first.split(" ")[1]), headers, body


def said(plan: Any) -> Any:
    """The JSON body of a plan."""
    return jsonio.loads(sent(plan)[2])

"""Ollama's model requests read into calls: chat, generate, embed and embeddings.

Source: https://github.com/ollama/ollama/blob/main/server/routes.go (ChatHandler, GenerateHandler,
EmbedHandler, EmbeddingsHandler), whose order of checks is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from windtunnel.models.dialects import ollama_fields as fields
from windtunnel.models.dialects import ollama_models as shelf
from windtunnel.models.dialects.ollama_fields import body_of, refuse, refused
from windtunnel.models.dialects.schemas import schema_fault
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    HttpRequest,
    JsonObject,
    Message,
    ModelCall,
    Response,
    Role,
    Tool,
    ToolCall,
    ToolResult,
)
from windtunnel.models.state import ModelEntry, ServerState

JSON = "application/json; charset=utf-8"
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}


def chat(request: HttpRequest, state: ServerState) -> ModelCall | Response:
    """``POST /api/chat``. A request without messages loads the model, or unloads it."""
    body = body_of(request, "ChatRequest", fields.CHAT)
    _check_logprobs(body)
    if not body.get("model"):
        refuse("model is required")
    entry = shelf.wanted(body["model"], state)
    keep = _keep_alive(body)
    messages = body.get("messages") or []
    if not messages and keep == 0:
        shelf.unload(entry, state)
        return _loaded(body, "unload", {"message": {"role": "assistant", "content": ""}}, state)
    _check_capabilities(entry, body, "chat", bool(body.get("tools")))
    fields.check_options(body.get("options") or {})
    if not messages:
        shelf.load(entry, state, keep)
        return _loaded(body, "load", {"message": {"role": "assistant", "content": ""}}, state)
    system, rest = _conversation(messages)
    return ModelCall(
        "ollama",
        "chat",
        body["model"],
        messages=rest,
        system=system or str(entry.details.get("system", "")),
        tools=_tools(body.get("tools") or ()),
        stream=body.get("stream", True),
        **_common(body, entry, keep, request),
    )


def generate(request: HttpRequest, state: ServerState) -> ModelCall | Response:
    """``POST /api/generate``. A request without a prompt loads the model, or unloads it."""
    body = body_of(request, "GenerateRequest", fields.GENERATE)
    _check_logprobs(body)
    entry = shelf.wanted(body.get("model", ""), state)
    keep = _keep_alive(body)
    prompt = body.get("prompt", "")
    if not prompt and keep == 0:
        shelf.unload(entry, state)
        return _loaded(body, "unload", {"response": ""}, state)
    if body.get("raw") and (body.get("template") or body.get("system") or body.get("context")):
        refuse("raw mode does not support template, system, or context")
    _check_capabilities(entry, body, "generate", False)
    if body.get("suffix") and "insert" not in shelf.capabilities(entry):
        given = entry.details.get("capabilities")
        if given is not None:
            refuse(f"{shelf.full(entry.name)} does not support insert")
    fields.check_options(body.get("options") or {})
    if not prompt:
        shelf.load(entry, state, keep)
        return _loaded(body, "load", {"response": ""}, state)
    images = tuple(body.get("images") or ())
    return ModelCall(
        "ollama",
        "generate",
        body["model"],
        kind="completion",
        messages=(Message("user", prompt, images=images, raw=prompt),),
        system=body.get("system") or str(entry.details.get("system", "")),
        stream=body.get("stream", True),
        **_common(body, entry, keep, request),
    )


def embed(request: HttpRequest, state: ServerState) -> ModelCall | Response:
    """``POST /api/embed``."""
    body = body_of(request, "EmbedRequest", fields.EMBED)
    given = body.get("input")
    if isinstance(given, str):
        inputs = [given] if given else []
    elif isinstance(given, list) and all(isinstance(text, str) for text in given):
        inputs = given
    elif given is None:
        inputs = []
    else:
        refuse("invalid input type")
    entry = shelf.wanted(body.get("model", ""), state)
    fields.check_options(body.get("options") or {})
    keep = _keep_alive(body)
    if not inputs:
        shelf.load(entry, state, keep)
        return answer({"model": body["model"], "embeddings": []})
    if body.get("truncate") is False:
        limit = shelf.context_length(entry)
        if any(state.count(text) > limit for text in inputs):
            refuse("the input length exceeds the context length")
    return _embedding(body, "embed", inputs, entry, keep, request)


def embeddings(request: HttpRequest, state: ServerState) -> ModelCall | Response:
    """``POST /api/embeddings``, the older way."""
    body = body_of(request, "EmbeddingRequest", fields.EMBEDDINGS)
    if not body.get("model"):
        refuse("model is required")
    entry = shelf.wanted(body["model"], state, pull=True)
    keep = _keep_alive(body)
    if not body.get("prompt"):
        shelf.load(entry, state, keep)
        return answer({"embedding": []})
    return _embedding(body, "embeddings", [body["prompt"]], entry, keep, request)


def answer(value: object, status: int = 200) -> Response:
    """A JSON response, as gin writes it."""
    return Response(status, dumps(value), JSON)


def _embedding(
    body: JsonObject,
    endpoint: str,
    inputs: Sequence[str],
    entry: ModelEntry,
    keep: float | None,
    request: HttpRequest,
) -> ModelCall:
    size = shelf.dimensions(entry)
    shorter = body.get("dimensions") or 0
    options = {
        "keep": keep,
        "dimensions": size,
        "shorter": shorter if 0 < shorter < size else 0,
    }
    return ModelCall(
        "ollama",
        endpoint,
        body["model"],
        kind="embedding",
        inputs=tuple(inputs),
        options=options,
        raw=body,
        request=request,
    )


def _common(
    body: JsonObject, entry: ModelEntry, keep: float | None, request: HttpRequest
) -> dict[str, Any]:
    schema, json_mode = _format(body.get("format"))
    options = body.get("options") or {}
    limit = options.get("num_predict")
    return {
        "schema": schema,
        "json_mode": json_mode,
        "max_tokens": int(limit) if limit is not None and 0 <= limit < 1e9 else None,
        "options": {
            "keep": keep,
            "think": body.get("think"),
            "thinks": "thinking" in shelf.capabilities(entry),
            "raw": body.get("raw", False),
            "context": body.get("context") or (),
            "logprobs": body.get("logprobs", False),
            "top_logprobs": body.get("top_logprobs", 0),
        },
        "raw": body,
        "request": request,
    }


def _format(given: Any) -> tuple[JsonObject | None, bool]:
    if given is None or given == "":
        return None, False
    if given == "json":
        return None, True
    if isinstance(given, dict):
        if schema_fault(given) is not None:
            refuse("invalid JSON schema in format", 500, "server")
        return given, True
    shown = dumps(given).decode().replace("\\", "\\\\").replace('"', '\\"')
    raise refused(
        f'invalid format: "{shown}"; expected "json" or a valid JSON Schema object', 500, "server"
    )


def _check_logprobs(body: JsonObject) -> None:
    if not 0 <= body.get("top_logprobs", 0) <= 20:
        refuse("top_logprobs must be between 0 and 20")


def _check_capabilities(entry: ModelEntry, body: JsonObject, verb: str, tools: bool) -> None:
    """What the model cannot do is refused where that is certain: for a model that only embeds, and
    for one whose capabilities the user listed."""
    able = shelf.capabilities(entry)
    name = body["model"]
    if "completion" not in able:
        refuse(f'"{name}" does not support {verb}')
    if "capabilities" not in entry.details:
        return
    if body.get("think") not in (None, False) and "thinking" not in able:
        refuse(f'"{name}" does not support thinking')
    if tools and "tools" not in able:
        refuse(f"{shelf.full(entry.name)} does not support tools")


def _keep_alive(body: JsonObject) -> float | None:
    value = body.get("keep_alive")
    return None if value is None else fields.seconds(value)


def _loaded(body: JsonObject, reason: str, what: JsonObject, state: ServerState) -> Response:
    moment = {"model": body["model"], "created_at": shelf.stamp(state.ids.time())}
    return answer(moment | what | {"done": True, "done_reason": reason})


# -- messages and tools ---------------------------------------------------------------------------


def _conversation(given: Sequence[Any]) -> tuple[str, tuple[Message, ...]]:
    """The system prompt and the messages; each tool result finds the call it belongs to."""
    system: list[str] = []
    messages: list[Message] = []
    calls: list[ToolCall] = []
    for message in given:
        message = message or {}
        written = message.get("role") or ""
        role = _ROLES.get(written.lower())
        if role is None:
            refuse(f"Invalid role: {written}")
        text = message.get("content") or ""
        if role == "system":
            system.append(text)
            continue
        results: tuple[ToolResult, ...] = ()
        used: tuple[ToolCall, ...] = ()
        if role == "assistant":
            used = _used(message.get("tool_calls") or ())
            calls += used
        elif role == "tool":
            results = (_result(message, text, calls),)
        messages.append(
            Message(
                role,
                "" if results else text,
                message.get("thinking") or "",
                used,
                results,
                tuple(message.get("images") or ()),
                message,
            )
        )
    return "\n".join(system), tuple(messages)


def _used(given: Sequence[Any]) -> tuple[ToolCall, ...]:
    calls: list[ToolCall] = []
    for call in given:
        function = (call or {}).get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments") or {}
        calls.append(ToolCall(name, arguments, (call or {}).get("id") or ""))
    return tuple(calls)


def _result(message: JsonObject, text: str, calls: list[ToolCall]) -> ToolResult:
    """Results name their tool, or the call's id, or neither; then they come in the calls' order."""
    name = message.get("tool_name") or message.get("name") or ""
    known = message.get("tool_call_id") or ""
    for index, call in enumerate(calls):
        if (known and call.id == known) or (not known and (not name or call.name == name)):
            del calls[index]
            return ToolResult(known or call.id, name or call.name, text)
    return ToolResult(known, name, text)


def _tools(given: Sequence[Any]) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for tool in given:
        function = (tool or {}).get("function") or {}
        tools.append(
            Tool(
                function.get("name") or "",
                function.get("description") or "",
                function.get("parameters") or {},
            )
        )
    return tuple(tools)

"""Gemini's requests read into calls: generateContent, countTokens and the two for embeddings.

Source: https://ai.google.dev/api/generate-content, /api/tokens and /api/embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs

from windtunnel.models.dialects import gemini_shapes as shapes
from windtunnel.models.dialects.gemini_fields import body_of, refused, snake, violated
from windtunnel.models.dialects.gemini_shapes import json_schema
from windtunnel.models.dialects.schemas import schema_fault
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    HttpRequest,
    JsonObject,
    Message,
    ModelCall,
    Tool,
    ToolCall,
    ToolResult,
)
from windtunnel.models.state import ServerState

_FUNCTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_DATA = (
    "text",
    "inlineData",
    "fileData",
    "functionCall",
    "functionResponse",
    "executableCode",
    "codeExecutionResult",
    "toolCall",
    "toolResponse",
)


def generate(
    model: str, request: HttpRequest, state: ServerState, version: str, *, stream: bool
) -> ModelCall:
    """``models/{model}:generateContent`` and ``:streamGenerateContent``."""
    known(model, "generateContent", state, version)
    body = body_of(request, shapes.GENERATE)
    return _call(model, body, request, stream)


def count(model: str, request: HttpRequest, state: ServerState, version: str) -> ModelCall:
    """``models/{model}:countTokens``: what would be read."""
    known(model, "countTokens", state, version)
    body = body_of(request, shapes.COUNT)
    inner = body.get("generateContentRequest")
    if inner is not None and body.get("contents"):
        raise violated(
            "CountTokensRequest.generate_content_request",
            "contents and generate_content_request are mutually exclusive",
        )
    return _call(model, inner or body, request, False, "CountTokensRequest")


def embed(model: str, request: HttpRequest, state: ServerState, version: str) -> ModelCall:
    """``models/{model}:embedContent``."""
    known(model, "embedContent", state, version)
    body = body_of(request, shapes.EMBED)
    return _embedding(model, "embedContent", [body], body, request)


def embed_batch(model: str, request: HttpRequest, state: ServerState, version: str) -> ModelCall:
    """``models/{model}:batchEmbedContents``."""
    known(model, "batchEmbedContents", state, version)
    body = body_of(request, shapes.BATCH_EMBED)
    wanted = body.get("requests") or []
    if not wanted:
        raise violated("BatchEmbedContentsRequest.requests", "requests is not specified")
    for index, one in enumerate(wanted):
        named = one.get("model", "").removeprefix("models/")
        if named and named != model:
            raise violated(
                f"BatchEmbedContentsRequest.requests[{index}].model",
                "model must be the same as the one of the batch",
            )
    return _embedding(model, "batchEmbedContents", wanted, body, request)


def known(model: str, method: str, state: ServerState, version: str) -> None:
    """Refuse a model that is not there."""
    if not state.models.known(model):
        raise refused(
            f"models/{model} is not found for API version {version}, or is not supported for"
            f" {method}. Call ListModels to see the list of available models and their supported"
            " methods.",
            404,
            "model_not_found",
        )


def is_sse(request: HttpRequest) -> bool:
    """Whether the client wants its stream as server-sent events."""
    return "alt=sse" in request.query and parse_qs(request.query).get("alt") == ["sse"]


# -- generate -------------------------------------------------------------------------------------


def _call(
    model: str,
    body: JsonObject,
    request: HttpRequest,
    stream: bool,
    name: str = "GenerateContentRequest",
) -> ModelCall:
    contents = body.get("contents") or []
    if not contents:
        raise violated(f"{name}.contents", "contents is not specified")
    _check_contents(contents, name)
    _check_turns(contents)
    config = body.get("generationConfig") or {}
    _check_config(config, name)
    tools = _tools(body.get("tools") or [], name)
    schema = _schema(config, name)
    mime = config.get("responseMimeType", "")
    thinking = config.get("thinkingConfig") or {}
    return ModelCall(
        "gemini",
        "generateContent",
        model,
        messages=_messages(contents),
        system=_text((body.get("systemInstruction") or {}).get("parts") or ()),
        tools=tools,
        tool_choice=_tool_choice(body.get("toolConfig") or {}),
        schema=schema,
        json_mode=schema is not None or mime == "application/json",
        stream=stream,
        n=config.get("candidateCount") or 1,
        max_tokens=config.get("maxOutputTokens"),
        options={
            "sse": is_sse(request),
            "enum": mime == "text/x.enum",
            "thoughts": bool(thinking.get("includeThoughts")),
            "stop_sequences": tuple(config.get("stopSequences") or ()),
            "logprobs": bool(config.get("responseLogprobs")),
            "top_logprobs": config.get("logprobs") or 0,
        },
        raw=body,
        request=request,
    )


def _check_contents(contents: Sequence[JsonObject], name: str) -> None:
    for index, content in enumerate(contents):
        role = content.get("role", "")
        if role == "system":
            raise refused("Content with system role is not supported.")
        if role not in ("", "user", "model", "function"):
            raise refused("Please use a valid role: user, model.")
        parts = content.get("parts")
        if not parts:
            raise violated(f"{name}.contents[{index}].parts", "contents.parts must not be empty.")
        for number, part in enumerate(parts):
            where = f"{name}.contents[{index}].parts[{number}]"
            given = [field for field in _DATA if field in part]
            if not given and "thoughtSignature" not in part:
                raise violated(
                    f"{where}.data", "required oneof field 'data' must have one initialized field"
                )
            if len(given) > 1:
                raise refused(
                    f"Invalid value at 'contents[{index}].parts[{number}]' (oneof), oneof field"
                    f" 'data' is already set. Cannot set '{given[1]}'"
                )
            for field in ("functionCall", "functionResponse"):
                if field in part and not part[field].get("name"):
                    raise violated(f"{where}.{snake(field)}.name", "Name cannot be empty.")


def _check_turns(contents: Sequence[JsonObject]) -> None:
    """Function calls and their responses come in turns, as many of the one as of the other."""
    calls = 0
    for content in contents:
        uses = sum("functionCall" in part for part in content["parts"])
        results = sum("functionResponse" in part for part in content["parts"])
        if results and not calls:
            raise refused(
                "Please ensure that function response turn comes immediately after a function call"
                " turn."
            )
        if calls and results != calls:
            raise refused(
                "Please ensure that the number of function response parts is equal to the number"
                " of function call parts of the function call turn."
            )
        calls = uses
    if len(contents) > 1 and calls:
        raise refused(
            "Please ensure that function call turn is followed by a function response turn."
        )


def _check_config(config: JsonObject, name: str) -> None:
    path = f"{name}.generation_config"
    for field, least, most in (("temperature", 0, 2), ("topP", 0, 1)):
        value = config.get(field)
        if value is not None and not least <= value <= most:
            field = snake(field)
            raise violated(
                f"{path}.{field}",
                f"{field} must be in the range [{least}.0, {most}.0].",
            )
    if not 1 <= config.get("candidateCount", 1) <= 8:
        raise violated(f"{path}.candidate_count", "candidateCount must be in the range [1, 8].")
    limit = config.get("maxOutputTokens")
    if limit is not None and limit < 1:
        raise violated(f"{path}.max_output_tokens", "max_output_tokens must be positive.")
    if len(config.get("stopSequences") or ()) > 5:
        raise violated(f"{path}.stop_sequences", "at most 5 stop sequences can be specified.")


def _schema(config: JsonObject, name: str) -> JsonObject | None:
    given, field = config.get("responseJsonSchema"), "response_json_schema"
    if given is None and config.get("responseSchema"):
        given, field = json_schema(config["responseSchema"]), "response_schema"
    if given is None:
        return None
    fault = schema_fault(given)
    if fault is not None or not isinstance(given, dict):
        raise violated(f"{name}.generation_config.{field}", f"invalid schema: {fault}")
    return given


def _messages(contents: Sequence[JsonObject]) -> tuple[Message, ...]:
    return tuple(_message(content) for content in contents)


def _message(content: JsonObject) -> Message:
    parts = content["parts"]
    shown = [part for part in parts if not part.get("thought")]
    thoughts = _text([part for part in parts if part.get("thought")])
    calls = tuple(
        ToolCall(used.get("name", ""), used.get("args") or {}, used.get("id", ""))
        for part in parts
        if (used := part.get("functionCall"))
    )
    results = tuple(
        ToolResult(
            done.get("id", ""),
            done.get("name", ""),
            _said(done.get("response") or {}),
            "error" in (done.get("response") or {}),
        )
        for part in parts
        if (done := part.get("functionResponse"))
    )
    images = tuple(
        str(blob.get("data") or blob.get("fileUri") or "")
        for part in parts
        if (blob := part.get("inlineData") or part.get("fileData"))
    )
    role = "assistant" if content.get("role") == "model" else "tool" if results else "user"
    return Message(role, _text(shown), thoughts, calls, results, images, content)  # type: ignore[arg-type]


def _said(response: JsonObject) -> str:
    """What a tool returned: its result where that is a text, else all of it as JSON."""
    for name in ("result", "output"):
        if set(response) == {name} and isinstance(response[name], str):
            return str(response[name])
    return dumps(response).decode("utf-8", "replace")


def _text(parts: Any) -> str:
    return "\n".join(part["text"] for part in parts if part.get("text"))


def _tools(given: Sequence[JsonObject], name: str) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    seen: set[str] = set()
    for index, tool in enumerate(given):
        for number, function in enumerate(tool.get("functionDeclarations") or ()):
            path = f"{name}.tools[{index}].function_declarations[{number}]"
            called = function.get("name", "")
            if not _FUNCTION.fullmatch(called):
                raise violated(
                    f"{path}.name",
                    "[FIELD_INVALID] Invalid function name. Must start with a letter or an"
                    " underscore. Must be alphameric (a-z, A-Z, 0-9), underscores (_), dots (.),"
                    " colons (:), or dashes (-), with a maximum length of 128.",
                )
            if called in seen:
                raise refused(f"Duplicate function declaration found: {called}")
            seen.add(called)
            shape = function.get("parametersJsonSchema")
            if not isinstance(shape, dict):
                shape = json_schema(function.get("parameters") or {})
            tools.append(Tool(called, function.get("description", ""), shape))
    return tuple(tools)


def _tool_choice(config: JsonObject) -> str:
    calling = config.get("functionCallingConfig") or {}
    mode = str(calling.get("mode", "AUTO")).upper()
    allowed = calling.get("allowedFunctionNames") or []
    if mode == "ANY":
        return str(allowed[0]) if len(allowed) == 1 else "required"
    return "none" if mode == "NONE" else "auto"


# -- embeddings -----------------------------------------------------------------------------------


def _embedding(
    model: str, endpoint: str, wanted: Sequence[JsonObject], body: JsonObject, request: HttpRequest
) -> ModelCall:
    texts: list[str] = []
    sizes: list[int] = []
    for one in wanted:
        parts = (one.get("content") or {}).get("parts")
        if not parts:
            raise violated("EmbedContentRequest.content", "contents is not specified")
        size = one.get("outputDimensionality")
        if size is not None and not 1 <= size <= 3072:
            raise violated(
                "EmbedContentRequest.output_dimensionality",
                "output_dimensionality must be in the range [1, 3072].",
            )
        texts.append(_text(parts))
        sizes.append(size or 0)
    return ModelCall(
        "gemini",
        endpoint,
        model,
        kind="embedding",
        inputs=tuple(texts),
        options={"sizes": tuple(sizes), "sse": False},
        raw=body,
        request=request,
    )

"""Anthropic's ``POST /v1/messages`` read into a call, and its answer: whole, or event by event.

Source: https://docs.claude.com/en/api/messages and /api/messages-streaming.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from windtunnel.models.dialects.anthropic_checks import body_of, check_request, refused
from windtunnel.models.dialects.anthropic_turns import check_messages
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import (
    Chunk,
    HttpRequest,
    JsonObject,
    Message,
    ModelCall,
    Reply,
    Response,
    Role,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import pieces

EVENTS = "text/event-stream; charset=utf-8"
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
    "refusal": "refusal",
}

# -- request --------------------------------------------------------------------------------------


def parse(request: HttpRequest, state: ServerState, *, counting: bool = False) -> ModelCall:
    """Read and validate a request.

    :param counting: whether it only wants its tokens counted.
    """
    body = body_of(request)
    check_request(body, counting=counting)
    check_messages(body["messages"])
    model = body["model"]
    if not state.models.known(model):
        raise refused(f"model: {model}", 404, "model_not_found")
    system, messages = _conversation(body)
    schema = _schema(body)
    return ModelCall(
        "anthropic",
        "count_tokens" if counting else "messages",
        model,
        messages=messages,
        system=system,
        tools=_tools(body.get("tools") or ()),
        tool_choice=_tool_choice(body.get("tool_choice")),
        schema=schema,
        json_mode=schema is not None,
        stream=bool(body.get("stream")),
        max_tokens=body.get("max_tokens"),
        options={
            "thinking": (body.get("thinking") or {}).get("type", ""),
            "display": (body.get("thinking") or {}).get("display", ""),
            "stop_sequences": tuple(body.get("stop_sequences") or ()),
        },
        raw=body,
        request=request,
    )


def _conversation(body: JsonObject) -> tuple[str, tuple[Message, ...]]:
    system = body.get("system")
    if isinstance(system, list):
        system = "\n".join(block["text"] for block in system)
    parts = [system] if system else []
    names: dict[str, str] = {}
    messages: list[Message] = []
    for message in body["messages"]:
        if message["role"] == "system":
            parts.append(_text_of(message["content"]))
        else:
            messages.append(_message(message, names))
    return "\n".join(parts), tuple(messages)


def _message(message: JsonObject, names: dict[str, str]) -> Message:
    content = message["content"]
    role: Role = message["role"]
    if isinstance(content, str):
        return Message(role, content, raw=message)
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    results: list[ToolResult] = []
    images: list[str] = []
    for block in content:
        kind = block["type"]
        if kind == "text":
            texts.append(block["text"])
        elif kind == "thinking":
            thoughts.append(block["thinking"])
        elif kind == "tool_use":
            names[block["id"]] = block["name"]
            calls.append(ToolCall(block["name"], block["input"], block["id"]))
        elif kind == "tool_result":
            used = block["tool_use_id"]
            failed = bool(block.get("is_error"))
            said = _text_of(block.get("content") or "")
            results.append(ToolResult(used, names.get(used, ""), said, failed))
        elif kind == "image":
            source = block["source"]
            images.append(str(source.get("url") or source.get("data") or source.get("file_id")))
    return Message(
        role,
        "\n".join(texts),
        "\n".join(thoughts),
        tuple(calls),
        tuple(results),
        tuple(images),
        message,
    )


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block["text"] for block in content if block.get("type") == "text")


def _tools(given: Any) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            tool.get("name") or "",
            tool.get("description") or "",
            tool.get("input_schema") or {},
            bool(tool.get("strict")),
        )
        for tool in given
    )


def _tool_choice(choice: Mapping[str, Any] | None) -> str:
    if choice is None:
        return "auto"
    kind: str = choice["type"]
    return {"any": "required", "tool": str(choice.get("name", ""))}.get(kind, kind)


def _schema(body: JsonObject) -> JsonObject | None:
    shape = body.get("output_format") or (body.get("output_config") or {}).get("format")
    return shape["schema"] if shape else None


# -- reply ----------------------------------------------------------------------------------------


def render(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The message that answers."""
    reply, reason, sequence = _ended(call, reply)
    message = _envelope(call, state)
    blocks = _content(call, reply, state)
    spent = _usage(usage)
    if call.stream:
        events = _events(call, reply, message, blocks, spent, reason, sequence)
        return Response(200, events, EVENTS)
    message |= {
        "content": blocks,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": _details(reason, reply),
        "usage": spent,
    }
    return Response(200, dumps(message | dict(reply.extra)))


def _ended(call: ModelCall, reply: Reply) -> tuple[Reply, str, str | None]:
    """How the reply ends: a stop sequence in its text cuts it there."""
    found = [
        (at, stop)
        for stop in call.options["stop_sequences"]
        if (at := reply.text.find(stop)) >= 0 and reply.finish is None
    ]
    if found:
        at, stop = min(found)
        # What comes after the text is never said.
        return Reply(reply.text[:at], reply.thinking, extra=reply.extra), "stop_sequence", stop
    return reply, _REASONS[reply.finished], None


def _envelope(call: ModelCall, state: ServerState) -> JsonObject:
    return {
        "model": call.model,
        "id": state.ids.base58("msg_01", 22),
        "type": "message",
        "role": "assistant",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "stop_details": None,
    }


def _content(call: ModelCall, reply: Reply, state: ServerState) -> list[JsonObject]:
    blocks: list[JsonObject] = []
    if reply.thinking and call.options["thinking"] != "disabled":
        shown = "" if call.options["display"] == "omitted" else reply.thinking
        signature = _signature(reply.thinking, state)
        blocks.append({"type": "thinking", "thinking": shown, "signature": signature})
    text = reply.text or reply.refusal
    if text:
        blocks.append({"type": "text", "text": text})
    for used in reply.tool_calls:
        name = used.id or state.ids.base58("toolu_01", 22)
        block = {"type": "tool_use", "id": name, "name": used.name, "input": dict(used.arguments)}
        blocks.append(block)
    return blocks


def _signature(thinking: str, state: ServerState) -> str:
    data = f"{state.seed.value}/{thinking}".encode("utf-8", "replace")
    return base64.b64encode(hashlib.blake2b(data).digest() * 3).decode()


def _usage(usage: Usage) -> JsonObject:
    spent: JsonObject = {
        "input_tokens": max(usage.input_tokens - usage.cached_tokens, 1),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": max(usage.output_tokens, 1),
        "service_tier": "standard",
    }
    if usage.reasoning_tokens:
        spent["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return spent


def _details(reason: str, reply: Reply) -> JsonObject | None:
    if reason != "refusal":
        return None
    return {"type": "refusal", "category": None, "explanation": reply.refusal or None}


# -- stream ---------------------------------------------------------------------------------------


def frame(name: str, body: bytes, tokens: int = 0) -> Chunk:
    """One server-sent event."""
    return Chunk(b"event: %b\ndata: %b\n\n" % (name.encode(), body), tokens, name)


def _event(name: str, tokens: int = 0, /, **body: Any) -> Chunk:
    return frame(name, dumps({"type": name, **body}), tokens)


def _events(
    call: ModelCall,
    reply: Reply,
    message: JsonObject,
    blocks: list[JsonObject],
    spent: JsonObject,
    reason: str,
    sequence: str | None,
) -> Iterator[Chunk]:
    begun = {**spent, "output_tokens": 1}
    begun.pop("output_tokens_details", None)
    yield _event("message_start", message=message | {"usage": begun} | dict(reply.extra))
    uses = iter(reply.tool_calls)
    for index, block in enumerate(blocks):
        kind = block["type"]
        empty = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}
        start: JsonObject = block | empty.get(kind, {"input": {}})
        yield _event("content_block_start", index=index, content_block=start)
        if index == 0:
            yield _event("ping")
        if kind == "thinking":
            yield from _deltas(index, "thinking", pieces(block["thinking"]))
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield _event("content_block_delta", index=index, delta=delta)
        elif kind == "text":
            cut = reply.pieces if "".join(reply.pieces) == block["text"] else ()
            yield from _deltas(index, "text", cut or pieces(block["text"]))
        else:
            used = next(uses)
            arguments = used.text or dumps(used.arguments).decode("utf-8", "replace")
            yield _json_delta(index, "", 0)
            for piece in _joined(pieces(arguments)):
                yield _json_delta(index, piece, 1)
        yield _event("content_block_stop", index=index)
    total = {name: value for name, value in spent.items() if name not in _START_ONLY}
    delta = {
        "stop_reason": reason,
        "stop_sequence": sequence,
        "stop_details": _details(reason, reply),
    }
    yield _event("message_delta", delta=delta, usage=total)
    yield _event("message_stop")


_START_ONLY = ("cache_creation", "service_tier")


def _deltas(index: int, name: str, said: Any) -> Iterator[Chunk]:
    head = (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%b_delta","%b":' % (index, name.encode(), name.encode())
    )
    for piece in said:
        yield Chunk(head + dumps(piece) + b"}}\n\n", 1, "content_block_delta")


def _json_delta(index: int, piece: str, tokens: int) -> Chunk:
    delta = {"type": "input_json_delta", "partial_json": piece}
    return _event("content_block_delta", tokens, index=index, delta=delta)


def _joined(said: list[str]) -> Iterator[str]:
    """Arguments come in pieces of a few tokens."""
    for start in range(0, len(said), 4):
        yield "".join(said[start : start + 4])

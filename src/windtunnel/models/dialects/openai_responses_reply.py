"""Responses, written: a :class:`Reply` to the response object or the stream of its events.

Source: https://platform.openai.com/docs/api-reference/responses/object
"""

from __future__ import annotations

from typing import Any

from windtunnel.models.dialects.openai_chat_reply import STREAM, custom
from windtunnel.models.dialects.openai_examples import EXAMPLES
from windtunnel.models.dialects.openai_responses_events import events
from windtunnel.models.dialects.openai_responses_request import (
    Record,
    conversation_id,
)
from windtunnel.models.dialects.openai_tokens import logprobs, response_usage
from windtunnel.models.dialects.openai_tools import arguments_text
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import JsonObject, ModelCall, Reply, Response, ToolCall, Usage
from windtunnel.models.state import ServerState
from windtunnel.models.tokens import pieces

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
_KEPT = 1024


def render_response(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> Response:
    """The response to a request for a response."""
    made = response_object(call, reply, usage, state)
    _keep(made, call, state)
    if call.stream:
        return Response(200, events(made, reply, call.raw, call.options["sent"]), STREAM)
    if made["background"]:
        made = queued(made)
    return Response(200, dumps(made))


def response_object(call: ModelCall, reply: Reply, usage: Usage, state: ServerState) -> JsonObject:
    """The response object, finished."""
    raw = call.raw
    reason = _REASONS.get(reply.finished)
    status = "incomplete" if reason else "completed"
    now = state.ids.now()
    made: JsonObject = {
        "id": state.ids.hex("resp_", 50),
        "object": "response",
        "created_at": now,
        "status": status,
        "background": raw.get("background") or False,
        "completed_at": None if reason else now,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": raw.get("instructions"),
        "max_output_tokens": raw.get("max_output_tokens"),
        "max_tool_calls": raw.get("max_tool_calls"),
        "model": call.model,
        "output": _output(call, reply, state, status),
        "parallel_tool_calls": raw.get("parallel_tool_calls") is not False,
        "previous_response_id": raw.get("previous_response_id"),
        "prompt_cache_diagnostics": None,
        "prompt_cache_key": raw.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None} | (raw.get("reasoning") or {}),
        "safety_identifier": raw.get("safety_identifier"),
        "service_tier": _tier(raw.get("service_tier")),
        "store": raw.get("store") is not False,
        "temperature": _or(raw.get("temperature"), 1.0),
        "text": {"format": {"type": "text"}, "verbosity": "medium"} | (raw.get("text") or {}),
        "tool_choice": raw.get("tool_choice") or "auto",
        "tools": [_tool(tool) for tool in raw.get("tools") or ()],
        "top_logprobs": raw.get("top_logprobs") or 0,
        "top_p": _or(raw.get("top_p"), 1.0),
        "truncation": raw.get("truncation") or "disabled",
        "usage": response_usage(usage),
        "user": raw.get("user"),
        "metadata": raw.get("metadata") or {},
    }
    talk = conversation_id(raw)
    if talk is not None:
        made["conversation"] = {"id": talk}
    for name in ("prompt", "prompt_cache_retention"):
        if raw.get(name) is not None:
            made[name] = raw[name]
    return made | dict(reply.extra) if reply.extra else made


def queued(made: JsonObject) -> JsonObject:
    """A response that was asked for in the background, before it is worked on."""
    return made | {"status": "queued", "output": [], "usage": None, "completed_at": None}


def _or(value: Any, usual: Any) -> Any:
    return usual if value is None else value


def _tier(wanted: str | None) -> str:
    if wanted is None or wanted == "auto":
        return "default"
    return "priority" if wanted == "fast" else wanted


def _tool(tool: JsonObject) -> JsonObject:
    """A tool as the response repeats it: a function's defaults are said."""
    if tool["type"] != "function":
        return tool
    return {"description": None, "strict": True, "parameters": {}} | tool


def _keep(made: JsonObject, call: ModelCall, state: ServerState) -> None:
    items, context = call.options["items"], call.options["context"]
    talk = conversation_id(call.raw)
    if talk is not None and talk not in EXAMPLES:
        kept = state.store("openai.conversations").get(talk)
        if kept is not None:
            kept["items"] += (*items, *made["output"])
    if made["store"]:
        stored = state.store("openai.responses")
        stored[made["id"]] = Record(made, items, context + made["output"], made["background"])
        if len(stored) > _KEPT:
            del stored[next(iter(stored))]


# -- output items ---------------------------------------------------------------------------------


def _output(call: ModelCall, reply: Reply, state: ServerState, status: str) -> list[JsonObject]:
    output: list[JsonObject] = []
    if reply.thinking:
        output.append(_reasoning(call, reply, state))
    if reply.text or reply.refusal or not reply.tool_calls:
        output.append(_message(call, reply, state, status))
    calls = reply.tool_calls
    if len(calls) > 1 and call.raw.get("parallel_tool_calls") is False:
        calls = calls[:1]
    output += [_called(call, used, state) for used in calls]
    return output


def _reasoning(call: ModelCall, reply: Reply, state: ServerState) -> JsonObject:
    """What the model thought, as far as it is shown: its summary, when one was asked for."""
    asked = call.raw.get("reasoning") or {}
    shown = asked.get("summary") or asked.get("generate_summary")
    item: JsonObject = {
        "id": state.ids.hex("rs_", 50),
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": reply.thinking}] if shown else [],
    }
    if "reasoning.encrypted_content" in (call.raw.get("include") or ()):
        item["encrypted_content"] = state.ids.alnum("gAAAAA", 120)
    return item


def _message(call: ModelCall, reply: Reply, state: ServerState, status: str) -> JsonObject:
    content: list[JsonObject] = []
    if reply.refusal:
        content.append({"type": "refusal", "refusal": reply.refusal})
    if reply.text or not reply.refusal:
        wanted = "message.output_text.logprobs" in (call.raw.get("include") or ())
        top = call.raw.get("top_logprobs") or 0
        scored = logprobs(pieces(reply.text), top) if wanted or top else []
        content.append(
            {"type": "output_text", "annotations": [], "logprobs": scored, "text": reply.text}
        )
    return {
        "id": state.ids.hex("msg_", 50),
        "type": "message",
        "status": status,
        "content": content,
        "role": "assistant",
    }


def _called(call: ModelCall, used: ToolCall, state: ServerState) -> JsonObject:
    named = used.id or state.ids.alnum("call_", 24)
    if custom(call.raw, used.name):
        return {
            "id": state.ids.hex("ctc_", 50),
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": named,
            "input": used.text or str(used.arguments.get("input", "")),
            "name": used.name,
        }
    return {
        "id": state.ids.hex("fc_", 50),
        "type": "function_call",
        "status": "completed",
        "arguments": arguments_text(used),
        "call_id": named,
        "name": used.name,
    }

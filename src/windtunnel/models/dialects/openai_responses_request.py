"""Responses, read: ``POST /v1/responses`` to a :class:`ModelCall`.

A request that says neither what to answer nor who shall is taken as the reference's shortest
example and answered by a usual model; one that says only half of it is refused, as the provider
does.

Source: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from windtunnel.models.dialects.openai_chat_request import check_model
from windtunnel.models.dialects.openai_examples import EXAMPLES
from windtunnel.models.dialects.openai_fields import (
    anything,
    array,
    body_check,
    body_of,
    boolean,
    either,
    fields,
    integer,
    mapping,
    metadata,
    missing,
    not_found,
    nullable,
    number,
    one_of,
    refuse,
    string,
    wrong_value,
)
from windtunnel.models.dialects.openai_items import check_pairs, conversation, read_items
from windtunnel.models.dialects.openai_tools import (
    function_name,
    function_tool,
    no_tools,
    output_schema,
)
from windtunnel.models.protocol import HttpRequest, JsonObject, ModelCall, Tool
from windtunnel.models.state import ServerState

USUAL_MODEL = "gpt-4o"
_INPUT = either("one of a string or array of objects", (str, anything), (list, anything))
_REASONING = fields(
    {
        "effort": nullable(one_of("none", "minimal", "low", "medium", "high", "xhigh", "max")),
        "summary": nullable(one_of("auto", "concise", "detailed")),
    }
)
_NAMED = either(
    "one of a string or object", (str, anything), (dict, fields({"id": string}, ("id",)))
)
_COMMON = {
    "conversation": nullable(_NAMED),
    "input": nullable(_INPUT),
    "instructions": nullable(either("a string", (str, anything), (list, anything))),
    "model": nullable(string),
    "parallel_tool_calls": nullable(boolean),
    "previous_response_id": nullable(string),
    "reasoning": nullable(_REASONING),
    "text": nullable(
        fields(
            {"format": nullable(mapping), "verbosity": nullable(one_of("low", "medium", "high"))}
        )
    ),
    "tool_choice": nullable(either("one of a string or object", (str, anything), (dict, anything))),
    "tools": nullable(array(mapping, 0, 128, "an array of objects")),
    "truncation": nullable(one_of("auto", "disabled")),
}
_FIELDS = _COMMON | {
    "access_programs": nullable(mapping),
    "background": nullable(boolean),
    "context_management": nullable(array(mapping)),
    "image": nullable(mapping),
    "include": nullable(array(string)),
    "max_output_tokens": nullable(integer(16)),
    "max_tool_calls": nullable(integer(0)),
    "metadata": metadata,
    "moderation": nullable(mapping),
    "multi_agent": nullable(mapping),
    "prompt": nullable(fields({"id": string, "variables": nullable(mapping)}, ("id",))),
    "prompt_cache_key": nullable(string),
    "prompt_cache_options": nullable(mapping),
    "prompt_cache_retention": nullable(one_of("in_memory", "in-memory", "24h")),
    "safety_identifier": nullable(string),
    "service_tier": nullable(one_of("auto", "default", "flex", "scale", "priority", "fast")),
    "store": nullable(boolean),
    "stream": nullable(boolean),
    "stream_options": nullable(fields({"include_obfuscation": boolean})),
    "temperature": nullable(number(0, 2)),
    "top_logprobs": nullable(integer(0, 20)),
    "top_p": nullable(number(0, 1)),
    "user": nullable(string),
}
_check = body_check(_FIELDS)
_check_counted = body_check(_COMMON | {"personality": nullable(string)})
check_compact = body_check(
    {
        name: _FIELDS[name]
        for name in (
            "image",
            "input",
            "instructions",
            "previous_response_id",
            "prompt_cache_key",
            "prompt_cache_options",
            "prompt_cache_retention",
            "service_tier",
        )
    }
    | {"model": string}
)
"""The fields of a request to compact a conversation."""
_TOOLS = (
    "function",
    "custom",
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "namespace",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
)


@dataclasses.dataclass(slots=True)
class Record:
    """A response that was made, kept for who asks for it.

    :param response: the object.
    :param input: the items that came with the request.
    :param context: all items up to and with the response's own.
    :param background: whether nobody waited for it; it is seen to be done when it is asked for.
    """

    response: JsonObject
    input: list[JsonObject]
    context: list[JsonObject]
    background: bool = False


def parse_response(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call that a request for a response makes.

    :raises RefusedError: where OpenAI would refuse it.
    """
    body = body_of(request)
    _check(body, "")
    return read_call(body, request, state)


def parse_counted(request: HttpRequest, state: ServerState) -> ModelCall:
    """The call whose input tokens are asked for."""
    body = body_of(request)
    _check_counted(body, "")
    return read_call(body, request, state)


def read_call(body: JsonObject, request: HttpRequest, state: ServerState) -> ModelCall:
    """The call in a body that has been checked field by field."""
    _check_whole(body)
    model = body.get("model") or USUAL_MODEL
    check_model(model, state)
    items = read_items(body.get("input"), state)
    before = _before(body, state)
    context = before + items
    check_pairs(context)
    system, messages = conversation(context)
    instructions = body.get("instructions")
    if instructions:
        if isinstance(instructions, list):
            instructions = conversation(read_items(instructions, state, "instructions"))[0]
        system = f"{instructions}\n{system}" if system else instructions
    tools = _tools(body.get("tools") or ())
    schema, json_mode = _format(body, system, items)
    return ModelCall(
        "openai",
        "responses",
        model,
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=_choice(body, tools),
        schema=schema,
        json_mode=json_mode,
        stream=body.get("stream") is True,
        max_tokens=body.get("max_output_tokens"),
        options={"items": items, "context": context, "sent": [0]},
        raw=body,
        request=request,
    )


def _check_whole(body: JsonObject) -> None:
    given = [
        name
        for name in ("input", "previous_response_id", "prompt", "conversation")
        if body.get(name) is not None
    ]
    if body.get("model") is None and "input" in given and "prompt" not in given:
        missing("model")
    if body.get("model") is not None and not given:
        refuse(
            "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be "
            "provided.",
            "input",
            "missing_required_parameter",
        )
    previous, talk = body.get("previous_response_id"), body.get("conversation")
    if previous is not None and talk is not None and previous not in EXAMPLES:
        refuse(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. Ensure you "
            "are only providing one of them.",
            None,
            "mutually_exclusive_parameters",
        )


def _before(body: JsonObject, state: ServerState) -> list[JsonObject]:
    """The items that the conversation had before this request."""
    previous = body.get("previous_response_id")
    if previous is not None:
        record = state.store("openai.responses").get(previous)
        if record is not None:
            return list(record.context)
        if previous not in EXAMPLES:
            refuse(
                f"Previous response with id '{previous}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
    talk = conversation_id(body)
    if talk is not None:
        kept = state.store("openai.conversations").get(talk)
        if kept is not None:
            return list(kept["items"])
        if talk not in EXAMPLES:
            raise not_found(f"Conversation with id '{talk}' not found.")
    return []


def conversation_id(body: Mapping[str, Any]) -> str | None:
    """The conversation that a request names."""
    talk = body.get("conversation")
    return talk["id"] if isinstance(talk, dict) else talk


def _tools(offered: Any) -> tuple[Tool, ...]:
    tools: list[Tool] = []
    for place, tool in enumerate(offered):
        path = f"tools[{place}]"
        if "type" not in tool:
            missing(f"{path}.type")
        kind = tool["type"]
        if kind not in _TOOLS:
            wrong_value(kind, f"{path}.type", _TOOLS)
        if kind == "function":
            tools.append(function_tool(tool, path))
        elif kind == "custom":
            name = function_name(tool, path)
            tools.append(Tool(name, str(tool.get("description") or "")))
        elif kind == "namespace" and isinstance(tool.get("tools"), list):
            tools += _tools(tool["tools"])
    return tuple(tools)


_MODES = ("none", "auto", "required")


def _choice(body: JsonObject, tools: tuple[Tool, ...]) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        if choice not in _MODES:
            wrong_value(choice, "tool_choice", _MODES)
        if choice == "required" and not body.get("tools"):
            no_tools("tool_choice")
        return choice
    if "type" not in choice:
        missing("tool_choice.type")
    if choice["type"] in ("function", "custom"):
        name = choice.get("name")
        if name is None:
            missing("tool_choice.name")
        if name not in [tool.name for tool in tools]:
            refuse(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")
        return str(name)
    if choice["type"] == "allowed_tools":
        return "required" if choice.get("mode") == "required" else "auto"
    return "auto"


_FORMATS = ("text", "json_object", "json_schema")


def _format(body: JsonObject, system: str, items: list[JsonObject]) -> tuple[Any, bool]:
    wanted = (body.get("text") or {}).get("format")
    if wanted is None:
        return None, False
    kind = wanted.get("type")
    if kind not in _FORMATS:
        if "type" not in wanted:
            missing("text.format.type")
        wrong_value(kind, "text.format.type", _FORMATS)
    if kind == "text":
        return None, False
    if kind == "json_schema":
        return output_schema(wanted, "text.format", "text.format.schema"), True
    texts = [system, *(message.text for message in conversation(items)[1])]
    if not any("json" in text.lower() for text in texts):
        refuse(
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'.",
            "input",
        )
    return None, True

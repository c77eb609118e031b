"""What a chat completion request says of tools and of the form of its answer.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

from windtunnel.models.dialects.openai_fields import (
    mapping,
    missing,
    refuse,
    wrong_value,
)
from windtunnel.models.dialects.openai_tools import (
    function_name,
    function_tool,
    no_tools,
    output_schema,
)
from windtunnel.models.protocol import (
    JsonObject,
    Message,
    Tool,
)


def offered_tools(body: JsonObject) -> tuple[Tool, ...]:
    """The tools that a request offers, checked."""
    offered = body.get("tools")
    if not offered:
        functions = body.get("functions") or ()
        return tuple(
            function_tool(inner, f"functions[{place}]") for place, inner in enumerate(functions)
        )
    tools = []
    for place, tool in enumerate(offered):
        path = f"tools[{place}]"
        kind = tool.get("type")
        if "type" not in tool:
            missing(f"{path}.type")
        if kind not in ("function", "custom"):
            wrong_value(kind, f"{path}.type", ("function", "custom"))
        if kind not in tool:
            missing(f"{path}.{kind}")
        if kind == "function":
            tools.append(function_tool(tool["function"], f"{path}.function"))
        else:
            inner = tool["custom"]
            mapping(inner, f"{path}.custom")
            name = function_name(inner, f"{path}.custom")
            tools.append(Tool(name, str(inner.get("description") or "")))
    return tuple(tools)


_MODES = ("none", "auto", "required")


def tool_choice(body: JsonObject, tools: tuple[Tool, ...]) -> str:
    """What a request says of calling tools: a mode, or the name of the tool to call."""
    param = "tool_choice"
    choice = body.get(param)
    if choice is None:
        choice = body.get("function_call")
        if choice is None:
            return "auto"
        if not body.get("tools"):
            param = "function_call"
    if not tools:
        no_tools(param)
    if isinstance(choice, str):
        if choice not in _MODES:
            wrong_value(choice, param, _MODES)
        return choice
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        mapping(allowed, f"{param}.allowed_tools")
        mode = allowed.get("mode", "auto")
        if mode not in ("auto", "required"):
            wrong_value(mode, f"{param}.allowed_tools.mode", ("auto", "required"))
        return str(mode)
    inner = choice
    if param == "tool_choice":
        kind = choice.get("type")
        if kind not in ("function", "custom"):
            wrong_value(kind, "tool_choice.type", ("function", "custom", "allowed_tools"))
        if kind not in choice:
            missing(f"tool_choice.{kind}")
        inner = choice[kind]
        mapping(inner, f"tool_choice.{kind}")
    name = inner.get("name")
    if name not in [tool.name for tool in tools]:
        refuse(f"Tool choice '{name}' not found in 'tools' parameter.", param)
    return str(name)


def output_format(body: JsonObject, system: str, messages: tuple[Message, ...]) -> tuple[Any, bool]:
    """The schema that the answer must satisfy, and whether it must be JSON."""
    wanted = body.get("response_format")
    if wanted is None or wanted["type"] == "text":
        return None, False
    if wanted["type"] == "json_object":
        texts = [system, *(message.text for message in messages)]
        results = [result.content for message in messages for result in message.tool_results]
        if not any("json" in text.lower() for text in (*texts, *results)):
            refuse(
                "'messages' must contain the word 'json' in some form, to use 'response_format' "
                "of type 'json_object'.",
                "messages",
            )
        return None, True
    if "json_schema" not in wanted:
        missing("response_format.json_schema")
    path = "response_format.json_schema"
    return output_schema(wanted["json_schema"], path, "response_format"), True

"""Validation of Anthropic's request bodies, in the words in which the API refuses them.

Field errors are pydantic's, with the path in front (``messages.0.role: ...``); what concerns the
conversation as a whole has sentences of its own.

Source: https://docs.claude.com/en/api/messages and /api/errors, the anthropic SDK's types, and the
messages that are quoted in the issues of anthropics/claude-code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any, NoReturn

from windtunnel.models.dialects.schemas import schema_fault
from windtunnel.models.jsonio import loads
from windtunnel.models.protocol import HttpRequest, JsonObject, RefusedError, ReplyError

_FIELDS_WORDS = """
    max_tokens messages model billing_policy cache_control compaction container context_management
    diagnostics fallback_credit_token fallbacks inference_geo mcp_servers metadata output_config
    output_format service_tier speed stop_sequences system thinking thread tool_choice tools
    user_profile_id workspace_id stream temperature top_k top_p betas
"""
FIELDS = frozenset(_FIELDS_WORDS.split())
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")


def refused(message: str, status: int = 400, kind: str = "invalid_request") -> RefusedError:
    """A refusal with the API's message."""
    return RefusedError(ReplyError(status, kind, message))


def refuse(path: str, what: str) -> NoReturn:
    """Refuse a field."""
    raise refused(f"{path}: {what}")


def body_of(request: HttpRequest) -> JsonObject:
    """The body as a JSON object.

    :raises RefusedError: where it is none.
    """
    try:
        body = loads(request.body)
    except ValueError as error:
        raise refused(
            f"The request body is not valid JSON: {_reason(request.body, error)}"
        ) from None
    except RecursionError:
        raise refused("The request body is not valid JSON: recursion limit exceeded") from None
    if not isinstance(body, dict):
        raise refused("Input should be a valid dictionary")
    return body


def _reason(data: bytes, error: ValueError) -> str:
    if not data:
        return "unexpected end of data: line 1 column 1 (char 0)"
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}: line {error.lineno} column {error.colno} (char {error.pos})"
    return str(error)


# -- single fields --------------------------------------------------------------------------------


def need(body: JsonObject, name: str, path: str = "") -> Any:
    """A required field."""
    value = body.get(name)
    if value is None:
        refuse(f"{path}{name}", "Field required")
    return value


def text(value: Any, path: str) -> str:
    """A string."""
    if not isinstance(value, str):
        refuse(path, "Input should be a valid string")
    return value


def whole(value: Any, path: str, least: int) -> int:
    """A whole number, not below ``least``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(path, "Input should be a valid integer")
    if value < least:
        refuse(path, f"Input should be greater than or equal to {least}")
    return value


def flag(value: Any, path: str) -> bool:
    """A boolean."""
    if not isinstance(value, bool):
        refuse(path, "Input should be a valid boolean")
    return value


def items(value: Any, path: str) -> list[Any]:
    """A list."""
    if not isinstance(value, list):
        refuse(path, "Input should be a valid list")
    return value


def thing(value: Any, path: str) -> JsonObject:
    """An object."""
    if not isinstance(value, dict):
        refuse(path, "Input should be a valid dictionary")
    return value


def one_of(value: Any, path: str, values: Collection[str]) -> None:
    """One of these words."""
    if value not in values:
        named = [f"'{name}'" for name in values]
        told = named[0] if len(named) == 1 else f"{', '.join(named[:-1])} or {named[-1]}"
        refuse(path, f"Input should be {told}")


def tag_of(value: JsonObject, path: str, tags: Collection[str]) -> str:
    """The ``type`` by which a union is told apart."""
    tag = value.get("type")
    if tag is None:
        refuse(path, "Unable to extract tag using discriminator 'type'")
    if not isinstance(tag, str) or tag not in tags:
        expected = ", ".join(f"'{name}'" for name in sorted(tags))
        refuse(
            path,
            f"Input tag {tag!r} found using 'type' does not match any of the expected tags:"
            f" {expected}",
        )
    return tag


# -- the request ----------------------------------------------------------------------------------


def check_request(body: JsonObject, *, counting: bool = False) -> None:
    """Everything but the messages.

    :param counting: whether only tokens are to be counted, which needs no ``max_tokens``.
    """
    text(need(body, "model"), "model")
    if not counting or body.get("max_tokens") is not None:
        whole(need(body, "max_tokens"), "max_tokens", 0)
    items(need(body, "messages"), "messages")
    for name in body:
        if name not in FIELDS:
            refuse(name, "Extra inputs are not permitted")
    _check_plain(body)
    _check_system(body.get("system"))
    names = _check_tools(body.get("tools"))
    _check_tool_choice(body.get("tool_choice"), names, bool(body.get("tools")))
    _check_thinking(body)
    _check_output(body)


def _check_plain(body: JsonObject) -> None:
    if body.get("stream") is not None:
        flag(body["stream"], "stream")
    for name, most in (("temperature", 1), ("top_p", 1)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(name, "Input should be a valid number")
        if not 0 <= value <= most:
            refuse(name, f"range: 0..{most}")
    if body.get("top_k") is not None:
        whole(body["top_k"], "top_k", 0)
    if body.get("metadata") is not None:
        user = thing(body["metadata"], "metadata").get("user_id")
        if user is not None:
            text(user, "metadata.user_id")
    for index, stop in enumerate(items(body.get("stop_sequences") or [], "stop_sequences")):
        if not text(stop, f"stop_sequences.{index}").strip():
            refuse("stop_sequences", "each stop sequence must contain non-whitespace")
    if body.get("service_tier") is not None:
        one_of(body["service_tier"], "service_tier", ("auto", "standard_only"))


def _check_system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    for index, block in enumerate(items(system, "system")):
        path = f"system.{index}"
        if thing(block, path).get("type") != "text":
            refuse(f"{path}.type", "Input should be 'text'")
        if not text(need(block, "text", f"{path}."), f"{path}.text"):
            raise refused("system: text content blocks must be non-empty")


def _check_tools(tools: Any) -> set[str]:
    names: set[str] = set()
    for index, tool in enumerate(items(tools or [], "tools")):
        path = f"tools.{index}"
        kind = thing(tool, path).get("type") or "custom"
        text(kind, f"{path}.type")
        if kind != "custom":
            names.add(str(tool.get("name", "")))
            continue
        path += ".custom"
        name = text(need(tool, "name", f"{path}."), f"{path}.name")
        if not _TOOL_NAME.fullmatch(name):
            refuse(f"{path}.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
        if name in names:
            raise refused("tools: Tool names must be unique.")
        names.add(name)
        if tool.get("description") is not None:
            text(tool["description"], f"{path}.description")
        schema = thing(need(tool, "input_schema", f"{path}."), f"{path}.input_schema")
        if need(schema, "type", f"{path}.input_schema.") != "object":
            refuse(f"{path}.input_schema.type", "Input should be 'object'")
    return names


def _check_tool_choice(choice: Any, names: set[str], tools: bool) -> None:
    if choice is None:
        return
    kind = tag_of(thing(choice, "tool_choice"), "tool_choice", ("any", "auto", "none", "tool"))
    if not tools and kind != "none":
        raise refused("tool_choice: tool_choice may only be specified while providing tools.")
    if kind == "tool":
        name = text(need(choice, "name", "tool_choice.tool."), "tool_choice.tool.name")
        if name not in names:
            raise refused(f"Tool '{name}' not found in provided tools")


def _check_thinking(body: JsonObject) -> None:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kinds = ("adaptive", "between_tools", "disabled", "enabled")
    kind = tag_of(thing(thinking, "thinking"), "thinking", kinds)
    if kind != "enabled":
        return
    path = "thinking.enabled.budget_tokens"
    budget = whole(need(thinking, "budget_tokens", "thinking.enabled."), path, 1024)
    if body.get("max_tokens") is not None and budget >= body["max_tokens"]:
        raise refused("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise refused("Thinking may not be enabled when tool_choice forces tool use.")


def _check_output(body: JsonObject) -> None:
    config = body.get("output_config")
    given = [("output_format", body.get("output_format"))]
    if config is not None:
        given.append(("output_config.format", thing(config, "output_config").get("format")))
        if config.get("effort") is not None:
            efforts = ("low", "medium", "high", "xhigh", "max")
            one_of(config["effort"], "output_config.effort", efforts)
    for path, shape in given:
        if shape is None:
            continue
        if need(thing(shape, path), "type", f"{path}.") != "json_schema":
            refuse(f"{path}.type", "Input should be 'json_schema'")
        schema = thing(need(shape, "schema", f"{path}."), f"{path}.schema")
        fault = schema_fault(schema)
        if fault is not None:
            refuse(f"{path}.schema", f"Invalid schema: {fault}")

"""Items of the Responses API: what a client may put in, and the neutral messages they make.

Source: https://platform.openai.com/docs/api-reference/responses/create#responses_create-input
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from windtunnel.models.dialects.openai_fields import (
    anything,
    array,
    either,
    fields,
    missing,
    not_found,
    nullable,
    one_of,
    refuse,
    string,
    tagged,
    wrong_type,
    wrong_value,
)
from windtunnel.models.dialects.openai_tools import parsed_arguments
from windtunnel.models.jsonio import dumps
from windtunnel.models.protocol import JsonObject, Message, ToolCall, ToolResult
from windtunnel.models.state import ServerState

ROLES = ("assistant", "system", "developer", "user")
_PART = tagged(
    {
        "input_text": fields({"text": string}, ("text",)),
        "input_image": fields({"image_url": nullable(string), "file_id": nullable(string)}),
        "input_file": fields({"file_id": nullable(string), "file_data": nullable(string)}),
        "input_audio": anything,
        "output_text": fields({"text": string}, ("text",)),
        "refusal": fields({"refusal": string}, ("refusal",)),
        "text": fields({"text": string}, ("text",)),
        "summary_text": fields({"text": string}, ("text",)),
        "reasoning_text": fields({"text": string}, ("text",)),
        "computer_screenshot": anything,
    }
)
_CONTENT = either(
    "one of a string or array of objects",
    (str, anything),
    (list, array(_PART)),
)
_MESSAGE = fields({"role": one_of(*ROLES), "content": _CONTENT}, ("role", "content"))
_OUTPUT = fields({"call_id": string}, ("call_id", "output"))
_KINDS = {
    "message": _MESSAGE,
    "function_call": fields(
        {"call_id": string, "name": string, "arguments": string}, ("call_id", "name", "arguments")
    ),
    "function_call_output": _OUTPUT,
    "custom_tool_call": fields(
        {"call_id": string, "name": string, "input": string}, ("call_id", "name", "input")
    ),
    "custom_tool_call_output": _OUTPUT,
    "reasoning": fields({"summary": array(anything)}, ("summary",)),
    "item_reference": fields({"id": string}, ("id",)),
} | dict.fromkeys(
    (
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "code_interpreter_call",
        "compaction",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "file_search_call",
        "image_generation_call",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "program",
        "program_output",
        "shell_call",
        "shell_call_output",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    ),
    anything,
)
_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_OUTPUTS = {"function_call_output": "function_call", "custom_tool_call_output": "custom_tool_call"}


def read_items(value: Any, state: ServerState, path: str = "input") -> list[JsonObject]:
    """The items of an ``input`` field, each checked and with an id and a type.

    A reference is replaced by the item it refers to.
    """
    if value is None:
        return []
    if isinstance(value, str):
        content = [{"type": "input_text", "text": value}]
        return [_numbered({"type": "message", "role": "user", "content": content}, state)]
    if not isinstance(value, list):
        wrong_type(value, path, "one of a string or array of objects")
    return [_item(item, f"{path}[{place}]", state) for place, item in enumerate(value)]


def _item(value: Any, path: str, state: ServerState) -> JsonObject:
    if not isinstance(value, dict):
        wrong_type(value, path, "an object")
    kind = value.get("type")
    if kind is None:
        if "role" not in value:
            # What has an id and nothing else refers to an item.
            if "id" not in value or len(value) > 2:
                missing(f"{path}.type")
            kind = "item_reference"
        else:
            kind = "message"
    check = _KINDS.get(kind) if isinstance(kind, str) else None
    if check is None:
        wrong_value(kind, f"{path}.type", _KINDS)
    check(value, path)
    if kind == "item_reference":
        return _referred(value["id"], state)
    if kind != "message":
        return _numbered(dict(value) | {"type": kind}, state)
    content = value["content"]
    if isinstance(content, str):
        word = "output_text" if value["role"] == "assistant" else "input_text"
        part: JsonObject = {"type": word, "text": content}
        if word == "output_text":
            part |= {"annotations": [], "logprobs": []}
        content = [part]
    return _numbered(dict(value) | {"type": "message", "content": content}, state)


_PREFIXES = {
    "message": "msg_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "reasoning": "rs_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
}


def _numbered(item: JsonObject, state: ServerState) -> JsonObject:
    kind = item["type"]
    if not item.get("id"):
        item["id"] = state.ids.hex(_PREFIXES.get(kind, "item_"), 50)
    if kind in _PREFIXES and kind != "reasoning":
        item.setdefault("status", "completed")
    return item


def _referred(named: str, state: ServerState) -> JsonObject:
    for record in state.store("openai.responses").values():
        for item in record.context:
            if item.get("id") == named:
                return dict(item)
    for kept in state.store("openai.conversations").values():
        for item in kept["items"]:
            if item.get("id") == named:
                return dict(item)
    raise not_found(f"Item with id '{named}' not found.", "input")


# -- pairing --------------------------------------------------------------------------------------


def check_pairs(items: Sequence[JsonObject]) -> None:
    """Refuse a conversation in which a call has no output, or an output no call."""
    called: dict[str, str] = {}
    answered: set[str] = set()
    for item in items:
        kind = item["type"]
        if kind in _CALLS:
            called[item["call_id"]] = kind
        elif kind in _OUTPUTS:
            used = item["call_id"]
            if used not in called:
                word = "custom tool call" if kind.startswith("custom") else "function call"
                refuse(f"No tool call found for {word} output with call_id {used}.", "input")
            answered.add(used)
    for used, kind in called.items():
        if used not in answered:
            word = "custom tool call" if kind.startswith("custom") else "function call"
            refuse(f"No tool output found for {word} {used}.", "input")


# -- messages -------------------------------------------------------------------------------------


def conversation(items: Iterable[JsonObject]) -> tuple[str, tuple[Message, ...]]:
    """The system prompt and the messages that items make. Calls next to one another become one
    message of the assistant, as the other APIs have it."""
    system: list[str] = []
    messages: list[Message] = []
    names: dict[str, str] = {}
    for item in items:
        kind = item["type"]
        if kind == "message":
            text, images = _content(item["content"])
            role = item["role"]
            if role in ("system", "developer"):
                system.append(text)
            else:
                messages.append(Message(role, text, images=images, raw=item))
        elif kind in _CALLS:
            text = item[_CALLS[kind]]
            names[item["call_id"]] = item["name"]
            used = ToolCall(item["name"], parsed_arguments(text), item["call_id"], text)
            _add_call(messages, used, item)
        elif kind in _OUTPUTS:
            named = item["call_id"]
            result = ToolResult(named, names.get(named, ""), _output_text(item["output"]))
            messages.append(Message("tool", tool_results=(result,), raw=item))
        elif kind == "reasoning":
            thought = "\n".join(str(part.get("text", "")) for part in item["summary"])
            messages.append(Message("assistant", thinking=thought, raw=item))
    return "\n".join(system), tuple(messages)


def _add_call(messages: list[Message], used: ToolCall, item: JsonObject) -> None:
    last = messages[-1] if messages else None
    if last is not None and last.role == "assistant":
        messages[-1] = Message(
            "assistant", last.text, last.thinking, (*last.tool_calls, used), raw=last.raw
        )
    else:
        messages.append(Message("assistant", tool_calls=(used,), raw=item))


def _content(content: Any) -> tuple[str, tuple[str, ...]]:
    if isinstance(content, str):
        return content, ()
    texts: list[str] = []
    images: list[str] = []
    for part in content:
        if part["type"] == "input_image":
            images.append(part.get("image_url") or part.get("file_id") or "")
        elif (text := part.get("text", part.get("refusal"))) is not None:
            texts.append(text)
    return "\n".join(texts), tuple(images)


def _output_text(output: Any) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        texts = [str(part.get("text", "")) for part in output if isinstance(part, dict)]
        return "\n".join(text for text in texts if text)
    return dumps(output).decode()

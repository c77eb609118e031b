"""Chat completions, read: ``POST /v1/chat/completions`` to a :class:`ModelCall`.

Source: https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from typing import Any

from windtunnel.models.dialects.openai_chat_quick import read_plain
from windtunnel.models.dialects.openai_chat_tools import offered_tools, output_format, tool_choice
from windtunnel.models.dialects.openai_fields import (
    anything,
    array,
    body_check,
    body_of,
    boolean,
    either,
    fields,
    integer,
    is_json,
    mapping,
    metadata,
    missing,
    nullable,
    number,
    one_of,
    refuse,
    string,
    tagged,
    wrong_type,
    wrong_value,
)
from windtunnel.models.dialects.openai_tools import (
    function_name,
    parsed_arguments,
)
from windtunnel.models.protocol import (
    HttpRequest,
    JsonObject,
    Message,
    ModelCall,
    RefusedError,
    ReplyError,
    Role,
    ToolCall,
    ToolResult,
)
from windtunnel.models.quick import maker
from windtunnel.models.state import ServerState

_model_call, _a_message = maker(ModelCall), maker(Message)
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_FIELDS = {
    "messages": anything,  # read below
    "model": string,
    "audio": nullable(fields({"format": string}, ("format", "voice"))),
    "frequency_penalty": nullable(number(-2, 2)),
    "function_call": either("a string or an object", (str, anything), (dict, anything)),
    "functions": array(anything, 1, 128),
    "logit_bias": nullable(mapping),
    "logprobs": nullable(boolean),
    "max_completion_tokens": nullable(integer(0)),
    "max_tokens": nullable(integer(0)),
    "metadata": metadata,
    "modalities": nullable(array(one_of("text", "audio"))),
    "moderation": nullable(mapping),
    "n": nullable(integer(1, 128)),
    "parallel_tool_calls": boolean,
    "prediction": nullable(mapping),
    "presence_penalty": nullable(number(-2, 2)),
    "prompt_cache_key": nullable(string),
    "prompt_cache_options": nullable(mapping),
    "prompt_cache_retention": nullable(one_of("in_memory", "in-memory", "24h")),
    "reasoning_effort": nullable(one_of(*_EFFORTS)),
    "response_format": nullable(
        tagged({"text": anything, "json_object": anything, "json_schema": anything})
    ),
    "safety_identifier": nullable(string),
    "seed": nullable(integer(-(2**63), 2**63 - 1)),
    "service_tier": nullable(one_of("auto", "default", "flex", "scale", "priority", "fast")),
    "stop": nullable(
        either("a string or an array of strings", (str, anything), (list, array(string, 0, 4)))
    ),
    "store": nullable(boolean),
    "stream": nullable(boolean),
    "stream_options": nullable(fields({"include_usage": boolean, "include_obfuscation": boolean})),
    "temperature": nullable(number(0, 2)),
    "tool_choice": either("a string or an object", (str, anything), (dict, anything)),
    "tools": nullable(array(mapping, 1, 128, "an array of objects")),
    "top_logprobs": nullable(integer(0, 20)),
    "top_p": nullable(number(0, 1)),
    "user": nullable(string),
    "verbosity": nullable(one_of("low", "medium", "high")),
    "web_search_options": nullable(mapping),
}
_check = body_check(_FIELDS, unknown="Unrecognized request argument supplied")
# Fields that say more than their checks look at.
_MORE = frozenset(
    {
        "function_call",
        "functions",
        "response_format",
        "stream_options",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_KNOWN_ROLES = ("system", "assistant", "user", "function", "tool", "developer")
_PARTS = {
    "user": {
        "text": fields({"text": string}, ("text",)),
        "image_url": fields({"image_url": fields({"url": string}, ("url",))}, ("image_url",)),
        "input_audio": fields({"input_audio": mapping}, ("input_audio",)),
        "file": fields({"file": mapping}, ("file",)),
    },
    "assistant": {
        "text": fields({"text": string}, ("text",)),
        "refusal": fields({"refusal": string}, ("refusal",)),
    },
}
_TEXT_PARTS = {"text": _PARTS["user"]["text"]}
_part_checks = {role: tagged(_PARTS.get(role, _TEXT_PARTS)) for role in (*_KNOWN_ROLES, "function")}


def parse_chat(request: HttpRequest, state: ServerState, *, model: str = "") -> ModelCall:
    """The call that a chat completion request makes.

    :param model: the model that the path names (Azure), for requests whose body names none.
    :raises RefusedError: where OpenAI would refuse it.
    """
    if is_json(request) and not model and (plain := read_plain(request)) is not None:
        check_model(plain.model, state)
        return plain
    body = body_of(request)
    if "model" not in body:
        if not model:
            refuse("you must provide a model parameter")
        body["model"] = model
    if "messages" not in body:
        missing("messages")
    _check(body, "")
    check_model(body["model"], state)
    system, messages = _conversation(body["messages"])
    # Zero is no limit that a model could keep.
    limit = body.get("max_completion_tokens")
    limit = (limit if limit is not None else body.get("max_tokens")) or None
    if _MORE.isdisjoint(body):
        return _model_call(
            "openai",
            "chat",
            body["model"],
            messages=messages,
            system=system,
            stream=body.get("stream") is True,
            n=body.get("n") or 1,
            max_tokens=limit,
            raw=body,
            request=request,
        )
    tools = offered_tools(body)
    schema, json_mode = output_format(body, system, messages)
    stream = body.get("stream") is True
    if not stream and body.get("stream_options") is not None and "stream" not in body:
        refuse(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    if body.get("top_logprobs") and not body.get("logprobs"):
        refuse(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            "top_logprobs",
        )
    return _model_call(
        "openai",
        "chat",
        body["model"],
        messages=messages,
        system=system,
        tools=tools,
        tool_choice=tool_choice(body, tools),
        schema=schema,
        json_mode=json_mode,
        stream=stream,
        n=body.get("n") or 1,
        max_tokens=limit,
        raw=body,
        request=request,
    )


def check_model(name: str, state: ServerState) -> None:
    """Refuse a model that the server does not have."""
    if not state.models.known(name):
        raise RefusedError(
            ReplyError(
                404,
                "model_not_found",
                f"The model `{name}` does not exist or you do not have access to it.",
            )
        )


# -- messages -------------------------------------------------------------------------------------


def _conversation(value: Any) -> tuple[str, tuple[Message, ...]]:
    if not isinstance(value, list):
        wrong_type(value, "messages", "an array of objects")
    if not value:
        refuse(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            "messages",
            "empty_array",
        )
    if len(value) == 1:  # a question without a history, asked in the commonest way
        raw = value[0]
        if isinstance(raw, dict) and raw.get("role") == "user":
            content = raw.get("content")
            if isinstance(content, str):
                return "", (_a_message("user", content, raw=raw),)
    system: list[str] = []
    messages: list[Message] = []
    pairing = _Pairing()
    for place, raw in enumerate(value):
        if not isinstance(raw, dict):
            wrong_type(raw, f"messages[{place}]", "an object")
        name = raw.get("role")
        role = _ROLES.get(name) if isinstance(name, str) else None
        if role is None:
            if "role" not in raw:
                missing(f"messages[{place}].role")
            wrong_value(name, f"messages[{place}].role", _KNOWN_ROLES)
        if role == "user" and pairing.idle:
            content = raw.get("content")
            if isinstance(content, str):  # by far the commonest
                messages.append(_a_message("user", content, raw=raw))
                continue
        pairing.look(raw, place)
        if role == "system":
            system.append(_content(raw, place, "system")[0])
        else:
            messages.append(_message(raw, place, role, pairing))
    pairing.end()
    return "\n".join(system), tuple(messages)


def _message(raw: JsonObject, place: int, role: Role, pairing: _Pairing) -> Message:
    content = raw.get("content")
    if role == "tool":
        text, _ = _content(raw, place, raw["role"])
        name = raw.get("name") or pairing.names.get(raw.get("tool_call_id", ""), "")
        result = ToolResult(raw.get("tool_call_id") or name, name, text)
        return _a_message("tool", tool_results=(result,), raw=raw)
    if role == "user":
        text, images = _content(raw, place, "user")
        return _a_message("user", text, images=images, raw=raw)
    calls = _calls(raw, place)
    if content is None and not calls and not raw.get("refusal") and not raw.get("audio"):
        refuse(
            "Invalid value for 'content': expected a string, got null.",
            f"messages.[{place}].content",
        )
    text = "" if content is None else _content(raw, place, "assistant")[0]
    return _a_message("assistant", text or raw.get("refusal") or "", tool_calls=calls, raw=raw)


def _content(raw: JsonObject, place: int, role: str) -> tuple[str, tuple[str, ...]]:
    """Text and images of a message that must have content."""
    if "content" not in raw:
        missing(f"messages[{place}].content")
    content = raw["content"]
    if isinstance(content, str):
        return content, ()
    path = f"messages[{place}].content"
    if not isinstance(content, list):
        wrong_type(content, path, "one of a string or array of objects")
    if not content:
        refuse(
            f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            path,
            "empty_array",
        )
    check = _part_checks[role]
    texts: list[str] = []
    images: list[str] = []
    for number_, part in enumerate(content):
        check(part, f"{path}[{number_}]")
        kind = part["type"]
        if kind == "image_url":
            images.append(part["image_url"]["url"])
        elif kind in ("text", "refusal"):
            texts.append(part[kind])
    return "\n".join(texts), tuple(images)


def _calls(raw: JsonObject, place: int) -> tuple[ToolCall, ...]:
    legacy = raw.get("function_call")
    if isinstance(legacy, dict):
        path = f"messages[{place}].function_call"
        text = legacy.get("arguments", "")
        string(text, f"{path}.arguments")
        return (ToolCall(function_name(legacy, path), parsed_arguments(text), "", text),)
    calls = raw.get("tool_calls")
    if calls is None:
        return ()
    path = f"messages[{place}].tool_calls"
    if not isinstance(calls, list):
        wrong_type(calls, path, "an array of objects")
    if not calls:
        refuse(
            f"Invalid '{path}': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            path,
            "empty_array",
        )
    return tuple(_call(call, f"{path}[{number_}]") for number_, call in enumerate(calls))


_call_check = tagged(
    {
        "function": fields(
            {
                "id": string,
                "function": fields({"name": string, "arguments": string}, ("name", "arguments")),
            },
            ("id", "function"),
        ),
        "custom": fields({"id": string, "custom": mapping}, ("id", "custom")),
    }
)


def _call(value: Any, path: str) -> ToolCall:
    _call_check(value, path)
    inner = value[value["type"]]
    text = inner.get("arguments", inner.get("input", ""))
    return ToolCall(inner.get("name", ""), parsed_arguments(text), value["id"], text)


class _Pairing:
    """Every tool call is answered by one tool message before anybody else speaks."""

    __slots__ = ("_open", "_since", "names")

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self._open: list[str] | None = None  # None: the last to speak was no assistant with calls
        self._since = 0

    @property
    def idle(self) -> bool:
        """Whether the last to speak was no assistant with calls."""
        return self._open is None

    def look(self, raw: JsonObject, place: int) -> None:
        role = raw["role"]
        if role == "tool":
            self._result(raw, place)
            return
        if self._open:
            self._unanswered()
        self._open = None
        calls = raw.get("tool_calls")
        if role == "assistant" and isinstance(calls, list):
            known = [call for call in calls if isinstance(call, dict)]
            self._open, self._since = [str(call.get("id", "")) for call in known], place
            for call in known:
                inner = call.get(str(call.get("type", "function")))
                if isinstance(inner, dict):
                    self.names[str(call.get("id", ""))] = str(inner.get("name", ""))

    def end(self) -> None:
        if self._open:
            self._unanswered()

    def _result(self, raw: JsonObject, place: int) -> None:
        if "tool_call_id" not in raw:
            missing(f"messages[{place}].tool_call_id")
        used = raw["tool_call_id"]
        string(used, f"messages[{place}].tool_call_id")
        if self._open is None:
            refuse(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                f"messages.[{place}].role",
            )
        if used not in self._open:
            refuse(
                f"Invalid parameter: 'tool_call_id' of '{used}' not found in 'tool_calls' of "
                "previous message.",
                f"messages.[{place}].tool_call_id",
            )
        self._open.remove(used)

    def _unanswered(self) -> None:
        refuse(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            f"{', '.join(self._open or ())}",
            f"messages.[{self._since + 1}].role",
        )

"""Checks of Ollama's request bodies, in the words in which Go's JSON decoder refuses them.

Ollama binds a body to a Go struct: a field of the wrong JSON type is an error that names struct,
path and Go type; a field that the struct has not is ignored; ``null`` is as good as absent.

Source: https://github.com/ollama/ollama/blob/main/api/types.go
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from windtunnel.models.jsonio import loads
from windtunnel.models.protocol import HttpRequest, JsonObject, RefusedError, ReplyError

Check: TypeAlias = Callable[[Any, str], None]
"""Looks at a value that is not null; its second argument is ``Struct.path``."""

_FOREVER_S = float(2**63) / 1e9


def refused(message: str, status: int = 400, kind: str = "invalid_request") -> RefusedError:
    """A refusal with Ollama's message."""
    return RefusedError(ReplyError(status, kind, message))


def refuse(message: str, status: int = 400, kind: str = "invalid_request") -> NoReturn:
    """Refuse the request with Ollama's message."""
    raise refused(message, status, kind)


def body_of(request: HttpRequest, struct: str, checks: Mapping[str, Check]) -> JsonObject:
    """The body as an object whose fields have the types of the struct; nulls are left out.

    :raises RefusedError: as Go's decoder would refuse it.
    """
    data = request.body
    if not data.strip():
        refuse("missing request body")
    try:
        body = loads(data)
    except ValueError:
        refuse(_syntax_error(data))
    if not isinstance(body, dict):
        refuse(f"json: cannot unmarshal {_kind(body)} into Go value of type api.{struct}")
    body = {name: value for name, value in body.items() if value is not None}
    for name, value in body.items():
        check = checks.get(name)
        if check is not None:
            check(value, f"{struct}.{name}")
    return body


def _syntax_error(data: bytes) -> str:
    """What Go's scanner says of bytes that are no JSON."""
    text = data.decode("utf-8", "replace")
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()):
            return "unexpected EOF"
        where = {
            "Expecting ',' delimiter": "after object key:value pair",
            "Expecting ':' delimiter": "after object key",
            "Expecting property name enclosed in double quotes": (
                "looking for beginning of object key string"
            ),
            "Extra data": "after top-level value",
        }.get(error.msg, "looking for beginning of value")
        if error.msg.startswith("Unterminated string"):
            return "unexpected EOF"
        found = {"'": "\\'", "\\": "\\\\"}.get(text[error.pos], text[error.pos])
        return f"invalid character '{found}' {where}"
    except (ValueError, RecursionError):
        pass
    return "invalid character '\\x00' looking for beginning of value"


def _kind(value: Any) -> str:
    """The JSON type of a value, as Go's decoder names it."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, list):
        return "array"
    return "object"


def wrong_type(value: Any, path: str, go_type: str) -> NoReturn:
    """Refuse a value that does not fit its Go type."""
    refuse(f"json: cannot unmarshal {_kind(value)} into Go struct field {path} of type {go_type}")


# -- checks of single values ----------------------------------------------------------------------


def _typed(python: type | tuple[type, ...], go_type: str) -> Check:
    def check(value: Any, path: str) -> None:
        if not isinstance(value, python):
            wrong_type(value, path, go_type)

    return check


string = _typed(str, "string")
boolean = _typed(bool, "bool")
mapping = _typed(dict, "map[string]interface {}")


def anything(value: Any, path: str) -> None:
    """Takes whatever comes."""


def integer(value: Any, path: str) -> None:
    """A whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        wrong_type(value, path, "int")
    if isinstance(value, float):
        refuse(f"json: cannot unmarshal number {value} into Go struct field {path} of type int")


def each(check: Check, go_type: str) -> Check:
    """A list, every part of which passes ``check``."""

    def check_all(value: Any, path: str) -> None:
        if not isinstance(value, list):
            wrong_type(value, path, go_type)
        for part in value:
            if part is not None:
                check(part, path)

    return check_all


def struct(go_type: str, checks: Mapping[str, Check]) -> Check:
    """An object with these fields."""

    def check_object(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            wrong_type(value, path, go_type)
        for name, field in value.items():
            check = checks.get(name)
            if check is not None and field is not None:
                check(field, f"{path}.{name}")

    return check_object


def base64_text(value: Any, path: str) -> None:
    """Bytes, as base64 text."""
    string(value, path)
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        at = next((i for i, c in enumerate(value) if not (c.isalnum() or c in "+/=")), len(value))
        refuse(f"illegal base64 data at input byte {at}")


def think(value: Any, path: str) -> None:
    """A boolean or a level."""
    if isinstance(value, bool):
        return
    if isinstance(value, str):
        if value not in ("high", "medium", "low", "max"):
            refuse(
                f'invalid think value: "{value}" '
                '(must be "high", "medium", "low", "max", true, or false)'
            )
        return
    refuse("think must be a boolean or string")


# -- durations ------------------------------------------------------------------------------------

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def seconds(value: Any) -> float:
    """A ``keep_alive``: a number of seconds, or a Go duration; below zero means for ever.

    >>> seconds("1h30m"), seconds(0), seconds("300ms"), seconds(-1) > 1e9
    (5400.0, 0.0, 0.3, True)

    :raises RefusedError: where it is neither.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        names = {"bool": "bool", "array": "[]interface {}", "object": "map[string]interface {}"}
        refuse(f"Unsupported type: '{names.get(_kind(value), _kind(value))}'")
    if isinstance(value, int | float):
        return float(value) if value >= 0 else _FOREVER_S
    sign, text = (-1, value[1:]) if value[:1] == "-" else (1, value.removeprefix("+"))
    if text == "0":
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        if re.fullmatch(r"\d+\.?\d*", text):
            refuse(f'time: missing unit in duration "{value}"')
        refuse(f'time: invalid duration "{value}"')
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return total if sign > 0 else _FOREVER_S


def duration(value: Any, path: str) -> None:
    """A ``keep_alive``."""
    seconds(value)


# -- the structs ----------------------------------------------------------------------------------

TOOL_CALL = struct(
    "api.ToolCall",
    {
        "id": string,
        "function": struct(
            "api.ToolCallFunction",
            {"name": string, "arguments": _typed(dict, "api.ToolCallFunctionArguments")},
        ),
    },
)
MESSAGE = struct(
    "api.Message",
    {
        "role": string,
        "content": string,
        "thinking": string,
        "images": each(base64_text, "[]api.ImageData"),
        "tool_calls": each(TOOL_CALL, "[]api.ToolCall"),
        "tool_name": string,
        "tool_call_id": string,
    },
)
TOOL = struct(
    "api.Tool",
    {
        "type": string,
        "function": struct(
            "api.ToolFunction",
            {
                "name": string,
                "description": string,
                "parameters": struct(
                    "api.ToolFunctionParameters",
                    {
                        "type": string,
                        "required": each(string, "[]string"),
                        "properties": _typed(dict, "map[string]api.ToolProperty"),
                    },
                ),
            },
        ),
    },
)
_COMMON: dict[str, Check] = {
    "model": string,
    "stream": boolean,
    "keep_alive": duration,
    "options": mapping,
    "think": think,
    "truncate": boolean,
    "shift": boolean,
    "logprobs": boolean,
    "top_logprobs": integer,
}
CHAT: dict[str, Check] = {
    **_COMMON,
    "messages": each(MESSAGE, "[]api.Message"),
    "tools": each(TOOL, "api.Tools"),
}
GENERATE: dict[str, Check] = {
    **_COMMON,
    "prompt": string,
    "suffix": string,
    "system": string,
    "template": string,
    "context": each(integer, "[]int"),
    "raw": boolean,
    "images": each(base64_text, "[]api.ImageData"),
}
EMBED: dict[str, Check] = {
    "model": string,
    "keep_alive": duration,
    "truncate": boolean,
    "dimensions": integer,
    "options": mapping,
}
EMBEDDINGS: dict[str, Check] = {**EMBED, "prompt": string}
NAMED: dict[str, Check] = {"model": string, "name": string, "stream": boolean, "verbose": boolean}
COPY: dict[str, Check] = {"source": string, "destination": string}
CREATE: dict[str, Check] = {
    **NAMED,
    "from": string,
    "quantize": string,
    "files": _typed(dict, "map[string]string"),
    "adapters": _typed(dict, "map[string]string"),
    "template": string,
    "system": string,
    "parameters": mapping,
    "messages": each(MESSAGE, "[]api.Message"),
}

_INTEGERS = "num_keep seed num_predict top_k repeat_last_n num_ctx num_batch num_gpu main_gpu "
_INTEGERS += "num_thread"
_FLOATS = "top_p min_p typical_p temperature repeat_penalty presence_penalty frequency_penalty"
_OPTIONS: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(_INTEGERS.split(), (int | float, "integer")),
    **dict.fromkeys(_FLOATS.split(), (int | float, "float32")),
    "use_mmap": (bool, "boolean"),
    "stop": (list, "array"),
}


def check_options(options: Mapping[str, Any]) -> None:
    """Options by the types of ``api.Options``; unknown ones are only warned of, so they pass.

    :raises RefusedError: with status 500, as Ollama finds out only when it loads the model.
    """
    for name, value in options.items():
        known = _OPTIONS.get(name)
        if known is None or value is None:
            continue
        python, word = known
        if not isinstance(value, python) or (word != "boolean" and isinstance(value, bool)):
            refuse(f'option "{name}" must be of type {word}', 500, "server")
        if word == "array" and not all(isinstance(part, str) for part in value):
            refuse(f'option "{name}" must be of an array of strings', 500, "server")

"""Gemini's request bodies checked as its JSON front does: against the messages of its protocol.

A body is proto3 JSON: a field may be written in camel case or with underscores, a field that the
message has not is refused by name and place, and so is a value of another type. Checked bodies come
back with all names in camel case.

Source: https://ai.google.dev/api (generateContent, Content, FunctionDeclaration, Schema),
https://protobuf.dev/programming-guides/json, the google-genai SDK's types, and the messages quoted
in issues of its users.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any, TypeAlias

from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import HttpRequest, JsonObject, RefusedError, ReplyError

Kind: TypeAlias = "str | Message | ListOf | MapOf"


class Message:
    """A message of the protocol: its fields by their camel-case names."""

    def __init__(self, **fields: Kind) -> None:
        self.fields = fields


class ListOf:
    """A repeated field."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


class MapOf:
    """A map from strings."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind


_LOWER = re.compile(r"(?<=[a-z0-9])([A-Z])")
_UNDER = re.compile(r"_([a-z0-9])")


def snake(name: str) -> str:
    """``maxOutputTokens`` as ``max_output_tokens``."""
    return _LOWER.sub(lambda match: "_" + match[1].lower(), name)


def camel(name: str) -> str:
    """``max_output_tokens`` as ``maxOutputTokens``."""
    return _UNDER.sub(lambda match: match[1].upper(), name)


# -- refusals -------------------------------------------------------------------------------------


def refused(message: str, status: int = 400, kind: str = "invalid_request") -> RefusedError:
    """A refusal with the API's message."""
    return RefusedError(ReplyError(status, kind, message))


def violated(field: str, what: str) -> RefusedError:
    """A refusal that names the field at fault, as the service itself (behind its front) does."""
    return RefusedError(ReplyError(400, "invalid_request", f"* {field}: {what}\n"))


class _Violations:
    """What is wrong with a payload, all of it."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def unknown(self, name: str, path: str) -> None:
        where = f" at '{path}'" if path else ""
        self._add(path, f'Invalid JSON payload received. Unknown name "{name}"{where}: '
                        "Cannot find field.")  # fmt: skip

    def value(self, path: str, kind: str, value: Any) -> None:
        shown = dumps(value).decode("utf-8", "replace")
        self._add(path, f"Invalid value at '{path}' ({kind}), {shown}")

    def not_scalar(self, path: str, kind: str) -> None:
        self._add(path, f"Invalid value at '{path}' ({kind}), Starting an object on a scalar field")

    def not_list(self, path: str) -> None:
        self._add(path, f"Proto field is not repeating, cannot start list. '{path}'")

    def _add(self, path: str, message: str) -> None:
        self.found.append((path, message))

    def refusal(self) -> RefusedError:
        message = "\n".join(said for _, said in self.found)
        fields = dumps([{"field": path, "description": said} for path, said in self.found])
        # The violations travel in ``param`` to where the body of the error is written.
        return RefusedError(ReplyError(400, "invalid_request", message, param=fields.decode()))


def violations_in(param: str | None) -> list[JsonObject]:
    """The field violations that a refusal carries."""
    if not param or not param.startswith("["):
        return []
    found: list[JsonObject] = loads(param)
    return found


# -- checking -------------------------------------------------------------------------------------


def body_of(request: HttpRequest, message: Message) -> JsonObject:
    """The body as the message, its names in camel case.

    :raises RefusedError: naming everything that does not fit.
    """
    data = request.body.strip()
    if not data:
        return {}
    try:
        body = loads(data)
    except (ValueError, RecursionError):
        shown = data[:40].decode("utf-8", "replace")
        raise refused(f"Invalid JSON payload received. Unexpected token.\n{shown}\n^") from None
    if not isinstance(body, dict):
        raise refused(
            'Invalid JSON payload received. Unknown name "": Root element must be a message.'
        )
    wrong = _Violations()
    checked = _message(body, message, "", wrong)
    if wrong.found:
        raise wrong.refusal()
    return checked


def _message(value: JsonObject, message: Message, path: str, wrong: _Violations) -> JsonObject:
    checked: JsonObject = {}
    for name, given in value.items():
        field = name if name in message.fields else camel(name)
        kind = message.fields.get(field)
        if kind is None:
            wrong.unknown(name, path)
        elif given is not None:
            inner = f"{path}.{snake(field)}" if path else snake(field)
            checked[field] = _checked(given, kind, inner, wrong)
    return checked


def _checked(value: Any, kind: Kind, path: str, wrong: _Violations) -> Any:
    if isinstance(kind, ListOf):
        given = value if isinstance(value, list) else [value]
        return [
            _checked(one, kind.kind, f"{path}[{index}]", wrong) for index, one in enumerate(given)
        ]
    if isinstance(value, list) and kind != "any":
        wrong.not_list(path)
        return None
    if isinstance(kind, Message):
        if not isinstance(value, dict):
            wrong.value(path, "type.googleapis.com/google.ai.generativelanguage", value)
            return {}
        return _message(value, kind, path, wrong)
    if isinstance(kind, MapOf):
        if not isinstance(value, dict):
            wrong.value(path, "Map", value)
            return {}
        pairs = enumerate(value.items())
        return {
            key: _checked(one, kind.kind, f"{path}[{index}].value", wrong)
            for index, (key, one) in pairs
        }
    return _scalar(value, kind, path, wrong)


_TYPES = {
    "string": "TYPE_STRING",
    "bytes": "TYPE_BYTES",
    "int": "TYPE_INT32",
    "float": "TYPE_FLOAT",
    "bool": "TYPE_BOOL",
    "enum": "TYPE_ENUM",
    "struct": "type.googleapis.com/google.protobuf.Struct",
}


def _scalar(value: Any, kind: str, path: str, wrong: _Violations) -> Any:
    if kind == "any":
        return value
    if isinstance(value, dict) and kind != "struct":
        wrong.not_scalar(path, _TYPES[kind])
        return None
    if not _FITS[kind](value):
        wrong.value(path, _TYPES[kind], value)
        return None
    return _CONVERT[kind](value) if kind in _CONVERT else value


def _is_int(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?\d{1,10}", value) is not None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**31 and value == int(value)


def _is_float(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"-?\d+(\.\d+)?([eE][+-]?\d+)?|NaN|-?Infinity", value) is not None
    return not isinstance(value, bool) and isinstance(value, int | float)


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        base64.b64decode(value.replace("-", "+").replace("_", "/") + "==")
    except (binascii.Error, ValueError):
        return False
    return True


_FITS: dict[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "bytes": _is_base64,
    "int": _is_int,
    "float": _is_float,
    "bool": lambda value: isinstance(value, bool),
    "enum": lambda value: isinstance(value, str | int) and not isinstance(value, bool),
    "struct": lambda value: isinstance(value, dict),
}
_CONVERT: dict[str, Callable[[Any], int | float]] = {"int": int, "float": float}

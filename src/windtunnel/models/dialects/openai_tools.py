"""Tools and output schemas: what OpenAI takes for one, and the neutral :class:`Tool` made of it.

A schema without any keyword of JSON Schema constrains nothing and is let through. In strict mode
every object must forbid additional properties and require all of its own.

Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn, TypeAlias

from windtunnel.models.dialects.openai_fields import missing, refuse, wrong_type
from windtunnel.models.jsonio import dumps, loads
from windtunnel.models.protocol import Tool, ToolCall

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_DEEP = 100
_Where: TypeAlias = tuple[str, ...]


class _Wrong(Exception):
    """Why a schema is none."""


def function_tool(value: Any, path: str, *, flat_path: str = "") -> Tool:
    """A function that the client offers, checked.

    :param value: the object that has ``name`` and ``parameters``.
    :param path: where it stands.
    :param flat_path: where its schema stands, when that is not ``{path}.parameters``.
    """
    if not isinstance(value, dict):
        wrong_type(value, path, "an object")
    name = function_name(value, path)
    description = value.get("description")
    if description is not None and not isinstance(description, str):
        wrong_type(description, f"{path}.description", "a string")
    schema = value.get("parameters")
    strict = value.get("strict")
    if strict is not None and not isinstance(strict, bool):
        wrong_type(strict, f"{path}.strict", "a boolean")
    if schema is None:
        schema = {}
    elif not isinstance(schema, dict):
        wrong_type(schema, f"{path}.parameters", "an object")
    try:
        check_schema(schema, strict=bool(strict))
    except _Wrong as wrong:
        refuse(
            f"Invalid schema for function '{name}': {wrong}",
            flat_path or f"{path}.parameters",
            "invalid_function_parameters",
        )
    return Tool(name, description or "", schema, bool(strict))


def function_name(value: Mapping[str, Any], path: str) -> str:
    """The name of a function, checked."""
    if "name" not in value:
        missing(f"{path}.name")
    name = value["name"]
    if not isinstance(name, str):
        wrong_type(name, f"{path}.name", "a string")
    if not _NAME.fullmatch(name):
        refuse(
            f"Invalid '{path}.name': string does not match pattern. Expected a string that matches "
            "the pattern '^[a-zA-Z0-9_-]+$'.",
            f"{path}.name",
            "invalid_value",
        )
    if len(name) > 128:
        refuse(
            f"Invalid '{path}.name': string too long. Expected a string with maximum length 128, "
            f"but got a string with length {len(name)} instead.",
            f"{path}.name",
            "string_above_max_length",
        )
    return name


def output_schema(value: Any, path: str, param: str) -> Mapping[str, Any]:
    """The schema out of a ``json_schema`` format, checked.

    :param value: the object that has ``name``, ``schema`` and ``strict``.
    :param param: what a refusal of the schema names.
    """
    if not isinstance(value, dict):
        wrong_type(value, path, "an object")
    name = function_name(value, path)
    schema = value.get("schema")
    if schema is None:
        missing(f"{path}.schema")
    if not isinstance(schema, dict):
        wrong_type(schema, f"{path}.schema", "an object")
    try:
        check_schema(schema, strict=value.get("strict") is True)
    except _Wrong as wrong:
        refuse(
            f"Invalid schema for response_format '{name}': {wrong}", param, "invalid_json_schema"
        )
    return schema


def check_schema(schema: Mapping[str, Any], *, strict: bool) -> None:
    """Look a schema over.

    :raises _Wrong: saying in what it is wrong.
    """
    if not schema:
        return
    kind = schema.get("type")
    if "type" in schema and kind != "object":
        raise _Wrong(f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'.")
    if strict and "type" not in schema and ("properties" in schema or "anyOf" in schema):
        raise _Wrong("schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'.")
    _walk(schema, (), strict, 0)


def _walk(schema: Any, where: _Where, strict: bool, depth: int) -> None:
    if not isinstance(schema, Mapping):
        raise _Wrong(f"In context={where}, {schema!r} is not of type 'object'.")
    if depth > _DEEP:
        raise _Wrong("the schema is nested too deeply.")
    kind = schema.get("type")
    if "type" in schema:
        _check_kind(kind, where)
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, Mapping):
        raise _Wrong(f"In context={where}, {properties!r} is not of type 'object'.")
    required = schema.get("required")
    if required is not None and not (
        isinstance(required, list) and all(isinstance(name, str) for name in required)
    ):
        raise _Wrong(f"In context={where}, {required!r} is not an array of strings.")
    if kind == "object" or properties is not None:
        if strict:
            _check_strict(schema, properties or {}, required, where)
        _check_required(schema, properties or {}, required or [], where)
        for name, inner in (properties or {}).items():
            _walk(inner, (*where, "properties", name), strict, depth + 1)
    if kind == "array" and strict and "items" not in schema and "prefixItems" not in schema:
        raise _Wrong(f"In context={where}, array schema missing items.")
    if isinstance(items := schema.get("items"), Mapping):
        _walk(items, (*where, "items"), strict, depth + 1)
    for word in ("anyOf", "allOf", "oneOf"):
        _walk_options(schema.get(word), (*where, word), strict, depth)
    for word in ("$defs", "definitions"):
        defined = schema.get(word)
        if isinstance(defined, Mapping):
            for name, inner in defined.items():
                _walk(inner, (*where, word, name), strict, depth + 1)


def _walk_options(options: Any, where: _Where, strict: bool, depth: int) -> None:
    if options is None:
        return
    if not isinstance(options, list) or not options:
        raise _Wrong(f"In context={where}, {options!r} is not a list of schemas.")
    for place, inner in enumerate(options):
        _walk(inner, (*where, str(place)), strict, depth + 1)


def _check_kind(kind: Any, where: _Where) -> None:
    kinds = kind if isinstance(kind, list) else [kind]
    if not kinds or any(not isinstance(name, str) or name not in _TYPES for name in kinds):
        raise _Wrong(f"In context={where}, {kind!r} is not valid under any of the given schemas.")


def _check_strict(
    schema: Mapping[str, Any],
    properties: Mapping[str, Any],
    required: list[Any] | None,
    where: _Where,
) -> None:
    if schema.get("additionalProperties") is not False:
        raise _Wrong(
            f"In context={where}, 'additionalProperties' is required to be supplied and to be "
            "false."
        )
    left_out = [name for name in properties if name not in (required or ())]
    if left_out:
        raise _Wrong(
            f"In context={where}, 'required' is required to be supplied and to be an array "
            f"including every key in properties. Missing '{left_out[0]}'."
        )


def _check_required(
    schema: Mapping[str, Any], properties: Mapping[str, Any], required: list[Any], where: _Where
) -> None:
    """Nothing is required that is forbidden."""
    if schema.get("additionalProperties") is False:
        for name in required:
            if name not in properties:
                raise _Wrong(
                    f"In context={where}, 'required' is required to be supplied and to be an array "
                    f"including every key in properties. Extra required key '{name}' supplied."
                )


# -- calls ----------------------------------------------------------------------------------------


def arguments_text(used: ToolCall) -> str:
    """A call's arguments as the string that the API sends."""
    if used.text:
        return used.text
    # A schema that names no type may have been answered with something else than an object.
    given: Any = used.arguments
    return dumps(dict(given)).decode() if isinstance(given, Mapping) else "{}"


def parsed_arguments(text: str) -> dict[str, Any]:
    """The arguments in a string, empty where it is no JSON object."""
    try:
        value = loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def no_tools(param: str) -> NoReturn:
    """Refuse a choice among no tools."""
    refuse(f"'{param}' is only allowed when 'tools' are specified.", param)

"""Whether a JSON schema is one: what a provider finds out when it makes a grammar of it.

Only the form is looked at: that keywords have values of their types, down to the last subschema.
Keywords that are not known here are let pass.

Source: https://json-schema.org/draft/2020-12/json-schema-validation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TYPES = frozenset(("string", "number", "integer", "boolean", "object", "array", "null"))
_SCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then")
_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_DEEP = 100


def schema_fault(schema: Any) -> str | None:
    """Where and why a schema is none, None where it is one.

    >>> schema_fault({"type": "object", "properties": {"a": {"type": "integer"}}})
    >>> schema_fault({"type": "object", "properties": {"a": 5}})
    'properties.a: neither an object nor a boolean'
    """
    return _fault(schema, "", 0)


def _fault(schema: Any, path: str, depth: int) -> str | None:
    if isinstance(schema, bool):
        return None
    if not isinstance(schema, Mapping):
        return f"{path or 'schema'}: neither an object nor a boolean"
    if depth > _DEEP:
        return f"{path}: too deep"
    return _plain_fault(schema, path) or _inner_fault(schema, path, depth)


def _at(path: str, name: object) -> str:
    return f"{path}.{name}" if path else str(name)


def _plain_fault(schema: Mapping[str, Any], path: str) -> str | None:
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        if not kinds or not all(isinstance(one, str) and one in _TYPES for one in kinds):
            return f"{_at(path, 'type')}: unknown type {schema['type']!r}"
    if "enum" in schema and not (isinstance(schema["enum"], list) and schema["enum"]):
        return f"{_at(path, 'enum')}: not a list of values"
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(one, str) for one in required):
        return f"{_at(path, 'required')}: not a list of names"
    for name in ("pattern", "format", "$ref"):
        if not isinstance(schema.get(name, ""), str):
            return f"{_at(path, name)}: not a string"
    for name in (*_NUMBERS, *_COUNTS):
        value = schema.get(name, 0)
        whole = name in _COUNTS
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{_at(path, name)}: not a number"
        if whole and (value < 0 or value != int(value)):
            return f"{_at(path, name)}: not a count"
    return None


def _inner_fault(schema: Mapping[str, Any], path: str, depth: int) -> str | None:
    for name in _SCHEMAS:
        if name in schema and (found := _fault(schema[name], _at(path, name), depth + 1)):
            return found
    for name in _MAPS:
        inner = schema.get(name, {})
        if not isinstance(inner, Mapping):
            return f"{_at(path, name)}: not an object"
        for key, one in inner.items():
            if found := _fault(one, _at(_at(path, name), key), depth + 1):
                return found
    for name in _LISTS:
        parts = schema.get(name, [True])
        if not isinstance(parts, list) or not parts:
            return f"{_at(path, name)}: not a list of schemas"
        for index, one in enumerate(parts):
            if found := _fault(one, f"{_at(path, name)}[{index}]", depth + 1):
                return found
    return None

"""A value that satisfies a JSON schema, drawn from a seed.

Covers what the providers accept for structured output and tool arguments: types and lists of
types, ``properties``/``required``, ``items``/``prefixItems``, ``enum``, ``const``, ``anyOf``,
``oneOf``, ``allOf``, ``$ref`` into ``$defs`` (also recursive), bounds of numbers, lengths and
items, the common ``format`` values and simple ``pattern`` values. Recursion ends where it may:
beyond a depth, optional properties are left out, arrays are as short as they can be, and of
alternatives one that does not recurse is taken.

>>> import random
>>> schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 18}},
...           "required": ["age"]}
>>> sample(schema, random.Random(7))["age"] >= 18
True
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.models.shape_text import formatted, spread, text_for

_DEEP = 6
_ABYSS = 64
# What code that trusts a schema meets in one whose keywords have values of the wrong type.
_MALFORMED = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)

Schema = Mapping[str, Any] | bool


def sample(schema: Schema, chance: random.Random) -> Any:
    """A value that satisfies ``schema``.

    :raises UsageError: where no value can, or the schema cannot be understood.
    """
    try:
        return _Sampler(schema, chance).value(schema, 0)
    except _MALFORMED as error:
        why = f"{type(error).__name__}: {error}"
        raise UsageError("the JSON schema cannot be understood", found=why[:200]) from error


class _Sampler:
    def __init__(self, root: Schema, chance: random.Random) -> None:
        self._root = root
        self._chance = chance

    def value(self, schema: Schema, depth: int) -> Any:
        if depth > _ABYSS:
            raise UsageError("the JSON schema has no finite value", found=str(schema)[:200])
        if schema is True or schema == {}:
            return "value"
        if schema is False:
            raise UsageError("the JSON schema `false` has no value", found="false")
        schema = self._whole(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chance.choice(list(schema["enum"]))
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._one_of(schema, word, depth)
        return self._typed(_type_of(schema, self._chance, depth), schema, depth)

    def _whole(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema with references followed and ``allOf`` merged."""
        seen = 0
        while "$ref" in schema:
            seen += 1
            if seen > _ABYSS:
                raise UsageError("a $ref of the JSON schema leads to itself", found=schema["$ref"])
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**_resolved(self._root, schema["$ref"]), **rest}
        if "allOf" in schema:
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in schema["allOf"]:
                merged = _merged(merged, self._whole(part))
            return merged
        return schema

    def _one_of(self, schema: Mapping[str, Any], word: str, depth: int) -> Any:
        rest = {key: value for key, value in schema.items() if key != word}
        options = [_merged(rest, self._whole(option)) for option in schema[word]]
        if depth >= _DEEP:
            # The shallowest way out: a scalar before an array before an object.
            options.sort(key=_weight)
            return self.value(options[0], depth + 1)
        return self.value(self._chance.choice(options), depth + 1)

    def _typed(self, kind: str, schema: Mapping[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind == "string":
            return text_for(schema, self._chance)
        if kind == "integer":
            return _integer(schema, self._chance)
        if kind == "number":
            return _number(schema, self._chance)
        if kind == "boolean":
            return self._chance.random() < 0.5
        if kind == "null":
            return None
        raise UsageError("the JSON schema has an unknown type", found=repr(kind))

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties: Mapping[str, Any] = schema.get("properties") or {}
        required = list(schema.get("required") or ())
        made: dict[str, Any] = {}
        for name, inner in properties.items():
            if name in required or depth < _DEEP // 2:
                made[name] = self.value(inner, depth + 1)
        extra = schema.get("additionalProperties", True)
        for name in required:
            if name not in made:
                made[name] = self.value(extra, depth + 1)
        number = 0
        low, _ = spread(schema, "Properties")
        while len(made) < low:
            number += 1
            made[f"key{number}"] = self.value(extra, depth + 1)
        return made

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = list(schema.get("prefixItems") or ())
        items = schema.get("items", True)
        low, high = spread(schema, "Items")
        wanted = low if depth >= _DEEP else max(low, self._chance.randint(1, 3))
        if items is False:
            wanted = min(wanted, len(first))
        wanted = max(wanted, len(first)) if depth < _DEEP else wanted
        if high is not None:
            wanted = min(wanted, high)
        made: list[Any] = []
        tries = 0
        while len(made) < wanted:
            inner = first[len(made)] if len(made) < len(first) else items
            value = self.value(inner, depth + 1)
            tries += 1
            if schema.get("uniqueItems") and value in made:
                if tries > 20 * wanted:
                    if len(made) >= low:
                        break
                    raise UsageError(
                        "the JSON schema wants more different items than there are",
                        found=str(schema)[:200],
                    )
                continue
            made.append(value)
        return made


def _type_of(schema: Mapping[str, Any], chance: random.Random, depth: int) -> str:
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind.lower()  # one provider writes STRING, OBJECT …
    if isinstance(kind, list) and kind:
        kinds = [str(one) for one in kind]
        if depth >= _DEEP and "null" in kinds:
            return "null"
        return chance.choice([one for one in kinds if one != "null"] or kinds)
    if "properties" in schema or "required" in schema or "additionalProperties" in schema:
        return "object"
    if "items" in schema or "prefixItems" in schema or "minItems" in schema:
        return "array"
    if "minimum" in schema or "maximum" in schema or "multipleOf" in schema:
        return "number"
    return "string"


def _weight(schema: Mapping[str, Any]) -> int:
    if "const" in schema or "enum" in schema or schema.get("type") == "null":
        return 0
    if "$ref" in schema or "anyOf" in schema or "oneOf" in schema:
        return 3
    return {"object": 2 + len(schema.get("required") or ()), "array": 1}.get(
        str(schema.get("type")), 0
    )


def _resolved(root: Schema, reference: str) -> Mapping[str, Any]:
    where: Any = root
    if not reference.startswith("#"):
        raise UsageError("a $ref of the JSON schema points outside of it", found=reference)
    for part in reference[1:].lstrip("/").split("/") if reference != "#" else ():
        part = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(where, Mapping) or part not in where:
            raise UsageError("a $ref of the JSON schema points nowhere", found=reference)
        where = where[part]
    if not isinstance(where, Mapping):
        raise UsageError("a $ref of the JSON schema points to no schema", found=reference)
    return where


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    if "properties" in one and "properties" in other:
        merged["properties"] = {**one["properties"], **other["properties"]}
    if "required" in one and "required" in other:
        merged["required"] = list(dict.fromkeys([*one["required"], *other["required"]]))
    return merged


def _bounds(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    return float(low), float(high)


def _integer(schema: Mapping[str, Any], chance: random.Random) -> int:
    step = int(schema.get("multipleOf") or 1) or 1
    low, high = _bounds(schema)
    if "exclusiveMinimum" in schema:
        low = max(low, math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        high = min(high, math.ceil(schema["exclusiveMaximum"]) - 1)
    if low == -math.inf:
        low = min(1, high - 99) if high != math.inf else 1
    if high == math.inf:
        high = low + 99 * step
    first, last = math.ceil(low / step), math.floor(high / step)
    if first > last:
        raise UsageError("the JSON schema has bounds without an integer", found=str(dict(schema)))
    return chance.randint(first, last) * step


def _number(schema: Mapping[str, Any], chance: random.Random) -> float:
    step = schema.get("multipleOf")
    low, high = _bounds(schema)
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    low = max(low, over) if over is not None else low
    high = min(high, under) if under is not None else high
    if low == -math.inf:
        low = min(0.0, high - 100.0) if high != math.inf else 0.0
    if high == math.inf:
        high = low + 100.0
    if step:
        first, last = math.ceil(low / step), math.floor(high / step)
        if first <= last:
            return float(chance.randint(first, last) * step)
    if step or low > high or (low == high and low in (over, under)):
        raise UsageError("the JSON schema has bounds without a number", found=str(dict(schema)))
    # Well inside, so that an excluded bound is not hit by rounding.
    middle = low + (high - low) * (0.25 + 0.5 * chance.random())
    rounded = round(middle, 2)
    return rounded if low < rounded < high else middle


__all__ = ["formatted", "sample"]

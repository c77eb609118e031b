"""Checks of request fields, in OpenAI's words for what is wrong.

A check is a function of a value and of its path as OpenAI writes it (``messages[0].role``). It
returns when the value is fine and raises :class:`RefusedError` otherwise. Checks are put together
once, when a module is imported; checking a request only calls them. What is checked, and the codes
of the refusals, follow the public API description.

Source: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn, TypeAlias

from windtunnel.models.jsonio import loads
from windtunnel.models.protocol import HttpRequest, JsonObject, RefusedError, ReplyError

Check: TypeAlias = Callable[[Any, str], None]
"""Looks at a value; raises where the provider would refuse it."""


def refuse(
    message: str,
    param: str | None = None,
    code: str | None = None,
    *,
    status: int = 400,
    kind: str = "invalid_request",
) -> NoReturn:
    """Refuse the request."""
    raise RefusedError(ReplyError(status, kind, message, None, code, param))


def not_found(message: str, param: str | None = None) -> RefusedError:
    """The refusal of what is not there, to be raised."""
    return RefusedError(ReplyError(404, "not_found", message, None, None, param))


def missing(path: str) -> NoReturn:
    """Refuse a request for want of a field."""
    refuse(f"Missing required parameter: '{path}'.", path, "missing_required_parameter")


def wrong_type(value: Any, path: str, expected: str) -> NoReturn:
    """Refuse a value of the wrong type; ``expected`` with its article: ``a string``."""
    refuse(
        f"Invalid type for '{path}': expected {expected}, but got {_found(value)} instead.",
        path,
        "invalid_type",
    )


def wrong_value(value: Any, path: str, values: Collection[str]) -> NoReturn:
    """Refuse a word that is none of ``values``."""
    known = [f"'{name}'" for name in values]
    named = known[0] if len(known) == 1 else f"{', '.join(known[:-1])} and {known[-1]}"
    refuse(
        f"Invalid value: {_quoted(value)}. Supported values are: {named}.", path, "invalid_value"
    )


def _quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


def _found(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a decimal"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    return "an array" if isinstance(value, list) else "an object"


# -- single values --------------------------------------------------------------------------------


def anything(value: Any, path: str) -> None:
    """Takes whatever comes."""


def string(value: Any, path: str) -> None:
    """A string, empty or not."""
    if not isinstance(value, str):
        wrong_type(value, path, "a string")


def boolean(value: Any, path: str) -> None:
    """true or false."""
    if value is not True and value is not False:
        wrong_type(value, path, "a boolean")


def mapping(value: Any, path: str) -> None:
    """An object, whatever it holds."""
    if not isinstance(value, dict):
        wrong_type(value, path, "an object")


def text(longest: int) -> Check:
    """A string of at most so many characters."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            wrong_type(value, path, "a string")
        if len(value) > longest:
            refuse(
                f"Invalid '{path}': string too long. Expected a string with maximum length "
                f"{longest}, but got a string with length {len(value)} instead.",
                path,
                "string_above_max_length",
            )

    return check


def integer(low: int | None = None, high: int | None = None) -> Check:
    """A whole number between the limits."""

    def check(value: Any, path: str) -> None:
        if type(value) is not int:
            wrong_type(value, path, "an integer")
        _limits(value, path, "integer", low, high)

    return check


def number(low: float | None = None, high: float | None = None) -> Check:
    """A number between the limits."""

    def check(value: Any, path: str) -> None:
        if type(value) is not float and type(value) is not int:
            wrong_type(value, path, "a decimal")
        _limits(value, path, "decimal", low, high)

    return check


def _limits(value: float, path: str, word: str, low: float | None, high: float | None) -> None:
    if low is not None and value < low:
        refuse(
            f"Invalid '{path}': {word} below minimum value. Expected a value >= {low}, "
            f"but got {value} instead.",
            path,
            f"{word}_below_min_value",
        )
    if high is not None and value > high:
        refuse(
            f"Invalid '{path}': {word} above maximum value. Expected a value <= {high}, "
            f"but got {value} instead.",
            path,
            f"{word}_above_max_value",
        )


def one_of(*values: str) -> Check:
    """One of these words."""
    known = frozenset(values)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            wrong_type(value, path, f"one of {', '.join(repr(name) for name in values)}")
        if value not in known:
            wrong_value(value, path, values)

    return check


# -- put together ---------------------------------------------------------------------------------


def nullable(check: Check) -> Check:
    """null, or what ``check`` takes."""

    def checked(value: Any, path: str) -> None:
        if value is not None:
            check(value, path)

    return checked


def array(item: Check, least: int = 0, most: int | None = None, of: str = "an array") -> Check:
    """A list whose items ``item`` takes."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            wrong_type(value, path, of)
        if len(value) < least:
            refuse(
                f"Invalid '{path}': empty array. Expected an array with minimum length {least}, "
                "but got an empty array instead.",
                path,
                "empty_array",
            )
        if most is not None and len(value) > most:
            refuse(
                f"Invalid '{path}': array too long. Expected an array with maximum length {most}, "
                f"but got an array with length {len(value)} instead.",
                path,
                "array_above_max_length",
            )
        for place, inner in enumerate(value):
            item(inner, f"{path}[{place}]")

    return check


def either(expected: str, *checks: tuple[type | tuple[type, ...], Check]) -> Check:
    """A value of one of several types, each with a check of its own."""

    def check(value: Any, path: str) -> None:
        for kind, inner in checks:
            if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
                inner(value, path)
                return
        wrong_type(value, path, expected)

    return check


def fields(known: Mapping[str, Check], required: tuple[str, ...] = ()) -> Check:
    """An object that has the required fields, and whose known fields their checks take. What else
    it has is not looked at."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            wrong_type(value, path, "an object")
        for name in required:
            if name not in value:
                missing(f"{path}.{name}" if path else name)
        for name, inner in value.items():
            if (found := known.get(name)) is not None:
                found(inner, f"{path}.{name}" if path else name)

    return check


def tagged(variants: Mapping[str, Check], tag: str = "type") -> Check:
    """An object whose field ``tag`` says which check it must pass."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            wrong_type(value, path, "an object")
        if tag not in value:
            missing(f"{path}.{tag}")
        name = value[tag]
        found = variants.get(name) if isinstance(name, str) else None
        if found is None:
            wrong_value(name, f"{path}.{tag}", variants)
        found(value, path)

    return check


# -- bodies ---------------------------------------------------------------------------------------


def is_json(request: HttpRequest) -> bool:
    """Whether a body says that it is JSON, or does not say what it is."""
    return request.header("content-type", "application/json").startswith("application/json")


def body_of(request: HttpRequest) -> JsonObject:
    """The body as a JSON object.

    :raises RefusedError: where it is none, or says that it is something else.
    """
    if not is_json(request):
        kind = request.header("content-type").partition(";")[0].strip().lower()
        if kind != "application/json":
            refuse(
                f"Unsupported content type: '{kind}'. This API method only accepts "
                "'application/json' requests, but you specified the header "
                f"'Content-Type: {kind}'.",
                code="unsupported_content_type",
            )
    try:
        body = loads(request.body)
    except (ValueError, RecursionError):
        refuse(
            "We could not parse the JSON body of your request. The OpenAI API expects a JSON "
            "payload, but what was sent was not valid JSON."
        )
    if not isinstance(body, dict):
        wrong_type(body, "body", "an object")
    return body


def body_check(
    known: Mapping[str, Check], required: tuple[str, ...] = (), unknown: str = "Unknown parameter"
) -> Check:
    """As :func:`fields`, for a whole body: a field that the API does not have is refused."""
    plain = unknown.startswith("Unrecognized")

    def check(value: Any, path: str) -> None:
        for name in required:
            if name not in value:
                missing(name)
        for name, inner in value.items():
            found = known.get(name)
            if found is not None:
                found(inner, name)
            elif plain:
                refuse(f"{unknown}: {name}")
            else:
                refuse(f"{unknown}: '{name}'.", name, "unknown_parameter")

    return check


def metadata(value: Any, path: str) -> None:
    """At most 16 pairs of strings: keys to 64 characters, values to 512."""
    if value is None:
        return
    mapping(value, path)
    if len(value) > 16:
        refuse(
            f"Invalid '{path}': too many properties. Expected an object with at most 16 "
            f"properties, but got an object with {len(value)} properties instead.",
            path,
            "object_above_max_properties",
        )
    for key, inner in value.items():
        if len(key) > 64:
            refuse(
                f"Invalid '{path}': property name too long. Expected a property name with maximum "
                f"length 64, but got one with length {len(key)} instead.",
                path,
                "property_name_above_max_length",
            )
        _METADATA_VALUE(inner, f"{path}.{key}")


_METADATA_VALUE = text(512)

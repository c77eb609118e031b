"""Values that anybody may pass: whether one was changed, can be, and is like another."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import fractions
import pathlib
import re
import types
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")
_ATOMS = (
    bool, int, float, complex, str, bytes, type(None), type(...), range, type, enum.Enum,
    datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, decimal.Decimal,
    fractions.Fraction, uuid.UUID, pathlib.PurePath, re.Pattern,
    types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
)  # fmt: skip


def copied(value: T) -> T:
    """A deep copy; the value itself where it cannot be copied."""
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def fingerprint(value: object) -> object:
    """What a value holds, all the way down, as something that can be compared later.

    >>> box = {"a": [1]}
    >>> before = fingerprint(box)
    >>> box["a"].append(2)
    >>> fingerprint(box) == before
    False
    """
    return _print(value, {})


def _print(value: Any, above: dict[int, int]) -> object:
    kind = type(value).__qualname__
    if isinstance(value, _ATOMS):
        return (kind, repr(value))  # nan is like nan here, and 1 is not like True
    if id(value) in above:
        return ("above", above[id(value)])
    below = {**above, id(value): len(above)}
    if isinstance(value, Mapping):
        return (kind, tuple((_print(k, below), _print(v, below)) for k, v in value.items()))
    if isinstance(value, set | frozenset):
        return (kind, tuple(sorted((_print(one, below) for one in value), key=repr)))
    if isinstance(value, list | tuple):
        return (kind, tuple(_print(one, below) for one in value), _print_fields(value, below))
    if isinstance(value, bytearray | memoryview):
        return (kind, bytes(value))
    if isinstance(value, BaseException):
        return (kind, _print(value.args, below))
    fields = _print_fields(value, below)
    return (kind, fields) if fields or _plain(value) else (kind, repr(value))


def _plain(value: object) -> bool:
    return type(value).__repr__ is object.__repr__ and hasattr(value, "__dict__")


def _print_fields(value: object, above: dict[int, int]) -> tuple[object, ...]:
    return tuple((name, _print(held, above)) for name, held in _fields(value))


def _fields(value: object) -> Iterator[tuple[str, object]]:
    yield from vars(value).items() if hasattr(value, "__dict__") else ()
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


def mutable(value: object) -> bool:
    """Whether somebody who is given the value could change it.

    >>> mutable("text"), mutable(("a", 1)), mutable((1, []))
    (False, False, True)
    """
    return _mutable(value, ())


def _mutable(value: Any, above: tuple[int, ...]) -> bool:
    if isinstance(value, _ATOMS) or id(value) in above:
        return False
    within = (*above, id(value))
    if isinstance(value, tuple | frozenset):
        return any(_mutable(one, within) for one in value)
    params = getattr(type(value), "__dataclass_params__", None)
    if params is not None and params.frozen:
        fields = dataclasses.fields(value)
        return any(_mutable(getattr(value, one.name), within) for one in fields)
    return True


def alike(one: object, other: object) -> bool:
    """Whether two values cannot be told apart: equal and of one type, or holding the same.

    >>> alike(float("nan"), float("nan")), alike(1, True)
    (True, False)
    """
    if fingerprint(one) == fingerprint(other):
        return True
    if type(one) is not type(other) or isinstance(one, (*_ATOMS, set, frozenset)):
        return False
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(alike, one, other))
    return _equal(one, other)


def _equal(one: object, other: object) -> bool:
    """Whether a type's own ``==`` says so: it may leave out what does not count."""
    try:
        return bool(one == other)
    except Exception:  # arrays, for one, do not say
        return False


def shown(value: object, width: int = 200) -> str:
    """A value for a message, shortened."""
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= width else f"{text[: width - 3]}..."

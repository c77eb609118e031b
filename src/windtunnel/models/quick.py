"""Instances of frozen dataclasses, made fast.

The ``__init__`` of a frozen dataclass sets each field by a call of ``object.__setattr__``, since
plain assignment is what it forbids: three microseconds for a
:class:`~windtunnel.models.protocol.ModelCall`, in a server that answers a request in ten. The
functions made here assign the fields of an open twin of the same layout, which then becomes the
frozen class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")


def maker(cls: Callable[P, T], *, without: tuple[str, ...] = ()) -> Callable[P, T]:
    """A function that makes instances of a frozen, slotted dataclass as its own call does, in a
    fourth of the time. The class may have no ``__post_init__``: it is not called.

    :param without: fields that are not set; the class's ``__getattr__`` is asked for them.

    >>> @dataclasses.dataclass(frozen=True, slots=True)
    ... class Point:
    ...     x: int
    ...     path: list[int] = dataclasses.field(default_factory=list)
    >>> point = maker(Point)
    >>> point(1), point(1) == Point(1)
    (Point(x=1, path=[]), True)
    >>> point(1).x = 3
    Traceback (most recent call last):
    dataclasses.FrozenInstanceError: cannot assign to field 'x'
    """
    fields = dataclasses.fields(cast("Any", cls))
    twin = type("Twin", (), {"__slots__": tuple(field.name for field in fields)})
    known: dict[str, Any] = {"_twin": twin, "_new": object.__new__, "_cls": cls}
    parameters, lines = [], ["made = _new(_twin)"]
    for field in fields:
        if field.name in without:
            continue
        value = name = field.name
        if field.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = field.default
            parameters.append(f"{name}=_default_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            parameters.append(f"{name}=_twin")
            value = f"_make_{name}() if {name} is _twin else {name}"
        else:
            parameters.append(name)
        lines.append(f"made.{name} = {value}")
    lines += ["made.__class__ = _cls", "return made"]
    source = f"def make({', '.join(parameters)}):\n  " + "\n  ".join(lines)
    exec(source, known)  # as dataclasses themselves do: names of our own fields, nothing else
    return cast("Callable[P, T]", known["make"])


__all__ = ["maker"]

"""A world's configuration as plain data, and back: only what differs from the defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.sim.config import WorldConfig
from windtunnel.sim.net import links

_CLASS = "="


def to_plain(value: Any) -> Any:
    """JSON's types for a configuration, however deep its dataclasses lie.

    >>> to_plain(WorldConfig(policy="fifo"))
    {'=': 'WorldConfig', 'policy': 'fifo'}
    """
    if isinstance(value, (tuple, list)):
        return [to_plain(each) for each in value]
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    plain: dict[str, Any] = {_CLASS: type(value).__name__}
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        if own != _default(field):
            plain[field.name] = to_plain(own)
    return plain


def from_plain(plain: Any) -> Any:
    """What :func:`to_plain` was given.

    :raises UsageError: for a class or field that is not known here.

    >>> from_plain({"=": "WorldConfig", "fresh": ["shop"]}).fresh
    ('shop',)
    """
    if isinstance(plain, list):
        return tuple(from_plain(each) for each in plain)
    if not isinstance(plain, dict):
        return plain
    name = plain.get(_CLASS)
    cls: Any = WorldConfig if name == "WorldConfig" else getattr(links, str(name), None)
    if not dataclasses.is_dataclass(cls):
        raise UsageError("a world is described by a class that is not known", found=repr(name))
    fields = {key: from_plain(value) for key, value in plain.items() if key != _CLASS}
    try:
        return cls(**fields)  # type: ignore[operator]
    except TypeError as error:
        raise UsageError(f"{name} cannot be made: {error}", found=repr(plain)) from None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default

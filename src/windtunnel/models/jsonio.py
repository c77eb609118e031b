"""JSON as bytes: orjson where it is installed, else the standard library, with the same results."""

from __future__ import annotations

import json as _json
from collections.abc import Callable
from typing import Any


def _plain_dumps(value: Any) -> bytes:
    """``value`` as compact UTF-8 JSON."""
    try:
        return _json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate can only be escaped
        return _json.dumps(value, separators=(",", ":")).encode()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _plain_loads(data: bytes | str) -> Any:
    """The value written in ``data``; raises ValueError where it is no JSON."""
    value = _json.loads(data, parse_constant=_no_constant)
    if ("\\ud" if isinstance(data, str) else b"\\ud") in data.lower():  # type: ignore[operator]
        _json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is no text: ValueError
    return value


try:
    import orjson as _orjson
except ImportError:
    dumps = _plain_dumps
    loads: Callable[[bytes | str], Any] = _plain_loads
else:
    loads = _orjson.loads

    def dumps(value: Any) -> bytes:
        """``value`` as compact UTF-8 JSON."""
        try:
            return _orjson.dumps(value, option=_orjson.OPT_NON_STR_KEYS)
        except TypeError:
            # An integer beyond 64 bits, a lone surrogate: JSON can say it, orjson will not.
            return _plain_dumps(value)


__all__ = ["dumps", "loads"]

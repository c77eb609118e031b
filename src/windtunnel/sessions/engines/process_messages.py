"""What a cell of the ``process`` engine may say, read as from an enemy.

The guest shares its process with the code that writes these messages, so any of them may be
forged. A forged result harms the guest alone: it could have returned the same. A forged call is
guarded as any other. What is neither ends the guest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from windtunnel.sandboxes import CellDiedError
from windtunnel.sessions import values


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """The guest wants a host function called.

    :param key: what the reply must bear.
    """

    key: int
    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """A command has ended.

    :param key: that of the command.
    :param threads_left: how many of the threads that it started still run.
    """

    key: int
    ok: bool
    value: Any
    error_type: str
    error: str
    threads_left: int


def parsed(message: bytes) -> Call | Result:
    """What a message says.

    :raises CellDiedError: where it says nothing that an honest guest says.
    """
    try:
        return _parsed(values.decode(message))
    except Exception as error:  # whichever it managed to provoke
        raise CellDiedError(
            "a guest sent what no guest sends",
            found=f"a malformed message ({type(error).__name__})",
            fix="look at what its code did to its own process",
        ) from error


def _parsed(content: Any) -> Call | Result:
    kind, *rest = _typed(content, tuple)
    if kind == "call":
        key, name, payload = rest
        args, kwargs = _typed(values.decode(_typed(payload, bytes)), tuple)
        if not all(type(keyword) is str for keyword in _typed(kwargs, dict)):
            raise TypeError("a keyword that is no text")
        return Call(_typed(key, int), _typed(name, str), _typed(args, tuple), kwargs)
    if kind == "result":
        key, ok, payload, error_type, error, threads_left = rest
        return Result(
            _typed(key, int),
            _typed(ok, bool),
            values.decode(_typed(payload, bytes)) if ok else None,
            _typed(error_type, str),
            _typed(error, str),
            _typed(threads_left, int),
        )
    raise ValueError("no such kind")


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"not a {kind.__name__}")
    return value


__all__ = ["Call", "Result", "parsed"]

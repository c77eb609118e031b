"""What a node runs when it boots, and what of it survives a crash by accident.

A process that dies loses its memory. A simulated node shares modules with the test, so globals
of its program would outlive it; they are either imported anew or named.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Coroutine, Mapping
from types import FunctionType, ModuleType
from typing import Any

_STATE = (dict, list, set, bytearray, int, float, str, bytes, bool, type(None), tuple, frozenset)


class Boot:
    """A program to run on a node: a coroutine function and its arguments.

    :param fresh: packages that are imported anew at each boot.
    """

    def __init__(
        self,
        main: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        fresh: tuple[str, ...],
    ) -> None:
        self._main = main
        self._args = args
        self._kwargs = dict(kwargs)
        self._fresh = fresh
        self._before = self._globals()

    def coroutine(self) -> Coroutine[Any, Any, Any]:
        """Begin the program; called on the node, whose modules are in place."""
        return self._current()(*self._args, **self._kwargs)

    def _current(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """The function, out of the module as this node imports it."""
        module, name = getattr(self._main, "__module__", ""), self._main.__qualname__
        if not (isinstance(self._main, FunctionType) and is_fresh(module, self._fresh)):
            return self._main
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        function: Callable[..., Coroutine[Any, Any, Any]] = found
        return function

    def outlived(self) -> list[str]:
        """Names of module globals that are no longer what they were before the first boot."""
        changed = []
        for (module, name), value in self._globals().items():
            before = self._before.get((module, name), _MISSING)
            if before is not _MISSING and not _same(before, value):
                changed.append(f"{module}.{name}")
        return sorted(changed)

    def _globals(self) -> dict[tuple[str, str], Any]:
        package = getattr(self._main, "__module__", "").partition(".")[0]
        found: dict[tuple[str, str], Any] = {}
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] != package or is_fresh(name, self._fresh):
                continue
            if not isinstance(module, ModuleType):
                continue
            for key, value in vars(module).items():
                if isinstance(value, _STATE) and not key.startswith("__"):
                    found[name, key] = _copy(value)
        return found


_MISSING = object()


def is_fresh(module: str, fresh: tuple[str, ...]) -> bool:
    """Whether that module belongs to one of the packages.

    >>> is_fresh("shop.stock", ("shop",)), is_fresh("shopping", ("shop",))
    (True, False)
    """
    return any(module == name or module.startswith(f"{name}.") for name in fresh)


def _copy(value: Any) -> Any:
    return value.copy() if isinstance(value, (dict, list, set, bytearray)) else value


def _same(before: Any, now: Any) -> bool:
    try:
        return type(before) is type(now) and bool(before == now)
    except Exception:
        return before is now

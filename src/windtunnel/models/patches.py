"""Puts the in-process ways into the client libraries, when these are there, and takes them out.

A library that is imported later is patched when it is. What somebody else has patched over ours
meanwhile is left as it is.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from windtunnel.models import fence, httpcore_way

Patched = httpcore_way.Patched


def _aiohttp(module: Any) -> Patched:
    from windtunnel.models import aiohttp_way

    return aiohttp_way.connector(module)


def _grpc(module: Any) -> Patched:
    from windtunnel.models import grpc_way

    return grpc_way.channels(module)


def _grpc_aio(module: Any) -> Patched:
    from windtunnel.models import grpc_aio_way

    return grpc_aio_way.channels(module)


_WAYS: dict[str, Callable[[Any], Patched]] = {
    "httpcore": httpcore_way.backends,
    "httpcore2": httpcore_way.backends,
    "httpx": httpcore_way.transports,
    "httpx2": httpcore_way.transports,
    "aiohttp": _aiohttp,
    "urllib3.connection": fence.urllib3_connections,
    "http.client": fence.http_client,
    "grpc": _grpc,
    "grpc.aio": _grpc_aio,
    "socket": fence.resolver,
}

_before: list[tuple[Any, str, Any, Any]] = []
_done: set[str] = set()


def install() -> None:
    """Patch what is loaded, and have the rest patched when it is."""
    for name in _WAYS:
        module = sys.modules.get(name)
        if module is not None and not _is_loading(module):
            _patch(name, module)
    if len(_done) < len(_WAYS):
        sys.meta_path.insert(0, _LATER)


def uninstall() -> None:
    """Undo it all, last first."""
    if _LATER in sys.meta_path:
        sys.meta_path.remove(_LATER)
    while _before:
        target, name, ours, original = _before.pop()
        if vars(target).get(name) is ours:
            setattr(target, name, original)
    _done.clear()


def _patch(name: str, module: ModuleType) -> None:
    if name in _done:
        return
    _done.add(name)
    for target, attribute, new in _WAYS[name](module):
        _before.append((target, attribute, new, vars(target)[attribute]))
        setattr(target, attribute, new)


def _is_loading(module: ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))


class _Later(importlib.abc.MetaPathFinder):
    """Sees a library being imported, lets the others find it, and patches it once it is."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _WAYS or name in _done:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            if finder is self or find is None:
                continue
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    _watch(spec.loader, name)
                return spec
        return None


def _watch(loader: Any, name: str) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        if _LATER in sys.meta_path:
            _patch(name, module)

    loader.exec_module = exec_module


_LATER = _Later()

__all__ = ["install", "uninstall"]

"""Which types of capability the code of modules grants, and of which it asks, read and not run."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import os
from collections.abc import Iterable, Iterator
from types import ModuleType

# What of an object asks for a type, or whether it is held, and what gives one.
_ASKS = frozenset({"use", "take", "allowed", "has_capability", "refuse"})
_GRANTS = frozenset({"grant"})
_TOKEN = "CapabilityToken"
_NEEDS = "needs"


@dataclasses.dataclass(frozen=True, slots=True)
class Mention:
    """A type of capability in the code.

    :param type: the type, empty where it is computed when the code runs.
    :param granted: whether it is granted there, or else asked for.
    :param location: ``file:line``.
    """

    type: str
    granted: bool
    location: str


def mentions(modules: Iterable[ModuleType]) -> Iterator[Mention]:
    """Where the modules grant and ask.

    >>> from windtunnel.sessions.laws import asked
    >>> [(one.type, one.granted) for one in mentions([asked])]
    [('fs.read', True)]
    """
    for module in modules:
        path = _source(module)
        if path is None:
            continue
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
        relative = os.path.relpath(path)
        shown = path if relative.startswith("..") else relative
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                for granted, value in _said(node):
                    yield Mention(_text(value, module), granted, f"{shown}:{value.lineno}")


def _source(module: ModuleType) -> str | None:
    try:
        return inspect.getsourcefile(module)
    except TypeError:  # a builtin, or a folder without __init__.py
        return None


def _said(call: ast.Call) -> Iterator[tuple[bool, ast.expr]]:
    """The types that a call grants or asks for, as expressions."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    bare = call.func.id if isinstance(call.func, ast.Name) else name
    first = call.args[0] if call.args else None
    for keyword in call.keywords:
        if keyword.arg == _NEEDS:
            yield False, keyword.value
        if keyword.arg == "capability" and name in _ASKS:
            first = first or keyword.value
        if keyword.arg == "type" and (bare == _TOKEN or name in _GRANTS):
            first = first or keyword.value
    if first is None:
        return
    if bare == _TOKEN or name in _GRANTS:
        yield True, first
    elif name in _ASKS and not isinstance(first, ast.Starred):
        yield False, first


def _text(value: ast.expr, module: ModuleType) -> str:
    """The text that an expression stands for: a literal, or a constant of the module."""
    if isinstance(value, ast.Constant):
        return value.value if isinstance(value.value, str) else ""
    names: list[str] = []
    node = value
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    found: object = module
    for name in (node.id, *reversed(names)):
        # What stands there, and not what a descriptor would compute.
        found = inspect.getattr_static(found, name, None)
    return found if isinstance(found, str) else ""


__all__ = ["Mention", "mentions"]

"""Putting up the first two rings of the fence, and taking the first down again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from windtunnel.sim.fence import audit, patches
from windtunnel.sim.intercept.functions import CodeReplacement
from windtunnel.sim.intercept.pointers import Replacement

if TYPE_CHECKING:
    from windtunnel.sim.world import World

_changes: list[Replacement | CodeReplacement] = []
_seen_native: set[str] = set()
_installed = False


def install() -> None:
    """Prepare the fence, once a process; later calls do nothing."""
    global _installed
    if _installed:
        return
    for function, makes in patches.replacements():
        _changes.append(Replacement(function, makes))
    for python_function, makes in patches.code_replacements():
        _changes.append(CodeReplacement(python_function, makes))
    audit.add()
    _installed = True


def enter(world: World) -> None:
    """A loop of ``world`` begins to run in this thread."""
    install()
    for module in patches.native_modules() - _seen_native:
        if module in sys.modules:
            _seen_native.add(module)
            for function, makes in patches.native_replacements(module):
                _changes.append(CodeReplacement(function, makes))
    for change in _changes:
        change.put()


def leave(world: World) -> None:
    """The loop of ``world`` has stopped: everything is as before `enter`."""
    for change in reversed(_changes):
        change.take_out()

"""Sandboxes: isolated places to run code, in tiers from a plain process to a virtual machine.

A :class:`Sandbox` has one program ready and makes *cells*: running copies of it that see neither
this machine nor each other. :class:`ProcessSandbox` makes them in processes, at the best tier that
works here.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.sandboxes.process import ProcessSandbox
    from windtunnel.sandboxes.protocol import (
        Cell,
        CellDiedError,
        CellLimits,
        Program,
        Sandbox,
        SandboxError,
    )

_HOMES = {
    "Cell": "protocol",
    "CellDiedError": "protocol",
    "CellLimits": "protocol",
    "ProcessSandbox": "process",
    "Program": "protocol",
    "Sandbox": "protocol",
    "SandboxError": "protocol",
}

__all__ = [
    "Cell",
    "CellDiedError",
    "CellLimits",
    "ProcessSandbox",
    "Program",
    "Sandbox",
    "SandboxError",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

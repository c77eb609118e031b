"""Sessions: code run under capabilities, in engines that enforce them.

A *session* is a place whose names live from one run to the next; an *executor* runs each piece of
code from nothing. Both run it in an *engine* (``monty``, ``starlark``, ``process``) from which host
functions are the only way out, each guarded by a *capability*.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.sessions.protocol import (
        CapabilityChecker,
        ExecRecord,
        ExecResult,
        Executor,
        Limits,
        Session,
        Timings,
    )

# Every public name, and the module of this room that has it.
_HOMES: dict[str, str] = {
    "CapabilityChecker": "protocol",
    "ExecRecord": "protocol",
    "ExecResult": "protocol",
    "Executor": "protocol",
    "Limits": "protocol",
    "Session": "protocol",
    "Timings": "protocol",
}

__all__ = [
    "CapabilityChecker",
    "ExecRecord",
    "ExecResult",
    "Executor",
    "Limits",
    "Session",
    "Timings",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # asked for once
    return value

"""Sessions: code run under capabilities, in engines that enforce them.

A *session* is a place whose names live from one run to the next; an *executor* runs each piece of
code from nothing. Both run it in an *engine* (``monty``, ``starlark``, ``process``) from which host
functions are the only way out, each guarded by a *capability*.
"""

from __future__ import annotations

import importlib

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

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)

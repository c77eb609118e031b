"""The nouns everyone shares: Seed, Clock, Event, Fault, Verdict, Settings and the errors.

This room imports nothing of the house and no library, and its modules are imported when one of
their names is first asked for, so that loading the pytest plugin, which needs few of them, stays
a matter of milliseconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

# At once, not when first asked for: it reads the wall clock, which a test may have moved by then.
from windtunnel.core.clock import REAL_CLOCK, WORLD_CLOCK, Clock, RealClock, WorldClock

if TYPE_CHECKING:
    from windtunnel.core.errors import (
        ExitCode,
        IsolationError,
        MissingExtraError,
        RecordError,
        ResourceError,
        UsageError,
        WindtunnelError,
    )
    from windtunnel.core.events import (
        EVENT_TYPES,
        Event,
        Outcome,
        Resource,
        RunFinished,
        RunStarted,
        Sample,
        TestFinished,
        TestStarted,
        Violation,
        current_test,
        emit,
        set_sink,
    )
    from windtunnel.core.faults import Fault, FaultPlan
    from windtunnel.core.flakiness import Flakiness, Stability
    from windtunnel.core.seed import Seed
    from windtunnel.core.settings import Settings
    from windtunnel.core.verdict import Judgement, Verdict

__all__ = [
    "EVENT_TYPES",
    "REAL_CLOCK",
    "WORLD_CLOCK",
    "Clock",
    "Event",
    "ExitCode",
    "Fault",
    "FaultPlan",
    "Flakiness",
    "IsolationError",
    "Judgement",
    "MissingExtraError",
    "Outcome",
    "RealClock",
    "RecordError",
    "Resource",
    "ResourceError",
    "RunFinished",
    "RunStarted",
    "Sample",
    "Seed",
    "Settings",
    "Stability",
    "TestFinished",
    "TestStarted",
    "UsageError",
    "Verdict",
    "Violation",
    "WindtunnelError",
    "WorldClock",
    "current_test",
    "emit",
    "set_sink",
]

_HOME = {
    name: module
    for module, names in {
        "errors": (
            "ExitCode",
            "IsolationError",
            "MissingExtraError",
            "RecordError",
            "ResourceError",
            "UsageError",
            "WindtunnelError",
        ),
        "events": (
            "EVENT_TYPES",
            "Event",
            "Outcome",
            "Resource",
            "RunFinished",
            "RunStarted",
            "Sample",
            "TestFinished",
            "TestStarted",
            "Violation",
            "current_test",
            "emit",
            "set_sink",
        ),
        "faults": ("Fault", "FaultPlan"),
        "flakiness": ("Flakiness", "Stability"),
        "seed": ("Seed",),
        "settings": ("Settings",),
        "verdict": ("Judgement", "Verdict"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # asked for once
    return value

"""The nouns everyone shares: Seed, Clock, Event, Fault, Verdict, Settings and the errors.

This room imports nothing of the house and no library, so that loading the pytest plugin, which
loads only this, stays a matter of milliseconds.
"""

from windtunnel.core.clock import REAL_CLOCK, Clock, RealClock
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
    "emit",
    "set_sink",
]

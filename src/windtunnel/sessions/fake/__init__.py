"""The doubles of sessions: an executor, a session and a capability manager that a test plays.

They give what the real things give (result types, errors as outcomes, limits, guarded functions)
and are put to the same contract (:mod:`windtunnel.sessions.laws`).
"""

from __future__ import annotations

from windtunnel.sessions.fake.answers import MockRequest, Script
from windtunnel.sessions.fake.executor import MockAsyncExecutor
from windtunnel.sessions.fake.functions import FunctionMock
from windtunnel.sessions.fake.manager import MockCapabilityManager
from windtunnel.sessions.fake.records import (
    MockCapabilityViolation,
    MockExecutionRecord,
    MockExecutionResult,
    MockFunctionCall,
)
from windtunnel.sessions.fake.session import MockREPLSession

__all__ = [
    "FunctionMock",
    "MockAsyncExecutor",
    "MockCapabilityManager",
    "MockCapabilityViolation",
    "MockExecutionRecord",
    "MockExecutionResult",
    "MockFunctionCall",
    "MockREPLSession",
    "MockRequest",
    "Script",
]

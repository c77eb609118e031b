"""Sessions: code run under capabilities, in engines that enforce them.

A *session* is a place whose names live from one run to the next; an *executor* runs each piece of
code from nothing. Both run it in an *engine* (``monty``, ``starlark``, ``process``) from which host
functions are the only way out, each guarded by a *capability*.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.sessions.callbacks import (
        Callback,
        Callbacks,
    )
    from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
    from windtunnel.sessions.capabilities.context import CapabilityContext
    from windtunnel.sessions.capabilities.current import (
        Capabilities,
        CarryingThreadPool,
        carry,
        current_context,
    )
    from windtunnel.sessions.capabilities.held import CapabilityUse
    from windtunnel.sessions.capabilities.sealed import (
        SealLedger,
        seal,
        unseal,
    )
    from windtunnel.sessions.capabilities.token import CapabilityToken
    from windtunnel.sessions.capabilities.violation import CapabilityViolation
    from windtunnel.sessions.errors import (
        CapabilityDenied,
        GuestError,
        SessionClosedError,
    )
    from windtunnel.sessions.executing import EngineExecutor
    from windtunnel.sessions.fake.answers import (
        MockRequest,
        Script,
    )
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
    from windtunnel.sessions.helper import IntegrationTestHelper
    from windtunnel.sessions.hosting import (
        HostFunction,
        host_function,
    )
    from windtunnel.sessions.opening import (
        executor,
        known_engines,
        open,
    )
    from windtunnel.sessions.protocol import (
        CapabilityChecker,
        ExecRecord,
        ExecResult,
        Executor,
        Limits,
        Session,
        Timings,
    )
    from windtunnel.sessions.session import (
        EngineSession,
        SessionBusyError,
    )
    from windtunnel.sessions.values import ValueCrossingError

# Every public name, and the module of this room that has it.
_HOMES: dict[str, str] = {
    "Callback": "callbacks",
    "Callbacks": "callbacks",
    "Capabilities": "capabilities.current",
    "CapabilityChecker": "protocol",
    "CapabilityConstraint": "capabilities.constraint",
    "CapabilityContext": "capabilities.context",
    "CapabilityDenied": "errors",
    "CapabilityToken": "capabilities.token",
    "CapabilityUse": "capabilities.held",
    "CapabilityViolation": "capabilities.violation",
    "carry": "capabilities.current",
    "CarryingThreadPool": "capabilities.current",
    "current_context": "capabilities.current",
    "EngineExecutor": "executing",
    "EngineSession": "session",
    "ExecRecord": "protocol",
    "ExecResult": "protocol",
    "Executor": "protocol",
    "executor": "opening",
    "FunctionMock": "fake.functions",
    "GuestError": "errors",
    "host_function": "hosting",
    "HostFunction": "hosting",
    "IntegrationTestHelper": "helper",
    "known_engines": "opening",
    "Limits": "protocol",
    "MockAsyncExecutor": "fake.executor",
    "MockCapabilityManager": "fake.manager",
    "MockCapabilityViolation": "fake.records",
    "MockExecutionRecord": "fake.records",
    "MockExecutionResult": "fake.records",
    "MockFunctionCall": "fake.records",
    "MockREPLSession": "fake.session",
    "MockRequest": "fake.answers",
    "open": "opening",
    "Script": "fake.answers",
    "seal": "capabilities.sealed",
    "SealLedger": "capabilities.sealed",
    "Session": "protocol",
    "SessionBusyError": "session",
    "SessionClosedError": "errors",
    "Timings": "protocol",
    "unseal": "capabilities.sealed",
    "ValueCrossingError": "values",
}

__all__ = [
    "Callback",
    "Callbacks",
    "Capabilities",
    "CapabilityChecker",
    "CapabilityConstraint",
    "CapabilityContext",
    "CapabilityDenied",
    "CapabilityToken",
    "CapabilityUse",
    "CapabilityViolation",
    "CarryingThreadPool",
    "EngineExecutor",
    "EngineSession",
    "ExecRecord",
    "ExecResult",
    "Executor",
    "FunctionMock",
    "GuestError",
    "HostFunction",
    "IntegrationTestHelper",
    "Limits",
    "MockAsyncExecutor",
    "MockCapabilityManager",
    "MockCapabilityViolation",
    "MockExecutionRecord",
    "MockExecutionResult",
    "MockFunctionCall",
    "MockREPLSession",
    "MockRequest",
    "Script",
    "SealLedger",
    "Session",
    "SessionBusyError",
    "SessionClosedError",
    "Timings",
    "ValueCrossingError",
    "carry",
    "current_context",
    "executor",
    "host_function",
    "known_engines",
    "open",
    "seal",
    "unseal",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # asked for once
    return value

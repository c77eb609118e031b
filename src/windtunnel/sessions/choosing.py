"""Which engine: sessions and executors by name, doubles under the names ``double`` and ``mock``.

What a test names in a marker, an option or a constructor comes here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Executor, Grants, Limits, Session

DOUBLES = ("double", "mock")
"""Names under which a double is had where an engine is named."""


def is_double(engine: object) -> bool:
    """Whether that is the name of a double, or a double.

    >>> is_double("mock"), is_double("monty")
    (True, False)
    """
    from windtunnel.sessions.fake.double import Double

    return engine in DOUBLES if isinstance(engine, str) else isinstance(engine, Double)


def opened_session(
    engine: str,
    *,
    functions: Iterable[HostFunction] = (),
    capabilities: Grants = (),
    limits: Limits,
    name: str = "",
    clock: Clock | None = None,
) -> Session:
    """A session of that engine, or a :class:`~windtunnel.sessions.MockREPLSession`."""
    options: dict[str, Any] = {
        "functions": tuple(functions),
        "capabilities": capabilities,
        "limits": limits,
        "name": name,
        "clock": clock if clock is not None else REAL_CLOCK,
    }
    if is_double(engine):
        from windtunnel.sessions.fake import MockREPLSession

        return MockREPLSession(**options)
    from windtunnel.sessions.opening import open

    return open(engine, **options)


def opened_executor(
    engine: str,
    *,
    functions: Iterable[HostFunction] = (),
    limits: Limits,
    name: str = "",
    clock: Clock | None = None,
) -> Executor:
    """An executor of that engine, or a :class:`~windtunnel.sessions.MockAsyncExecutor` that reads
    straight-line code."""
    options: dict[str, Any] = {
        "functions": tuple(functions),
        "limits": limits,
        "name": name,
        "clock": clock if clock is not None else REAL_CLOCK,
    }
    if is_double(engine):
        from windtunnel.sessions.fake import MockAsyncExecutor

        return MockAsyncExecutor(reads=True, **options)
    from windtunnel.sessions.opening import executor

    return executor(engine, **options)


__all__ = ["DOUBLES", "is_double", "opened_executor", "opened_session"]

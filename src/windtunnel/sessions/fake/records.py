"""What the doubles remember: typed records, and the result they answer with.

Each is a subclass of what the real thing gives, or stands where the real thing has nothing of the
kind; a test that reads only the fields of the base class does not see a difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from windtunnel.sessions.protocol import ExecRecord, ExecResult, Timings

Source: TypeAlias = Literal["script", "namespace", "should_fail", "default"]
"""Who answered: a script, the session's own names, ``should_fail``, or nobody (the default)."""


@dataclasses.dataclass(frozen=True, slots=True)
class MockExecutionResult(ExecResult):
    """How an execution by a double ended: an :class:`ExecResult` that says who answered.

    :param source: ``"script"``, ``"namespace"``, ``"should_fail"``, or ``"default"`` where the
        double was told nothing about the code.

    >>> result = MockExecutionResult(ok=True, value=42, source="script")
    >>> result.success, result.value, result.source
    (True, 42, 'script')
    """

    source: Source = "default"

    @property
    def success(self) -> bool:
        """The same as ``ok``."""
        return self.ok

    @property
    def execution_time(self) -> float:
        """Seconds from the call to the result, on the double's clock."""
        return self.timings.total_s


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MockExecutionRecord(ExecRecord):
    """One execution that a double remembers.

    :param timeout_s: the limit it was called with; None for the double's own.
    :param inputs: the names it was given.

    >>> record = MockExecutionRecord(
    ...     kind="run", code="a + 1", inputs={"a": 41}, result=MockExecutionResult(True, 42)
    ... )
    >>> record.value, record.exception
    (42, None)
    """

    result: MockExecutionResult
    timeout_s: float | None = None
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def value(self) -> Any:
        """The result's value."""
        return self.result.value

    @property
    def exception(self) -> str | None:
        """``"ErrorType: message"`` of what failed; None where nothing did."""
        if self.result.ok:
            return None
        return f"{self.result.error_type}: {self.result.error}"

    @property
    def timestamp(self) -> float:
        """The same as ``started``: seconds since the epoch."""
        return self.started


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MockFunctionCall:
    """One call of a function of a session's double.

    :param name: the function's name.
    :param args: the positional arguments, as they were when it was called.
    :param kwargs: the keyword arguments.
    :param result: what it returned.
    :param error: ``"ErrorType: message"`` of what it raised; empty where it returned.
    :param timestamp: seconds since the epoch.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    result: Any = None
    error: str = ""
    timestamp: float = 0.0

    @property
    def function_name(self) -> str:
        """The same as ``name``."""
        return self.name


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MockCapabilityViolation:
    """One violation that a capability manager's double saw or was told of.

    :param capability: the capability's type.
    :param resource: what was to be reached.
    :param operation: what was to be done with it.
    :param reason: why it was refused; empty where the test recorded it.
    :param context: name of the context that was current.
    :param timestamp: seconds since the epoch.
    """

    capability: str
    resource: str = ""
    operation: str = ""
    reason: str = ""
    context: str = ""
    timestamp: float = 0.0

    @property
    def capability_type(self) -> str:
        """The same as ``capability``."""
        return self.capability

    @property
    def pattern(self) -> str:
        """The same as ``resource``."""
        return self.resource


def timings(started: float, ended: float) -> Timings:
    """Timings of a double: it starts nothing, so all its time is the code's."""
    return Timings(start_s=0.0, run_s=max(0.0, ended - started))


__all__ = [
    "MockCapabilityViolation",
    "MockExecutionRecord",
    "MockExecutionResult",
    "MockFunctionCall",
    "Source",
    "timings",
]

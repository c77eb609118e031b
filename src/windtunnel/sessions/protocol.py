"""What an executor, a session and a capability checker are, whatever stands behind them.

Code that fails is an outcome (:class:`ExecResult`), never an exception of ``execute`` or ``run``:
an exception means that the caller did something wrong, such as using what was closed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from windtunnel.core.errors import UsageError

if TYPE_CHECKING:
    from windtunnel.sessions.callbacks import Callback
    from windtunnel.sessions.capabilities import CapabilityContext, CapabilityToken
    from windtunnel.sessions.errors import GuestError

Grants: TypeAlias = "CapabilityContext | Iterable[CapabilityToken] | None"
"""What a piece of code may use: a context, some tokens, or None for what the session holds."""

HostCall: TypeAlias = Callable[[str, Sequence[Any], Mapping[str, Any]], object]
"""Calls a host function for the guest: its name, positional and keyword arguments. It blocks,
and raises what the function raised or :class:`CapabilityDenied`."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of one execution went.

    :param start_s: seconds until the code began: a guest was started or fetched.
    :param run_s: seconds the code ran, with the host functions it called.
    """

    start_s: float = 0.0
    run_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Seconds from the call to the result."""
        return self.start_s + self.run_s


@dataclasses.dataclass(frozen=True, slots=True)
class ExecResult:
    """How one execution ended.

    :param ok: whether the code ran to its end.
    :param value: what its last expression gave, None where it ended with a statement.
    :param error: the message of what ended it, empty when ``ok``.
    :param error_type: the name of the guest's exception, as the guest has it
        (``"ZeroDivisionError"``); ``"TimeoutError"``, ``"MemoryError"``, ``"RecursionError"``,
        ``"OutputLimitError"`` where a limit ended it, ``"CapabilityDenied"`` where a host function
        was refused and the code did not handle it, ``"GuestDiedError"`` where its process died.
    :param timings: where the time went.
    :param output: what the code printed, standard output and error as they came.
    """

    ok: bool
    value: Any = None
    error: str = ""
    error_type: str = ""
    timings: Timings = Timings()
    output: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one execution may take.

    :param timeout_s: wall-clock seconds, None for no limit.
    :param memory_mb: mebibytes of memory.
    :param recursion: depth of calls.
    :param output_bytes: bytes of printed output, as UTF-8.
    :raises UsageError: for a limit that is none.

    >>> Limits(timeout_s=0)
    Traceback (most recent call last):
        ...
    windtunnel.core.errors.UsageError: the limit timeout_s is a number above 0
      found: timeout_s=0
      to fix: give None for no limit
    """

    timeout_s: float | None = 10.0
    memory_mb: int | None = 256
    recursion: int | None = 1000
    output_bytes: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("timeout_s", "memory_mb", "recursion"):
            limit = getattr(self, name)
            if limit is not None and not limit > 0:
                raise UsageError(
                    f"the limit {name} is a number above 0",
                    found=f"{name}={limit!r}",
                    fix="give None for no limit",
                )
        if not self.output_bytes >= 0:
            raise UsageError(
                "the limit output_bytes is a number from 0 up",
                found=f"output_bytes={self.output_bytes!r}",
            )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecRecord:
    """One execution that a session remembers.

    :param kind: ``"run"``, ``"call"`` or ``"define"``.
    :param code: the code, or the function's name.
    :param result: how it ended.
    :param grants: names of the capability types it had.
    :param started: seconds since the epoch.
    """

    kind: str
    code: str
    result: ExecResult
    grants: tuple[str, ...] = ()
    started: float = 0.0


@runtime_checkable
class Executor(Protocol):
    """Runs one piece of code at a time, each from nothing."""

    async def execute(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """Run ``code`` with the names of ``inputs`` defined.

        :param timeout_s: seconds until it is ended; None for the executor's own limit.
        :param grants: the capabilities it has; None for none at all.
        """
        ...


@runtime_checkable
class Session(Protocol):
    """A place whose names live from one run to the next."""

    @property
    def capabilities(self) -> CapabilityContext:
        """What the session's code may use."""
        ...

    @property
    def history(self) -> Sequence[ExecRecord]:
        """What was executed, oldest first."""
        ...

    async def run(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """Run ``code``; ``grants`` may only narrow what the session holds."""
        ...

    async def call(
        self, function: str, /, *args: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a function that the guest defined.

        :raises windtunnel.sessions.GuestError: when it fails, with the guest's error type.
        """
        ...

    async def define(self, name: str, value: Any) -> None:
        """Give the guest a value by name, exactly as it is here."""
        ...

    def callback(
        self,
        name: str,
        *,
        default: Any = ...,
        on_error: Callable[[GuestError], Any] | None = None,
        timeout_s: float | None = None,
    ) -> Callback:
        """A Python callable of the guest's function ``name``."""
        ...

    async def reset(self) -> None:
        """Forget every name and the history; capabilities stay."""
        ...

    async def close(self) -> None:
        """End the guest. Closing twice is allowed."""
        ...


@runtime_checkable
class CapabilityChecker(Protocol):
    """Decides what may be done, and remembers what was refused."""

    def scope(self, context: CapabilityContext) -> AbstractContextManager[CapabilityContext]:
        """Make ``context`` the current one for the block, and for the work it starts."""
        ...

    def child(self, name: str, tokens: Iterable[CapabilityToken] = ()) -> CapabilityContext:
        """A context below the current one, which may only narrow it."""
        ...

    def allowed(
        self, capability: str, resource: str = "", *, operation: str = "", size: int = 0
    ) -> bool:
        """Whether that could be used now. Uses nothing up and records nothing."""
        ...

    def use(
        self, capability: str, resource: str = "", *, operation: str = "", size: int = 0
    ) -> None:
        """Use it once.

        :raises CapabilityDenied: where it may not be used; the refusal is on record.
        """
        ...

    def revoke(self, token: CapabilityToken | str) -> None:
        """Take a token, or every token of a type, back, wherever it was handed on to."""
        ...


class Guest(Protocol):
    """What an engine implements: a live place for one session's code.

    All methods block; ``interrupt`` alone may be called from another thread while ``run`` or
    ``call`` works.
    """

    @property
    def isolation(self) -> str:
        """What keeps its code in, in one sentence that names what does not."""
        ...

    def run(
        self, code: str, *, inputs: Mapping[str, Any], limits: Limits, host: HostCall
    ) -> ExecResult:
        """Run code, keep its names."""
        ...

    def call(
        self,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        limits: Limits,
        host: HostCall,
    ) -> ExecResult:
        """Call a function that earlier code defined."""
        ...

    def assign(self, name: str, value: Any) -> None:
        """Bind a name."""
        ...

    def reset(self) -> None:
        """Forget every name."""
        ...

    def interrupt(self) -> None:
        """End what runs now, for certain: where asking is not enough, by killing its process.
        The guest can be used again afterwards, with its names lost where it had to be killed."""
        ...

    def close(self) -> None:
        """End it. Twice is allowed."""
        ...


Engine: TypeAlias = Callable[[Sequence[str]], Guest]
"""Makes a guest that knows the host functions of these names."""

__all__ = [
    "CapabilityChecker",
    "Engine",
    "ExecRecord",
    "ExecResult",
    "Executor",
    "Grants",
    "Guest",
    "HostCall",
    "Limits",
    "Session",
    "Timings",
]

"""Executors over an engine: each piece of code in a guest of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.sessions.capabilities.context import CapabilityContext
from windtunnel.sessions.capabilities.token import CapabilityToken
from windtunnel.sessions.closing import Closes
from windtunnel.sessions.errors import SessionClosedError
from windtunnel.sessions.holding import by_name, for_this_alone, held_as
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Engine, ExecResult, Grants, Limits
from windtunnel.sessions.session import EngineSession


class EngineExecutor(Closes):
    """Runs each piece of code from nothing; made by :func:`windtunnel.sessions.executor`.

    Any number may run at a time, each in a guest of its own.

    >>> import asyncio
    >>> from windtunnel import sessions
    >>> async def main():
    ...     async with sessions.executor("monty") as executor:
    ...         result = await executor.execute("1 / n", inputs={"n": 0})
    ...         return result.error_type
    >>> asyncio.run(main())
    'ZeroDivisionError'
    """

    def __init__(
        self,
        engine: Engine,
        *,
        functions: Iterable[HostFunction] = (),
        capabilities: CapabilityContext | Iterable[CapabilityToken] | None = (),
        limits: Limits = Limits(),  # noqa: B008 - frozen
        name: str = "executor",
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.name = name
        self.limits = limits
        self._engine = engine
        self._functions = tuple(by_name(functions).values())
        self._capabilities = held_as(capabilities, name, clock)
        self._clock = clock
        self._closed = False

    @property
    def capabilities(self) -> CapabilityContext:
        """What code may use that is given no grants."""
        return self._capabilities

    async def execute(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """Run ``code`` with the names of ``inputs`` defined, and nothing else.

        :param timeout_s: seconds until it is ended; None for the executor's own limit.
        :param grants: what it may use: a context, or tokens, which are all it has; None for what
            the executor itself holds, which is nothing by default.
        :raises ValueCrossingError: for an input that the engine cannot hold.
        :raises SessionClosedError: after it was closed.
        """
        async with self._session(grants) as session:
            with for_this_alone(session.capabilities, grants):
                return await session.run(code, timeout_s=timeout_s, inputs=inputs)

    def execute_sync(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """:meth:`execute`, blocking."""
        with self._session(grants) as session, for_this_alone(session.capabilities, grants):
            return session.run_sync(code, timeout_s=timeout_s, inputs=inputs)

    async def close(self) -> None:
        """Run nothing more. What runs goes on to its end. Twice is allowed."""
        self._closed = True

    def close_sync(self) -> None:
        """:meth:`close`, without a loop."""
        self._closed = True

    def __repr__(self) -> str:
        return f"<EngineExecutor {self.name}{' closed' if self._closed else ''}>"

    def _session(self, grants: Grants) -> EngineSession:
        if self._closed:
            raise SessionClosedError("the executor is closed", name=self.name)
        context = self._capabilities
        if isinstance(grants, CapabilityContext):
            context = grants
        elif grants is not None:
            context = CapabilityContext(self.name, tokens=grants, clock=self._clock)
        return EngineSession(
            self._engine,
            functions=self._functions,
            capabilities=context,
            limits=self.limits,
            name=self.name,
            clock=self._clock,
        )

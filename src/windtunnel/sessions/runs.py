"""What an :class:`~windtunnel.sessions.IntegrationTestHelper` runs its code with, and remembers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windtunnel.core.clock import Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.blocking import blocking
from windtunnel.sessions.capabilities import CapabilityContext, CapabilityViolation
from windtunnel.sessions.choosing import opened_executor, opened_session
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import (
    ExecRecord,
    ExecResult,
    Executor,
    Grants,
    Limits,
    Session,
)


class Runs:
    """Executors and sessions opened when they are needed, and closed together.

    :param engine: the name of an engine, or an executor that is the caller's own.
    """

    def __init__(
        self,
        engine: str | Executor,
        functions: tuple[HostFunction, ...],
        limits: Limits,
        clock: Clock,
    ) -> None:
        self.engine = engine
        self.functions = functions
        self._limits = limits
        self._clock = clock
        self._executor: Executor | None = None
        self._sessions: list[Session] = []
        self._executions: list[ExecRecord] = []
        self._watched: dict[int, CapabilityContext] = {}
        self._refusals: list[CapabilityViolation] = []

    # -- what code is run in ----------------------------------------------------------------------

    def session(
        self, capabilities: Grants, functions: Iterable[HostFunction], name: str
    ) -> Session:
        """Open a session that holds these capabilities and no others.

        :raises UsageError: where the engine is an executor of the caller's own.
        """
        if not isinstance(self.engine, str):
            raise UsageError(
                "a helper of an executor of your own opens no sessions",
                found=repr(self.engine),
                fix="make the helper with the name of an engine, or open the session yourself",
            )
        opened = opened_session(
            self.engine,
            functions=(*self.functions, *functions),
            capabilities=self._watch(self._root(capabilities, name)),
            limits=self._limits,
            name=name,
            clock=self._clock,
        )
        self._sessions.append(opened)
        return opened

    @property
    def executor(self) -> Executor:
        """The executor, opened when it is first asked for."""
        if not isinstance(self.engine, str):
            return self.engine
        if self._executor is None:
            self._executor = opened_executor(
                self.engine, functions=self.functions, limits=self._limits, clock=self._clock
            )
        return self._executor

    # -- running ----------------------------------------------------------------------------------

    async def execute(
        self,
        code: str,
        timeout_s: float | None,
        grants: Grants,
        inputs: Mapping[str, Any] | None,
        session: Session | None,
    ) -> tuple[ExecResult, list[CapabilityViolation]]:
        """Run code; its result, and what it was refused.

        :param grants: what it may use; None for all that the session has.
        :param session: where to run it; None for the executor.
        """
        context = self._context(grants, session)
        execute = self.executor.execute if session is None else session.run
        result = await execute(code, timeout_s=timeout_s, grants=context, inputs=inputs)
        return result, self._keep(code, result, session, context)

    def execute_blocking(
        self,
        code: str,
        timeout_s: float | None,
        grants: Grants,
        inputs: Mapping[str, Any] | None,
        session: Session | None,
    ) -> tuple[ExecResult, list[CapabilityViolation]]:
        """The same, blocking this thread, also where an event loop runs in it."""
        context = self._context(grants, session)
        target, name = (self.executor, "execute") if session is None else (session, "run")
        options = {"timeout_s": timeout_s, "grants": context, "inputs": inputs}
        twin = getattr(target, f"{name}_sync", None)
        if twin is not None:
            result: ExecResult = twin(code, **options)
        else:
            result = blocking(lambda: getattr(target, name)(code, **options))
        return result, self._keep(code, result, session, context)

    def _context(self, grants: Grants, session: Session | None) -> CapabilityContext:
        """A context of one execution's own, so that what is refused in it is told apart."""
        if session is None:
            root = self._root(grants, "test")
            return root.child("assertion") if isinstance(grants, CapabilityContext) else root
        held = self._watch(session.capabilities)
        if grants is None:
            return held.child("assertion")
        tokens = grants.tokens() if isinstance(grants, CapabilityContext) else grants
        return held.child("assertion", tokens, inherit=False)

    def _root(self, grants: Grants, name: str) -> CapabilityContext:
        if isinstance(grants, CapabilityContext):
            return self._watch(grants)
        return CapabilityContext(name, tokens=grants or (), clock=self._clock)

    def _watch(self, context: CapabilityContext) -> CapabilityContext:
        """Have the refusals of a context that lives on in the history."""
        self._watched[id(context)] = context
        return context

    def _keep(
        self, code: str, result: ExecResult, session: Session | None, context: CapabilityContext
    ) -> list[CapabilityViolation]:
        if session is None or session not in self._sessions:
            self._executions.append(
                ExecRecord(
                    kind="run",
                    code=code,
                    result=result,
                    grants=context.types(),
                    started=self._clock.time() - result.timings.total_s,
                )
            )
        if context.parent_context is None:
            self._refusals += context.violations
        return context.violations

    # -- histories and the end --------------------------------------------------------------------

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions that are open."""
        return tuple(self._sessions)

    @property
    def executions(self) -> list[ExecRecord]:
        """What ran here and in the sessions, oldest first."""
        records = list(self._executions)
        for session in self._sessions:
            records += session.history
        return sorted(records, key=lambda record: record.started)

    @property
    def violations(self) -> list[CapabilityViolation]:
        """What was refused, oldest first."""
        violations = list(self._refusals)
        for context in self._watched.values():
            violations += context.violations
        return sorted(violations, key=lambda violation: violation.time)

    def close(self) -> None:
        """Close what was opened; what is remembered stays."""
        self._executions = self.executions
        opened: list[Any] = [*self._sessions]
        if self._executor is not None:
            opened.append(self._executor)
        self._sessions, self._executor = [], None
        for one in opened:
            one.close_sync()

    def forget(self) -> None:
        """Remember nothing."""
        self._executions.clear()
        self._watched.clear()
        self._refusals.clear()


__all__ = ["Runs"]

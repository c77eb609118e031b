"""``MockCapabilityManager``: a capability checker whose contexts the test sets and whose refusals
it can order."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterable, Iterator
from typing import Any

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import (
    CapabilityConstraint,
    CapabilityContext,
    CapabilityToken,
)
from windtunnel.sessions.errors import CapabilityDenied
from windtunnel.sessions.fake.records import MockCapabilityViolation

_scoped: contextvars.ContextVar[tuple[tuple[object, CapabilityContext], ...]]
_scoped = contextvars.ContextVar("mock_capability_scopes", default=())


class MockCapabilityManager:
    """A :class:`~windtunnel.sessions.CapabilityChecker` that a test plays.

    It decides by real contexts and tokens, so patterns match as they do there and uses are counted.
    In addition the test sets which context is current, orders refusals, and reads violations.

    :param clock: what expiry and violations are dated by.
    :param should_fail: whether everything is refused.

    >>> manager = MockCapabilityManager()
    >>> manager.set_context(CapabilityContext("job"))
    >>> token = manager.grant("fs.read", resources="/data/**")
    >>> manager.has_capability("fs.read", "/data/a.csv"), manager.has_capability("fs.write")
    (True, False)
    >>> manager.use("fs.read", "/etc/passwd")
    Traceback (most recent call last):
        ...
    windtunnel.sessions.errors.CapabilityDenied: not allowed: fs.read on '/etc/passwd'
    ...
    >>> [(one.capability, one.resource) for one in manager.violations]
    [('fs.read', '/etc/passwd')]
    """

    def __init__(self, *, clock: Clock | None = None, should_fail: bool = False) -> None:
        self.should_fail = should_fail
        self.contexts: list[CapabilityContext] = []
        self.violations: list[MockCapabilityViolation] = []
        self._clock = clock if clock is not None else REAL_CLOCK
        self._set: CapabilityContext | None = None
        self._denied: list[tuple[str, CapabilityConstraint]] = []

    def __repr__(self) -> str:
        current = self.current_context.path if self.current_context else "none"
        return (
            f"<MockCapabilityManager current={current}, {len(self.contexts)} contexts,"
            f" {len(self.violations)} violations>"
        )

    # -- contexts ---------------------------------------------------------------------------------

    @property
    def current_context(self) -> CapabilityContext | None:
        """The context of the innermost :meth:`scope` here, else the one set last, else None."""
        for manager, context in reversed(_scoped.get()):
            if manager is self:
                return context
        return self._set

    def set_context(self, context: CapabilityContext) -> None:
        """Make a context the current one until another is set, for tasks and threads alike."""
        if not isinstance(context, CapabilityContext):
            raise UsageError("set_context takes a CapabilityContext", found=repr(context))
        self.contexts.append(context)
        self._set = context

    def get_context(self, name: str = "") -> CapabilityContext | None:
        """The current context, or the newest of that name that was ever set or entered."""
        if not name:
            return self.current_context
        return next((one for one in reversed(self.contexts) if one.name == name), None)

    def clear_context(self) -> None:
        """Have no context set; then nothing is allowed."""
        self._set = None

    @contextlib.contextmanager
    def scope(self, context: CapabilityContext) -> Iterator[CapabilityContext]:
        """Make ``context`` the current one for the block and the work it starts, here and for
        guarded host functions."""
        self.contexts.append(context)
        token = _scoped.set((*_scoped.get(), (self, context)))
        try:
            with context.scope():
                yield context
        finally:
            _scoped.reset(token)

    def child(self, name: str, tokens: Iterable[CapabilityToken] = ()) -> CapabilityContext:
        """A context below the current one, which may only narrow it.

        :raises CapabilityDenied: for a token that goes beyond it.
        """
        return self._current().child(name, tokens)

    # -- decisions --------------------------------------------------------------------------------

    def grant(
        self, capability: str, *, expires_in_s: float | None = None, **bounds: Any
    ) -> CapabilityToken:
        """Give the current context a token; where none is current, one named ``mock`` is set.

        :param bounds: those of :class:`CapabilityConstraint`.
        """
        if self.current_context is None:
            self.set_context(CapabilityContext("mock", clock=self._clock))
        return self._current().grant(capability, expires_in_s=expires_in_s, **bounds)

    def deny(self, capability: str, *resources: str) -> None:
        """Refuse that capability from now on, whatever is held: all of it, or on resources that
        match one of these patterns."""
        self._denied.append((capability, CapabilityConstraint(resources=resources)))

    def has_capability(
        self, capability: str, resource: str | None = None, *, operation: str = ""
    ) -> bool:
        """Whether the current context could use it now.

        :param resource: on what; None for anything at all.
        :param operation: how; where it is not said, any operation will do.
        """
        context = self.current_context
        if context is None or self._refusal(capability, resource or ""):
            return False
        if resource is None and not operation:
            return context.has_capability(capability)
        operations = {operation}
        if not operation:
            for token in context.tokens(capability):
                for constraint in token.all_constraints:
                    operations.update(constraint.operations)
        return any(context.allowed(capability, resource or "", operation=one) for one in operations)

    def allowed(
        self, capability: str, resource: str = "", *, operation: str = "", size: int = 0
    ) -> bool:
        """Whether that could be used now. Uses nothing up and records nothing."""
        return not self._refusal(capability, resource) and self._current().allowed(
            capability, resource, operation=operation, size=size
        )

    def use(
        self, capability: str, resource: str = "", *, operation: str = "", size: int = 0
    ) -> None:
        """Use it once.

        :raises CapabilityDenied: where it may not be used; the refusal is on record.
        """
        context = self._current()
        try:
            reason = self._refusal(capability, resource)
            if reason:
                raise context.refuse(
                    capability, resource, operation=operation, reason=reason
                ).error()
            context.use(capability, resource, operation=operation, size=size)
        except CapabilityDenied as denied:
            self.record_violation(
                denied.capability, denied.resource, denied.operation, reason=denied.reason
            )
            raise

    def revoke(self, token: CapabilityToken | str) -> None:
        """Take a token, or every token of a type, back, wherever it was handed on to."""
        self._current().revoke(token)

    # -- violations -------------------------------------------------------------------------------

    def record_violation(
        self, capability: str, resource: str = "", operation: str = "", *, reason: str = ""
    ) -> MockCapabilityViolation:
        """Put a violation on record, as the program under test does that finds one itself."""
        context = self.current_context
        violation = MockCapabilityViolation(
            capability=capability,
            resource=resource,
            operation=operation,
            reason=reason,
            context=context.path if context else "",
            timestamp=self._clock.time(),
        )
        self.violations.append(violation)
        return violation

    def get_violation_count(self, capability: str = "") -> int:
        """How many violations there are, of all capabilities or of that one."""
        return sum(not capability or one.capability == capability for one in self.violations)

    def reset(self) -> None:
        """Forget contexts, violations and denials; nothing is set and nothing fails."""
        self.contexts.clear()
        self.violations.clear()
        self._denied.clear()
        self._set, self.should_fail = None, False

    # -- inside -----------------------------------------------------------------------------------

    def _current(self) -> CapabilityContext:
        return self.current_context or CapabilityContext("nothing", clock=self._clock)

    def _refusal(self, capability: str, resource: str) -> str:
        if self.should_fail:
            return "the double was told to fail"
        for denied, constraint in self._denied:
            if denied == capability and not constraint.refusal(resource):
                return "the double was told to deny it"
        return ""


__all__ = ["MockCapabilityManager"]

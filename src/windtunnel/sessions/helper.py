"""``IntegrationTestHelper``: assertions about guest code, for any test runner.

Where :mod:`windtunnel.sessions.fixtures` gives a pytest test a session, the helper is what any
program can make: ``unittest``, a script, a notebook. It knows nothing of pytest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.core.verdict import Verdict
from windtunnel.sessions.assertions import (
    ANYTHING,
    arguments,
    failure,
    must_be,
    not_refused,
    same,
    told,
    wanted_text,
)
from windtunnel.sessions.blocking import Settled
from windtunnel.sessions.capabilities import CapabilityToken, CapabilityViolation
from windtunnel.sessions.choosing import is_double, opened_executor
from windtunnel.sessions.errors import GuestError
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import (
    ExecRecord,
    ExecResult,
    Executor,
    Grants,
    Limits,
    Session,
)
from windtunnel.sessions.runs import Runs

if TYPE_CHECKING:
    from windtunnel.sessions.confinement import Factory, Report, Terms


class IntegrationTestHelper:
    """Asserts what guest code does: its value, its errors, its callbacks, what it is refused.

    Methods that are not ``async`` block this thread for what they run, also where an event loop
    runs in it; awaiting what they return is allowed and changes nothing.

    :param engine: what runs the code: a name (``"monty"``, ``"starlark"``, ``"process"``,
        ``"double"``), or an executor of your own.
    :param functions: the host functions that code may call.
    :param limits: what an execution may take.
    :param clock: what expiry of capabilities is read from.

    >>> from windtunnel.sessions import HostFunction
    >>> read = HostFunction("read", lambda path: "text", needs="fs.read", resource="path")
    >>> with IntegrationTestHelper("double", functions=[read]) as helper:
    ...     session = helper.create_test_repl()
    ...     _ = session.run_sync("def double(x): return x * 2")
    ...     _ = helper.assert_callback_works(session, "double", (21,), 42)
    ...     _ = helper.assert_capability_violation(
    ...         "read('/etc/passwd')", "fs.read", session=session
    ...     )
    ...     [one.resource for one in helper.get_violation_history()]
    ['/etc/passwd']
    """

    def __init__(
        self,
        engine: str | Executor = "monty",
        *,
        functions: Iterable[HostFunction] = (),
        limits: Limits | None = None,
        clock: Clock | None = None,
    ) -> None:
        limits = limits if limits is not None else Limits()
        clock = clock if clock is not None else REAL_CLOCK
        self._runs = Runs(engine, tuple(functions), limits, clock)

    def __repr__(self) -> str:
        return f"<IntegrationTestHelper {self._runs.engine!r}, {len(self._runs.sessions)} sessions>"

    # -- what code is run in ----------------------------------------------------------------------

    def create_test_repl(
        self,
        capabilities: Grants = (),
        *,
        functions: Iterable[HostFunction] = (),
        name: str = "test",
    ) -> Session:
        """A session that may use these capabilities and no others; :meth:`cleanup` closes it.

        :param capabilities: tokens, or a context.
        :param functions: host functions besides the helper's own.
        """
        return self._runs.session(capabilities, functions, name)

    @property
    def executor(self) -> Executor:
        """The executor that code without a session is run by; opened when it is first asked for."""
        return self._runs.executor

    # -- assertions -------------------------------------------------------------------------------

    async def assert_async_execution(
        self,
        code: str,
        expected: Any = ANYTHING,
        timeout_s: float | None = None,
        capabilities: Grants = None,
        *,
        inputs: Mapping[str, Any] | None = None,
        output: str | None = None,
        session: Session | None = None,
    ) -> ExecResult:
        """That the code ends well, with this value.

        :param expected: the value; whatever compares equal (``pytest.approx``); left out for any.
        :param timeout_s: seconds within which it must end; None for the helper's limit.
        :param capabilities: what it may use, and nothing else; None for all that the session may,
            and without a session for nothing.
        :param output: what it must print; None for anything.
        :param session: where to run it; without one, an executor runs it from nothing.
        :raises AssertionError: saying what was expected and what happened.
        """
        __tracebackhide__ = True
        result, _ = await self._runs.execute(code, timeout_s, capabilities, inputs, session)
        return must_be(result, code, expected, output)

    def assert_callback_works(
        self,
        session: Session,
        name: str,
        args: Sequence[Any] = (),
        expected: Any = ANYTHING,
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Settled[Any]:
        """That a callback of the session's function ``name`` returns this value.

        :raises AssertionError: where it returns another one, or fails.
        """
        __tracebackhide__ = True
        callback = session.callback(name, timeout_s=timeout_s)
        given = arguments(args, kwargs)
        wanted = "a value" if expected is ANYTHING else repr(expected)
        try:
            value = callback(*args, **(kwargs or {}))
        except GuestError as error:
            raise failure(
                f"the callback {name}{given} failed",
                expected=wanted,
                happened=f"{error.error_type}: {error.message}",
            ) from error
        if expected is not ANYTHING and not same(value, expected):
            raise failure(
                f"the callback {name}{given} gave another value",
                expected=wanted,
                happened=repr(value),
            )
        return Settled(value)

    def assert_capability_violation(
        self,
        code: str,
        capability: str | CapabilityToken,
        *,
        given: Grants = None,
        resource: str | None = None,
        operation: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        session: Session | None = None,
    ) -> Settled[CapabilityViolation]:
        """That the code is refused that capability, although it has what is ``given``.

        What counts is the refusal on record: code that handles its error is refused all the same.

        :param capability: the type, or a token of it.
        :param given: what the code has; None for all that the session has, and without a session
            for nothing.
        :param resource: on what it must be refused; None for anything.
        :param operation: for which operation; None for any.
        :param session: where to run it; without one, an executor runs it from nothing.
        :raises AssertionError: where it is not refused; with what happened instead.
        """
        __tracebackhide__ = True
        wanted = capability.type if isinstance(capability, CapabilityToken) else capability
        result, violations = self._runs.execute_blocking(code, timeout_s, given, inputs, session)
        for violation in violations:
            if (
                violation.capability == wanted
                and resource in (None, violation.resource)
                and operation in (None, violation.operation)
            ):
                return Settled(violation)
        raise failure(
            "the code was not refused what it must not have",
            code=code,
            expected=f"a violation of {wanted_text(wanted, resource, operation)}",
            happened=not_refused(result, violations, self._runs.functions),
        )

    def assert_raises(
        self,
        code: str,
        error_type: str | type[BaseException],
        match: str = "",
        *,
        capabilities: Grants = None,
        inputs: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        session: Session | None = None,
    ) -> Settled[ExecResult]:
        """That the code fails with this error, as an outcome.

        :param error_type: the guest's name of it, or an exception class of that name.
        :param match: a regular expression found in the message.
        :raises AssertionError: where it ends well, or fails with another one.
        """
        __tracebackhide__ = True
        name = error_type if isinstance(error_type, str) else error_type.__name__
        result, _ = self._runs.execute_blocking(code, timeout_s, capabilities, inputs, session)
        words = f"{name} with a message that matches {match!r}" if match else name
        if result.ok or result.error_type != name or not re.search(match, result.error):
            raise failure(
                "the code did not fail as it must",
                code=code,
                expected=words,
                happened=told(result),
            )
        return Settled(result)

    async def assert_confined(
        self,
        *,
        families: Iterable[str] | None = None,
        attempts: Iterable[str] | None = None,
        factory: Factory | None = None,
    ) -> Report:
        """That the engine withstands the attempts at escaping of
        :mod:`windtunnel.sessions.confinement`.

        :param families: the families of attempts; all by default.
        :param attempts: the attempts, by id; all of the families by default.
        :param factory: makes the executor; needed for one of your own.
        :raises AssertionError: naming what escaped, or why having withstood says nothing.
        :raises UsageError: for a double: it runs no code, so it would withstand in vain.
        """
        __tracebackhide__ = True
        from windtunnel.sessions.confinement import check

        report = await check(factory or self._factory(), families=families, attempts=attempts)
        if report.verdict is not Verdict.PASS:
            escaped = [f"{row.id} escaped ({dict(row.evidence)})" for row in report.escapes]
            raise failure(
                f"the engine {self._runs.engine!r} is not confined",
                expected=f"{len(report.rows)} attempts withstood",
                happened="; ".join([*escaped, *report.vacuous]),
            )
        return report

    def _factory(self) -> Factory:
        engine = self._runs.engine
        if not isinstance(engine, str) or is_double(engine):
            raise UsageError(
                "the laws of confinement need an engine that runs code, made on their terms",
                found=repr(engine),
                fix="name the engine that your program uses, or give factory=",
            )

        def make(terms: Terms) -> Executor:
            return opened_executor(engine, functions=terms.functions, limits=terms.limits)

        return make

    # -- histories --------------------------------------------------------------------------------

    def get_execution_history(self) -> list[ExecRecord]:
        """All that was executed through the helper and in its sessions, oldest first."""
        return self._runs.executions

    def get_violation_history(self) -> list[CapabilityViolation]:
        """All that was refused to it, oldest first."""
        return self._runs.violations

    # -- the end ----------------------------------------------------------------------------------

    def cleanup(self) -> Settled[None]:
        """Close what it opened. The histories stay; twice is allowed; it can be used again."""
        self._runs.close()
        return Settled(None)

    def reset(self) -> Settled[None]:
        """Close what it opened and forget the histories: it is as new."""
        self.cleanup()
        self._runs.forget()
        return Settled(None)

    def __enter__(self) -> IntegrationTestHelper:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cleanup()

    async def __aenter__(self) -> IntegrationTestHelper:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cleanup()


__all__ = ["ANYTHING", "IntegrationTestHelper"]

"""What the doubles of an executor and of a session have in common: how they come to an answer.

First the delay, then ``should_fail``, then the newest script that fits, then what the double knows
by itself (a session: its names), then the default.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.errors import CapabilityDenied, SessionClosedError
from windtunnel.sessions.fake.answers import (
    Answer,
    Matcher,
    MockRequest,
    Script,
    Scripts,
    crossed,
    type_name,
)
from windtunnel.sessions.fake.records import (
    MockExecutionRecord,
    MockExecutionResult,
    timings,
)
from windtunnel.sessions.fake.waiting import (
    Budget,
    OutOfTimeError,
    Steps,
    Wait,
    checkpoint,
    drive,
    drive_sync,
)
from windtunnel.sessions.protocol import Grants, Limits

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities import CapabilityContext

Failing: TypeAlias = "bool | BaseException | type[BaseException]"


class Double:
    """The settings, scripts and history of a double.

    :param results: what it answers to which code: from the code, or a compiled pattern that is
        searched in it, to the value, an exception, an :class:`ExecResult`, or a function of the
        :class:`MockRequest` that computes one of them.
    :param mock_result: what code gives that nothing else answers; None as a statement does.
    :param should_fail: every execution fails: with ``RuntimeError``, or with this exception.
    :param execution_delay: seconds that each execution takes on the clock.
    :param limits: time and output that one execution may take; the rest is not looked at.
    :param strict: whether code that nothing answers is a :class:`UsageError`.
    :param name: shown in messages.
    :param clock: whose time delays take; by default the machine's, in a simulated test the
        world's, under trio the run's (``MockClock``).
    """

    def __init__(
        self,
        results: Mapping[Matcher, Any] | None = None,
        *,
        mock_result: Any = None,
        should_fail: Failing = False,
        execution_delay: float = 0.0,
        limits: Limits | None = None,
        strict: bool = False,
        name: str = "",
        clock: Clock | None = None,
    ) -> None:
        if not execution_delay >= 0:
            raise UsageError(
                "execution_delay is seconds from 0 up", found=f"execution_delay={execution_delay!r}"
            )
        self.mock_result = mock_result
        self.should_fail: Failing = should_fail
        self.execution_delay = execution_delay
        self.limits = limits if limits is not None else Limits()
        self.strict = strict
        self.name = name
        self.executions: list[MockExecutionRecord] = []
        self.unscripted: list[str] = []
        """Code that got the default, because the double was told nothing about it."""
        self._clock = clock if clock is not None else REAL_CLOCK
        self._scripts = Scripts(results)
        self._closed = False
        self._at_first = (mock_result, should_fail, execution_delay)

    def __repr__(self) -> str:
        state = ", closed" if self._closed else ""
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name}, {len(self.executions)} executions{state}>"

    # -- scripts ----------------------------------------------------------------------------------

    def on(
        self,
        code: Matcher | None = None,
        *,
        contains: str = "",
        pattern: Matcher = "",
        times: int | None = None,
    ) -> Script:
        """What some code gives: ``on("6 * 7").returns(42)``. The newest script that fits wins.

        :param code: the code, its margin and blank ends aside; or a compiled pattern.
        :param contains: text that occurs in the code.
        :param pattern: a regular expression, searched in the code.
        :param times: how often it answers; then older scripts do.
        :raises UsageError: where not exactly one of the three is given.
        """
        return self._scripts.add(code, contains=contains, pattern=pattern, times=times)

    # -- history ----------------------------------------------------------------------------------

    def get_execution_count(self) -> int:
        """How many executions have ended, also those that failed."""
        return len(self.executions)

    def get_last_execution(self) -> MockExecutionRecord | None:
        """The newest of them, None where there is none."""
        return self.executions[-1] if self.executions else None

    def _begin_anew(self, scripts: bool) -> None:
        self.executions.clear()
        self.unscripted.clear()
        self.mock_result, self.should_fail, self.execution_delay = self._at_first
        if scripts:
            self._scripts.forget()
        else:
            self._scripts.rewind()

    # -- answering --------------------------------------------------------------------------------

    def _budget(self, timeout_s: float | None) -> Budget:
        if self._closed:
            raise SessionClosedError(f"the {type(self).__name__} is closed", name=self.name)
        limit = timeout_s if timeout_s is not None else self.limits.timeout_s
        if limit is not None and not limit > 0:
            raise UsageError(
                "timeout_s is seconds above 0, or None", found=f"timeout_s={timeout_s!r}"
            )
        return Budget(self._clock, limit)

    async def _carry_out(
        self, steps: Steps[Answer], budget: Budget, context: CapabilityContext
    ) -> Answer:
        """Carry out the steps; what ends them is the answer."""
        with context.scope():
            await checkpoint()
            try:
                return await drive(steps, budget)
            except OutOfTimeError:
                return _timed_out(budget)
            except CapabilityDenied as denied:
                return Answer(error_type=type(denied).__name__, error=str(denied))

    def _carry_out_sync(
        self, steps: Steps[Answer], budget: Budget, context: CapabilityContext
    ) -> Answer:
        with context.scope():
            try:
                return drive_sync(steps, budget)
            except OutOfTimeError:
                return _timed_out(budget)
            except CapabilityDenied as denied:
                return Answer(error_type=type(denied).__name__, error=str(denied))

    def _begin(self) -> Steps[Answer | None]:
        """What every execution and call begins with: the delay, and the failure where it must."""
        if self.execution_delay:
            yield Wait(self.execution_delay)
        if self.should_fail is False:
            return None
        if self.should_fail is True:
            return Answer(
                error_type="RuntimeError", error="the double was told to fail", source="should_fail"
            )
        return dataclasses.replace(Answer.of(self.should_fail), source="should_fail")

    def _scripted(
        self, code: str, inputs: Mapping[str, Any], context: CapabilityContext
    ) -> Steps[Answer | None]:
        """What a script answers; None where there is none for that code."""
        found = self._scripts.find(code, inputs)
        if found is None:
            return None
        script, request, answer = found
        if script.guarded:
            script.use(context)
        return (yield from answer.steps(request))

    def _by_default(self, code: str, inputs: Mapping[str, Any]) -> Steps[Answer]:
        """What nothing else answers."""
        if self.strict:
            raise UsageError(
                f"the {type(self).__name__} was not told what this code gives",
                found=f"{code!r}; told of: {self._scripts.told()}",
                fix="script it with on(...), or make the double without strict",
            )
        self.unscripted.append(code)
        answer = dataclasses.replace(Answer.of(self.mock_result), source="default")
        return (yield from answer.steps(MockRequest(code, inputs)))

    def _result(self, answer: Answer, budget: Budget) -> MockExecutionResult:
        """The answer as a result: a fresh value, within the limit of output."""
        output, error_type, error = answer.output, answer.error_type, answer.error
        room = self.limits.output_bytes
        if len(output.encode("utf-8", "surrogatepass")) > room:
            output = output.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
            error_type, error = "OutputLimitError", f"more than {room} bytes were printed"
        ok = not error_type
        return MockExecutionResult(
            ok,
            crossed(answer.value) if ok else None,
            error,
            error_type,
            timings(0.0, budget.spent_s()),
            output,
            answer.source,
        )


def failure_of(error: BaseException) -> Answer:
    """The outcome of code that raised this."""
    return Answer(error_type=type_name(error), error=str(getattr(error, "message", error)))


def _timed_out(budget: Budget) -> Answer:
    return Answer(error_type="TimeoutError", error=f"it ran longer than {budget.timeout_s:g} s")


def context_of(grants: Grants, name: str, clock: Clock) -> CapabilityContext:
    """What these grants are, held by a root of their own; nothing where there are none."""
    from windtunnel.sessions.capabilities.context import CapabilityContext

    if isinstance(grants, CapabilityContext):
        return grants
    return CapabilityContext(name, tokens=grants or (), clock=clock)


def narrowed(context: CapabilityContext, grants: Grants) -> CapabilityContext:
    """``context`` with these grants alone.

    :raises CapabilityDenied: where they go beyond what it holds.
    """
    from windtunnel.sessions.capabilities.context import CapabilityContext

    if grants is None:
        return context
    tokens = grants.tokens() if isinstance(grants, CapabilityContext) else tuple(grants)
    return context.child("run", tokens, inherit=False)


__all__ = ["Double", "Failing", "context_of", "failure_of", "narrowed"]

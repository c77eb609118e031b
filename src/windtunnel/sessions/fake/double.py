"""What the doubles of an executor and of a session have in common: how they come to an answer.

First the delay, then ``should_fail``, then the newest script that fits, then what the double knows
by itself (a session: its names), then the default.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
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
from windtunnel.sessions.protocol import Limits

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities import CapabilityContext

Failing: TypeAlias = "bool | BaseException | type[BaseException]"


@dataclasses.dataclass(frozen=True, slots=True)
class Execution:
    """One execution under way: what was asked for, with what it may use and how long."""

    kind: str
    code: str
    context: CapabilityContext
    timeout_s: float | None
    inputs: Mapping[str, Any]
    budget: Budget


@contextlib.contextmanager
def _bounded(asked: Execution) -> Iterator[None]:
    """Within what a token of the type ``execute`` leaves, where one bounds it."""
    if asked.kind not in ("run", "call"):
        yield
        return
    limits, use = asked.context.execution(Limits(timeout_s=asked.budget.timeout_s))
    asked.budget.timeout_s = limits.timeout_s
    try:
        yield
    finally:
        if use is not None:
            use.charge(cpu_s=asked.budget.spent_s())


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

    def restorer(self) -> Callable[[], None]:
        """What has the double as it is now again, however it is used meanwhile."""
        settings = (self.mock_result, self.should_fail, self.execution_delay, self._closed)
        scripts = list(self._scripts.all)
        executions, unscripted = list(self.executions), list(self.unscripted)

        def restore() -> None:
            self.mock_result, self.should_fail, self.execution_delay, self._closed = settings
            self._scripts.all[:] = scripts
            self._scripts.rewind()
            self.executions[:], self.unscripted[:] = executions, unscripted

        return restore

    # -- answering --------------------------------------------------------------------------------

    def _asked(
        self,
        kind: str,
        code: str,
        context: CapabilityContext,
        timeout_s: float | None = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> Execution:
        if self._closed:
            raise SessionClosedError(f"the {type(self).__name__} is closed", name=self.name)
        limits = self.limits
        if timeout_s is not None:
            limits = dataclasses.replace(limits, timeout_s=timeout_s)
        given: dict[str, Any] = crossed(dict(inputs or {}))
        budget = Budget(self._clock, limits.timeout_s)
        return Execution(kind, code, context, timeout_s, given, budget)

    async def _carry_out(self, asked: Execution, steps: Steps[Answer]) -> MockExecutionResult:
        """Carry the steps out; what ends them is the answer."""
        with self._ended(asked) as ending, _bounded(asked):
            await checkpoint()
            ending.append(await drive(steps, asked.budget))
        return self._remember(asked, ending[0])

    def _carry_out_sync(self, asked: Execution, steps: Steps[Answer]) -> MockExecutionResult:
        with self._ended(asked) as ending, _bounded(asked):
            ending.append(drive_sync(steps, asked.budget))
        return self._remember(asked, ending[0])

    @contextlib.contextmanager
    def _ended(self, asked: Execution) -> Iterator[list[Answer]]:
        """However it ends, there is an answer, or it is on record that it was stopped."""
        ending: list[Answer] = []
        try:
            with asked.context.scope():
                yield ending
        except OutOfTimeError:
            message = f"it ran longer than {asked.budget.timeout_s:g} s"
            ending.append(Answer(error_type="TimeoutError", error=message))
        except CapabilityDenied as denied:
            ending.append(failure_of(denied))
        except UsageError:
            raise
        except BaseException as error:
            stopped = f"stopped by {type(error).__name__}"
            self._remember(asked, Answer(error_type="InterruptedError", error=stopped))
            raise

    def _remember(self, asked: Execution, answer: Answer) -> MockExecutionResult:
        result = self._result(answer, asked.budget)
        self._keep(
            MockExecutionRecord(
                kind=asked.kind,
                code=asked.code,
                result=result,
                grants=asked.context.types(),
                started=asked.budget.started,
                timeout_s=asked.timeout_s,
                inputs=asked.inputs,
            )
        )
        return result

    def _keep(self, record: MockExecutionRecord) -> None:
        self.executions.append(record)

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

    def _scripted(self, asked: Execution) -> Steps[Answer | None]:
        """What a script answers; None where there is none for that code."""
        found = self._scripts.find(asked.code, asked.inputs)
        if found is None:
            return None
        script, request, answer = found
        script.use(asked.context)
        return (yield from answer.steps(request))

    def _by_default(self, asked: Execution) -> Steps[Answer]:
        """What nothing else answers."""
        code = asked.code
        if self.strict:
            raise UsageError(
                f"the {type(self).__name__} was not told what this code gives",
                found=f"{code!r}; told of: {self._scripts.told()}",
                fix="script it with on(...), or make the double without strict",
            )
        self.unscripted.append(code)
        answer = dataclasses.replace(Answer.of(self.mock_result), source="default")
        return (yield from answer.steps(MockRequest(code, asked.inputs)))

    def _result(self, answer: Answer, budget: Budget) -> MockExecutionResult:
        """The answer as a result: a fresh value, within the limit of output."""
        output, error_type, error = answer.output, answer.error_type, answer.error
        room = self.limits.output_bytes
        if len(output.encode("utf-8", "surrogatepass")) > room:
            output = output.encode("utf-8", "surrogatepass")[:room].decode("utf-8", "ignore")
            error_type, error = "OutputLimitError", f"it printed more than {room} bytes"
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


__all__ = ["Double", "Execution", "Failing", "failure_of"]

"""``MockAsyncExecutor``: an executor that answers by script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from windtunnel.sessions.fake.answers import Answer, Matcher, crossed
from windtunnel.sessions.fake.double import Double, context_of
from windtunnel.sessions.fake.names import Names
from windtunnel.sessions.fake.records import MockExecutionRecord, MockExecutionResult
from windtunnel.sessions.fake.waiting import Budget, Steps
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Grants

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities import CapabilityContext


class MockAsyncExecutor(Double):
    """An :class:`~windtunnel.sessions.Executor` that runs nothing: it answers by script.

    Its parameters are those of :class:`Double`, and these two. What it gives is what an engine
    could give: errors are outcomes, values are fresh copies, the limit ends what takes longer, a
    capability that a script needs is looked for in the grants.

    :param reads: whether code without a script is read, as a :class:`MockREPLSession` reads it,
        each time from nothing. It is not by default: then ``mock_result`` is what it gives.
    :param functions: host functions that code which is read may call.

    >>> import asyncio
    >>> executor = MockAsyncExecutor({"6 * 7": 42})
    >>> _ = executor.on(pattern=r"read\\(").needs("fs.read", "/data/a").returns("text")
    >>> asyncio.run(executor.execute("6 * 7")).value
    42
    >>> asyncio.run(executor.execute("read('/data/a')")).error_type
    'CapabilityDenied'
    >>> executor.get_execution_count(), executor.get_last_execution().code
    (2, "read('/data/a')")
    """

    def __init__(
        self,
        results: Mapping[Matcher, Any] | None = None,
        *,
        reads: bool = False,
        functions: Iterable[HostFunction] = (),
        **options: Any,
    ) -> None:
        super().__init__(results, **options)
        self._reads = reads
        self._host = {function.name: function for function in functions}

    async def execute(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> MockExecutionResult:
        """Answer ``code``.

        :param timeout_s: seconds on the clock until it is ended with ``TimeoutError``.
        :param grants: the capabilities that the code has; None for none at all.
        :param inputs: names that scripts may work with.
        :raises SessionClosedError: after :meth:`close`.
        :raises UsageError: for a limit that is none; when strict, for code without a script.
        """
        budget, given, context = self._prepare(timeout_s, grants, inputs)
        steps = self._steps(code, given, context)
        answer = await self._carry_out(steps, budget, context)
        return self._remember(code, answer, budget, timeout_s, given, context)

    def execute_sync(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> MockExecutionResult:
        """The same, blocking this thread for what it takes on the clock."""
        budget, given, context = self._prepare(timeout_s, grants, inputs)
        steps = self._steps(code, given, context)
        answer = self._carry_out_sync(steps, budget, context)
        return self._remember(code, answer, budget, timeout_s, given, context)

    def reset(self, *, scripts: bool = False) -> None:
        """Forget the history; ``should_fail``, ``execution_delay`` and ``mock_result`` are as they
        were given at first, and scripts begin again with their first answer.

        :param scripts: whether the scripts are forgotten too.
        """
        self._begin_anew(scripts)

    async def close(self) -> None:
        """End it. Twice is allowed; what is executed afterwards is an error."""
        self._closed = True

    def close_sync(self) -> None:
        """The same."""
        self._closed = True

    async def __aenter__(self) -> MockAsyncExecutor:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True

    def __enter__(self) -> MockAsyncExecutor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closed = True

    # -- one execution ----------------------------------------------------------------------------

    def _prepare(
        self, timeout_s: float | None, grants: Grants, inputs: Mapping[str, Any] | None
    ) -> tuple[Budget, dict[str, Any], CapabilityContext]:
        budget = self._budget(timeout_s)
        given: dict[str, Any] = crossed(dict(inputs or {}))
        return budget, given, context_of(grants, self.name or "executor", self._clock)

    def _steps(
        self, code: str, inputs: Mapping[str, Any], context: CapabilityContext
    ) -> Steps[Answer]:
        failure = yield from self._begin()
        if failure is not None:
            return failure
        scripted = yield from self._scripted(code, inputs, context)
        if scripted is not None:
            return scripted
        if self._reads:
            names = Names(self._host, {}, self._clock, self.limits.recursion)
            names.namespace.update(inputs)
            answer = yield from names.run(code)
            if answer is not None:
                return answer
        return (yield from self._by_default(code, inputs))

    def _remember(
        self,
        code: str,
        answer: Answer,
        budget: Budget,
        timeout_s: float | None,
        inputs: Mapping[str, Any],
        context: CapabilityContext,
    ) -> MockExecutionResult:
        result = self._result(answer, budget)
        self.executions.append(
            MockExecutionRecord(
                kind="run",
                code=code,
                result=result,
                grants=context.types(),
                started=budget.started,
                timeout_s=timeout_s,
                inputs=inputs,
            )
        )
        return result


__all__ = ["MockAsyncExecutor"]

"""``MockAsyncExecutor``: an executor that answers by script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from windtunnel.sessions.capabilities import CapabilityContext
from windtunnel.sessions.closing import Closes
from windtunnel.sessions.fake.answers import Answer, Matcher
from windtunnel.sessions.fake.double import Double, Execution
from windtunnel.sessions.fake.names import Names
from windtunnel.sessions.fake.records import MockExecutionResult
from windtunnel.sessions.fake.waiting import Steps
from windtunnel.sessions.holding import by_name, for_this_alone, held_as
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Grants


class MockAsyncExecutor(Double, Closes):
    """An :class:`~windtunnel.sessions.Executor` that runs nothing: it answers by script.

    Its parameters are those of :class:`Double`, and these three. What it gives is what an engine
    could give: errors are outcomes, values are fresh copies, the limit ends what takes longer, a
    capability that a script needs is looked for in the grants.

    :param reads: whether code without a script is read, as a :class:`MockREPLSession` reads it,
        each time from nothing. It is not by default: then ``mock_result`` is what it gives.
    :param functions: host functions that code which is read may call.
    :param capabilities: what code has that is given no grants; nothing by default.

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
        capabilities: Grants = (),
        **options: Any,
    ) -> None:
        super().__init__(results, **options)
        self._reads = reads
        self._host = by_name(functions)
        self._capabilities = held_as(capabilities, self.name or "executor", self._clock)

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
    ) -> MockExecutionResult:
        """Answer ``code``.

        :param timeout_s: seconds on the clock until it is ended with ``TimeoutError``.
        :param grants: the capabilities that the code has, and all it has; None for those of the
            executor, which has none by default.
        :param inputs: names that scripts may work with.
        :raises SessionClosedError: after :meth:`close`.
        :raises UsageError: for a limit that is none; when strict, for code without a script.
        """
        context = self._context(grants)
        with for_this_alone(context, grants):
            asked = self._asked("run", code, context, timeout_s, inputs)
            return await self._carry_out(asked, self._steps(asked))

    def execute_sync(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> MockExecutionResult:
        """The same, blocking this thread for what it takes on the clock."""
        context = self._context(grants)
        with for_this_alone(context, grants):
            asked = self._asked("run", code, context, timeout_s, inputs)
            return self._carry_out_sync(asked, self._steps(asked))

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

    # -- one execution ----------------------------------------------------------------------------

    def _context(self, grants: Grants) -> CapabilityContext:
        if grants is None:
            return self._capabilities
        if isinstance(grants, CapabilityContext):
            return grants
        return CapabilityContext(self.name or "executor", tokens=grants, clock=self._clock)

    def _steps(self, asked: Execution) -> Steps[Answer]:
        answer = yield from self._begin()
        if answer is None:
            answer = yield from self._scripted(asked)
        if answer is None and self._reads:
            names = Names(self._host, {}, self._clock, self.limits.recursion)
            names.namespace.update(asked.inputs)
            answer = yield from names.run(asked.code)
        if answer is None:
            answer = yield from self._by_default(asked)
        return answer


__all__ = ["MockAsyncExecutor"]

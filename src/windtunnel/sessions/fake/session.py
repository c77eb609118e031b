"""``MockREPLSession``: a session whose names live, with functions that the test plays."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Iterable, Mapping, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any, cast

from windtunnel.core.clock import Clock
from windtunnel.sessions.callbacks import MISSING, Callback, Callbacks, OnError
from windtunnel.sessions.closing import Closes
from windtunnel.sessions.engines.naming import name_checked
from windtunnel.sessions.errors import GuestError
from windtunnel.sessions.fake.answers import Answer, Matcher, crossed
from windtunnel.sessions.fake.double import Double, Execution, Failing
from windtunnel.sessions.fake.functions import FunctionMock
from windtunnel.sessions.fake.names import Names
from windtunnel.sessions.fake.records import (
    MockExecutionRecord,
    MockExecutionResult,
    MockFunctionCall,
)
from windtunnel.sessions.fake.turn import Turn
from windtunnel.sessions.fake.waiting import Steps
from windtunnel.sessions.holding import by_name, for_this_alone, held_as, narrowed
from windtunnel.sessions.protocol import Grants, Limits

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities import CapabilityContext
    from windtunnel.sessions.hosting import HostFunction
    from windtunnel.sessions.session import EngineSession


class MockREPLSession(Double, Closes):
    """A :class:`~windtunnel.sessions.Session` without an engine.

    Its names live in :attr:`python_namespace`. It reads straight-line Python well enough to assign,
    to define functions and to call them; what else code gives is scripted with :meth:`on`, as with
    a :class:`MockAsyncExecutor`, whose parameters it shares. Host functions are guarded as in an
    engine.

    :param functions: host functions, as for ``sessions.open``.
    :param builtins: functions that code finds besides Python's own, by name.
    :param capabilities: what the session may use: tokens, a context, or None for what is current
        where it is made.
    :param reads: whether it reads code at all; where it does not, only scripts answer (for code in
        another language than Python).

    >>> session = MockREPLSession()
    >>> double = session.mock_function("double", lambda x: x * 2)
    >>> session.run_sync("x = double(20) + 2").ok
    True
    >>> session.run_sync("x").value, session.python_namespace["x"], double.call_count
    (42, 42, 1)
    >>> session.call_sync("double", 4)
    8
    >>> session.run_sync("y").error
    "name 'y' is not defined"
    """

    def __init__(
        self,
        results: Mapping[Matcher, Any] | None = None,
        *,
        functions: Iterable[HostFunction] = (),
        builtins: Mapping[str, Any] | None = None,
        capabilities: Grants = None,
        reads: bool = True,
        mock_result: Any = None,
        should_fail: Failing = False,
        execution_delay: float = 0.0,
        limits: Limits | None = None,
        strict: bool = False,
        name: str = "",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            results,
            mock_result=mock_result,
            should_fail=should_fail,
            execution_delay=execution_delay,
            limits=limits,
            strict=strict,
            name=name,
            clock=clock,
        )
        host = by_name(functions)
        self.callbacks = Callbacks()
        """The callbacks made of its functions, by name."""
        self._names = Names(host, builtins or {}, self._clock, self.limits.recursion)
        self._history: list[MockExecutionRecord] = []
        self._context = held_as(capabilities, name or "session", self._clock)
        self._reads = reads
        self._turn = Turn()

    # -- what the test plays ----------------------------------------------------------------------

    def mock_function(self, name: str, function: Callable[..., Any] | None = None) -> FunctionMock:
        """Give the session a function that the test plays; ``reset`` leaves it in place.

        :param function: what computes its result, sync or async; without one it returns None, until
            ``returns``, ``fails`` or ``hangs`` of the mock says otherwise.
        """
        mock = FunctionMock(name, function)
        self._names.add(mock)
        return mock

    @property
    def python_namespace(self) -> dict[str, Any]:
        """The session's names, live: what is put there is found by code."""
        return self._names.namespace

    @property
    def function_calls(self) -> list[MockFunctionCall]:
        """Every call of a function of the session, by code, ``call`` or a callback."""
        return self._names.calls

    # -- the session ------------------------------------------------------------------------------

    @property
    def capabilities(self) -> CapabilityContext:
        """What the session's code may use."""
        return self._context

    @property
    def isolation(self) -> str:
        """What keeps its code in: nothing."""
        return "none: a double runs what its own test wrote, in the test's process"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    @property
    def history(self) -> Sequence[MockExecutionRecord]:
        """What was executed, oldest first: runs, calls and definitions."""
        return tuple(self._history)

    @property
    def variables(self) -> dict[str, Any]:
        """The session's names that are no functions, and their values."""
        return self._names.values()

    @property
    def executed_lines(self) -> list[str]:
        """The code of every run, oldest first."""
        return [record.code for record in self.executions]

    async def run(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> MockExecutionResult:
        """Run ``code``: scripts are asked first, then it is read.

        :param timeout_s: seconds on the clock until it is ended with ``TimeoutError``.
        :param grants: capabilities to have in place of all that the session has; only less.
        :param inputs: names that are given to it, and stay.
        :raises SessionClosedError: after :meth:`close`.
        :raises UsageError: for a limit that is none; when strict, for code that it cannot read and
            has no script for.
        """
        async with self._turn.taken():
            context = narrowed(self._context, grants)
            with for_this_alone(context, grants):
                asked = self._asked("run", code, context, timeout_s, inputs)
                return await self._carry_out(asked, self._run_steps(asked))

    def run_sync(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> MockExecutionResult:
        """The same, blocking this thread for what it takes on the clock."""
        with self._turn.taken_sync():
            context = narrowed(self._context, grants)
            with for_this_alone(context, grants):
                asked = self._asked("run", code, context, timeout_s, inputs)
                return self._carry_out_sync(asked, self._run_steps(asked))

    def execute(self, code: str, **options: Any) -> MockExecutionResult:
        """The same as :meth:`run_sync`."""
        return self.run_sync(code, **options)

    async def call(
        self, function: str, /, *args: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a function of the session by name.

        :raises GuestError: when it fails, with the guest's error type; ``NameError`` where there is
            no such function.
        """
        async with self._turn.taken():
            asked = self._asked("call", name_checked(function), self._context, timeout_s)
            steps = self._call_steps(function, *crossed((args, kwargs)))
            return _value(await self._carry_out(asked, steps))

    def call_sync(
        self, function: str, /, *args: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """The same, blocking this thread."""
        with self._turn.taken_sync():
            asked = self._asked("call", name_checked(function), self._context, timeout_s)
            steps = self._call_steps(function, *crossed((args, kwargs)))
            return _value(self._carry_out_sync(asked, steps))

    def call_function(
        self,
        function_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Any:
        """The same as :meth:`call_sync`, with the arguments as two values."""
        return self.call_sync(function_name, *args, timeout_s=timeout_s, **(kwargs or {}))

    async def define(self, name: str, value: Any) -> None:
        """Give the session a value by name.

        :raises ValueCrossingError: for a value that no engine could be given.
        """
        self.define_sync(name, value)

    def define_sync(self, name: str, value: Any) -> None:
        """The same."""
        with self._turn.taken_sync():
            asked = self._asked("define", name_checked(name), self._context)
            self.python_namespace[name] = crossed(value)
            self._remember(asked, Answer(source="namespace"))

    def reset(self, *, scripts: bool = False) -> CoroutineType[Any, Any, None]:
        """Forget every name and the history; capabilities, function mocks and scripts stay, and
        begin again. What the test set since (``should_fail`` ...) is as at first.

        It is done when this returns; awaiting it, as a session's reset is awaited, is allowed.

        :param scripts: whether scripts and function mocks are forgotten too.
        """
        with self._turn.taken_sync():
            self._begin_anew(scripts)
            self._names.reset(mocks=scripts)
            self._history.clear()
        return _done()

    def reset_sync(self) -> None:
        """The same."""
        _ = self.reset()

    def close(self) -> CoroutineType[Any, Any, None]:
        """End the session; what was executed stays on record. Twice is allowed; awaiting too."""
        self._closed = True
        return _done()

    def close_sync(self) -> None:
        """The same."""
        self._closed = True

    def cleanup(self) -> None:
        """Reset it and close it."""
        _ = self.reset()
        self._closed = True

    def get_function_call_count(self, name: str = "") -> int:
        """How often functions of the session were called: all of them, or that one."""
        return sum(not name or call.name == name for call in self.function_calls)

    def callback(
        self,
        name: str,
        *,
        default: Any = MISSING,
        on_error: OnError | None = None,
        timeout_s: float | None = None,
    ) -> Callback:
        """A Python callable of the session's function ``name``, as of a real session's.

        >>> session = MockREPLSession()
        >>> mock = session.mock_function("double", lambda x: x * 2)
        >>> session.callback("double")(21)
        42
        """
        # It calls a session by `call`, `call_sync` and `name` alone.
        caller = cast("EngineSession", self)
        made = Callback(caller, name, default=default, on_error=on_error, timeout_s=timeout_s)
        return self.callbacks.add(made)

    def restorer(self) -> Callable[[], None]:
        """As of every double; and its names."""
        restore_settings, restore_names = super().restorer(), self._names.restorer()
        history = list(self._history)

        def restore() -> None:
            restore_settings()
            restore_names()
            self._history[:] = history
            self._turn = Turn()  # whoever held the old one may have crashed with its node

        return restore

    def held_in_place_of(self, before: CapabilityContext, now: CapabilityContext) -> None:
        """Hold another context where ``before`` was held."""
        if self._context is before:
            self._context = now

    # -- one run or call --------------------------------------------------------------------------

    def _run_steps(self, asked: Execution) -> Steps[Answer]:
        answer = yield from self._begin()
        if answer is not None:
            return answer
        self.python_namespace.update(asked.inputs)
        answer = yield from self._scripted(asked)
        if answer is None and self._reads:
            answer = yield from self._names.run(asked.code)
        if answer is None:
            answer = yield from self._by_default(asked)
        return answer

    def _call_steps(
        self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Steps[Answer]:
        answer = yield from self._begin()
        if answer is None:
            answer = yield from self._names.call(name, args, kwargs)
        return answer

    def _keep(self, record: MockExecutionRecord) -> None:
        self._history.append(record)
        if record.kind == "run":
            self.executions.append(record)


def _value(result: MockExecutionResult) -> Any:
    if not result.ok:
        raise GuestError(result.error_type, result.error)
    return result.value


def _done() -> CoroutineType[Any, Any, None]:
    return cast("CoroutineType[Any, Any, None]", _Done())


class _Done(Coroutine[Any, Any, None]):
    """What is done already. It may be awaited all the same, and need not be."""

    def __await__(self) -> Generator[Any, None, None]:
        yield from ()

    def send(self, value: Any) -> Any:
        raise StopIteration

    def throw(self, *error: Any) -> Any:
        raise error[0]

    def close(self) -> None:
        pass


__all__ = ["MockREPLSession"]

"""Function mocks: functions that a session's double has without any code having defined them."""

from __future__ import annotations

import dataclasses
import inspect
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.sessions.errors import GuestError
from windtunnel.sessions.fake.answers import Answer, crossed, not_negative
from windtunnel.sessions.fake.records import MockFunctionCall
from windtunnel.sessions.fake.waiting import Pending, Steps, Wait


class FunctionMock:
    """A function of the guest's that the test plays. Made by a session's ``mock_function``.

    :param name: its name in the session.
    :param function: what computes its result, sync or async; None for a function that returns None
        until a verb says otherwise.

    >>> from windtunnel.sessions import MockREPLSession
    >>> session = MockREPLSession()
    >>> rate = session.mock_function("rate").returns(0.19, 0.07)
    >>> session.run_sync("round(rate('DE') * 100, 2), round(rate('FR') * 100, 2)").value
    (19.0, 7.0)
    >>> [call.args for call in rate.calls]
    [('DE',), ('FR',)]
    """

    def __init__(self, name: str, function: Callable[..., Any] | None = None) -> None:
        if not name.isidentifier():
            raise UsageError("a function's name is an identifier", found=repr(name))
        self.name = name
        self.calls: list[MockFunctionCall] = []
        self._compute = function
        self._answers = [Answer()]
        self._delay_s = 0.0
        self._given = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<FunctionMock {self.name}, {len(self.calls)} calls>"

    def returns(self, *values: Any, delay_s: float = 0.0) -> FunctionMock:
        """It returns these values in turn, the last one for ever.

        :param delay_s: seconds that each call takes on the session's clock.
        :raises ValueCrossingError: for a value that no engine could give.
        """
        not_negative("delay_s", delay_s)
        self._answers = [Answer(crossed(value)) for value in values] or [Answer()]
        self._compute, self._delay_s, self._given = None, delay_s, 0
        return self

    def computes(self, function: Callable[..., Any], *, delay_s: float = 0.0) -> FunctionMock:
        """It gives what ``function`` returns for its arguments, or raises what that raises."""
        not_negative("delay_s", delay_s)
        self._compute, self._delay_s = function, delay_s
        return self

    def fails(
        self, error: str | BaseException | type[BaseException], message: str = ""
    ) -> FunctionMock:
        """It raises: the guest's name of an error and a message, or an exception."""
        answer = Answer(error_type=error, error=message) if isinstance(error, str) else None
        answer = answer or Answer.of(error)
        if message:
            answer = dataclasses.replace(answer, error=message)
        self._answers, self._compute, self._delay_s = [answer], None, 0.0
        return self

    def hangs(self) -> FunctionMock:
        """It never returns: the limit ends the code that called it."""
        self._compute, self._delay_s = None, math.inf
        return self

    @property
    def call_count(self) -> int:
        """How often it was called."""
        return len(self.calls)

    @property
    def called(self) -> bool:
        """Whether it was called at all."""
        return bool(self.calls)

    def rewind(self) -> None:
        """Forget the calls, and begin again with the first value."""
        with self._lock:
            self.calls.clear()
            self._given = 0

    def steps(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Steps[Any]:
        """One call of it."""
        if self._delay_s:
            yield Wait(self._delay_s)
        if self._compute is not None:
            value = self._compute(*args, **kwargs)
            if inspect.isawaitable(value):
                value = yield Pending(value)
            return value
        with self._lock:
            answer = self._answers[min(self._given, len(self._answers) - 1)]
            self._given += 1
        if answer.error_type:
            raise GuestError(answer.error_type, answer.error)
        return answer.value


__all__ = ["FunctionMock"]

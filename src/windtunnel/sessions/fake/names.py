"""The names of a session's double: its namespace, function mocks, host functions and builtins."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core.clock import Clock
from windtunnel.sessions.fake.answers import Answer, crossed
from windtunnel.sessions.fake.double import failure_of
from windtunnel.sessions.fake.functions import FunctionMock
from windtunnel.sessions.fake.reading import (
    BUILTINS,
    GuestFunction,
    Reader,
    plain_call,
    readable,
)
from windtunnel.sessions.fake.records import MockFunctionCall
from windtunnel.sessions.fake.waiting import Steps
from windtunnel.sessions.values import ValueCrossingError
from windtunnel.sessions.works import without_margin

if TYPE_CHECKING:
    from windtunnel.sessions.hosting import HostFunction


class Names:
    """Where code of a session's double finds and puts its names, and what calls of them did.

    :param host: host functions by name; each guards itself.
    :param builtins: functions that code finds besides Python's own.
    :param clock: what calls are dated by.
    :param recursion: how deep calls may be nested.
    """

    def __init__(
        self,
        host: Mapping[str, HostFunction],
        builtins: Mapping[str, Any],
        clock: Clock,
        recursion: int | None,
    ) -> None:
        self.namespace: dict[str, Any] = {}
        self.calls: list[MockFunctionCall] = []
        self._mocks: dict[str, FunctionMock] = {}
        self._host = host
        self._builtins = {**BUILTINS, "print": self._print, **builtins}
        self._clock = clock
        self._printed: list[str] = []
        self._reader = Reader(self.namespace, self._lookup, self._called, recursion)

    def add(self, mock: FunctionMock) -> None:
        """Have a function mock, also after a reset."""
        self._mocks[mock.name] = self.namespace[mock.name] = mock

    def values(self) -> dict[str, Any]:
        """Names that are no functions."""
        return {
            name: value
            for name, value in self.namespace.items()
            if not isinstance(value, GuestFunction | FunctionMock) and not callable(value)
        }

    def reset(self, *, mocks: bool) -> None:
        """Forget names and calls; with ``mocks`` the function mocks too."""
        if mocks:
            self._mocks.clear()
        self.namespace.clear()
        self.namespace.update(self._mocks)
        for mock in self._mocks.values():
            mock.rewind()
        self.calls.clear()

    def restorer(self) -> Callable[[], None]:
        """What has the names as they are now again; values are copied where they can be."""
        namespace = {name: _copied(value) for name, value in self.namespace.items()}
        mocks, calls = dict(self._mocks), list(self.calls)

        def restore() -> None:
            self._mocks = dict(mocks)
            self.namespace.clear()
            self.namespace.update({name: _copied(value) for name, value in namespace.items()})
            for mock in self._mocks.values():
                mock.rewind()
            self.calls[:] = calls

        return restore

    def run(self, code: str) -> Steps[Answer | None]:
        """Carry out code that can be read; None for code that cannot, of which nothing is done."""
        code = without_margin(code)
        try:
            if not readable(code):
                return None
        except (SyntaxError, ValueError) as error:
            message = getattr(error, "msg", str(error))
            return Answer(error_type="SyntaxError", error=message, source="namespace")
        return (yield from self._ended(self._reader.run(code)))

    def call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Steps[Answer]:
        """Call a function by name."""

        def steps() -> Steps[Any]:
            return (yield from self._called(name, self._lookup(name), args, kwargs))

        return (yield from self._ended(steps()))

    def _ended(self, steps: Steps[Any]) -> Steps[Answer]:
        """Carry the steps out; what they raise is how they end."""
        self._printed.clear()
        try:
            answer = Answer(crossed((yield from steps)))
        except Exception as error:
            answer = failure_of(error)
        return dataclasses.replace(answer, output="".join(self._printed), source="namespace")

    def _print(self, *values: Any, sep: str = " ", end: str = "\n") -> None:
        self._printed.append(sep.join(map(str, values)) + end)

    def _lookup(self, name: str) -> Any:
        for names in (self.namespace, self._host, self._builtins):
            if name in names:
                return names[name]
        raise NameError(f"name {name!r} is not defined")

    def _called(
        self, name: str, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Steps[Any]:
        """Call a function; those of the session go on record."""
        if name not in self.namespace and name not in self._host:
            return (yield from plain_call(function, args, kwargs))
        began, error, result = self._clock.time(), "", None
        given: tuple[Any, Any] = (tuple(args), dict(kwargs))
        try:
            if isinstance(function, GuestFunction):
                given = _copied(given)
                result = yield from function.steps(args, kwargs)
            else:  # it leaves the guest, so everything crosses
                given = crossed(given)
                result = crossed((yield from _outside(function, *crossed(given))))
        except Exception as raised:
            failed = failure_of(raised)
            error = f"{failed.error_type}: {failed.error}"
            raise
        finally:
            call = MockFunctionCall(
                name=name,
                args=given[0],
                kwargs=given[1],
                result=result,
                error=error,
                timestamp=began,
            )
            self.calls.append(call)
            if isinstance(function, FunctionMock):
                function.calls.append(call)
        return result


def _copied(value: Any) -> Any:
    try:
        return crossed(value)
    except ValueCrossingError:  # a function, or what only the test can put there
        return value


def _outside(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Steps[Any]:
    if isinstance(function, FunctionMock):
        return function.steps(args, kwargs)
    return plain_call(function, args, kwargs)


__all__ = ["Names"]

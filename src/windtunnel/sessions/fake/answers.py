"""Scripts: what a double answers to which code.

A script says which code it fits and what that code gives. Answers cross like an engine's values:
each time as a fresh copy, and only what an engine could give (:mod:`windtunnel.sessions.values`).
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import textwrap
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sessions.fake.records import Source
from windtunnel.sessions.fake.waiting import Pending, Steps, Wait
from windtunnel.sessions.protocol import ExecResult
from windtunnel.sessions.values import decode, encode

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities import CapabilityContext

Matcher: TypeAlias = "str | re.Pattern[str]"


@dataclasses.dataclass(frozen=True, slots=True)
class MockRequest:
    """The code that a double was given; what :meth:`Script.computes` works from.

    :param code: the code.
    :param inputs: the names it was given.
    :param match: what the script's pattern found in it; None for a script without a pattern.
    """

    code: str
    inputs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    match: re.Match[str] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What the code gives: a value, an error, or a function that computes one of them."""

    value: Any = None
    error_type: str = ""
    error: str = ""
    output: str = ""
    delay_s: float = 0.0
    compute: Callable[[MockRequest], Any] | None = None
    source: Source = "script"

    @classmethod
    def of(cls, given: Any) -> Answer:
        """What a plain object stands for: an exception fails, an :class:`ExecResult` is itself,
        a function computes, another :class:`Answer` is kept, everything else is the value."""
        if isinstance(given, Answer):
            return given
        if isinstance(given, ExecResult):
            return cls(crossed(given.value), given.error_type, given.error, given.output)
        if isinstance(given, type) and issubclass(given, BaseException):
            return cls(error_type=given.__name__, error=f"the double raises {given.__name__}")
        if isinstance(given, BaseException):
            return cls(error_type=type_name(given), error=str(given))
        if callable(given):
            return cls(compute=given)
        return cls(crossed(given))

    def steps(self, request: MockRequest) -> Steps[Answer]:
        """Come to the answer: wait, compute."""
        if self.delay_s:
            yield Wait(self.delay_s)
        if self.compute is None:
            return self
        try:
            value = self.compute(request)
            if inspect.isawaitable(value):
                value = yield Pending(value)
        except Exception as raised:
            value = raised
        answer = Answer.of(value)
        return dataclasses.replace(answer, output=self.output + answer.output, source=self.source)


def crossed(value: Any) -> Any:
    """The value as it arrives from an engine: an equal one of its own.

    :raises ValueCrossingError: for what no engine could give.
    """
    return decode(encode(value))


def type_name(error: BaseException) -> str:
    """The name under which an exception shows as an outcome: a guest's error keeps its own."""
    return str(getattr(error, "error_type", "") or type(error).__name__)


def plain(code: str) -> str:
    """Code without what a triple-quoted string in a test adds: margin, blank ends.

    >>> plain('''
    ...     x = 1
    ...     x + 1
    ... ''')
    'x = 1\\nx + 1'
    """
    lines = textwrap.dedent(code).strip().splitlines()
    return "\n".join(line.rstrip() for line in lines)


@dataclasses.dataclass(frozen=True, slots=True)
class _Need:
    capability: str
    resource: str
    operation: str
    size: int


class Script:
    """What one kind of code gives. Made by a double's ``on(...)``; every verb returns the script.

    >>> from windtunnel.sessions import MockAsyncExecutor
    >>> executor = MockAsyncExecutor()
    >>> script = executor.on(pattern=r"roll\\((\\d+)\\)").returns(4, 6)
    >>> [executor.execute_sync("roll(6)").value for _ in range(3)], script.call_count
    ([4, 6, 6], 3)
    """

    def __init__(self, code: Matcher | None, contains: str, pattern: Matcher, times: int | None):
        self._code, self._contains = None, contains
        self._pattern = re.compile(pattern) if pattern else None
        if isinstance(code, re.Pattern):
            self._pattern = code
        elif code is not None:
            self._code = plain(code)
        if sum((self._code is not None, bool(contains), self._pattern is not None)) != 1:
            raise UsageError(
                "a script fits code by one thing",
                found=f"code={code!r}, contains={contains!r}, pattern={pattern!r}",
                fix="give the code itself, or contains=TEXT, or pattern=REGULAR_EXPRESSION",
            )
        if times is not None and times < 1:
            raise UsageError("times counts from 1 up", found=f"times={times}")
        self._times = times
        self._answers: list[Answer] = [Answer()]
        self._needs: list[_Need] = []
        self._lock = threading.Lock()
        self._given = 0

    def __repr__(self) -> str:
        return f"<Script {self.fits}, {self._given} times>"

    # -- what it gives ----------------------------------------------------------------------------

    def returns(self, *values: Any, output: str = "", delay_s: float = 0.0) -> Script:
        """It ends well and gives these values in turn, the last one for ever.

        :param output: what it prints.
        :param delay_s: seconds it takes on the double's clock.
        :raises ValueCrossingError: for a value that no engine could give.
        """
        not_negative("delay_s", delay_s)
        self._answers = [
            Answer(crossed(value), output=output, delay_s=delay_s) for value in values
        ] or [Answer(output=output, delay_s=delay_s)]
        return self

    def fails(
        self,
        error: str | BaseException | type[BaseException],
        message: str = "",
        *,
        output: str = "",
        delay_s: float = 0.0,
    ) -> Script:
        """It ends with an error: the guest's name of it and a message, or an exception."""
        not_negative("delay_s", delay_s)
        if isinstance(error, str):
            answer = Answer(error_type=error, error=message or f"the double raises {error}")
        else:
            answer = Answer.of(error)
            if message:
                answer = dataclasses.replace(answer, error=message)
        self._answers = [dataclasses.replace(answer, output=output, delay_s=delay_s)]
        return self

    def computes(
        self, function: Callable[[MockRequest], Any], *, output: str = "", delay_s: float = 0.0
    ) -> Script:
        """It gives what ``function(request)`` returns, or fails with what that raises; the
        function may be async.

        >>> from windtunnel.sessions import MockAsyncExecutor
        >>> executor = MockAsyncExecutor()
        >>> _ = executor.on("a + b").computes(lambda call: call.inputs["a"] + call.inputs["b"])
        >>> executor.execute_sync("a + b", inputs={"a": 40, "b": 2}).value
        42
        """
        not_negative("delay_s", delay_s)
        self._answers = [Answer(output=output, delay_s=delay_s, compute=function)]
        return self

    def hangs(self) -> Script:
        """It never ends by itself: the limit ends it with ``TimeoutError``."""
        self._answers = [Answer(delay_s=math.inf)]
        return self

    def needs(
        self, capability: str, resource: str = "", *, operation: str = "", size: int = 0
    ) -> Script:
        """It uses that capability before it answers; without it the outcome is
        ``CapabilityDenied`` and a violation is on record."""
        self._needs.append(_Need(capability, resource, operation, size))
        return self

    def answers(self, given: Any) -> Script:
        """It gives what a plain object stands for: an exception fails, an :class:`ExecResult` is
        the result, a function computes it, everything else is the value."""
        self._answers = [Answer.of(given)]
        return self

    # -- what became of it ------------------------------------------------------------------------

    @property
    def call_count(self) -> int:
        """How often it answered."""
        return self._given

    @property
    def fits(self) -> str:
        """Which code it fits, in words."""
        if self._code is not None:
            return f"code {_short(self._code)}"
        if self._pattern is not None:
            return f"pattern {self._pattern.pattern!r}"
        return f"code that contains {self._contains!r}"

    def take(self, code: str, inputs: Mapping[str, Any]) -> tuple[MockRequest, Answer] | None:
        """The answer to that code, if this script has one left for it."""
        match = None
        if self._code is not None:
            if plain(code) != self._code:
                return None
        elif self._pattern is None:
            if self._contains not in code:
                return None
        elif (match := self._pattern.search(code)) is None:
            return None
        with self._lock:
            if self._times is not None and self._given >= self._times:
                return None
            answer = self._answers[min(self._given, len(self._answers) - 1)]
            self._given += 1
        return MockRequest(code, inputs, match), answer

    def rewind(self) -> None:
        """Begin again with the first answer."""
        with self._lock:
            self._given = 0

    def use(self, context: CapabilityContext) -> None:
        """Use what the code needs.

        :raises CapabilityDenied: where ``context`` does not have it.
        """
        for need in self._needs:
            context.use(need.capability, need.resource, operation=need.operation, size=need.size)


class Scripts:
    """The scripts of one double; the newest that fits and has an answer left is asked."""

    def __init__(self, results: Mapping[Matcher, Any] | None) -> None:
        self.all: list[Script] = []
        for code, given in (results or {}).items():
            self.add(code).answers(given)

    def add(
        self,
        code: Matcher | None = None,
        *,
        contains: str = "",
        pattern: Matcher = "",
        times: int | None = None,
    ) -> Script:
        """A new script, newer than all others."""
        script = Script(code, contains, pattern, times)
        self.all.append(script)
        return script

    def find(
        self, code: str, inputs: Mapping[str, Any]
    ) -> tuple[Script, MockRequest, Answer] | None:
        """The script that answers that code, what it was asked and its answer."""
        for script in reversed(self.all):
            taken = script.take(code, inputs)
            if taken is not None:
                return script, *taken
        return None

    def told(self) -> str:
        """Which code there are scripts for, for an error message."""
        return "; ".join(script.fits for script in self.all) or "no scripts at all"

    def rewind(self) -> None:
        """Have each begin again with its first answer."""
        for script in self.all:
            script.rewind()

    def forget(self) -> None:
        """Have none."""
        self.all.clear()


def not_negative(name: str, seconds: float) -> None:
    """Refuse a delay that is none.

    :raises UsageError: where it is below 0 or no number.
    """
    if not seconds >= 0:
        raise UsageError(f"{name} is seconds from 0 up", found=f"{name}={seconds!r}")


def _short(code: str) -> str:
    shown = repr(code)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


__all__ = [
    "Answer",
    "MockRequest",
    "Script",
    "Scripts",
    "crossed",
    "not_negative",
    "plain",
    "type_name",
]

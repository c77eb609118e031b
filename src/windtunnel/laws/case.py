"""One example: a subject as the contract makes, calls and closes it.

Laws of the house use subjects through this alone, so that one law fits all: a subject may be sync
or async, and fail by raising or by a result that says so.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from windtunnel.laws.base import Contract
from windtunnel.laws.errors import LawBrokenError, NeedsLoopError
from windtunnel.laws.subjects import Subject

_DRAWN: Final = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """How one call ended.

    :param failed: whether it failed, in either way.
    :param value: what it returned; None where it raised.
    :param error: the exception, or what the contract's ``error`` saw in the value.
    :param view: what of it counts when two are compared.

    >>> Completion(True, error=ValueError("too large"))
    raised ValueError: too large
    """

    failed: bool
    value: Any = None
    error: Any = None
    view: Any = None

    @property
    def raised(self) -> bool:
        """Whether it failed by an exception."""
        return self.failed and self.value is None and isinstance(self.error, BaseException)

    @property
    def message(self) -> str:
        """The error in words, without its type."""
        return str(self.error) if self.failed else ""

    def __repr__(self) -> str:
        if self.raised:
            return f"raised {type(self.error).__name__}: {self.error}"
        return f"returned {self.value!r}"


class Case:
    """A subject under one configuration, for one example.

    :param contract: what it is put to.
    :param subject: who is put to it.
    :param config: the configuration that ``make`` is given.
    :param looping: whether an event loop runs.
    :param fixtures: what ``make`` is given by keyword.
    :param others: every subject of the contract.
    """

    def __init__(
        self,
        contract: Contract,
        subject: Subject,
        config: Any = None,
        *,
        looping: bool = False,
        fixtures: Mapping[str, Any] | None = None,
        others: Sequence[Subject] = (),
    ) -> None:
        self.contract = contract
        self.subject = subject
        self.config = config
        self.looping = looping
        self.others = others
        self.fixtures = dict(fixtures or {})
        self._open: list[Any] = []

    def stood_for(self) -> Case:
        """Of a double: the same example with what it stands for."""
        (real,) = (one for one in self.others if one.name == self.subject.stands_for)
        return Case(self.contract, real, self.config, looping=self.looping, fixtures=self.fixtures)

    async def settled(self, value: Any) -> Any:
        """What a hook returned, awaited where it is awaitable."""
        if not inspect.isawaitable(value):
            return value
        if self.looping:
            return await value
        if inspect.iscoroutine(value):
            value.close()
        raise NeedsLoopError

    async def make(self, config: Any = _DRAWN) -> Any:
        """Another subject, of the example's configuration or of this one."""
        config = self.config if config is _DRAWN else config
        hook: Any = self.contract.make
        made = await self.settled(hook(self.subject.factory, config, **self.fixtures))
        self._open.append(made)
        return made

    async def used(self, made: Any, input: Any) -> Any:
        """What a call returns; what it raises is raised."""
        return await self.settled(self.contract.call(made, input))

    async def call(self, made: Any, input: Any) -> Completion:
        """Call it, and see how that ends."""
        return await self.completed(lambda: self.used(made, input))

    async def completed(self, work: Callable[[], Awaitable[Any]]) -> Completion:
        """How a piece of work ends: what it raises, or what it returns, as the contract sees it."""
        try:
            value = await work()
        except self._raised as error:
            return Completion(True, None, error, ("raised", self.contract.view_error(error)))
        return self.seen(value)

    @property
    def _raised(self) -> tuple[type[BaseException], ...]:
        contract = self.contract
        also = (*contract.errors, *contract.timeout_errors)
        return (Exception, *(one for one in also if one is not BaseException))

    def seen(self, value: Any) -> Completion:
        """A call's result as the contract sees it."""
        error = self.contract.error(value)
        return Completion(error is not None, value, error, ("returned", self.contract.view(value)))

    async def close(self, made: Any) -> None:
        """Close it as the contract does."""
        self.forget(made)
        await self.settled(self.contract.close(made))

    def forget(self, made: Any) -> None:
        """Leave closing it to the caller, or nobody."""
        self._open = [one for one in self._open if one is not made]

    async def finish(self) -> None:
        """Close what is still open, last made first; all of it, also where one fails."""
        if not self.contract.declares("close"):
            self._open.clear()
        errors: list[Exception] = []
        while self._open:
            try:
                await self.close(self._open[-1])
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]


def broken(what: str, *, found: object = "", expected: object = "") -> NoReturn:
    """Say that a law does not hold.

    :raises LawBrokenError: always, with what was expected and found.
    """
    lines = [what]
    if expected != "":
        lines.append(f"  expected: {expected}")
    if found != "":
        lines.append(f"  found: {found}")
    raise LawBrokenError("\n".join(lines))

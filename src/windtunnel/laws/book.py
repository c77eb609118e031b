"""Laws as values: a plain function, with a name, what it says, and what it needs of a contract.

>>> @law
... def keeps_order(queue, draw):
...     "what is put first comes out first"
>>> keeps_order.name, keeps_order.says
('keeps_order', 'what is put first comes out first')
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, overload

from windtunnel.laws.errors import ContractError
from windtunnel.laws.subjects import Role

Kind: TypeAlias = Literal["law", "scenario", "trigger"]
LawFunction: TypeAlias = Callable[..., object]
"""``law(subject, draw)``, ``law(subject)``, or either as a method; plain or ``async``."""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Law:
    """Something every subject of a contract keeps to.

    Made by :func:`law`, :func:`scenario` and :func:`trigger`; calling it calls the function.

    :param function: the plain function.
    :param name: what ids and waivers call it.
    :param says: the first line of the function's docstring.
    :param kind: a ``scenario`` must succeed, a ``trigger`` must fail.
    :param needs: names of what a contract must declare for the law to apply to it.
    :param examples: how many examples it is put to; None for the contract's number.
    :param raises: what a trigger must fail with.
    :param match: a regular expression that the message of a trigger's error must contain.
    :param general: whether it came with the house; such a law runs with or without a loop.
    :param branches: what it must have come to for each subject, as it reports by ``draw.saw``.
    :param role: of which subjects it is asked: of doubles alone, of what they stand for, of all.
    """

    function: LawFunction
    name: str
    says: str = ""
    kind: Kind = "law"
    needs: tuple[str, ...] = ()
    examples: int | None = None
    raises: tuple[type[BaseException], ...] = ()
    match: str = ""
    general: bool = False
    branches: tuple[str, ...] = ()
    role: Role = ""

    def __call__(self, *args: Any) -> Any:
        """Call the function."""
        return self.function(*args)

    @property
    def title(self) -> str:
        """What ids show: its name, of a scenario or trigger with the kind before it."""
        return self.name if self.kind == "law" else f"{self.kind}-{self.name}"

    @property
    def place(self) -> str:
        """``file:line`` of the function; empty for a law of the house, or without a source."""
        if self.general:
            return ""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{shown(code.co_filename)}:{code.co_firstlineno}" if code is not None else ""

    def bound(self, contract: object) -> Callable[[Any, Any], Any]:
        """The function as ``(subject, draw) -> result``, whatever of it the function takes."""
        names = parameters(self.function)
        first = [contract] if names[:1] == ("self",) else []
        count = len(names) - len(first)
        if count not in (1, 2):
            raise ContractError(
                f"the {self.kind} {self.name} cannot be called",
                found=f"it takes ({', '.join(names)})",
                fix="let it take (subject, draw) or (subject)",
            )

        def call(subject: Any, draw: Any) -> Any:
            return self.function(*first, *(subject, draw)[:count])

        return call


def shown(path: str) -> str:
    """A path as messages have it: from the current folder, where it is below."""
    folder = os.path.join(os.getcwd(), "")
    return path.removeprefix(folder)


def parameters(function: LawFunction) -> tuple[str, ...]:
    """Names of the positional parameters that have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.kind in kinds and one.default is inspect.Parameter.empty
    )


def named(function: LawFunction | Law, **fields: Any) -> Law:
    """A law made of a function, or one with other fields."""
    if isinstance(function, Law):
        return dataclasses.replace(function, **fields)
    lines = (inspect.getdoc(function) or "").splitlines()
    fields.setdefault("name", getattr(function, "__name__", type(function).__name__))
    return Law(function, says=lines[0] if lines else "", **fields)


@overload
def law(function: LawFunction, /) -> Law:
    """``@law``"""


@overload
def law(
    *,
    name: str = ...,
    needs: tuple[str, ...] = ...,
    examples: int | None = ...,
    branches: tuple[str, ...] = ...,
) -> Callable[[LawFunction], Law]:
    """``@law(...)``"""


def law(
    function: LawFunction | None = None,
    /,
    *,
    name: str = "",
    needs: tuple[str, ...] = (),
    examples: int | None = None,
    branches: tuple[str, ...] = (),
) -> Law | Callable[[LawFunction], Law]:
    """Make a law of ``law(subject, draw)``: a plain function, sync or async.

    ``subject`` is a thing fresh from the contract's ``make``; ``draw`` is a :class:`Draw`, to be
    left out by a law that draws nothing. What the function returns is ignored.

    :param name: what it is called; the function's name by default.
    :param needs: what a contract must declare for it to apply, such as ``("close",)``.
    :param examples: how many examples it is put to instead of the contract's number.
    :param branches: what it must come to for each subject, lest it be vacuous, besides what is
        seen from its source; it reports them by ``draw.saw(name)``.

    >>> @law(examples=5)
    ... def is_empty_at_first(queue):
    ...     assert len(queue) == 0
    >>> is_empty_at_first([])
    """

    def make(function: LawFunction) -> Law:
        fields: dict[str, Any] = {"name": name} if name else {}
        return named(function, needs=needs, examples=examples, branches=branches, **fields)

    return make(function) if function is not None else make


def scenario(function: LawFunction) -> Law:
    """Make a scenario of a function: for every subject it must succeed.

    It succeeds when it raises nothing and what it returns, if anything, holds no error by the
    contract's ``error``.

    >>> @scenario
    ... def adds_two_numbers(calculator):
    ...     return calculator.evaluate("1 + 1")
    >>> adds_two_numbers.title
    'scenario-adds_two_numbers'
    """
    return named(function, kind="scenario")


def general_law(
    *,
    needs: tuple[str, ...],
    branches: tuple[str, ...] = (),
    examples: int | None = None,
    role: Role = "",
) -> Callable[[LawFunction], Law]:
    """Make a law of the house: it runs with a loop or without, and uses ``draw.case`` for all.

    :param needs: what a contract must declare; ``"a|b"`` is either.
    """

    def make(function: LawFunction) -> Law:
        return named(
            function, needs=needs, branches=branches, examples=examples, role=role, general=True
        )

    return make


@overload
def trigger(function: LawFunction, /) -> Law:
    """``@trigger``"""


@overload
def trigger(
    *, raises: type[BaseException] | tuple[type[BaseException], ...] = ..., match: str = ...
) -> Callable[[LawFunction], Law]:
    """``@trigger(...)``"""


def trigger(
    function: LawFunction | None = None,
    /,
    *,
    raises: type[BaseException] | tuple[type[BaseException], ...] = (),
    match: str = "",
) -> Law | Callable[[LawFunction], Law]:
    """Make a trigger of a function: for every subject it must fail, and say so.

    It fails when it raises, or returns what holds an error by the contract's ``error``.

    :param raises: the exception types it may raise; the contract's ``errors`` by default.
    :param match: a regular expression found in the error's message.

    >>> @trigger(raises=ZeroDivisionError)
    ... def divides_by_zero(calculator):
    ...     return calculator.evaluate("1 / 0")
    >>> divides_by_zero.title
    'trigger-divides_by_zero'
    """
    types = raises if isinstance(raises, tuple) else (raises,)

    def make(function: LawFunction) -> Law:
        return named(function, kind="trigger", raises=types, match=match)

    return make(function) if function is not None else make

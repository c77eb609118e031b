"""A contract: who is put to it, how one is made and used, and what must hold of every one.

A contract is a class; what it does not say has a default, and general laws that would need it are
not asked. :func:`contract` makes the class of a call.
"""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar, cast

from windtunnel.laws.book import Law, LawFunction
from windtunnel.laws.errors import ContractError
from windtunnel.laws.subjects import Factory, Subjects
from windtunnel.laws.waivers import Waiver

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

C = TypeVar("C", bound="Contract")
Strategy: TypeAlias = "SearchStrategy[Any] | None"
"""A Hypothesis strategy, or None where there is nothing to draw."""
Backend: TypeAlias = Literal["asyncio", "trio"]
Named: TypeAlias = "Mapping[str, Any] | Iterable[Law | LawFunction]"
"""Scenarios or triggers: functions, or names of inputs that are given to ``call``."""


class Contract:
    """What every one of some subjects must keep to; subclass it, or call :func:`contract`.

    pytest collects one test per subject and law of each subclass that has ``subjects`` and is
    defined in a test module. Laws are the general ones that the contract says enough for, the
    :class:`Law` objects in its body, and its ``more_laws``, ``scenarios`` and ``triggers``;
    those of its bases are kept, and one that is replaced or left out is shown as such.

    Every method may be ``async``. ``subject`` is what ``make`` returned.

    :cvar subjects: a list of factories, a mapping of names to factories, ``"module:attribute"``,
        or :func:`registry`, :func:`subclasses`, :func:`entry_points`.
    :cvar configs: valid configurations; what is drawn goes to ``make``.
    :cvar invalid_configs: configurations that ``make`` must refuse.
    :cvar inputs: what ``call`` may be given.
    :cvar invalid_inputs: what ``call`` must fail on.
    :cvar slow_inputs: inputs that take far longer than ``timeout_s``.
    :cvar more_laws: laws that do not stand in its body, as plain functions.
    :cvar scenarios: what must succeed: functions ``(subject)``, or a mapping of names to functions
        or inputs.
    :cvar triggers: what must fail, in the same ways.
    :cvar general: the general laws that are asked where the contract says enough for them.
    :cvar without: laws that are left out, each with its reason, besides those of the bases.
    :cvar waivers: vacuity that is excused: laws with reasons, or :func:`waive`\\ s.
    :cvar doubles: names of subjects that are doubles, and of those that they stand for.
    :cvar errors: the exception types that a failure may be raised as.
    :cvar timeout_errors: the exception types of a call that took longer than it was given.
    :cvar examples: how many examples a law is put to that draws.
    :cvar timeout_s: seconds that a slow call is given.
    :cvar tolerance_s: seconds that it may take longer.
    :cvar stateful: whether what a call gives depends on the calls before it.
    :cvar asynchronous: whether it is run in an event loop; None to find out.
    :cvar backend: whose event loop.

    >>> from windtunnel import laws
    >>> class Sorting(laws.Contract):
    ...     subjects = {"builtin": lambda: sorted}
    ...     scenarios = {"nothing": []}
    ...     def call(self, sort, values):
    ...         return sort(values)
    ...     @laws.law
    ...     def is_in_order(sort, draw):
    ...         assert sort([2, 1]) == [1, 2]
    >>> [(one.law, one.verdict.value) for one in laws.check(Sorting)]
    [('is_in_order', 'pass'), ('scenario-nothing', 'pass')]
    """

    subjects: ClassVar[Subjects] = ()
    configs: ClassVar[Strategy] = None
    invalid_configs: ClassVar[Strategy] = None
    inputs: ClassVar[Strategy] = None
    invalid_inputs: ClassVar[Strategy] = None
    slow_inputs: ClassVar[Strategy] = None
    more_laws: ClassVar[Iterable[Law | LawFunction]] = ()
    scenarios: ClassVar[Named] = ()
    triggers: ClassVar[Named] = ()
    general: ClassVar[Collection[str] | None] = None
    without: ClassVar[Mapping[str, str]] = {}
    waivers: ClassVar[Mapping[str, str] | Sequence[Waiver]] = ()
    doubles: ClassVar[Mapping[str, str]] = {}
    errors: ClassVar[tuple[type[BaseException], ...]] = (Exception,)
    timeout_errors: ClassVar[tuple[type[BaseException], ...]] = (TimeoutError,)
    repr_names: ClassVar[Mapping[str, Any] | None] = None
    examples: ClassVar[int] = 25
    timeout_s: ClassVar[float] = 0.05
    tolerance_s: ClassVar[float] = 2.0
    stateful: ClassVar[bool] = False
    asynchronous: ClassVar[bool | None] = None
    backend: ClassVar[Backend] = "asyncio"

    def __init_subclass__(cls) -> None:
        """Refuse names that mean something else: ``laws`` is the module in the rest of the body,
        and a law in the place of a member would be read as what the contract declares.

        :raises ContractError: for such a name.
        """
        if "laws" in vars(cls):
            raise ContractError(
                f"the contract {cls.__name__} has a member laws",
                found="it would hide the module windtunnel.laws from the lines below it",
                fix="write more_laws",
            )
        for name, value in vars(cls).items():
            if isinstance(value, Law) and hasattr(Contract, name):
                raise ContractError(
                    f"a law of the contract {cls.__name__} has the name of a member of Contract",
                    found=name,
                    fix="give the law another name",
                )

    def make(self, factory: Factory, config: Any) -> Any:
        """Make a subject. A test's fixtures are had as keyword-only parameters.

        :param config: what was drawn from ``configs``; None where there are none. A mapping becomes
            keyword arguments.
        """
        if config is None:
            return factory()
        return factory(**config) if isinstance(config, Mapping) else factory(config)

    def call(self, subject: Any, input: Any) -> Any:
        """Use the subject once."""
        raise NotImplementedError

    def view(self, result: Any) -> Any:
        """What of a result counts when two are compared."""
        return result

    def view_error(self, error: BaseException) -> Any:
        """What of an exception counts when two are compared."""
        return type(error).__name__

    def error(self, result: Any) -> Any:
        """The error that a result holds, None for a good one: where failing is an outcome."""
        return None

    def close(self, subject: Any) -> Any:
        """End the subject."""
        raise NotImplementedError

    def state(self, subject: Any) -> Any:
        """What the subject's state is, to compare after calls that ran at the same time."""
        raise NotImplementedError

    def call_within(self, subject: Any, input: Any, timeout_s: float) -> Any:
        """Use the subject once, and let it end the call after so many seconds."""
        raise NotImplementedError

    def progress(self, subject: Any) -> Any:
        """What changes as long as the subject works on something."""
        raise NotImplementedError

    def stats(self, subject: Any) -> Mapping[str, float]:
        """What the subject counted so far: any of ``calls``, ``succeeded`` and ``failed``."""
        raise NotImplementedError

    def call_as(self, subject: Any, input: Any, identifier: str) -> Any:
        """Use the subject once under a trace or correlation id."""
        raise NotImplementedError

    def identifiers(self, result: Any) -> Iterable[str]:
        """The ids that a result, or the exception of a failed call, carries."""
        raise NotImplementedError

    def portable(self, subject: Any, result: Any) -> Iterable[Any]:
        """What must survive ``repr``, or ``dump`` and ``load``."""
        return (result,)

    def dump(self, value: Any) -> Any:
        """A value as text or bytes."""
        raise NotImplementedError

    def load(self, dumped: Any) -> Any:
        """The value again."""
        raise NotImplementedError

    @classmethod
    def declares(cls, name: str) -> bool:
        """Whether the contract says something of its own there."""
        return getattr(cls, name) is not getattr(Contract, name)


_PUBLIC = frozenset(name for name in vars(Contract) if not name.startswith("_"))


def contract(name: str = "", /, *, base: type[C] | None = None, **declared: Any) -> type[C]:
    """A contract without a ``class`` statement: a subclass of :class:`Contract`.

    Methods are given as functions without ``self``:
    ``call=lambda codec, text: codec.encode(text)``.

    :param name: the class's name, where ids do not have it of the variable.
    :param base: the contract to start from.
    :param declared: any public member of :class:`Contract`.
    :raises ContractError: where there is no such member.

    >>> from windtunnel import laws
    >>> Sorting = laws.contract(
    ...     "Sorting",
    ...     subjects={"builtin": lambda: sorted},
    ...     scenarios={"nothing": []},
    ...     call=lambda sort, values: sort(values),
    ... )
    >>> [(one.law, one.verdict.value) for one in laws.check(Sorting)]
    [('scenario-nothing', 'pass')]
    """
    parent: type[Any] = base or Contract
    body: dict[str, Any] = {"__module__": sys._getframe(1).f_globals.get("__name__", "")}
    for key, value in declared.items():
        if key not in _PUBLIC:
            close = difflib.get_close_matches(key, _PUBLIC, n=1)
            raise ContractError(
                "a contract has no such member",
                found=key,
                fix=f"write {close[0]}" if close else f"it may be {', '.join(sorted(_PUBLIC))}",
            )
        body[key] = staticmethod(value) if _is_method(key) else value
    made: Any = type(name or f"{parent.__name__}Called", (parent,), body)
    return cast("type[C]", made)


def _is_method(name: str) -> bool:
    return inspect.isfunction(vars(Contract)[name])


def needs_loop(contract: Contract, functions: Iterable[Callable[..., Any]]) -> bool:
    """Whether the contract, or one of these functions, must be run in an event loop."""
    if contract.asynchronous is not None:
        return contract.asynchronous
    methods = [getattr(contract, name) for name in _PUBLIC if _is_method(name)]
    return any(inspect.iscoroutinefunction(one) for one in (*methods, *functions))

"""Who is put to a contract: a list, a mapping, a registry, subclasses, entry points.

Whatever of these a contract declares is read when its tests are collected, so that who registers
later, or is installed later, is put to it as well.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeAlias

from windtunnel.laws.errors import ContractError

Factory: TypeAlias = Callable[..., Any]
Role: TypeAlias = Literal["", "fake", "real"]


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """One thing that is put to a contract.

    :param name: what ids call it.
    :param factory: what makes one; the contract's ``make`` calls it.
    :param role: whether it is a double, or what a double stands for.
    :param stands_for: of a double, the name of the real one.
    """

    name: str
    factory: Factory
    role: Role = ""
    stands_for: str = ""

    @property
    def title(self) -> str:
        """What ids show.

        >>> Subject("mock", dict, "fake", "monty").title, Subject("monty", dict, "real").title
        ('mock-fake-of-monty', 'monty-real')
        """
        if self.role == "fake":
            return f"{self.name}-fake-of-{self.stands_for}"
        return f"{self.name}-real" if self.role else self.name


Source: TypeAlias = Callable[[], "Mapping[str, Factory] | Iterable[Factory]"]
Subjects: TypeAlias = "Mapping[str, Factory] | Iterable[Factory | Subject | str] | Listed | str"
"""What a contract's ``subjects`` may be; a text is ``module:attribute``."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """Subjects that are looked up when they are needed.

    :param told: where they come from, for messages.
    :param find: looks them up.
    """

    told: str
    find: Source


def registry(place: str) -> Listed:
    """The subjects that a registry holds: a mapping of names to factories, or a collection.

    :param place: ``module:attribute``; an attribute that is a function is called.

    >>> sorted(each.name for each in found(registry("json:__all__")))[:2]
    Traceback (most recent call last):
    windtunnel.laws.errors.ContractError: a subject cannot be made
      found: 'dump' in json:__all__
      to fix: let it be callable, or 'module:attribute' of something callable
    """

    def find() -> Mapping[str, Factory] | Iterable[Factory]:
        held: Any = resolved(place)
        listed: Mapping[str, Factory] = held() if inspect.isroutine(held) else held
        return listed

    return Listed(place, find)


def subclasses(base: type, *, inner: bool = False) -> Listed:
    """Every subclass of a class that can be made, found through ``__subclasses__``.

    :param inner: whether classes that have subclasses themselves count.

    >>> class Shape: ...
    >>> class Square(Shape): ...
    >>> [each.name for each in found(subclasses(Shape))]
    ['Square']
    """

    def find() -> Iterable[Factory]:
        seen: dict[type, None] = {}
        queue: list[type] = list(base.__subclasses__())
        while queue:
            one = queue.pop(0)
            below: list[type] = one.__subclasses__()
            queue += below
            if not inspect.isabstract(one) and (inner or not below):
                seen[one] = None
        return tuple(seen)

    return Listed(f"subclasses of {base.__qualname__}", find)


def entry_points(group: str) -> Listed:
    """What installed packages register under an entry-point group, by the entry points' names."""

    def find() -> Mapping[str, Factory]:
        from importlib import metadata

        return {point.name: point.load() for point in metadata.entry_points(group=group)}

    return Listed(f"entry points of {group}", find)


def resolved(place: str) -> Any:
    """What ``module:attribute`` names.

    :raises ContractError: where there is no such thing.

    >>> resolved("json:dumps").__name__
    'dumps'
    """
    module, colon, path = place.partition(":")
    if not (colon and module and path):
        raise ContractError("a place is module:attribute", found=repr(place))
    try:
        value: Any = importlib.import_module(module)
        for name in path.split("."):
            value = getattr(value, name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ContractError(
            "a subject's place cannot be resolved",
            found=f"{place!r}: {error}",
            fix="write it module:attribute",
        ) from error
    return value


def found(
    subjects: Subjects, doubles: Mapping[str, str] | None = None, *, of: str = "a contract"
) -> tuple[Subject, ...]:
    """The subjects that a declaration stands for, each name once.

    :param doubles: names of doubles, and of the subjects that they stand for.
    :param of: whose declaration it is, for messages.
    :raises ContractError: where there are none, two have one name, or one cannot be made.

    >>> [each.title for each in found({"a": list, "b": list}, {"b": "a"})]
    ['a-real', 'b-fake-of-a']
    """
    listed = registry(subjects) if isinstance(subjects, str) else subjects
    told = listed.told if isinstance(listed, Listed) else "its subjects"
    held: Any = listed.find() if isinstance(listed, Listed) else listed
    every: dict[str, Subject] = {}
    for one in _each(held, told):
        if one.name in every:
            raise ContractError(
                f"two subjects of {of} have one name",
                found=repr(one.name),
                fix="give them as a mapping of names to factories",
            )
        every[one.name] = one
    if not every:
        raise ContractError(f"{of} has no subjects", found=f"nothing in {told}")
    return tuple(_cast(every, dict(doubles or {}), of))


def _each(held: Any, told: str) -> Iterator[Subject]:
    pairs = held.items() if isinstance(held, Mapping) else (("", one) for one in held)
    for name, one in pairs:
        if isinstance(one, Subject):
            yield one
            continue
        made = resolved(one) if isinstance(one, str) and ":" in one else one
        if not callable(made):
            raise ContractError(
                "a subject cannot be made",
                found=f"{one!r} in {told}",
                fix="let it be callable, or 'module:attribute' of something callable",
            )
        plain = name or getattr(made, "__name__", "") or type(made).__name__
        yield Subject(_safe(str(plain)), made)


def _safe(name: str) -> str:
    """A name that an id may hold: pytest splits ids at ``::`` and at brackets."""
    return re.sub(r"[^\w.+@-]+", "-", name).strip("-") or "subject"


def _cast(every: dict[str, Subject], doubles: dict[str, str], of: str) -> Iterator[Subject]:
    for name in (*doubles, *doubles.values()):
        if name not in every:
            raise ContractError(
                f"{of} names a double that is none of its subjects",
                found=repr(name),
                fix=f"name two of {', '.join(every)}",
            )
    for name, one in every.items():
        if name in doubles:
            yield dataclasses.replace(one, role="fake", stands_for=doubles[name])
        elif name in doubles.values():
            yield dataclasses.replace(one, role="real")
        else:
            yield one

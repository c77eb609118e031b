"""Capabilities that are declared and never checked, and checked and never declared.

A token that no host function needs protects nothing: whatever it was meant to bound is reached
without it. This looks at what the modules hold when they are imported (host functions, tokens,
contexts), and at what their code says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import ModuleType
from typing import TypeVar

from windtunnel.core.verdict import Verdict
from windtunnel.sessions.capabilities import EXECUTE, CapabilityContext, CapabilityToken
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.validation.finding import Finding
from windtunnel.sessions.validation.reading import Mention, mentions

T = TypeVar("T")


def declarations(modules: Iterable[ModuleType]) -> Iterator[Finding]:
    """A finding a type of capability that the modules grant or ask for.

    >>> from types import ModuleType
    >>> from windtunnel.sessions import HostFunction
    >>> shop = ModuleType("shop")
    >>> shop.tokens = [CapabilityToken("pay"), CapabilityToken("refund")]
    >>> shop.pay = HostFunction("pay", print, needs="pay")
    >>> [(one.name, one.verdict.value) for one in declarations([shop])]
    [('pay', 'pass'), ('refund', 'fail')]
    """
    modules = list(modules)
    held = [value for module in modules for value in _values(vars(module))]
    functions = _unique(one for one in held if isinstance(one, HostFunction))
    tokens = _unique(token for one in held for token in _tokens(one))
    said = list(mentions(modules))
    granted, asked = _places(said, granted=True), _places(said, granted=False)
    for token in tokens:
        granted.setdefault(token.type, "")
    for function in functions:
        asked.setdefault(function.needs, "")
    computed = [one.location for one in said if not one.type]
    for type in sorted({*granted, *asked} - {EXECUTE}):
        yield _about(type, granted, asked, computed)
        for token in tokens:
            if token.type == type:
                yield from _never_allowed(token, [one for one in functions if one.needs == type])


def _about(
    type: str, granted: Mapping[str, str], asked: Mapping[str, str], computed: list[str]
) -> Finding:
    unless = f"; unless it is computed at {', '.join(computed[:3])}" if computed else ""
    if type not in asked:
        return Finding(
            "capabilities",
            type,
            Verdict.UNKNOWN if computed else Verdict.FAIL,
            f"is declared and never checked: no host function needs it and no code uses it{unless}",
            granted[type],
            f"guard what it is about with host_function(needs={type!r}), or do not grant it",
        )
    if type not in granted:
        return Finding(
            "capabilities",
            type,
            Verdict.UNKNOWN,
            f"is checked and never declared: every use is refused, unless it is granted elsewhere"
            f"{unless}",
            asked[type],
        )
    return Finding("capabilities", type, Verdict.PASS, "is declared and checked", granted[type])


def _never_allowed(token: CapabilityToken, functions: list[HostFunction]) -> Iterator[Finding]:
    """Bounds that no call of a host function can be within."""
    if not functions:
        return
    told = f"{token.type}: {token}"
    for bounds in token.all_constraints:
        operations = {one.operation for one in functions}
        if bounds.operations and not operations & set(bounds.operations):
            yield Finding(
                "capabilities",
                told,
                Verdict.FAIL,
                f"allows {', '.join(bounds.operations)}, and the host functions that need it ask "
                f"for {', '.join(sorted(operations))}: every call is refused",
                fix="let one of them say operation=... as the token does",
            )
        on_something = bounds.resources or bounds.hosts or bounds.ports
        if on_something and all(one.resource is None for one in functions):
            names = ", ".join(one.name for one in functions)
            yield Finding(
                "capabilities",
                told,
                Verdict.FAIL,
                f"is bound to resources, and {names} name none: every call is refused",
                fix="let them say resource=..., the parameter that names it",
            )
        sized = bounds.max_bytes is not None or bounds.total_bytes is not None
        if sized and all(one.size is None for one in functions):
            names = ", ".join(one.name for one in functions)
            yield Finding(
                "capabilities",
                told,
                Verdict.FAIL,
                f"bounds bytes, and {names} tell no size: the bound is declared and never checked",
                fix="let them say size=..., the parameter that holds the bytes",
            )


def _places(said: Iterable[Mention], *, granted: bool) -> dict[str, str]:
    """The first place of each type."""
    found: dict[str, str] = {}
    for one in said:
        if one.type and one.granted is granted:
            found.setdefault(one.type, one.location)
    return found


def _values(held: object, depth: int = 2) -> Iterator[object]:
    """What a namespace holds, itself and in its lists, sets, dictionaries and classes."""
    if isinstance(held, Mapping):
        inner: Iterable[object] = list(held.values())
    elif isinstance(held, list | tuple | set | frozenset):
        inner = list(held)
    elif isinstance(held, type):
        inner = list(vars(held).values())
    else:
        yield held
        return
    if depth >= 0:
        for one in inner:
            yield from _values(one, depth - 1)


def _tokens(value: object) -> Iterator[CapabilityToken]:
    if isinstance(value, CapabilityToken):
        yield value
    elif isinstance(value, CapabilityContext):
        yield from value.tokens()


def _unique(values: Iterable[T]) -> list[T]:
    return list({id(one): one for one in values}.values())


__all__ = ["declarations"]

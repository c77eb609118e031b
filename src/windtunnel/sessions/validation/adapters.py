"""Whether a user's executors, sessions and checkers keep to the contracts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType
from typing import Any

from windtunnel import laws
from windtunnel.core.errors import UsageError, WindtunnelError
from windtunnel.core.verdict import Verdict
from windtunnel.sessions.laws import CheckerContract, ExecutorContract, SessionContract
from windtunnel.sessions.validation.finding import Finding

KINDS: dict[str, tuple[type[laws.Contract], tuple[str, ...]]] = {
    "executor": (ExecutorContract, ("execute",)),
    "session": (SessionContract, ("run", "call", "define", "reset", "close", "history")),
    "checker": (CheckerContract, ("scope", "child", "allowed", "use", "revoke")),
}
"""The contract of each kind of adapter, and the methods by which one is known."""

_ARTICLE = {"executor": "an executor", "session": "a session", "checker": "a checker"}


def adapters(modules: Iterable[ModuleType], factories: Iterable[str] = ()) -> Iterator[Finding]:
    """Put adapters to their contracts.

    :param modules: their contracts are asked; their classes that look like an adapter and are
        the subject of none of them are named.
    :param factories: ``module:factory`` of adapters, each put to the contract of its kind.
    :raises UsageError: for a factory that is not there or makes no adapter.
    """
    modules = list(modules)
    subjects: set[object] = set()
    for contract in _contracts(modules):
        subjects |= _subjects(contract)
        yield from _asked(contract, contract.__name__, _place(contract))
    for place in factories:
        factory = resolved(place)
        subjects |= {factory, _made_by(factory)}
        yield from _asked(_contract_for(place, factory), place, _place(factory))
    for cls in _classes(modules):
        kind = _kind(cls)
        if kind and cls not in subjects and not issubclass(cls, laws.Contract):
            suited = KINDS[kind][0].__name__
            yield Finding(
                "adapters",
                f"{cls.__module__}.{cls.__qualname__}",
                Verdict.UNKNOWN,
                f"looks like {_ARTICLE[kind]} and is put to no contract",
                _place(cls),
                f"give --adapter MODULE:FACTORY, or make it a subject of {suited}",
            )


def _asked(contract: type[laws.Contract], name: str, place: str) -> Iterator[Finding]:
    """One finding for what holds, one for each law that does not."""
    held = untested = 0
    try:
        for one in laws.check(contract):
            if one.verdict is Verdict.FAIL:
                detail = " ".join(one.reason.split())[:500]
                yield Finding(
                    "adapters", f"{name}: {one.subject}: {one.law}", one.verdict, detail, place
                )
            held += one.verdict is Verdict.PASS
            untested += one.verdict is Verdict.UNKNOWN
    except WindtunnelError as error:
        yield Finding("adapters", name, Verdict.FAIL, str(error), place)
        return
    verdict = Verdict.PASS if held else Verdict.UNKNOWN
    told = f"{held} laws hold" + (f", {untested} have nothing to test" if untested else "")
    yield Finding("adapters", name, verdict, told, place)


def _contracts(modules: Iterable[ModuleType]) -> Iterator[type[laws.Contract]]:
    """The contracts about sessions that the modules define."""
    ours = tuple(contract for contract, _ in KINDS.values())
    for cls in _classes(modules):
        if issubclass(cls, ours) and cls.declares("subjects"):
            yield cls


def _subjects(contract: type[laws.Contract]) -> set[object]:
    from windtunnel.laws.reading import read

    try:
        factories = [subject.factory for subject in read(contract).subjects]
    except WindtunnelError:
        return set()  # asking it tells
    return {*factories, *map(_made_by, factories)}


def _made_by(factory: Callable[..., Any]) -> object:
    """The class of what a factory makes, as far as it can be told without making one."""
    if inspect.isclass(factory):
        return factory
    try:
        hint = inspect.signature(factory, eval_str=True).return_annotation
    except (NameError, TypeError, ValueError):
        return None
    return hint if inspect.isclass(hint) else None


def _contract_for(place: str, factory: Callable[..., Any]) -> type[laws.Contract]:
    """The contract of what the factory makes, with that as its subject."""
    cls = factory if inspect.isclass(factory) else type(factory())
    kind = _kind(cls)
    if not kind:
        raise UsageError(
            f"{place} makes no adapter",
            found=f"{cls.__qualname__} has the methods of none",
            fix="; ".join(
                f"{_ARTICLE[name]} has {', '.join(has)}" for name, (_, has) in KINDS.items()
            ),
        )
    base = KINDS[kind][0]
    return type(base.__name__, (base,), {"subjects": {place: factory}, "__module__": __name__})


def _kind(cls: type) -> str:
    for kind, (_, methods) in KINDS.items():
        if all(hasattr(cls, method) for method in methods):
            return kind
    return ""


def _classes(modules: Iterable[ModuleType]) -> Iterator[type]:
    """The classes that the modules define themselves."""
    for module in modules:
        for value in list(vars(module).values()):
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield value


def resolved(place: str) -> Callable[..., Any]:
    """What ``module:attribute`` names.

    :raises UsageError: where it is not there or cannot be called.
    """
    from windtunnel.laws.subjects import resolved as found

    if ":" not in place:
        raise UsageError("a factory is MODULE:NAME", found=repr(place))
    try:
        factory: Callable[..., Any] = found(place)
    except WindtunnelError:
        raise
    except Exception as error:
        raise UsageError(
            f"{place} cannot be imported", found=f"{type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise UsageError(f"{place} cannot be called", found=repr(factory))
    return factory


def _place(value: object) -> str:
    import os

    target: Any = inspect.unwrap(value) if callable(value) else value
    try:
        path = inspect.getsourcefile(target) or ""
        line = inspect.getsourcelines(target)[1]
    except (TypeError, OSError):
        return ""
    relative = os.path.relpath(path)
    return f"{path if relative.startswith('..') else relative}:{line}"


__all__ = ["KINDS", "adapters", "resolved"]

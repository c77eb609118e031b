"""The guard of registries and singletons that the user names (setting ``registries``).

A registry is an attribute of a module: a dict, list or set whose content is compared, or any
other object whose attributes are. The comparison is shallow: what a registry holds is compared by
``==`` and not looked into.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from windtunnel.core import UsageError
from windtunnel.run.guards.base import Change, difference, equal, show_named

_MISSING = object()


class _Content(NamedTuple):
    """An object and, by printable place, what it held. ``order`` is a list's elements."""

    thing: Any
    places: dict[Any, Any]
    order: list[Any] | None


_State = dict[str, _Content]


class Registries:
    """The registries at paths such as ``"package.module:REGISTRY"`` or ``"m:Class.attribute"``.

    :raises UsageError: for a path that does not name an attribute of a module.
    """

    def __init__(self, paths: tuple[str, ...]) -> None:
        self._paths = paths
        for path in paths:
            module, _, attribute = path.partition(":")
            if not module or not attribute:
                raise UsageError(
                    "a registry is named by module:attribute",
                    found=repr(path),
                    fix="write for example myapp.plugins:REGISTRY",
                )

    def find(self) -> None:
        """Import what is named and not imported yet.

        :raises UsageError: when there is no such module or attribute.
        """
        for path in self._paths:
            module, _, attribute = path.partition(":")
            try:
                importlib.import_module(module)
            except Exception as error:
                raise UsageError(
                    f"the module of the registry {path!r} cannot be imported",
                    found=f"{type(error).__name__}: {error}",
                ) from error
            if _resolve(path) is _MISSING:
                raise UsageError(
                    f"there is no registry {path!r}", found=f"{module} has no {attribute}"
                )

    def take(self) -> _State:
        return {path: _content(_resolve(path)) for path in self._paths}

    def same(self, before: _State) -> bool:
        try:
            return self.take() == before
        except Exception:  # values that cannot be compared are looked at one by one
            return False

    def changes(self, before: _State) -> Iterator[Change]:
        now = self.take()
        for path, was in before.items():
            becomes = now[path]
            if becomes.thing is not was.thing:
                undo = functools.partial(_rebind, path, was)
                yield Change(path, "replaced by another object", undo)
            undo = functools.partial(_restore, was)
            for place in _places(was, becomes):
                old, new = (c.places.get(place, _MISSING) for c in (was, becomes))
                if not equal(old, new):
                    shown = [
                        None if v is _MISSING else show_named(str(place), v) for v in (old, new)
                    ]
                    yield Change(f"{path}{place}", difference(*shown), undo)

    def rebased(self, base: _State, before: _State, after: _State) -> _State:
        result = dict(base)
        for path, content in after.items():
            was, own = before[path], base[path]
            changed = {
                place
                for place in _places(was, content)
                if not equal(was.places.get(place, _MISSING), content.places.get(place, _MISSING))
            }
            if changed or was.thing is not content.thing:
                places = {p: v for p, v in own.places.items() if p not in changed}
                places.update((p, content.places[p]) for p in changed if p in content.places)
                result[path] = _Content(content.thing, places, content.order)
        return result


class _Key(str):
    """A place in a container, with the key it stands for."""

    __slots__ = ("key",)
    key: Any


def _resolve(path: str) -> Any:
    module, _, attributes = path.partition(":")
    thing: Any = sys.modules.get(module, _MISSING)
    for attribute in attributes.split("."):
        if thing is not _MISSING:
            thing = getattr(thing, attribute, _MISSING)
    return thing


def _content(thing: Any) -> _Content:
    if isinstance(thing, dict):
        return _Content(thing, {_place("[{}]", key): value for key, value in thing.items()}, None)
    if isinstance(thing, list):
        places = {_place("[{}]", index): value for index, value in enumerate(thing)}
        return _Content(thing, places, list(thing))
    if isinstance(thing, (set, frozenset)):
        return _Content(thing, {_place(" element {}", each): each for each in thing}, None)
    try:
        fields = dict(vars(thing))
    except TypeError:
        return _Content(thing, {}, None)
    return _Content(thing, {_place(".{}", key, str): v for key, v in fields.items()}, None)


def _place(form: str, key: Any, show_key: Callable[[Any], str] | None = None) -> _Key:
    from windtunnel.run.guards.base import show

    place = _Key(form.format((show_key or show)(key)))
    place.key = key
    return place


def _places(one: _Content, other: _Content) -> list[Any]:
    return [*one.places, *(place for place in other.places if place not in one.places)]


def _restore(content: _Content) -> None:
    thing = content.thing
    held = {place.key: value for place, value in content.places.items()}
    if isinstance(thing, dict):
        thing.clear()
        thing.update(held)
    elif isinstance(thing, list):
        thing[:] = content.order or []
    elif isinstance(thing, set):
        thing.clear()
        thing.update(held)
    elif hasattr(thing, "__dict__"):
        fields = vars(thing)
        for name in [name for name in fields if name not in held]:
            delattr(thing, name)
        for name, value in held.items():
            if fields.get(name, _MISSING) is not value:
                setattr(thing, name, value)


def _rebind(path: str, content: _Content) -> None:
    owner, _, name = path.replace(":", ".").rpartition(".")
    module = path.partition(":")[0]
    inner = owner[len(module) + 1 :]
    thing: Any = _resolve(f"{module}:{inner}") if inner else sys.modules[module]
    setattr(thing, name, content.thing)

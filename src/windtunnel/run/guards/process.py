"""Guards of the process: environment variables, working directory, locale, modules, warnings."""

from __future__ import annotations

import _locale
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from windtunnel.own.ledger import place
from windtunnel.run.guards.base import Change, difference, show, show_named
from windtunnel.run.isolation import environ


class Environ:
    """``os.environ``."""

    def take(self) -> dict[bytes, bytes]:
        return environ.snapshot()

    def same(self, before: dict[bytes, bytes]) -> bool:
        return environ.unchanged(before)

    def changes(self, before: dict[bytes, bytes]) -> Iterator[Change]:
        undo = functools.partial(environ.apply, before)
        if environ.replaced():
            yield Change("os.environ", f"replaced by {type(os.environ).__name__}", undo)
        after = environ.snapshot()
        for key in sorted(before.keys() | after.keys()):
            was, now = before.get(key), after.get(key)
            if was != now:
                name = os.fsdecode(key)
                if now is not None and place.exported.get(name) == os.fsdecode(now):
                    continue  # a lease taken while the test ran told it so
                shown = [
                    None if value is None else show_named(name, os.fsdecode(value))
                    for value in (was, now)
                ]
                yield Change(f"os.environ[{name!r}]", difference(*shown), undo)

    def rebased(
        self, base: dict[bytes, bytes], before: dict[bytes, bytes], after: dict[bytes, bytes]
    ) -> dict[bytes, bytes]:
        return environ.rebased(base, before, after)


class Cwd:
    """The working directory; an empty string when it has been removed."""

    def take(self) -> str:
        try:
            return os.getcwd()
        except OSError:
            return ""

    def same(self, before: str) -> bool:
        return self.take() == before

    def changes(self, before: str) -> Iterator[Change]:
        now = self.take() or "a folder that is gone"
        yield Change("os.getcwd()", f"was {before}, now {now}", functools.partial(os.chdir, before))

    def rebased(self, base: str, before: str, after: str) -> str:
        return base if before == after else after


class Locale:
    """The C library's locale, all categories."""

    def take(self) -> str:
        return _locale.setlocale(_locale.LC_ALL, None)

    def same(self, before: str) -> bool:
        return _locale.setlocale(_locale.LC_ALL, None) == before

    def changes(self, before: str) -> Iterator[Change]:
        undo = functools.partial(_locale.setlocale, _locale.LC_ALL, before)
        yield Change("locale", difference(show(before), show(self.take())), undo)

    def rebased(self, base: str, before: str, after: str) -> str:
        return base if before == after else after


class Modules:
    """``sys.modules``: a module that is replaced or removed. One that is added is not pollution:
    that is what importing is."""

    def take(self) -> dict[str, ModuleType]:
        return sys.modules.copy()

    def same(self, before: dict[str, ModuleType]) -> bool:
        # Identical values are not compared further, so this runs at the speed of a dict.
        try:
            return bool(sys.modules == before)
        except Exception:  # somebody's object that cannot be compared stands there
            return False

    def changes(self, before: dict[str, ModuleType]) -> Iterator[Change]:
        for name, module in before.items():
            now = sys.modules.get(name, _NOTHING)
            if now is not module:
                detail = "removed" if now is _NOTHING else "replaced by another object"
                undo = functools.partial(_put_back, name, module)
                yield Change(f"sys.modules[{name!r}]", detail, undo)

    def rebased(
        self,
        base: dict[str, ModuleType],
        before: dict[str, ModuleType],
        after: dict[str, ModuleType],
    ) -> dict[str, ModuleType]:
        if before == after:
            return base
        result = base.copy()
        for name in before.keys() - after.keys():
            result.pop(name, None)
        for name, module in after.items():
            if before.get(name) is not module:
                result[name] = module
        return result


_NOTHING = object()


def _put_back(name: str, module: ModuleType) -> None:
    replacement = sys.modules.get(name)
    sys.modules[name] = module
    package, _, attribute = name.rpartition(".")
    parent = sys.modules.get(package)
    # Importing the replacement has made it the attribute of its package as well.
    if replacement is not None and getattr(parent, attribute, None) is replacement:
        setattr(parent, attribute, module)


class Warnings:
    """``warnings.filters``."""

    def take(self) -> list[Any]:
        return list(warnings.filters)

    def same(self, before: list[Any]) -> bool:
        return warnings.filters == before

    def changes(self, before: list[Any]) -> Iterator[Change]:
        now = list(warnings.filters)
        added = [_filter(each) for each in now if each not in before]
        removed = [_filter(each) for each in before if each not in now]
        parts = [
            f"{word} {', '.join(filters[:3])}{' …' if len(filters) > 3 else ''}"
            for word, filters in (("added", added), ("removed", removed))
            if filters
        ]
        undo = functools.partial(_put_back_filters, before)
        yield Change("warnings.filters", "; ".join(parts) or "put in another order", undo)

    def rebased(self, base: list[Any], before: list[Any], after: list[Any]) -> list[Any]:
        return base if before == after else after


def _filter(entry: Any) -> str:
    try:
        action, message, category, module, line = entry
        pattern = getattr(message, "pattern", message) or ""
        where = getattr(module, "pattern", module) or ""
        return ":".join([str(action), str(pattern), category.__name__, str(where), str(line)])
    except Exception:
        return show(entry)


def _put_back_filters(before: list[Any]) -> None:
    warnings.simplefilter("default")  # tells the interpreter that the filters have changed
    warnings.filters[:] = before  # type: ignore[index]

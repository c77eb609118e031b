"""The guard of logging: root and loggers, their levels, handlers, filters and switches.

A suite has hundreds of loggers and hardly a test touches one, so a snapshot is taken by C code as
far as possible: one call a logger for its scalars, and lists only of those that have handlers.
"""

from __future__ import annotations

import functools
import logging
import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

from windtunnel.run.guards.base import Change, difference, show

_scalars = operator.attrgetter("level", "propagate", "disabled")
_NAMES = ("level", "propagate", "disabled")


_NO_LISTS: tuple[tuple[Any, ...], tuple[Any, ...]] = ((), ())


class _State(NamedTuple):
    loggers: list[logging.Logger]
    scalars: list[tuple[int, bool, bool]]
    lists: dict[logging.Logger, tuple[tuple[Any, ...], tuple[Any, ...]]]
    disable: int


class Logging:
    """The state of the module ``logging``. A logger that is added is not pollution."""

    def __init__(self) -> None:
        self._entries: list[object] = []
        self._loggers: list[logging.Logger] = [logging.root]

    def take(self) -> _State:
        entries: list[object] = list(logging.root.manager.loggerDict.values())
        if entries != self._entries:
            found = [each for each in entries if isinstance(each, logging.Logger)]
            self._entries, self._loggers = entries, [logging.root, *found]
        loggers = self._loggers
        return _State(
            loggers,
            list(map(_scalars, loggers)),
            {
                each: lists
                for each in loggers
                if (each.handlers or each.filters) and (lists := _lists(each)) != _NO_LISTS
            },
            logging.root.manager.disable,
        )

    def same(self, before: _State) -> bool:
        return self.take() == before

    def changes(self, before: _State) -> Iterator[Change]:
        now = self.take()
        if now.disable != before.disable:
            undo = functools.partial(logging.disable, before.disable)
            yield Change(
                "logging.disable()",
                difference(_level(before.disable), _level(now.disable)),
                undo,
            )
        after = dict(zip(now.loggers, now.scalars, strict=True))
        for logger, scalars in zip(before.loggers, before.scalars, strict=True):
            for name, was, is_now in zip(_NAMES, scalars, after.get(logger, scalars), strict=True):
                if was != is_now:
                    yield _scalar_change(logger, name, was, is_now)
            was_lists = before.lists.get(logger, _NO_LISTS)
            now_lists = now.lists.get(logger, _NO_LISTS)
            for name, was_list, now_list in zip(
                ("handlers", "filters"), was_lists, now_lists, strict=True
            ):
                if was_list != now_list:
                    yield _list_change(logger, name, was_list, now_list)

    def rebased(self, base: _State, before: _State, after: _State) -> _State:
        if before == after:
            return base
        was, becomes = (dict(zip(s.loggers, s.scalars, strict=True)) for s in (before, after))
        result = dict(zip(base.loggers, base.scalars, strict=True))
        lists = dict(base.lists)
        for logger, scalars in becomes.items():
            if was.get(logger) != scalars:
                result[logger] = scalars
        for logger in before.lists.keys() | after.lists.keys():
            if before.lists.get(logger) != after.lists.get(logger):
                lists[logger] = after.lists.get(logger, _NO_LISTS)
        disable = base.disable if before.disable == after.disable else after.disable
        kept = {logger: value for logger, value in lists.items() if value != _NO_LISTS}
        return _State(list(result), list(result.values()), kept, disable)


def _lists(logger: logging.Logger) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    return tuple(h for h in logger.handlers if not _of_pytest(h)), tuple(logger.filters)


def _of_pytest(handler: object) -> bool:
    """pytest puts handlers of its own on loggers while a phase lasts."""
    return type(handler).__module__ == "_pytest.logging"


def _subject(logger: logging.Logger, attribute: str) -> str:
    name = "" if logger is logging.root else repr(logger.name)
    return f"logging.getLogger({name}).{attribute}"


def _scalar_change(logger: logging.Logger, name: str, was: Any, now: Any) -> Change:
    if name == "level":
        undo = functools.partial(logger.setLevel, was)
        return Change(_subject(logger, name), difference(_level(was), _level(now)), undo)
    undo = functools.partial(setattr, logger, name, was)
    return Change(_subject(logger, name), difference(show(was), show(now)), undo)


def _list_change(
    logger: logging.Logger, name: str, was: tuple[Any, ...], now: tuple[Any, ...]
) -> Change:
    added = [show(each) for each in now if each not in was]
    removed = [show(each) for each in was if each not in now]
    parts = [
        f"{word} {', '.join(each)}"
        for word, each in (("added", added), ("removed", removed))
        if each
    ]

    def undo() -> None:
        current = getattr(logger, name)
        current[:] = [*was, *(each for each in current if _of_pytest(each))]

    return Change(_subject(logger, name), "; ".join(parts) or "put in another order", undo)


def _level(level: int) -> str:
    return logging.getLevelName(level) if isinstance(level, int) else show(level)

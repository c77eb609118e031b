"""When a failed test is run again: the ``flaky`` marker and the run's settings, as one policy.

The marker's arguments are those that pytest-rerunfailures made known (``reruns``,
``reruns_delay``, ``reruns_delay_backoff_factor``, in this order, then ``only_rerun``,
``rerun_except`` and ``condition`` by name), and ``only_on``, which is another name for
``only_rerun``. Nothing here runs a test.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import pytest

from windtunnel.core import Settings, UsageError

Filter: TypeAlias = "type[BaseException] | re.Pattern[str]"

_POSITIONAL = ("reruns", "reruns_delay", "reruns_delay_backoff_factor")
_NAMED = (*_POSITIONAL, "only_on", "only_rerun", "rerun_except", "condition")


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """How often, how soon and after which failures a test is run again.

    :param reruns: attempts after the first.
    :param delay_s: seconds before the first rerun.
    :param backoff: what that delay is multiplied by from rerun to rerun.
    :param only_on: failures that are worth a rerun; empty for all.
    :param never_on: failures that are not, even so.
    :param condition: whether to rerun at all: a value, an expression as ``skipif`` takes it, or
        something to call.
    """

    reruns: int = 0
    delay_s: float = 0.0
    backoff: float = 1.0
    only_on: tuple[Filter, ...] = ()
    never_on: tuple[Filter, ...] = ()
    condition: object = True

    def delay_before(self, rerun: int) -> float:
        """Seconds to wait before the rerun of that number, from 1.

        >>> Policy(reruns=3, delay_s=1.0, backoff=2.0).delay_before(3)
        4.0
        """
        return self.delay_s * self.backoff ** (rerun - 1)

    @property
    def total_delay_s(self) -> float:
        """Seconds spent waiting when every attempt fails."""
        return sum(self.delay_before(rerun + 1) for rerun in range(self.reruns))

    def worth_rerun(self, error: BaseException | None, item: pytest.Item) -> bool:
        """Whether a failure by that error may be followed by a rerun.

        A filter sees the error, what caused it, and the members of an exception group, as a
        failing ``asyncio.TaskGroup`` raises it.
        """
        if self.only_on and not any(_matches(self.only_on, each) for each in _family(error)):
            return False
        if any(_matches(self.never_on, each) for each in _family(error)):
            return False
        return _holds(self.condition, error, item)


def of_settings(settings: Settings) -> Policy:
    """The policy of a test without a marker.

    :raises UsageError: when ``only_rerun`` holds no regular expression.
    """
    return Policy(
        reruns=settings.reruns,
        delay_s=settings.reruns_delay,
        only_on=regexes(settings.only_rerun, "the setting only_rerun"),
    )


def regexes(texts: Iterable[str], where: str) -> tuple[Filter, ...]:
    """Compile them; an error says ``where`` they stand.

    :raises UsageError: when one is no regular expression.
    """
    return tuple(_regex(text, where) for text in texts)


def of_item(item: pytest.Item, default: Policy) -> Policy:
    """The policy of that test: its nearest ``flaky`` marker's, else the default.

    :raises UsageError: when the marker's arguments cannot be meant; names the test.
    """
    marker = item.get_closest_marker("flaky")
    if marker is None:
        return default
    where = f"the flaky marker of {item.nodeid}"
    given = _arguments(marker, where)
    only_on = given.get("only_on", given.get("only_rerun"))
    return Policy(
        reruns=_natural(given.get("reruns", 1), where),
        delay_s=_number(given.get("reruns_delay", 0), "reruns_delay", where),
        backoff=_number(given.get(_POSITIONAL[2], 1), _POSITIONAL[2], where),
        only_on=default.only_on if only_on is None else _filters(only_on, "only_on", where),
        never_on=_filters(given.get("rerun_except", ()), "rerun_except", where),
        condition=given.get("condition", True),
    )


def _arguments(marker: pytest.Mark, where: str) -> dict[str, Any]:
    if len(marker.args) > len(_POSITIONAL):
        raise UsageError(
            f"{where} has {len(marker.args)} positional arguments",
            found=repr(marker.args),
            fix="write flaky(reruns=3, reruns_delay=1, only_on=[TimeoutError])",
        )
    given: dict[str, Any] = dict(zip(_POSITIONAL, marker.args, strict=False))
    for name, value in marker.kwargs.items():
        if name not in _NAMED:
            raise UsageError(
                f"{where} has no argument {name!r}", fix=f"it takes {', '.join(_NAMED)}"
            )
        if name in given:
            raise UsageError(f"{where} gives {name} twice", found=repr(value))
        given[name] = value
    if "only_on" in given and "only_rerun" in given:
        raise UsageError(f"{where} gives only_on and only_rerun, which are the same")
    return given


def _natural(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{where}: reruns is not a whole number from 0 up", found=repr(value))
    return value


def _number(value: object, name: str, where: str) -> float:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not 0 <= value < float("inf"):  # type: ignore[operator]
        raise UsageError(f"{where}: {name} is not a finite number from 0 up", found=repr(value))
    return float(value)  # type: ignore[arg-type]


def _filters(value: object, name: str, where: str) -> tuple[Filter, ...]:
    many = value if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    return tuple(_filter(each, name, where) for each in many)


def _filter(value: object, name: str, where: str) -> Filter:
    if isinstance(value, type) and issubclass(value, BaseException):
        return value
    if isinstance(value, str):
        return _regex(value, f"{where}: {name}")
    raise UsageError(
        f"{where}: {name} takes exception types and regular expressions", found=repr(value)
    )


def _regex(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(
            f"{where} holds no regular expression", found=f"{text!r}: {error}"
        ) from None


def _family(error: BaseException | None) -> Iterator[BaseException]:
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, None if one.__suppress_context__ else one.__context__]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _matches(filters: tuple[Filter, ...], error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}" if filters else ""
    return any(
        isinstance(error, each) if isinstance(each, type) else bool(each.search(text))
        for each in filters
    )


def _holds(condition: object, error: BaseException | None, item: pytest.Item) -> bool:
    if isinstance(condition, str):
        names: dict[str, object] = {"os": os, "sys": sys, "platform": platform}
        names.update(getattr(getattr(item, "obj", None), "__globals__", {}))
        names.update(config=item.config, error=error)
        return bool(eval(condition, names))
    if callable(condition):
        called: Callable[[BaseException | None], object] = condition
        return bool(called(error))
    return bool(condition)

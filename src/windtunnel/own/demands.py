"""What a test demands of leases: read from its fixtures, its markers and the settings."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import pytest

from windtunnel.core import UsageError
from windtunnel.own.facilities import NAMES
from windtunnel.own.leasing import Process, facilities_of

_KEY = pytest.StashKey["Demands"]()


@dataclasses.dataclass(frozen=True, slots=True)
class Demands:
    """What one test demands.

    :param facilities: what it is given of ``redis`` and ``postgres``.
    :param asked: which of them it, or the settings, asked for; the others it is given because
        the suite uses them.
    :param amounts: slots of named resources.
    """

    facilities: tuple[str, ...]
    asked: frozenset[str]
    amounts: dict[str, int]


class _Run(Protocol):
    everywhere: tuple[str, ...]
    state: Process


def demands_of(item: pytest.Item, run: _Run) -> Demands:
    """What the test demands.

    :raises UsageError: when a marker or the setting ``lease`` cannot be meant.
    """
    found = item.stash.get(_KEY, None)
    if found is None:
        found = item.stash[_KEY] = _read(item, run)
    return found


def _read(item: pytest.Item, run: _Run) -> Demands:
    amounts: dict[str, int] = {}
    for mark in item.iter_markers("lease"):  # the closest comes first, and counts
        name, amount = _marked(mark)
        amounts.setdefault(name, amount)
    for word in run.state.settings.lease:
        name, _, number = word.partition("=")
        if number and not number.isdigit():
            raise UsageError("the setting lease holds name or name=number", found=repr(word))
        amounts.setdefault(name, int(number or 1))
    asked = facilities_of(item) | (amounts.keys() & set(NAMES))
    given = asked.union(run.everywhere)
    return Demands(
        facilities=tuple(name for name in NAMES if name in given),
        asked=frozenset(asked),
        amounts={name: amount for name, amount in amounts.items() if name not in NAMES},
    )


def _marked(mark: pytest.Mark) -> tuple[str, int]:
    def read(name: str, amount: int = 1) -> tuple[str, int]:
        if not isinstance(name, str) or type(amount) is not int:
            raise TypeError("name is a string and amount a whole number")
        return name, amount

    try:
        return read(*mark.args, **mark.kwargs)
    except TypeError as error:
        raise UsageError(
            "the marker lease is written lease(name, amount=1)",
            found=f"args {mark.args}, {mark.kwargs}: {error}",
        ) from None

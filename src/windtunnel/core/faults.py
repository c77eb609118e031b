"""Faults and plans of faults: what is to go wrong, where and when, as plain data.

Rooms that inject faults (model servers, simulated networks, clusters) read the same plan, so
one JSON file can be printed by a failing run, reduced, and handed to the next.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from windtunnel.core.errors import UsageError

Argument: TypeAlias = str | int | float | bool | None
"""What a fault's arguments may hold: the scalars that JSON has."""

_FORMAT = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    :param verb: what happens, in the field's words: ``"partition"``, ``"reset"``, ``"crash"``.
    :param target: what it happens to, as the world names it: a node, a link, a model.
    :param at_s: seconds after the start of the world at which it begins.
    :param until_s: seconds after the start at which it is lifted; None for never.
    :param arguments: what the verb needs besides, by name.
    :raises UsageError: for an empty verb, a negative time, or an end before the beginning.

    >>> Fault("slow", "a->b", at_s=1.5, until_s=2.0, arguments={"latency_s": 0.2}).verb
    'slow'
    """

    verb: str
    target: str
    at_s: float = 0.0
    until_s: float | None = None
    arguments: Mapping[str, Argument] = dataclasses.field(default_factory=dict[str, Argument])

    def __post_init__(self) -> None:
        if not self.verb:
            raise UsageError("a fault needs a verb", found="an empty one")
        if not self.at_s >= 0:
            raise UsageError("a fault begins at 0 s or later", found=f"at_s={self.at_s!r}")
        if self.until_s is not None and not self.until_s >= self.at_s:
            raise UsageError(
                "a fault ends after it begins",
                found=f"at_s={self.at_s!r}, until_s={self.until_s!r}",
            )


@dataclasses.dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults in the order in which they begin.

    >>> plan = FaultPlan.of([Fault("crash", "n1", at_s=2.0), Fault("reset", "a->b", at_s=1.0)])
    >>> [fault.verb for fault in plan]
    ['reset', 'crash']
    >>> FaultPlan.from_json(plan.to_json()) == plan
    True
    """

    faults: tuple[Fault, ...] = ()

    @classmethod
    def of(cls, faults: Iterable[Fault]) -> FaultPlan:
        """A plan of those faults, put in order of their beginning."""
        return cls(tuple(sorted(faults, key=lambda fault: fault.at_s)))

    def __iter__(self) -> Iterator[Fault]:
        return iter(self.faults)

    def __len__(self) -> int:
        return len(self.faults)

    def to_json(self) -> str:
        """The plan as one JSON object, readable by :meth:`from_json`."""
        faults = [
            {name: value for name, value in _fields(fault) if value not in (None, {})}
            for fault in self.faults
        ]
        return json.dumps({"format": _FORMAT, "faults": faults}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> FaultPlan:
        """Read a plan.

        :raises UsageError: when the text is not JSON, is of another format, or a fault has a
            field that is unknown, missing or of the wrong type; the message names the fault.
        """
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise UsageError("a fault plan is a JSON object", found=str(error)) from None
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise UsageError(
                f'a fault plan is a JSON object with "format": {_FORMAT}', found=text[:80]
            )
        faults = document.get("faults")
        if not isinstance(faults, list):
            raise UsageError('a fault plan has a list "faults"', found=repr(faults)[:80])
        return cls.of(_fault(number, entry) for number, entry in enumerate(faults))


def _fields(fault: Fault) -> Iterator[tuple[str, object]]:
    for field in dataclasses.fields(fault):
        value = getattr(fault, field.name)
        yield field.name, dict(value) if field.name == "arguments" else value


_TYPES: dict[str, tuple[type, ...]] = {
    "verb": (str,),
    "target": (str,),
    "at_s": (int, float),
    "until_s": (int, float),
    "arguments": (dict,),
}


def _fault(number: int, entry: object) -> Fault:
    where = f"faults[{number}]"
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is a JSON object", found=repr(entry)[:80])
    for name, value in entry.items():
        if name not in _TYPES:
            raise UsageError(
                f"{where} has an unknown field", found=repr(name), fix=f"use {', '.join(_TYPES)}"
            )
        if isinstance(value, bool) or not isinstance(value, _TYPES[name]):
            raise UsageError(f"{where}.{name} has the wrong type", found=repr(value)[:80])
    for name in ("verb", "target"):
        if name not in entry:
            raise UsageError(f"{where} needs the field {name!r}", found=repr(entry)[:80])
    return Fault(**entry)

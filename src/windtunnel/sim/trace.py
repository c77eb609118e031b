"""What happened, for those who ask: steps for comparison, notes for the story.

Notes are kept whenever there is a story to tell; steps only when the world is told to, since
there are millions of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TypeAlias

from windtunnel.sim.task import SimTask

Value: TypeAlias = str | int | float | bool | None

_MOST_NOTES = 20_000


@dataclasses.dataclass(frozen=True, slots=True)
class Note:
    """One fact of a run.

    :param at_ns: true virtual time, nanoseconds since the world began.
    :param step: number of steps that had been run.
    :param node: name of the node on which it happened.
    :param kind: ``"send"``, ``"crash"``, ``"partition"``, ``"log"`` and so on.
    :param facts: what else is known, by name.
    """

    at_ns: int
    step: int
    node: str
    kind: str
    facts: Mapping[str, Value]


class Trace:
    """Steps and notes of one run.

    :param on: whether steps are kept.
    """

    __slots__ = ("append", "notes", "on", "steps")

    def __init__(self, *, on: bool) -> None:
        self.on = on
        self.steps: list[tuple[int, int, str]] = []
        self.append = self.steps.append
        self.notes: list[Note] = []

    def note(self, note: Note) -> None:
        """Keep a fact. The oldest half goes when there are too many: a story tells the end."""
        notes = self.notes
        notes.append(note)
        if len(notes) > _MOST_NOTES:
            del notes[: _MOST_NOTES // 2]


def label(callback: Callable[..., object] | None) -> str:
    """A short name for a callback, the same in every run: no address in it."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, SimTask):
        return owner.get_name()
    name = getattr(callback, "__qualname__", None)
    return str(name) if name is not None else type(callback).__qualname__

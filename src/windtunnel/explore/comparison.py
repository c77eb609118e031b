"""Comparing two traces of one seed, line by line, for the first place at which they differ."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from typing import Any

Line = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference.

    :param step: number of the first step that differs, from 1; of what differs else, the number
        of steps before it.
    :param here: what this process did there, in words.
    :param there: what the other process did.
    :param before: what both did last.
    :param task: name of the task or callback that ran last in both.
    """

    step: int
    here: str
    there: str
    before: str
    task: str


def first_difference(here: Iterable[str], there: Iterable[str]) -> Divergence | None:
    """Compare two trace files (:mod:`windtunnel.sim.trace_file`), given line by line.

    >>> a = ['{"type": "step", "at_ns": 1000, "node": "a", "name": "Task-1"}']
    >>> b = ['{"type": "step", "at_ns": 1000, "node": "a", "name": "Task-2"}']
    >>> first_difference(a, b).there
    'Task-2 on a, at 0.000001 s'
    """
    steps, last = 0, None
    for mine, other in zip_longest(_telling(here), _telling(there)):
        if mine != other:
            is_step = any(line is not None and line["type"] == "step" for line in (mine, other))
            return Divergence(
                step=steps + is_step,
                here=_words(mine),
                there=_words(other),
                before=_words(last) if last is not None else "nothing",
                task=str(last["name"]) if last is not None else "",
            )
        if mine is not None and mine["type"] == "step":
            steps, last = steps + 1, mine
    return None


def _telling(lines: Iterable[str]) -> Iterator[Line]:
    """What must be the same: not the text of a log, which may tell an address."""
    for text in lines:
        line: Line = json.loads(text)
        kind = line["type"]
        if kind in ("step", "message") or (kind == "note" and line["kind"] != "log"):
            yield line


def _words(line: Line | None) -> str:
    if line is None:
        return "nothing more"
    at = f"at {line['at_ns'] / 1e9:.6f} s"
    if line["type"] == "step":
        return f"{line['name']} on {line['node']}, {at}"
    if line["type"] == "message":
        return f"{line['bytes']} bytes from {line['source']} to {line['target']}, {at}"
    facts = ", ".join(f"{name}={value}" for name, value in line["facts"].items())
    return f"{line['kind']} on {line['node']} ({facts}), {at}"

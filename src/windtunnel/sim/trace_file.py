"""The trace of a run as a file: one JSON object a line, for programs that read traces.

The first line says what the file is: ``{"type": "trace", "format": 1, "seed": ..., ...}``. Then
come the facts of the run in the order of their times, each with its ``type`` and ``at_ns``, true
virtual time in nanoseconds since the world began:

``message``
    ``source`` and ``target`` (nodes), ``sent_ns``, ``arrived_ns`` (null: it did not arrive),
    ``bytes``. One piece of a stream; ``bytes`` 0 is its end. The last 20,000 are kept.
``note``
    ``node``, ``step`` (how many steps had been run), ``kind`` and ``facts``: crashes, faults,
    logs, datagrams. The last 10,000 at least are kept.
``step``
    ``node`` and ``name`` of the task or callback, where the world was told to keep its steps
    (``WorldConfig(trace=True)``).

The last line is ``{"type": "end", ...}``: a file without it was not written to its end. Fields
may be added within a format; readers skip what they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UsageError
from windtunnel.sim.net import stream

if TYPE_CHECKING:
    from windtunnel.sim.world import World

FORMAT = 1

Line = dict[str, Any]


def write(world: World, path: Path | str, error: BaseException | None = None) -> None:
    """Write what a world knows of its run.

    :param path: the file, which is replaced; its folder is made.
    :param error: what ended the run.
    :raises UsageError: when the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for line in lines(world, error):
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
    except OSError as problem:
        raise UsageError(
            "the trace cannot be written", found=str(problem), fix="give a path that can be"
        ) from None


def lines(world: World, error: BaseException | None = None) -> Iterator[Line]:
    """The same, line by line."""
    yield {
        "type": "trace",
        "format": FORMAT,
        "seed": world.seed.value,
        "policy": world.config.policy,
        "nodes": list(world.nodes),
        "steps_kept": world.trace.on,
    }
    # Each is in the order of its times but the messages, which are kept as they were sent.
    messages = sorted(_messages(world), key=itemgetter("at_ns"))
    yield from merge(_steps(world), messages, _notes(world), key=itemgetter("at_ns"))
    yield {
        "type": "end",
        "at_ns": world.now_ns,
        "steps": world.scheduler.steps,
        "choices": len(world.tape),
        "error": None if error is None else f"{type(error).__name__}: {error}",
    }


def _steps(world: World) -> Iterator[Line]:
    names = {node.index: node.name for node in world.nodes.values()}
    for at_ns, index, name in world.trace.steps:
        yield {"type": "step", "at_ns": at_ns, "node": names.get(index), "name": name}


def _messages(world: World) -> Iterator[Line]:
    for segment in world.net.segments:
        end, done = segment[stream.END], segment[stream.DONE]
        sent = segment[stream.SENT]
        yield {
            "type": "message",
            "at_ns": max(sent, done),
            "source": end.node.name,
            "target": end.peer.node.name,
            "sent_ns": sent,
            "arrived_ns": done if done >= 0 else None,
            "bytes": segment[stream.SIZE],
        }


def _notes(world: World) -> Iterator[Line]:
    for note in world.trace.notes:
        yield {
            "type": "note",
            "at_ns": note.at_ns,
            "node": note.node,
            "step": note.step,
            "kind": note.kind,
            "facts": dict(note.facts),
        }

"""What in a world could not be controlled: sets whose order is that of their objects' addresses.

An object without a ``__hash__`` of its own is hashed by where it lies in memory, which another
process decides anew; code that walks a set of such objects may do so in another order each time.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from types import CoroutineType, FrameType
from typing import Any

from windtunnel.sim.world import World

_SETS = (set, frozenset)
_MOST = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Suspect:
    """A set that is walked by address.

    :param name: as the code calls it: ``peers``, ``self._waiting``.
    :param place: function, file and line at which its owner stands.
    :param holds: how many objects, of which types.
    """

    name: str
    place: str
    holds: str

    def __str__(self) -> str:
        return f"the set `{self.name}` in {self.place}: {self.holds}, hashed by address"


def suspects(world: World, first: str = "") -> list[Suspect]:
    """Such sets that the tasks of a world can reach, in locals, attributes and globals.

    :param first: name of the task that is to be looked at before the others.
    """
    tasks = sorted(
        asyncio.all_tasks(world.loop), key=lambda task: (task.get_name() != first, task.get_name())
    )
    found: dict[Suspect, None] = {}
    globals_of: dict[int, tuple[str, dict[str, Any]]] = {}
    for task in tasks:
        for frame in _frames(task.get_coro()):
            code = frame.f_code
            place = f"{code.co_qualname} ({code.co_filename}:{frame.f_lineno})"
            for name, value in frame.f_locals.items():
                found |= dict.fromkeys(_in(name, value, place))
            module = str(frame.f_globals.get("__name__"))
            if module.partition(".")[0] == "asyncio":
                continue  # its sets are caches, looked into and never walked
            globals_of[id(frame.f_globals)] = (f"module {module}", frame.f_globals)
    for place, names in globals_of.values():
        for name, value in list(names.items()):
            found |= dict.fromkeys(_in(name, value, place))
    return list(found)[:_MOST]


def _frames(coroutine: Any) -> Iterator[FrameType]:
    """Frames of a suspended coroutine, innermost first: that is where the trouble is."""
    frames = []
    while isinstance(coroutine, CoroutineType) and coroutine.cr_frame is not None:
        frames.append(coroutine.cr_frame)
        coroutine = coroutine.cr_await
    return reversed(frames)


def _in(name: str, value: Any, place: str) -> Iterator[Suspect]:
    yield from _if_by_address(name, value, place)
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict) and not isinstance(value, type):
        for attribute, held in list(attributes.items()):
            yield from _if_by_address(f"{name}.{attribute}", held, place)


def _if_by_address(name: str, value: Any, place: str) -> Iterator[Suspect]:
    if type(value) in _SETS and len(value) > 1:
        types = sorted({type(each).__qualname__ for each in value if _by_address(each)})
        if types:
            yield Suspect(name, place, f"{len(value)} {', '.join(types)}")


def _by_address(value: object) -> bool:
    return type(value).__hash__ is object.__hash__

"""``asyncio.Task(...)`` called directly on a simulated loop: a task of that loop.

Libraries make eager tasks so (aiohttp: ``asyncio.Task(coro, loop=loop, eager_start=True)``),
past ``loop.create_task``. The class itself is static and in C, so while a world runs the names in
``asyncio`` mean a class that stands in for it: ``isinstance`` and subclassing are as before.
"""

from __future__ import annotations

import asyncio
from asyncio import events, tasks
from typing import Any

from windtunnel.sim import inside

_Real: Any = asyncio.Task


class _StandIn(type):
    """The class of the class that stands in for ``asyncio.Task``."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls is not Task:
            return super().__call__(*args, **kwargs)
        loop = kwargs.get("loop") or events._get_running_loop()
        if inside.world is not None and loop is inside.world.loop:
            kwargs.pop("loop", None)
            return inside.world.loop.make_task(*args, **kwargs)
        return _Real(*args, **kwargs)

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, _Real) if cls is Task else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _Real) if cls is Task else super().__subclasscheck__(subclass)


class Task(_Real, metaclass=_StandIn):  # type: ignore[misc]
    """What ``asyncio.Task`` means while a world runs."""

    __slots__ = ()


Task.__module__ = _Real.__module__
Task.__doc__ = _Real.__doc__


class DirectTasks:
    """The change, put in and taken out."""

    def put(self) -> None:
        """From now on the names mean the class that stands in."""
        if asyncio.Task is _Real:
            asyncio.Task = tasks.Task = Task  # type: ignore[misc]

    def take_out(self) -> None:
        """From now on they mean what they meant."""
        if asyncio.Task is Task:
            asyncio.Task = tasks.Task = _Real  # type: ignore[misc]

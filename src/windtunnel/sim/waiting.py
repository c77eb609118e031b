"""When nothing more will come of a run, and who waits for what then."""

from __future__ import annotations

import asyncio
import linecache
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any

from windtunnel.sim.errors import DeadlockError, StallError
from windtunnel.sim.task import SimTask

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

_MOST_TASKS = 40
_DEEPEST = 25
_NOBODYS = "a future that nobody has completed"


class Watch:
    """Looks at the future a loop runs until, at long intervals of virtual time.

    A wait that its own timer will end (a sleep, a timeout) is no stall however long it lasts.
    """

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self._seen: tuple[object, int] | None = None
        self._since_ns = 0

    def stalled(self, world: World) -> bool:
        """Whether it has waited for the same thing, and for no timer, for the span that the
        world's configuration states."""
        waited = getattr(self.future, "_fut_waiter", None)
        seen = (waited, _steps(self.future))
        before, self._seen = self._seen, seen
        if before is None or before[0] is not seen[0] or before[1] != seen[1]:
            self._since_ns = world.now_ns
            return False
        if world.now_ns - self._since_ns < world.config.stall_s * 1e9:
            return False
        return not _has_timer(world, set(_chain(self.future)))


def _steps(future: asyncio.Future[Any]) -> int:
    """Where in its code the awaited coroutine is, which tells two waits of one kind apart."""
    total = 0
    for frame in _frames(future):
        total = total * 31 + frame.f_lasti
    return total


def _chain(future: object) -> Iterator[Any]:
    """The future and everything it waits for."""
    todo, seen = [future], set[int]()
    while todo:
        item = todo.pop()
        if item is None or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        todo.append(getattr(item, "_fut_waiter", None))
        todo.append(getattr(item, "behind", None))
        todo.extend(getattr(item, "_children", ()))


def _has_timer(world: World, awaited: set[Any]) -> bool:
    for _, _, handle in world.scheduler.timers:
        callback = handle._callback
        if callback is None:
            continue
        owner = getattr(callback, "__self__", None)
        for candidate in (owner, getattr(owner, "_task", None), *handle._args):
            if isinstance(candidate, asyncio.Future) and candidate in awaited:
                return True
    return False


def deadlock(world: World) -> DeadlockError:
    """The error for a world in which nothing can run any more."""
    paused = [node.name for node in world.nodes.values() if node.state == "paused"]
    return DeadlockError(
        "deadlock: nothing can run and no timer is set",
        found=_found(world) + (f"\n    paused: {', '.join(paused)}" if paused else ""),
        fix="see who should have woken them; await with a timeout where none may come",
    )


def paused_and_cancelled(world: World) -> list[Node]:
    """Paused nodes with tasks that somebody has cancelled and that cannot end."""
    found = {
        task.node: None
        for task in asyncio.all_tasks(world.loop)
        if isinstance(task, SimTask) and task.node.state == "paused" and task.cancelling()
    }
    return sorted(found, key=lambda node: node.index)


def stall(world: World) -> StallError:
    """The error for a world in which things happen, but not what is awaited."""
    return StallError(
        f"stall: no progress of the test in {world.config.stall_s:g} s of virtual time",
        found=_found(world),
        fix="see who should have woken it, or raise stall_s",
    )


def _found(world: World) -> str:
    tasks = [task for task in asyncio.all_tasks(world.loop) if not task.done()]
    tasks.sort(key=lambda task: (_node_index(task), task.get_name()))
    count = "1 task waits" if len(tasks) == 1 else f"{len(tasks)} tasks wait"
    lines = [f"at {world.now_ns / 1e9:.6f} s, {count}"]
    for task in tasks[:_MOST_TASKS]:
        node = getattr(task, "node", None)
        name = node.name if node is not None else "?"
        lines.append(f"    [{name}] {_named(task)} {_waits(world, task)}")
        lines.extend(f"        {line}" for line in _stack(task))
    if len(tasks) > _MOST_TASKS:
        lines.append(f"    and {len(tasks) - _MOST_TASKS} more")
    return "\n".join(lines)


def _node_index(task: asyncio.Task[Any]) -> int:
    node = getattr(task, "node", None)
    return node.index if node is not None else -1


def _named(task: asyncio.Task[Any]) -> str:
    """A task's name, and what it runs where nobody gave it one."""
    name = task.get_name()
    if not name.startswith("Task-"):
        return name
    runs = getattr(task.get_coro(), "__qualname__", "")
    return f"{name} ({runs.rpartition('<locals>.')[2]})" if runs else name


def _waits(world: World, task: asyncio.Task[Any]) -> str:
    awaited = _awaited(task)
    if awaited == _NOBODYS and _has_timer(world, {getattr(task, "_fut_waiter", None)}):
        return "sleeps"
    return f"waits for {awaited}"


def _awaited(task: asyncio.Task[Any]) -> str:
    """What a task waits for, in words: the lock, queue or event whose method it is in."""
    waiter = getattr(task, "_fut_waiter", None)
    frames = list(_frames(task))
    for frame in reversed(frames):
        owner = frame.f_locals.get("self")
        if owner is not None and type(owner).__module__.startswith("asyncio."):
            return f"{type(owner).__name__}.{frame.f_code.co_name}()"
        if not frame.f_code.co_filename.endswith(("asyncio/tasks.py", "asyncio/futures.py")):
            break
    if isinstance(waiter, asyncio.Task):
        return f"task {_named(waiter)}"
    if children := getattr(waiter, "_children", None):
        left = sum(not child.done() for child in children)
        return f"{left} of {len(children)} gathered"
    if waiter is not None:
        return _NOBODYS
    return "its turn"


def _frames(future: object) -> Iterator[FrameType]:
    """The frames of a suspended task, outermost first."""
    get_coro = getattr(future, "get_coro", None)
    current: Any = get_coro() if get_coro is not None else None
    for _ in range(_DEEPEST):
        frame = None
        following = None
        for prefix in ("cr", "gi", "ag"):
            frame = getattr(current, f"{prefix}_frame", None)
            if frame is not None:
                following = getattr(
                    current, f"{prefix}_{'yieldfrom' if prefix == 'gi' else 'await'}"
                )
                break
        if frame is None:
            return
        yield frame
        current = following


def _stack(task: asyncio.Task[Any]) -> Iterator[str]:
    for frame in _frames(task):
        code = frame.f_code
        line = linecache.getline(code.co_filename, frame.f_lineno).strip()
        yield f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}: {line}"

"""A node: one simulated machine with one program on it.

It owns its tasks, sockets, clock, entropy and environment. A step belongs to the node of its
handle, so identity does not depend on a context variable alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import os
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, cast

from windtunnel.core.errors import UsageError
from windtunnel.sim import boots
from windtunnel.sim.clock import NodeClock
from windtunnel.sim.errors import NodeCrashedError
from windtunnel.sim.handle import Lane
from windtunnel.sim.task import SimFuture, SimTask

if TYPE_CHECKING:
    from windtunnel.sim.scheduler import Runnable
    from windtunnel.sim.world import World

T = TypeVar("T")
State: TypeAlias = Literal["up", "paused", "stopped", "crashed"]

IDENTITY: contextvars.ContextVar[tuple[Node, int]] = contextvars.ContextVar("windtunnel_node")
"""Which node, in which of its lives, registered a callback. Tasks do not need it."""

# What was alive on nodes when they crashed, kept until the process ends: a coroutine that is
# collected runs its ``finally`` blocks, which a crashed program does not.
_GRAVEYARD: list[object] = []
# Nor when the interpreter clears the modules as it ends.
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_GRAVEYARD))


def bury(thing: object) -> None:
    """Keep something of a node that crashed, so that it is never finalised."""
    _GRAVEYARD.append(thing)


class Node:
    """One node of a world; made by :meth:`World.node` and :meth:`World.start`.

    :ivar name: also its host name.
    :ivar index: 0 for the node of the test body, then in order of creation.
    :ivar clock: its own clock; ``clock.jump(s)`` and ``clock.drift_ppm`` disturb it.
    :ivar addresses: its IPv4 and IPv6 address.
    :ivar incarnation: how often it has booted.
    :ivar steps: how many steps ran on it.
    """

    def __init__(
        self, world: World, name: str, index: int, *, offset_s: float = 0, drift_ppm: float = 0
    ) -> None:
        self.world = world
        self.name = name
        self.index = index
        self.hostname = name
        high, low = divmod(index + 1, 250)
        self.addresses: tuple[str, ...] = (f"10.0.{high}.{low + 1}", f"fd00::{index + 2:x}")
        self.clock = NodeClock(world, offset_s=offset_s, drift_ppm=drift_ppm)
        self.state: State = "up"
        self.incarnation = 1
        self.steps = 0
        self.sockets: set[Any] = set()
        # The scheduler's, which reads them on its hot path.
        self.lane = Lane(self)
        self.priority: float | None = None
        self.ready = world.ready
        self.signal_handlers: dict[int, Callable[[], object]] = {}
        self.environ_data: dict[Any, Any] = dict(world.environ_data)
        self.modules: dict[str, Any] = {}
        self._streams: dict[str, random.Random] = {}
        self._boot: boots.Boot | None = None
        self._main: SimTask | None = None
        self._awaited: set[asyncio.Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Node {self.name} {self.state}>"

    @property
    def environ(self) -> os._Environ[str]:
        """Its environment variables, as ``os.environ`` is inside its steps."""
        real = os.environ
        return os._Environ(
            self.environ_data,
            real.encodekey,
            real.decodekey,
            real.encodevalue,
            real.decodevalue,
        )

    def stream(self, name: str) -> random.Random:
        """The generator of that name, its own for each node."""
        known = self._streams.get(name)
        if known is None:
            known = self._streams[name] = self.world.stream(f"{self.name}/{name}")
        return known

    # Life.

    def boot(
        self, main: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> Node:
        """Run ``main(*args, **kwargs)`` on this node, now and after each restart."""
        self._boot = boots.Boot(main, args, kwargs, self.world.config.fresh)
        self._start()
        return self

    def _start(self) -> None:
        boot = self._boot
        if boot is None:
            return
        loop = self.world.loop
        incarnation = self.incarnation

        def begin() -> None:
            task = loop.create_task(boot.coroutine(), name=self.name)
            self._main = cast("SimTask", task)
            task.add_done_callback(lambda done: self._ended(done, incarnation))

        self.world.soon(begin, node=self)

    def _ended(self, main: asyncio.Task[Any], incarnation: int) -> None:
        if incarnation != self.incarnation or self.state != "up" or main.cancelled():
            return
        error = main.exception()
        self.world.note("exit", node=self.name, error=repr(error) if error else None)
        if error is not None:
            self.world.node_failed(self, error)

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on this node and wait for its result here.

        :raises NodeCrashedError: when the node crashes before it is done.
        """
        self._must_be("up", "paused", verb="run something on", coroutine=coroutine)
        loop = asyncio.get_running_loop()
        with self.world.on(self):
            task = loop.create_task(coroutine)
        outer: asyncio.Future[T] = loop.create_future()
        if isinstance(outer, SimFuture):
            outer.behind = task  # a task that sleeps long is no stall of who waits for it
        self._awaited.add(outer)
        task.add_done_callback(lambda done: _copy(done, outer))
        try:
            return await outer
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            self._awaited.discard(outer)
            if isinstance(outer, SimFuture):
                del outer.behind

    def crash(self) -> None:
        """Stop it between two steps, as by a power cut or SIGKILL.

        Nothing on it runs any more, no ``finally`` block either; its timers vanish; its peers
        see their connections reset or fall silent, as drawn. Called by the node itself, it
        takes effect at that task's next wait.

        :raises UsageError: when it is not running, or is the node of the test body.
        """
        self._must_be("up", "paused", verb="crash")
        self._not_the_test("crash")
        self.world.note("crash", node=self.name)
        self.state = "crashed"
        self._bury()
        self.world.net.node_crashed(self)
        awaited, self._awaited = self._awaited, set()
        for future in awaited:
            if not future.done():
                future.set_exception(NodeCrashedError(f"node {self.name!r} crashed"))

    def vanish(self) -> None:
        """End it without a trace: the test is over, and what it still runs is no part of it."""
        if self.state in ("up", "paused"):
            self.state = "stopped"
            self._bury()

    def _bury(self) -> None:
        """Take everything that would still run on it out of the world, alive."""
        scheduler = self.world.scheduler
        left: list[object] = [*scheduler.take_from(self), *scheduler.take_timers_of(self)]
        left += [list(self.lane), self._go_on()]
        self.lane.clear()
        grave = self.world.grave
        for task in asyncio.all_tasks(self.world.loop):
            if self._owns(task):
                asyncio.tasks._unregister_task(task)
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                if isinstance(task, SimTask):
                    task.node = grave
                left.append(task)
        bury(left)
        self.signal_handlers.clear()
        self._main = None
        # What still belongs to the life that ended is recognised by its number.
        self.incarnation += 1

    def _owns(self, task: asyncio.Task[Any]) -> bool:
        if isinstance(task, SimTask):
            return task.node is self
        # Made past the loop, of a class of its own: known by its context, from Python 3.12 on.
        context = getattr(task, "get_context", contextvars.copy_context)()
        return context.get(IDENTITY) == (self, self.incarnation)

    def restart(self) -> None:
        """Boot it anew, after a crash or a stop; a running node crashes first.

        Modules of the packages that the world calls fresh are imported again; of the others,
        module globals that outlived the crash are noted.
        """
        self._not_the_test("restart")
        if self.state in ("up", "paused"):
            self.crash()
        self.state = "up"
        self.environ_data.clear()
        self.environ_data.update(self.world.environ_data)
        self.modules.clear()
        self.world.note("restart", node=self.name)
        self.world.net.node_restarted(self)
        if self._boot is not None:
            for name in self._boot.outlived():
                self.world.note("outlived", node=self.name, name=name)
        self._start()

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """End it gracefully: SIGTERM's handler if it set one, else its main task is cancelled;
        what has not ended after ``grace_s`` virtual seconds is killed."""
        import signal

        self._must_be("up", "paused", verb="stop")
        self._not_the_test("stop")
        self.resume()
        self.world.note("stop", node=self.name)
        main = self._main
        handler = self.signal_handlers.get(signal.SIGTERM)
        if handler is not None:
            self.world.soon(handler, node=self)
        elif main is not None:
            main.cancel()
        if main is not None:
            await asyncio.wait([main], timeout=grace_s)
        if self.state != "up":
            return
        mine = [
            task
            for task in asyncio.all_tasks()
            if isinstance(task, SimTask) and task.node is self and not task.done()
        ]
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=grace_s)
        if self.state == "up":
            self.state = "stopped"
            self.world.net.node_stopped(self)
            self._bury()

    def end(self) -> None:
        """The run is over: nothing on it runs any more, as after a crash, and no story tells it.

        Cancelling its program instead would bring errors that are nobody's: a server that waits
        for its clients, a handler whose cancellation is logged.
        """
        if self.index == 0 or self.state not in ("up", "paused"):
            return
        self.state = "stopped"
        self._bury()
        self.world.net.node_crashed(self, "reset")

    def pause(self) -> None:
        """Stop its process as SIGSTOP does: time goes on, it does not."""
        self._must_be("up", verb="pause")
        self._not_the_test("pause")
        self.state = "paused"
        self.ready = self.world.scheduler.take_from(self)
        self.world.note("pause", node=self.name)

    def resume(self) -> None:
        """Let it go on; nothing happens when it is not paused."""
        if self.state != "paused":
            return
        self.state = "up"
        self.world.note("resume", node=self.name)
        self.world.ready += self._go_on()
        self.world.net.node_resumed(self)

    def _go_on(self) -> list[Runnable]:
        """From here on, what gets ready on it can be chosen; what waited while it was paused."""
        waited = self.ready
        self.ready = self.world.ready
        return waited if waited is not self.ready else []

    def signal(self, number: int) -> None:
        """Deliver a signal for which its program set a handler on the loop.

        :raises UsageError: when it set none.
        """
        handler = self.signal_handlers.get(number)
        if handler is None:
            raise UsageError(f"node {self.name!r} has no handler for signal {number}")
        self.world.soon(handler, node=self)

    def _must_be(
        self, *states: State, verb: str, coroutine: Coroutine[Any, Any, Any] | None = None
    ) -> None:
        if self.state not in states:
            if coroutine is not None:
                coroutine.close()
            raise UsageError(
                f"cannot {verb} node {self.name!r}",
                found=f"it is {self.state}",
                fix=f"a node must be {' or '.join(states)} for that",
            )

    def _not_the_test(self, verb: str) -> None:
        if self.index == 0:
            raise UsageError(
                f"cannot {verb} the node of the test body",
                fix="start the program on a node of its own: world.start('a', main)",
            )


def _copy(done: asyncio.Task[T], outer: asyncio.Future[T]) -> None:
    if outer.done():
        if not done.cancelled():
            done.exception()  # has been looked at
    elif done.cancelled():
        outer.cancel()
    elif (error := done.exception()) is not None:
        outer.set_exception(error)
    else:
        outer.set_result(done.result())

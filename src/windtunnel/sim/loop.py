"""The event loop of the simulated world: asyncio's interface over the world's scheduler.

It is asyncio's BaseEventLoop with the clock, the ready queue and the sockets exchanged, so that
connections, servers, TLS and subprocess refusals go through asyncio's own code.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from asyncio import events
from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any, TypeVar, cast

from windtunnel.core.errors import UsageError
from windtunnel.sim import fence, inside, intercept, waiting
from windtunnel.sim.errors import EscapeError, StallError
from windtunnel.sim.generators import Generator, Generators
from windtunnel.sim.handle import Handle, Step, TimerHandle
from windtunnel.sim.net import intercept as sockets
from windtunnel.sim.net.calls import NetCalls
from windtunnel.sim.node import IDENTITY, Node, bury
from windtunnel.sim.task import SimFuture, SimTask

if TYPE_CHECKING:
    from windtunnel.sim.world import World

T = TypeVar("T")


class _Probe:
    """Finds out which types asyncio's C tasks hand to call_soon as their steps."""

    def __init__(self) -> None:
        self.types: set[type] = set()

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Any = None) -> None:
        self.types.add(type(callback))

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        pass


def _step_type() -> type:
    async def nothing() -> None:
        pass

    probe = _Probe()
    coroutine = nothing()
    task = asyncio.Task(coroutine, loop=cast("Any", probe))
    asyncio.tasks._unregister_task(task)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    coroutine.close()
    return probe.types.pop()


# A task's first and later steps (TaskStepMethWrapper), and its wake-up by a future (a builtin
# method); both have the task as __self__.
_STEP = _step_type()
_WAKEUP = type(len)
_TASK = asyncio.Task
_EAGER = getattr(asyncio, "eager_task_factory", None)  # from 3.12 on


if TYPE_CHECKING:

    class _Asyncio(asyncio.BaseEventLoop):
        """The private half of asyncio's loop that typeshed leaves out."""

        _closed: bool
        _task_factory: Callable[..., asyncio.Future[Any]] | None

        def _check_closed(self) -> None: ...
        def _check_running(self) -> None: ...
        def _asyncgen_firstiter_hook(self, agen: Any) -> None: ...
        def _asyncgen_finalizer_hook(self, agen: Any) -> None: ...

else:
    _Asyncio = asyncio.BaseEventLoop


class SimLoop(NetCalls, _Asyncio):  # type: ignore[misc]
    """One event loop of a world.

    :param world: the world whose time and network it has.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self._scheduler = world.scheduler
        self._lanes = world.scheduler.lanes
        self._asyncgens: Any = Generators(world)
        self._serial = 0
        self._task_names = 0
        self._clock_resolution = 1e-9

    @property
    def world(self) -> World:
        """The world that this loop is of."""
        return self._world

    def next_serial(self) -> int:
        """A number for something that is to be hashed in a fixed order."""
        self._serial = serial = self._serial + 1
        return serial

    # Time.

    def time(self) -> float:
        """Seconds of the monotonic clock of the node whose step is running."""
        return self._world.node.clock.monotonic_ns() / 1e9

    # What is to be run.

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """As asyncio's; the handle belongs to the task's node, or to the one that registers."""
        if self._closed:
            self._check_closed()
        kind = type(callback)
        if kind is _STEP or kind is _WAKEUP:
            task = callback.__self__  # type: ignore[attr-defined]
            if isinstance(task, _TASK):
                if context is None:
                    context = contextvars.copy_context()
                # A task of another class, made past the loop, is known by its context.
                node = task.node if type(task) is SimTask else self._registrant(context)
                handle: Handle = Step(callback, args, context, node)
                if node.lane:
                    node.lane.append(handle)
                else:
                    node.ready.append(handle)
                return handle
        if context is None:
            context = contextvars.copy_context()
        world = self._world
        node = world.node
        if world.many:
            node = self._registrant(context)
        handle = Handle(callback, args, context, node)
        if self._lanes:
            lane = node.lane
            if not lane:
                node.ready.append(lane)
            lane.append(handle)
        else:
            node.ready.append(handle)
        return handle

    def _registrant(self, context: contextvars.Context) -> Node:
        """The node of a plain callback: the one that registered it, also when another node
        completes the future that it waits for."""
        life = context.get(IDENTITY)
        if life is None:
            return self._world.node
        return life[0] if life[1] == life[0].incarnation else self._world.grave

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Handle:
        """As :meth:`call_soon`: the simulated world has one thread.

        :raises EscapeError: when it is called from another thread.
        """
        if inside.world is not None and inside.thread != get_ident():
            error = EscapeError(
                "a thread of the real world called into the simulated one",
                found=f"call_soon_threadsafe({callback!r})",
                fix="start no thread in a simulated test",
            )
            self._world.escape(error)
            raise error
        return self.call_soon(callback, *args, context=context)

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """Run a callback after ``delay`` seconds of this node's clock."""
        if delay is None:
            raise TypeError("delay must not be None")
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> TimerHandle:
        """Run a callback when this node's monotonic clock shows ``when`` seconds."""
        if when is None:
            raise TypeError("when cannot be None")
        if context is None:  # an empty context is false, so "or" would lose it
            context = contextvars.copy_context()
        if self._closed:
            self._check_closed()
        world = self._world
        node = world.node
        true_ns = node.clock.true_ns(round(when * 1e9)) if when < 1e12 else 1 << 80
        handle = TimerHandle(
            callback,
            args,
            context,
            node,
            when,
            true_ns if true_ns > world.now_ns else world.now_ns,
        )
        self._scheduler.add_timer(handle)
        return handle

    def create_future(self) -> SimFuture:
        """A future of this loop."""
        return SimFuture(loop=self)

    def create_task(self, coro: Any, **kwargs: Any) -> asyncio.Task[Any]:
        """A task on the node whose step is running."""
        self._check_closed()
        factory = self._task_factory
        if factory is not None and factory is not _EAGER:
            self._complete(kwargs)
            return self._made_by_factory(factory, coro, kwargs)
        if factory is not None:
            kwargs.setdefault("eager_start", True)
        return self.make_task(coro, **kwargs)

    def make_task(self, coro: Any, **kwargs: Any) -> SimTask:
        """As :meth:`create_task`, past the loop's task factory."""
        node = self._complete(kwargs)
        task = SimTask.__new__(SimTask)
        task.node = node  # before the constructor, which registers the first step
        task.__init__(coro, loop=self, **kwargs)  # type: ignore[misc]
        return task

    def _complete(self, kwargs: dict[str, Any]) -> Node:
        """Give a task that is to be made its name and its node's identity; that node."""
        if kwargs.get("name") is None:
            self._task_names += 1
            kwargs["name"] = f"Task-{self._task_names}"
        world = self._world
        node = world.node
        if world.many:
            context = kwargs.get("context")
            if context is None:
                context = contextvars.copy_context()
            life = (node, node.incarnation)
            if context.get(IDENTITY) != life:
                context.run(IDENTITY.set, life)
            kwargs["context"] = context
        return node

    def _made_by_factory(
        self, factory: Callable[..., Any], coro: Any, kwargs: dict[str, Any]
    ) -> asyncio.Task[Any]:
        name = kwargs.pop("name")
        if kwargs.get("context") is None:
            kwargs.pop("context", None)
        task = cast("asyncio.Task[Any]", factory(self, coro, **kwargs))
        if hasattr(task, "set_name"):
            task.set_name(name)
        return task

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Call ``func(*args)`` in this thread, in one step at a drawn later time.

        Whatever it sleeps is added to the time at which its result is there. Threads that
        really run beside each other are not simulated.
        """
        self._check_closed()
        carried = getattr(executor, "carried", None)  # of a pool that takes context variables along
        func = func if carried is None else carried(func)
        world = self._world
        future: asyncio.Future[T] = self.create_future()
        node = world.node

        def work() -> None:
            if future.cancelled():
                return
            try:
                result, slept_ns = world.run_blocking(func, args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                if isinstance(error, StopIteration):
                    error = RuntimeError(f"{func!r} raised StopIteration")
                if not future.done():
                    future.set_exception(error)
            else:
                done = world.now_ns + slept_ns
                world.at(done, _set_result, future, result, node=node)

        delay_ns = 10_000 + world.choose("executor", 1_000_000)
        world.at(world.now_ns + delay_ns, work, node=node)
        return future

    def add_signal_handler(  # type: ignore[override]
        self, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Remember what the node does at a signal; ``node.signal(sig)`` delivers it."""
        self._world.node.signal_handlers[sig] = lambda: callback(*args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Forget what the node does at a signal."""
        return self._world.node.signal_handlers.pop(sig, None) is not None

    # Running.

    def run_until_complete(self, future: Any) -> Any:
        """As asyncio's, with an eye on whether the future can still be completed.

        :raises DeadlockError: nothing can run, no timer is set, and it is not done.
        :raises StallError: it has waited too long for something that does not come.
        """
        self._check_closed()
        self._check_running()
        made_here = not asyncio.isfuture(future)
        future = asyncio.ensure_future(future, loop=self)
        if made_here:
            future._log_destroy_pending = False
        future.add_done_callback(self._stop_when_done)
        outer = self._world.swap_watch(waiting.Watch(future))
        try:
            self.run_forever()
        except (StallError, SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            if made_here and future.done() and not future.cancelled():
                future.exception()  # its error is the one that is being raised
            raise
        finally:
            future.remove_done_callback(self._stop_when_done)
            self._world.swap_watch(outer)
        if not future.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return future.result()

    def _stop_when_done(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and isinstance(
            future.exception(), (SystemExit, KeyboardInterrupt)
        ):
            return
        self.stop()

    def _asyncgen_finalizer_hook(self, agen: Generator) -> None:
        node = self._asyncgens.owner(agen)
        self._asyncgens.discard(agen)
        if node is None:
            bury(agen)
        elif not self.is_closed():
            with self._world.on(node):
                self.call_soon(self.create_task, agen.aclose())

    def run_forever(self) -> None:
        """Run until :meth:`stop`; the clocks and sockets of this thread are the world's."""
        self._check_closed()
        self._check_running()
        if inside.world is not None:
            raise UsageError("a simulated loop is already running in this process")
        world = self._world
        before = getattr(world, "loop", None)
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook,
            finalizer=self._asyncgen_finalizer_hook,
        )
        inside.thread = get_ident()
        self._thread_id: int | None = inside.thread
        events._set_running_loop(self)
        world.loop = self
        world.entered()
        intercept.enter(world)
        fence.enter(world)
        sockets.enter()
        inside.world = world
        try:
            self._scheduler.run()
        finally:
            inside.world = None
            sockets.leave()
            fence.leave(world)
            intercept.leave(world)
            world.left()
            self._thread_id = None
            events._set_running_loop(None)
            sys.set_asyncgen_hooks(*hooks)
            if before is not None and not before.is_closed():
                world.loop = before

    def stop(self) -> None:
        """Stop after the present step; what is left runs when the loop is run again."""
        self._scheduler.stop()

    def close(self) -> None:
        """End the loop; what it still had to run is dropped."""
        if self._closed:
            return
        super().close()


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def new_loop() -> SimLoop:
    """The loop of the simulated test that is going on.

    :raises UsageError: outside one.
    """
    world = inside.armed
    if world is None:
        raise UsageError("there is no simulated world here", fix="mark the test with wt.simulated")
    return SimLoop(world)


def node_of(task: asyncio.Task[Any]) -> Node | None:
    """The node that a task runs on; None outside the simulated world."""
    return getattr(task, "node", None)

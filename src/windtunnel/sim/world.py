"""The simulated world: nodes, their network and clocks, and every choice from one seed."""

from __future__ import annotations

import contextlib
import contextvars
import gc
import os
import random
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UsageError
from windtunnel.core.seed import Seed
from windtunnel.sim import inside, waiting
from windtunnel.sim.boots import is_fresh
from windtunnel.sim.config import WorldConfig
from windtunnel.sim.errors import BlockingCallError, EscapeError
from windtunnel.sim.handle import Handle, TimerHandle
from windtunnel.sim.net.network import Network
from windtunnel.sim.node import IDENTITY, Node
from windtunnel.sim.scheduler import Scheduler
from windtunnel.sim.tape import Tape
from windtunnel.sim.trace import Note, Trace, Value

if TYPE_CHECKING:
    from windtunnel.core.faults import FaultPlan
    from windtunnel.sim.loop import SimLoop

# Looks at the test body within the span of a stall: it is told an eighth of it late at most.
_LOOKS = 8


class World:
    """One run of the simulated world.

    :param seed: what every choice is drawn from.
    :param config: what the world is like.
    :param replay: choices of an earlier run to repeat, as its tape gave them.
    """

    def __init__(
        self,
        seed: Seed,
        config: WorldConfig | None = None,
        *,
        replay: Iterable[int] | None = None,
    ) -> None:
        self.seed = seed
        self.config = config or WorldConfig()
        self.now_ns = 0
        self.tape = Tape(seed, replay=replay)
        self.trace = Trace(on=self.config.trace)
        self.environ_data: dict[Any, Any] = dict(os.environ._data)  # type: ignore[attr-defined]
        self.many = False
        self._switching = False
        self.nodes: dict[str, Node] = {}
        self.scheduler = Scheduler(self)
        self.ready = self.scheduler.ready
        self.grave = Node(self, "(crashed)", -2)
        self.grave.ready = []
        self._kernel = Node(self, "(world)", -1)
        self.test = self.node = Node(self, "test", 0)
        self.nodes["test"] = self.test
        self.net = Network(self)
        self.loop: SimLoop
        self.escapes: list[EscapeError | BlockingCallError] = []
        self.failures: list[tuple[Node, BaseException]] = []
        self.stall_check_ns = 0
        self.in_executor = False
        self._slept_ns = 0
        self._watch: waiting.Watch | None = None
        self._environ: dict[Any, Any] | None = None
        self._environ_before: dict[Any, Any] = {}
        self._was_collecting = False

    # Choices.

    def choose(self, label: str, n: int) -> int:
        """A whole number from 0 to ``n`` - 1, by the tape."""
        return self.tape.choose(label, n)

    def uniform(self, label: str) -> float:
        """A number from 0 up to 1, by the tape."""
        return self.tape.uniform(label)

    def stream(self, name: str) -> random.Random:
        """A generator of that name, not on the tape: for entropy that programs ask for."""
        return self.seed.stream(f"sim/entropy/{name}")

    # Nodes.

    def add_node(self, name: str, *, offset_s: float = 0, drift_ppm: float = 0) -> Node:
        """The node of that name, made when it is new.

        :param offset_s: seconds by which its wall clock is ahead.
        :param drift_ppm: parts per million by which its clocks run fast.
        """
        known = self.nodes.get(name)
        if known is None:
            if not name or not isinstance(name, str):
                raise UsageError("a node has a name", found=repr(name))
            known = Node(self, name, len(self.nodes), offset_s=offset_s, drift_ppm=drift_ppm)
            self.nodes[name] = known
            self.many = self._switching = True
            self.net.node_added(known)
        return known

    def start(
        self, name: str, main: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any
    ) -> Node:
        """Make a node and run ``main(*args, **kwargs)`` on it, now and after each restart."""
        return self.add_node(name).boot(main, *args, **kwargs)

    @contextlib.contextmanager
    def on(self, node: Node) -> Iterator[None]:
        """Within the block, what is made is made on that node."""
        before = self.node
        token = IDENTITY.set((node, node.incarnation))
        self.enter(node)
        try:
            yield
        finally:
            IDENTITY.reset(token)
            self.enter(before)

    def enter(self, node: Node) -> None:
        """From here on, the steps are that node's."""
        if self._switching:
            if self.config.fresh:
                self._swap_modules(self.node, node)
            os.environ._data = node.environ_data  # type: ignore[attr-defined]
        self.node = node

    def _swap_modules(self, left: Node, entered: Node) -> None:
        fresh = self.config.fresh
        for name in [name for name in sys.modules if is_fresh(name, fresh)]:
            left.modules[name] = sys.modules.pop(name)
        sys.modules.update(entered.modules)

    # The network's verbs; docs/sim-network.md says what each does.

    def partition(self, *groups: Any, **how: Any) -> None:
        """Let no message pass between the groups; see :meth:`Network.partition`."""
        self.net.partition(*groups, **how)

    def heal(self, *between: Any) -> None:
        """Undo the faults of links; see :meth:`Network.heal`."""
        self.net.heal(*between)

    def hold(self, a: Any, b: Any, **how: Any) -> None:
        """Keep what is sent between two nodes; see :meth:`Network.hold`."""
        self.net.hold(a, b, **how)

    def release(self, *between: Any, **how: Any) -> None:
        """Deliver what was held; see :meth:`Network.release`."""
        self.net.release(*between, **how)

    def slow(self, a: Any, b: Any, **how: Any) -> None:
        """Make a link slower; see :meth:`Network.slow`."""
        self.net.slow(a, b, **how)

    def drop(self, a: Any, b: Any, *, rate: float, **how: Any) -> None:
        """Lose a share of what a link carries; see :meth:`Network.drop`."""
        self.net.drop(a, b, rate=rate, **how)

    def cut(self, a: Any, b: Any) -> None:
        """Tear the connections between two nodes; see :meth:`Network.cut`."""
        self.net.cut(a, b)

    def apply(self, plan: FaultPlan) -> None:
        """Have the faults of a plan happen at their times; see :mod:`windtunnel.sim.faults`.

        :raises UsageError: for an unknown verb, target or argument.
        """
        from windtunnel.sim import faults

        faults.apply(self, plan)

    # Steps.

    def at(
        self, when_ns: int, callback: Callable[..., object], *args: Any, node: Node | None = None
    ) -> TimerHandle:
        """Run a callback at a true time, on a node, or on none: then no crash takes it away."""
        owner = node or self._kernel
        context = contextvars.Context() if node is None else self._context_of(node)
        handle = TimerHandle(callback, args, context, owner, 0.0, max(when_ns, self.now_ns))
        self.scheduler.add_timer(handle)
        return handle

    def soon(self, callback: Callable[..., object], *args: Any, node: Node | None = None) -> Handle:
        """Run a callback as soon as it is chosen."""
        owner = node or self._kernel
        context = contextvars.Context() if node is None else self._context_of(node)
        handle = Handle(callback, args, context, owner)
        self.scheduler.add_plain(handle)
        return handle

    def _context_of(self, node: Node) -> contextvars.Context:
        context = contextvars.Context()
        context.run(IDENTITY.set, (node, node.incarnation))
        return context

    def timer_cancelled(self) -> None:
        """A timer will not be run."""
        self.scheduler.timer_cancelled()

    # Facts.

    def note(self, kind: str, **facts: Value) -> None:
        """Keep a fact for the story."""
        node = str(facts.pop("node", self.node.name))
        self.trace.note(Note(self.now_ns, self.scheduler.steps, node, kind, facts))

    def escape(self, error: EscapeError | BlockingCallError) -> None:
        """Remember an attempt to leave the world, whether or not someone swallows the error."""
        self.escapes.append(error)
        self.note("escape", what=error.what)

    def node_failed(self, node: Node, error: BaseException) -> None:
        """The program of a node ended with an exception."""
        self.failures.append((node, error))

    def callback_failed(self, handle: Handle, error: BaseException) -> None:
        """A callback raised; the loop's exception handler is told, as asyncio does."""
        self.loop.call_exception_handler(
            {
                "message": f"Exception in callback {handle._callback!r}",
                "exception": error,
                "handle": handle,
            }
        )

    # Time spent by blocking calls in executor functions.

    def blocking_sleep(self, seconds: float) -> None:
        """A function that was handed to an executor sleeps: its result comes later."""
        self._slept_ns += round(seconds * 1e9)

    def run_blocking(self, function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, int]:
        """Call a function of an executor here and now; its result, and how long it slept, ns."""
        outer = (self.in_executor, self._slept_ns)
        self.in_executor, self._slept_ns = True, 0
        try:
            return function(*args), self._slept_ns
        finally:
            self.in_executor, self._slept_ns = outer

    # Waiting in vain.

    def swap_watch(self, watch: waiting.Watch | None) -> waiting.Watch | None:
        """Look after the future that a loop is told to run until; gives back the one before."""
        before, self._watch = self._watch, watch
        self.stall_check_ns = self._next_look(self.now_ns)
        return before

    def entered(self) -> None:
        """A loop of this world begins to run."""
        self.enter(self.node)

    def left(self) -> None:
        """The loop stopped running; the real environment is back."""
        if self._environ is not None:
            os.environ._data = self._environ  # type: ignore[attr-defined]

    def deadlocked(self) -> None:
        """Nothing can run any more; it returns when a paused node can go on instead.

        Who cancels the tasks of a paused node and waits for them is the end of the run, as in
        ``Runner.close``: the node is let go, so that a verdict is not covered by a deadlock.

        :raises DeadlockError: otherwise, with who waits for what.
        """
        cancelled = waiting.paused_and_cancelled(self)
        if not cancelled:
            raise waiting.deadlock(self)
        for node in cancelled:
            node.resume()

    def check_for_stall(self, when_ns: int) -> None:
        """Virtual time is about to pass the next check.

        :raises StallError: when the test body has waited for the same thing for the span that
            the configuration states, and not for a timer.
        """
        if self._watch is not None and self._watch.stalled(self):
            raise waiting.stall(self)
        self.stall_check_ns = self._next_look(when_ns)

    def _next_look(self, from_ns: int) -> int:
        """When to look whether the test body still waits where it waited."""
        return from_ns + round(self.config.stall_s * 1e9 / _LOOKS)

    # In and out.

    @contextlib.contextmanager
    def armed(self) -> Iterator[World]:
        """While the block lasts, new event loops are this world's.

        Garbage is collected at fixed steps only, and what was alive before is not looked at.
        """
        if inside.armed is not None:
            raise UsageError("a simulated world is already there", fix="use one at a time")
        # The test's node is this process: what its fixtures export it reads, and what it starts
        # inherits.
        real: dict[Any, Any] = os.environ._data  # type: ignore[attr-defined]
        self._environ = self.environ_data = self.test.environ_data = real
        self._environ_before = dict(real)
        self._was_collecting = gc.isenabled()
        gc.disable()
        gc.freeze()
        inside.armed = self
        try:
            yield self
        finally:
            inside.armed = None
            self._restore()

    def _restore(self) -> None:
        self._restore_environ()
        if self.config.fresh:
            self._swap_modules(self.node, self.test)
        gc.collect()
        gc.unfreeze()
        if self._was_collecting:
            gc.enable()

    def _restore_environ(self) -> None:
        real, before = self._environ, self._environ_before
        assert real is not None
        os.environ._data = real  # type: ignore[attr-defined]
        for key in {key for node in self.nodes.values() for key in node.environ_data}:
            if key not in before:
                os.unsetenv(key)
        for key, value in before.items():
            if any(node.environ_data.get(key) != value for node in self.nodes.values()):
                os.putenv(key, value)
        if real != before:
            real.clear()
            real.update(before)

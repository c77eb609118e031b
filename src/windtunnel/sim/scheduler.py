"""The one scheduler of a world: what can run, what is due later, and which goes on next.

asyncio promises that callbacks run in the order in which they were registered
(https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.call_soon), and libraries
rely on it, so a schedule that breaks the promise finds faults that are none. What asyncio does
not promise is the order of tasks, or anything between nodes. Hence lanes: the plain callbacks
of one node wait in one lane, whose head alone can be chosen; each step of a task can be chosen
freely once the plain callbacks that were registered before it have run. (asyncpg ends the time
limit of a query in a callback of the future that its caller awaits; were the caller woken first,
its next query would lose its own limit.) Under the policy "fifo" there are no lanes.
"""

from __future__ import annotations

import gc
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

from windtunnel.sim.handle import Handle, Lane, Step, TimerHandle
from windtunnel.sim.policy import make_policy
from windtunnel.sim.trace import label

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

Runnable: TypeAlias = Handle | Lane
"""One thing that may be chosen: a step of a task, or the next of a lane."""

# Steps between two looks at the clock and the timers.
_ROUND = 32
_MANY_CANCELLED = 100


class Scheduler:
    """Ready steps and timers, and the loop that runs them.

    :param world: whose time moves and whose tape the picks go to.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.ready: list[Runnable] = []
        self.timers: list[tuple[int, int, TimerHandle]] = []
        self.lanes = world.config.policy != "fifo"
        self._held: list[Runnable] = []
        self._stopping = False
        self._serial = 0
        self._cancelled = 0
        self._next_collection = world.config.collect_every
        self._policy = make_policy(world)
        self.steps = 0

    # What is put in.

    def add_plain(self, handle: Handle) -> None:
        """Let a plain callback run after those that its node registered before."""
        node = handle.node
        if self.lanes:
            lane = node.lane
            if not lane:
                node.ready.append(lane)
            lane.append(handle)
        else:
            node.ready.append(handle)

    def add_timer(self, handle: TimerHandle) -> None:
        """Let a handle become ready at its time."""
        self._serial = serial = self._serial + 1
        heappush(self.timers, (handle.when_ns, serial, handle))

    def timer_cancelled(self) -> None:
        """One of the timers will not be run; once most will not, sweep them out."""
        self._cancelled += 1
        if self._cancelled > _MANY_CANCELLED and self._cancelled * 2 > len(self.timers):
            self.timers = [entry for entry in self.timers if entry[2]._callback is not None]
            heapify(self.timers)
            self._cancelled = 0

    def take_from(self, node: Node) -> list[Runnable]:
        """Everything that waits to run on a node, timers aside; taken out."""
        taken: list[Runnable] = []
        for place in (self.ready, self._held):
            taken += [entry for entry in place if entry.node is node]
            place[:] = [entry for entry in place if entry.node is not node]
        return taken

    def take_timers_of(self, node: Node) -> list[Handle]:
        """The timers of a node, taken out."""
        taken: list[Handle] = [entry[2] for entry in self.timers if entry[2].node is node]
        self.timers = [entry for entry in self.timers if entry[2].node is not node]
        heapify(self.timers)
        return taken

    # What is run.

    def stop(self) -> None:
        """End :meth:`run` after the present step.

        What is ready is put aside, so that the hot path finds nothing more to do and need not
        ask at each step.
        """
        self._stopping = True
        self._held += self.ready
        self.ready.clear()

    def run(self) -> None:
        """Run steps until :meth:`stop`.

        :raises DeadlockError: when nothing is ready and no timer is set.
        :raises StallError: when virtual time passes without progress of the test body.
        """
        world = self._world
        pace = world.config.step_ns
        ready = self.ready
        uniform = self._policy is None
        self._resume()
        while True:
            if not ready:
                self._advance()
            count = self._random_round() if uniform else self._chosen_round()
            self.steps += count
            world.now_ns = now = world.now_ns + pace * count
            if self.timers and self.timers[0][0] <= now:
                self._wake(now)
            if self.steps >= self._next_collection:
                self._housekeeping()
            if self._stopping:
                self._resume()
                return

    def _resume(self) -> None:
        """What was put aside by a stop can run again."""
        self._stopping = False
        self.ready[:0] = self._held
        self._held.clear()

    def _random_round(self) -> int:
        """The hot path: uniformly random picks, each in constant time; how many were made."""
        world = self._world
        ready = self.ready
        tape = world.tape.chunk
        traced = world.trace.append if world.trace.on else None
        done = 0
        for word in world.tape.words(_ROUND):
            n = len(ready)
            if n > 1:
                at = word % n
                tape.append(at)
            elif n:
                at = 0
            else:
                return done
            entry = ready[at]
            # Not isinstance, which takes five times as long; a lane is of that very class.
            if type(entry) is Lane:
                handle: Handle = entry.popleft()
                if entry and type(entry[0]) is Step:
                    entry.release(ready)
                if not entry:
                    last = ready.pop()
                    if last is not entry:
                        ready[at] = last
            else:
                last = ready.pop()
                if last is not entry:
                    ready[at] = last
                handle = entry  # type: ignore[assignment]
            done += 1
            node = handle.node
            if node is not world.node:
                world.enter(node)
            node.steps += 1
            callback = handle._callback
            if traced is not None:
                traced((world.now_ns, node.index, label(callback)))
            try:
                if handle._args:
                    handle._context.run(callback, *handle._args)  # type: ignore[arg-type]
                elif callback is not None:
                    handle._context.run(callback)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                world.callback_failed(handle, error)
        return done

    def _chosen_round(self) -> int:
        """The same by another policy, or by a tape that is replayed."""
        world = self._world
        ready = self.ready
        policy = self._policy
        assert policy is not None
        pick = policy.pick
        in_order = policy.keeps_order
        traced = world.trace.append if world.trace.on else None
        for done in range(_ROUND):
            n = len(ready)
            if not n:
                return done
            at = pick(ready) if n > 1 else 0
            entry = ready[at]
            in_lane = isinstance(entry, Lane)
            if isinstance(entry, Lane):
                handle = entry.popleft()
                entry.release(ready)
            else:
                handle = entry
            if not (in_lane and entry):
                if in_order:
                    del ready[at]
                else:  # as in the hot path, so that a pick means the same in both
                    last = ready.pop()
                    if last is not entry:
                        ready[at] = last
            node = handle.node
            if node is not world.node:
                world.enter(node)
            node.steps += 1
            callback = handle._callback
            if traced is not None:
                traced((world.now_ns, node.index, label(callback)))
            if callback is None:
                continue
            try:
                handle._context.run(callback, *handle._args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:
                world.callback_failed(handle, error)
        return _ROUND

    # Time.

    def _advance(self) -> None:
        """Nothing is ready: move time to the next timer."""
        world = self._world
        while not self.ready:
            timers = self.timers
            while timers and timers[0][2]._callback is None:
                heappop(timers)
                self._cancelled -= 1
            if not timers:
                world.deadlocked()
                continue
            when = timers[0][0]
            if when > world.now_ns:
                if when >= world.stall_check_ns:
                    world.check_for_stall(when)
                world.now_ns = when
            self._wake(world.now_ns)

    def _wake(self, now: int) -> None:
        """Make ready what is due."""
        timers = self.timers
        while timers and timers[0][0] <= now:
            handle = heappop(timers)[2]
            if handle._callback is None:
                self._cancelled -= 1
            else:
                self.add_plain(handle)

    def _housekeeping(self) -> None:
        """Finalisers of unreachable objects run here and nowhere else."""
        self._next_collection = self.steps + self._world.config.collect_every
        self._world.tape.fold()
        gc.collect()

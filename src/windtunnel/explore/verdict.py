"""What is held against a simulated test besides its own exception, and what is merely named.

The verdict is taken when the test's body has ended. What happens while fixtures, nodes and loops
are cleaned up afterwards is not held against it; what the test itself left open then is named.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator

from windtunnel.sim.errors import BlockingCallError, EscapeError
from windtunnel.sim.loop import SimLoop
from windtunnel.sim.node import Node
from windtunnel.sim.task import SimTask
from windtunnel.sim.world import World


@dataclasses.dataclass(slots=True)
class Verdict:
    """What a world had seen when the test's body ended.

    :param escapes: attempts to leave the world or to block it, also those whose error was
        swallowed.
    :param failures: nodes whose program ended with an exception that nobody awaited.
    :param steps: how many steps had been run.
    :param at_ns: virtual time, nanoseconds.
    :param unseen: what the body left in this process and no ring of the fence saw being made.
    """

    escapes: list[EscapeError | BlockingCallError]
    failures: list[tuple[Node, BaseException]]
    steps: int
    at_ns: int
    unseen: list[str] = dataclasses.field(default_factory=list[str])

    @classmethod
    def of(cls, world: World) -> Verdict:
        """The verdict now."""
        return cls(list(world.escapes), list(world.failures), world.scheduler.steps, world.now_ns)

    def error(self) -> BaseException | None:
        """What a test fails with whose body did not fail; None when there is nothing."""
        if self.escapes:
            return self.escapes[0]
        if self.unseen:
            return EscapeError(
                "something left the simulated world unseen",
                found="; ".join(self.unseen),
                fix="native code does its own input and output: keep it out of the test",
            )
        if not self.failures:
            return None
        node, error = self.failures[0]
        if not any(_SAYS in note for note in getattr(error, "__notes__", ())):
            error.add_note(f"{_SAYS} {node.name!r} ended with this exception")
        return error

    def others(self, error: BaseException | None) -> list[str]:
        """The rest of it in words, for a test that fails with ``error``."""
        lines = [f"attempt to leave the world: {e.what}" for e in self.escapes if e is not error]
        lines += [
            f"the program of node {node.name!r} ended with {failure!r}"
            for node, failure in self.failures
            if failure is not error
        ]
        return list(dict.fromkeys(lines))


_SAYS = "windtunnel: the program of node"


def leaks(world: World, loop: SimLoop) -> list[tuple[str, str]]:
    """What the test's own code has not ended when its loop is about to be closed: what it is,
    and where it stands. Nodes are ended with the world, so theirs is no leak."""
    found = [*_tasks(world, loop), *_sockets(world)]
    return sorted(set(found))


def _tasks(world: World, loop: SimLoop) -> Iterator[tuple[str, str]]:
    for task in asyncio.all_tasks(loop):
        if not isinstance(task, SimTask) or task.node is not world.test:
            continue
        coroutine = task.get_coro()
        frame = getattr(coroutine, "cr_frame", None)
        if frame is None or _is_the_runners(frame.f_code.co_filename) or _is_ending(task):
            continue
        name = getattr(coroutine, "__qualname__", type(coroutine).__qualname__)
        yield f"task {name}", f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_ending(task: asyncio.Task[object]) -> bool:
    """Whether somebody has cancelled it, and it only has not had its turn yet."""
    waiter = getattr(task, "_fut_waiter", None)
    return bool(task.cancelling()) and (waiter is None or waiter.done())


def _is_the_runners(file: str) -> bool:
    return file.endswith(("anyio/_backends/_asyncio.py", "pytest_asyncio/plugin.py"))


def _sockets(world: World) -> Iterator[tuple[str, str]]:
    for file in world.test.sockets:
        closing = getattr(file.transport, "is_closing", None)
        if closing is not None and closing():
            continue
        # No port: most are drawn, and each seed's would be another leak.
        if file.listening:
            yield f"server listening on {_host(file.local)}", ""
        elif file.remote is not None:
            yield f"connection to {_host(file.remote)}", ""
        else:
            yield f"socket bound to {_host(file.local)}", ""


def _host(address: object) -> str:
    return str(address[0] if isinstance(address, tuple) else address)

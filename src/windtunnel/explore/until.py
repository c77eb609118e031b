"""Stopping a run just before one of its steps."""

from __future__ import annotations

from collections.abc import Callable

from windtunnel.sim import waiting
from windtunnel.sim.world import World


class StepReached(BaseException):
    """The run has come to the step at which it was to stop.

    Not an Exception, so that no program under test takes it for a failure of its own.
    """


class Until:
    """Stops a world before a step.

    :param world: the world, before it has begun.
    :param step: number of the step, from 1.
    :param at_stop: called with the world just before it is stopped.
    """

    def __init__(
        self, world: World, step: int, at_stop: Callable[[World], object] | None = None
    ) -> None:
        self._world = world
        self._step = step
        self._at_stop = at_stop
        self._count = 0

    def watch(self) -> None:
        """Count steps from here on."""
        trace = self._world.trace
        append = trace.append if trace.on else None
        trace.on = True

        def count(entry: tuple[int, int, str]) -> None:
            self._count += 1
            if self._count == self._step:
                if self._at_stop is not None:
                    self._at_stop(self._world)
                self._world.tape.leave_replay()  # what is cleaned up now was not on it
                raise StepReached(self._text(entry))
            if append is not None:
                append(entry)

        trace.append = count

    def _text(self, entry: tuple[int, int, str]) -> str:
        now_ns, index, callback = entry
        node = next((n.name for n in self._world.nodes.values() if n.index == index), "(world)")
        return (
            f"stopped before step {self._step}, at {now_ns / 1e9:.6f} s of virtual time:"
            f" {callback} on {node} runs next\n{waiting.stall(self._world).found}"
        )

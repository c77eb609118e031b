"""Scheduling policies: which of the runnables goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from windtunnel.sim.task import SimTask

if TYPE_CHECKING:
    from windtunnel.sim.scheduler import Runnable
    from windtunnel.sim.world import World


class Policy(Protocol):
    """A way to choose."""

    keeps_order: bool
    """Whether what is left stays in order of arrival."""

    def pick(self, ready: list[Runnable]) -> int:
        """The index of what goes on; ``ready`` has two or more."""
        ...


class Fifo:
    """In order of arrival, as asyncio does it."""

    keeps_order = True

    def pick(self, ready: list[Runnable]) -> int:
        return 0


class Replay:
    """As the tape says, and uniformly random after its end."""

    keeps_order = False

    def __init__(self, world: World) -> None:
        self._tape = world.tape

    def pick(self, ready: list[Runnable]) -> int:
        return self._tape.pick(len(ready))


class Pct:
    """Probabilistic concurrency testing: the runnable with the highest priority runs.

    Priorities are random; at ``pct_depth - 1`` steps drawn beforehand the one that runs falls
    below all others. A bug that needs ``d`` orderings among ``n`` threads and ``k`` steps is
    found with a probability of at least 1/(n k**(d-1)) (Burckhardt et al., ASPLOS 2010).
    """

    keeps_order = True

    def __init__(self, world: World) -> None:
        self._tape = world.tape
        config = world.config
        self._changes = sorted(
            self._tape.choose("pct change", config.pct_steps) for _ in range(config.pct_depth - 1)
        )
        self._steps = 0
        self._lowered = 0

    def pick(self, ready: list[Runnable]) -> int:
        self._steps += 1
        priority = self._priority
        best = max(range(len(ready)), key=lambda at: priority(ready[at]))
        while self._changes and self._changes[0] <= self._steps:
            self._changes.pop(0)
            self._lowered -= 1
            _owner(ready[best]).priority = float(self._lowered)  # type: ignore[attr-defined]
            best = max(range(len(ready)), key=lambda at: priority(ready[at]))
        return best

    def _priority(self, entry: Runnable) -> float:
        owner = _owner(entry)
        known = getattr(owner, "priority", None)
        if known is None:
            known = self._tape.uniform("pct priority")
            owner.priority = known  # type: ignore[attr-defined]
        return float(known)


def _owner(entry: Runnable) -> object:
    """Whose priority counts: the task, or the node whose lane it is."""
    owner = getattr(getattr(entry, "_callback", None), "__self__", None)
    return owner if isinstance(owner, SimTask) else entry.node


def make_policy(world: World) -> Policy | None:
    """The policy that the world's configuration asks for; None for the scheduler's own, which
    is uniformly random."""
    name = world.config.policy
    if name == "fifo":
        return Fifo()
    if name == "pct":
        return Pct(world)
    return Replay(world) if world.tape.replaying else None

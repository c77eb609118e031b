"""What the simulated world is like before anything happens in it. Plain data, no behaviour."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sim.net.links import NetworkConfig

Policy: TypeAlias = Literal["random", "fifo", "pct"]

# 2024-01-01T00:00:00Z: a round date of the past, the same in every run.
_EPOCH_NS = 1_704_067_200 * 10**9


@dataclasses.dataclass(frozen=True, slots=True)
class WorldConfig:
    """The world's settings.

    :param policy: how the next step is chosen among those that could run. ``"random"``: each
        runnable task is equally likely; ``"fifo"``: as asyncio does; ``"pct"``: by random
        priorities with ``pct_depth`` changes (Burckhardt et al., "A Randomized Scheduler with
        Probabilistic Guarantees of Finding Bugs", ASPLOS 2010).
    :param pct_depth: number of ordering constraints a bug needs, at least 1.
    :param pct_steps: expected steps of a run, over which the priority changes are spread.
    :param step_ns: virtual nanoseconds that one step takes, at least 1, so that code that
        polls in a loop sees time pass.
    :param stall_s: virtual seconds without progress of the test body after which a run that
        goes on and on is a stall.
    :param epoch_ns: wall-clock time at the world's beginning, nanoseconds since 1970.
    :param timezone: name of the time zone of every node, as in TZ.
    :param collect_every: steps between two garbage collections.
    :param fresh: packages whose modules a node imports anew each time it boots.
    :param writable: folders under which real files may be written.
    :param trace: whether each step is kept for comparison and for the trace file.
    :param network: latency, bandwidth and loss of links, and what the kernel would do.
    :raises UsageError: for a value outside its range.

    >>> WorldConfig(policy="fifo").step_ns
    1000
    """

    policy: Policy = "random"
    pct_depth: int = 3
    pct_steps: int = 1_000
    step_ns: int = 1_000
    stall_s: float = 600.0
    epoch_ns: int = _EPOCH_NS
    timezone: str = "UTC"
    collect_every: int = 50_000
    fresh: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()
    trace: bool = False
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        if self.policy not in ("random", "fifo", "pct"):
            raise UsageError(
                "a scheduling policy is random, fifo or pct", found=f"policy={self.policy!r}"
            )
        for name in ("pct_depth", "pct_steps", "step_ns", "stall_s", "collect_every"):
            if not getattr(self, name) > 0:
                raise UsageError(
                    f"{name} of the simulated world is above zero",
                    found=f"{name}={getattr(self, name)!r}",
                )

"""The simulated world: unmodified asyncio code on virtual time, under a seed.

A *world* holds *nodes*. Each node has its own clocks, entropy, environment and addresses, and
runs ordinary asyncio programs; a simulated network carries what they say. Everything that
chance decides is drawn from one seed and written to a *tape*, from which a run repeats exactly.
"""

from __future__ import annotations

from windtunnel.sim.clock import NodeClock
from windtunnel.sim.config import WorldConfig
from windtunnel.sim.errors import (
    BlockingCallError,
    DeadlockError,
    DivergedError,
    EscapeError,
    NodeCrashedError,
    SimulationError,
    StallError,
)
from windtunnel.sim.loop import SimLoop, new_loop, node_of
from windtunnel.sim.node import Node
from windtunnel.sim.tape import Tape
from windtunnel.sim.trace import Note, Trace
from windtunnel.sim.world import World

__all__ = [
    "BlockingCallError",
    "DeadlockError",
    "DivergedError",
    "EscapeError",
    "Node",
    "NodeClock",
    "NodeCrashedError",
    "Note",
    "SimLoop",
    "SimulationError",
    "StallError",
    "Tape",
    "Trace",
    "World",
    "WorldConfig",
    "new_loop",
    "node_of",
]

"""Whether this very moment belongs to a simulated world, and to which: three names, no imports.

Every replacement of a clock, a source of entropy or a socket call asks this module on each call,
so it holds plain globals and nothing else. The loop of the world sets them when it begins to run
and clears them when it ends; nobody else writes to them.

"Inside a simulated step" means ``world is not None and threading.get_ident() == thread``: another
thread of the process (pytest's own, a library's) keeps the real clock while a world runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.sim.world import World

world: World | None = None
"""The world whose loop is running now, or None."""

thread: int = 0
"""The identity (`threading.get_ident()`) of the thread that runs it."""

armed: World | None = None
"""The world of the simulated test that is going on: set-up, call and teardown, also outside the
loop. Only loop factories look at it."""

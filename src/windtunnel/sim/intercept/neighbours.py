"""Sources of entropy in other people's packages, taken over when they are there."""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.sim.world import World


class NumpyGenerator:
    """numpy's one legacy generator (``numpy.random.rand``): the world's own while it runs.

    ``numpy.random.default_rng()`` needs nothing: it seeds itself through `secrets`. The legacy
    generator is one C object a process, so its stream is the world's and not a node's. Changing
    it and changing it back costs some 20 microseconds a run of the loop, where numpy is imported.
    """

    def __init__(self) -> None:
        self._before: Any = None
        self._states: weakref.WeakKeyDictionary[World, Any] = weakref.WeakKeyDictionary()

    def put(self, world: World) -> None:
        """From now on it draws from the world's seed, or goes on where the world left it."""
        numpy_random: Any = sys.modules.get("numpy.random")
        if numpy_random is None or not hasattr(numpy_random, "set_state"):
            return
        self._before = numpy_random.get_state(legacy=False)
        state = self._states.get(world)
        if state is None:
            numpy_random.seed(world.stream("numpy.random").getrandbits(32))
        else:
            numpy_random.set_state(state)

    def take_out(self, world: World) -> None:
        """From now on it goes on where it was before the world ran."""
        if self._before is None:
            return
        numpy_random: Any = sys.modules["numpy.random"]
        self._states[world] = numpy_random.get_state(legacy=False)
        numpy_random.set_state(self._before)
        self._before = None

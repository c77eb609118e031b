"""Other people's packages that have clocks or entropy of their own, where they are there."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.intercept.pointers import Replacement
from windtunnel.sim.intercept.thunks import Thunk

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


class WallClockBesideTimeMachine:
    """`time.time` and `time.time_ns`, where time-machine is installed.

    When a travel begins, it keeps the C functions of these two and calls them with the module
    `time` as ``self``. A thunk can take that, a function of `pointers` cannot; so in a world the
    thunks, which are slower, are in place for as long as something travels.

    :param fast: replacements through pointers.
    :param slow: the same through thunks.
    """

    def __init__(self, fast: Sequence[Replacement], slow: Sequence[Thunk]) -> None:
        import _time_machine  # type: ignore[import-not-found,unused-ignore]

        self._fast = fast
        self._slow = slow
        self._travelling = False
        self._hooks = [
            Replacement(getattr(_time_machine, name), makes)
            for name, makes in (
                ("patch", self._begins),
                ("patch_if_needed", self._begins),
                ("unpatch", self._ends),
            )
            if hasattr(_time_machine, name)
        ]

    def put(self) -> None:
        """The world's clock from now on."""
        for change in (*(self._slow if self._travelling else self._fast), *self._hooks):
            change.put()

    def take_out(self) -> None:
        """What was there before, from now on."""
        for change in (*self._hooks, *(self._slow if self._travelling else self._fast)):
            change.take_out()

    def _begins(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def patch(_self: object = None) -> Any:
            if inside.world is not None and get_ident() == inside.thread and not self._travelling:
                self._travelling = True
                for fast in self._fast:
                    fast.take_out()
                for slow in self._slow:
                    slow.put()
            return real()

        return patch

    def _ends(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def unpatch(_self: object = None) -> Any:
            result = real()
            if inside.world is not None and self._travelling:
                self._travelling = False
                for slow in self._slow:
                    slow.take_out()
                for fast in self._fast:
                    fast.put()
            return result

        return unpatch

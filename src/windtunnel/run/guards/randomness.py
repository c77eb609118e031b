"""The guard of random state: a test that seeds the shared generator and leaves it so.

To draw random numbers changes the generator's state and harms nobody; to seed it makes what later
tests draw depend on which test ran before. So the guard does not compare states, it notes calls:
``seed`` with a value counts, a later ``setstate`` or ``seed()`` takes it back.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from windtunnel.run.guards.base import Change, show


class _Seeded(NamedTuple):
    generator: str
    with_what: str
    undo: Callable[[], object]


_State = dict[str, _Seeded]


class Randomness:
    """The generators of ``random`` and, once somebody has imported it, of ``numpy.random``."""

    def __init__(self) -> None:
        self._seeded: _State = {}
        self._watched: dict[str, list[Callable[[], None]]] = {}
        self._watch("random", random, ("getstate", "setstate"))

    def take(self) -> _State:
        if "numpy.random" in sys.modules and "numpy.random" not in self._watched:
            self._watch("numpy.random", sys.modules["numpy.random"], ("get_state", "set_state"))
        return self._seeded.copy() if self._seeded else self._seeded

    def same(self, before: _State) -> bool:
        return self._seeded == before

    def changes(self, before: _State) -> Iterator[Change]:
        for name, seeded in list(self._seeded.items()):
            if before.get(name) != seeded:
                detail = f"seeded with {seeded.with_what}: what later tests draw depends on it"
                yield Change(f"{name}.seed()", detail, seeded.undo)

    def rebased(self, base: _State, before: _State, after: _State) -> _State:
        changed = {name: each for name, each in after.items() if before.get(name) != each}
        return {**base, **changed}

    def close(self) -> None:
        """Stop watching."""
        for undo in [undo for undos in self._watched.values() for undo in undos]:
            undo()
        self._watched.clear()

    def _watch(self, name: str, module: Any, states: tuple[str, str]) -> None:
        get, restore = states
        seed, get_state, set_state = (getattr(module, n, None) for n in ("seed", get, restore))
        if seed is None or get_state is None or set_state is None:
            self._watched[name] = []
            return

        @functools.wraps(seed)
        def seed_and_note(*args: Any, **kwargs: Any) -> Any:
            value = args[0] if args else kwargs.get("a", kwargs.get("seed"))
            known = self._seeded.pop(name, None)
            if value is not None:
                undo = known.undo if known else functools.partial(set_state, get_state())
                self._seeded[name] = _Seeded(name, show(value), undo)
            return seed(*args, **kwargs)

        @functools.wraps(set_state)
        def set_state_and_note(*args: Any, **kwargs: Any) -> Any:
            self._seeded.pop(name, None)
            return set_state(*args, **kwargs)

        module.seed = seed_and_note
        setattr(module, restore, set_state_and_note)
        self._watched[name] = [
            functools.partial(_put_back, module, "seed", seed_and_note, seed),
            functools.partial(_put_back, module, restore, set_state_and_note, set_state),
        ]


def _put_back(module: Any, name: str, ours: object, original: object) -> None:
    if getattr(module, name) is ours:
        setattr(module, name, original)

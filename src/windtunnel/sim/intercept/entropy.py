"""Entropy inside a simulated step: every source draws from a stream of the node that asks.

Three places are enough for the standard library. What the operating system gives (`os.urandom`,
`os.getrandom`) carries `secrets`, `random.SystemRandom` and `uuid.uuid4`. The one generator behind
`random`'s functions lends itself the node's own while a world runs. And `random.Random.seed`
with nothing to seed from, which is what ``Random()`` calls, seeds from the node.

Two nodes draw from two streams, and a draw from one source does not move another.
"""

from __future__ import annotations

import os
import random
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from operator import index
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from windtunnel.sim import inside

if TYPE_CHECKING:
    from windtunnel.sim.world import World

Real = Callable[..., Any]
Makes = Callable[[Real], Real]
_Generator = random.Random


def _bytes_of(name: str) -> Makes:
    """For functions that take a number of bytes first, as `os.urandom`."""

    def makes(real: Real) -> Real:
        def some_bytes(count: Any, *rest: Any, **keywords: Any) -> Any:
            world = inside.world
            if world is None or get_ident() != inside.thread:
                return real(count, *rest, **keywords)
            if not hasattr(count, "__index__") or index(count) < 0:
                return real(count, *rest, **keywords)  # which raises
            return world.node.stream(name).randbytes(index(count))

        return some_bytes

    return makes


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Builtin functions that give entropy, and what makes their replacements."""
    yield os.urandom, _bytes_of("os.urandom")
    if hasattr(os, "getrandom"):
        yield os.getrandom, _bytes_of("os.urandom")
    ssl = sys.modules.get("ssl")
    for name in ("RAND_bytes", "RAND_pseudo_bytes"):
        if hasattr(ssl, name):
            yield getattr(ssl, name), _bytes_of("ssl.RAND_bytes")
    generate = getattr(uuid, "_generate_time_safe", None)
    if generate is not None:
        yield generate, _generate_time_safe
    yield random.random, _module_random
    yield random.getrandbits, _module_getrandbits


# The one generator behind the module's functions.


def _own(world: World) -> random.Random:
    return world.node.stream("random")


def _module_random(real: Real) -> Real:
    def module_random(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return world.node.stream("random").random()

    return module_random


def _module_getrandbits(real: Real) -> Real:
    def module_getrandbits(_self: object, count: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(count)
        return world.node.stream("random").getrandbits(count)

    return module_getrandbits


class _Shared(random.Random):
    """What the generator behind `random`'s functions is an instance of while a world runs.

    Its methods written in Python (``randint``, ``shuffle``, ``gauss`` ...) look up these on
    themselves, and so draw from the node.
    """

    def random(self) -> float:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return super().random()
        return _own(world).random()

    def getrandbits(self, k: int, /) -> int:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return super().getrandbits(k)
        return _own(world).getrandbits(k)

    @property
    def gauss_next(self) -> float | None:
        """The second number of a pair that gauss makes; it belongs to the node as well."""
        return self._holder().__dict__["gauss_next"]  # type: ignore[no-any-return]

    @gauss_next.setter
    def gauss_next(self, value: float | None) -> None:
        self._holder().__dict__["gauss_next"] = value

    def _holder(self) -> _Generator:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return self
        return _own(world)

    def __reduce__(self) -> Any:
        return random.Random, (), self.getstate()


# Looks like what it stands in for, also when something prints it.
_Shared.__name__ = _Shared.__qualname__ = "Random"
_Shared.__module__ = "random"

_the_generator: random.Random = random.random.__self__  # type: ignore[attr-defined]


class SharedGenerator:
    """Makes the one generator behind `random`'s functions draw from the node, and undoes it."""

    def __init__(self) -> None:
        self._before: type | None = None

    def put(self) -> None:
        """From now on it draws from the node whose step is running."""
        if type(_the_generator) is not _Shared:
            self._before = type(_the_generator)
            _the_generator.__class__ = _Shared

    def take_out(self) -> None:
        """From now on it is what it was."""
        if self._before is not None and type(_the_generator) is _Shared:
            _the_generator.__class__ = self._before


def _seed(real: Real) -> Real:
    def seed(self: Any, a: Any = None, version: int = 2) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(self, a, version)
        if self is _the_generator:
            own = _own(world)
            return real(
                own, world.node.stream("seed").getrandbits(256) if a is None else a, version
            )
        if a is None and not isinstance(self, random.SystemRandom):
            a = world.node.stream("seed").getrandbits(256)
        return real(self, a, version)

    return seed


def _getstate(real: Real) -> Real:
    def getstate(self: Any) -> Any:
        world = inside.world
        if world is None or self is not _the_generator or get_ident() != inside.thread:
            return real(self)
        return real(_own(world))

    return getstate


def _setstate(real: Real) -> Real:
    def setstate(self: Any, state: Any) -> Any:
        world = inside.world
        if world is None or self is not _the_generator or get_ident() != inside.thread:
            return real(self, state)
        return real(_own(world), state)

    return setstate


# UUIDs made from time and hardware.


def _hardware(world: World) -> int:
    """A node's 48-bit network address; the second-lowest bit of the first byte says: made up."""
    return world.node.index + 1 | 0x020000000000


def _getnode(real: Real) -> Real:
    def getnode() -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return _hardware(world)

    return getnode


# 100 ns steps from 1582-10-15, where UUIDs count from, to 1970 (RFC 9562, section 5.1).
_GREGORIAN = 0x01B21DD213814000


def _time_uuid(world: World, hardware: int | None, sequence: int | None) -> bytes:
    stream = world.node.stream("uuid1")
    ticks = world.node.clock.time_ns() // 100 + _GREGORIAN
    if sequence is None:
        sequence = stream.getrandbits(14)
    made = uuid.UUID(
        fields=(
            ticks & 0xFFFFFFFF,
            ticks >> 32 & 0xFFFF,
            ticks >> 48 & 0x0FFF,
            sequence >> 8 & 0x3F,
            sequence & 0xFF,
            _hardware(world) if hardware is None else hardware,
        ),
        version=1,
    )
    return made.bytes


def _generate_time_safe(real: Real) -> Real:
    def generate_time_safe(_self: object = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        return _time_uuid(world, None, None), None

    return generate_time_safe


def _uuid1(real: Real) -> Real:
    # Not by way of its own code: that remembers the last timestamp of the whole process.
    def uuid1(node: Any = None, clock_seq: Any = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(node, clock_seq)
        return uuid.UUID(bytes=_time_uuid(world, node, clock_seq))

    return uuid1


def _uuid7(real: Real) -> Real:
    def uuid7() -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real()
        millis = world.node.clock.time_ns() // 1_000_000
        low = world.node.stream("uuid7").getrandbits(74)
        number = millis << 80 | 0x7 << 76 | low >> 62 << 64 | 0b10 << 62 | low & (1 << 62) - 1
        return uuid.UUID(int=number)

    return uuid7


def code_replacements() -> Iterator[tuple[types.FunctionType, Makes]]:
    """Python functions that give entropy, and what makes their replacements."""
    yield cast("types.FunctionType", random.Random.seed), _seed
    yield cast("types.FunctionType", random.Random.getstate), _getstate
    yield cast("types.FunctionType", random.Random.setstate), _setstate
    yield cast("types.FunctionType", uuid.getnode), _getnode
    yield cast("types.FunctionType", uuid.uuid1), _uuid1
    if hasattr(uuid, "uuid7"):  # from 3.14 on
        yield cast("types.FunctionType", getattr(uuid, "uuid7")), _uuid7  # noqa: B009

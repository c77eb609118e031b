"""Entropy inside a simulated step comes from the world's seed, per node and per source."""

from __future__ import annotations

import os
import random
import secrets
import ssl
import sys
import tempfile
import uuid
from random import getrandbits, randint, shuffle
from random import random as bound_random
from typing import Any

import numpy
import pytest
import worlds

from windtunnel.sim import World


class Dice(random.Random):
    pass


def shuffled() -> list[int]:
    cards = list(range(20))
    shuffle(cards)
    return cards


def hundred_gaussians() -> list[float]:
    return [random.gauss(0, 1) for _ in range(3)]


SOURCES = {
    "random": lambda: bound_random(),
    "randint": lambda: randint(1, 10**12),
    "getrandbits": lambda: getrandbits(100),
    "choice": lambda: random.choice(range(10**9)),
    "shuffle": shuffled,
    "sample": lambda: random.sample(range(10**6), 5),
    "uniform": lambda: random.uniform(0, 1),
    "gauss": hundred_gaussians,
    "randbytes": lambda: random.randbytes(8),
    "Random": lambda: random.Random().random(),
    "Random(None)": lambda: random.Random(None).random(),
    "a subclass": lambda: Dice().random(),
    "SystemRandom": lambda: random.SystemRandom().random(),
    "SystemRandom bits": lambda: random.SystemRandom().getrandbits(70),
    "secrets": lambda: secrets.token_hex(8),
    "secrets.randbelow": lambda: secrets.randbelow(10**12),
    "os.urandom": lambda: os.urandom(8),
    "ssl": lambda: ssl.RAND_bytes(8),
    "uuid1": lambda: uuid.uuid1(),
    "uuid4": lambda: uuid.uuid4(),
    "tempfile": lambda: tempfile.mktemp(),
}
if hasattr(os, "getrandom"):
    SOURCES["os.getrandom"] = lambda: os.getrandom(8)
if hasattr(uuid, "uuid7"):
    SOURCES["uuid7"] = lambda: uuid.uuid7()


def drawn(ask: Any, seed: int) -> Any:
    async def main(world: World) -> Any:
        async def there() -> Any:
            return ask()

        return [ask(), ask(), await world.add_node("other").run(there())]

    return worlds.run(main, seed=seed)


@pytest.mark.parametrize("ask", SOURCES.values(), ids=SOURCES)
def test_the_seed_decides_and_seeds_and_nodes_differ(ask: Any) -> None:
    first, second, elsewhere = drawn(ask, 1)
    assert drawn(ask, 1) == [first, second, elsewhere]
    assert first != second
    assert elsewhere not in (first, second)
    if ask is not SOURCES["uuid1"]:  # of which the time is a part, and that is the same
        assert drawn(ask, 2)[0] != first


@pytest.mark.parametrize("ask", SOURCES.values(), ids=SOURCES)
def test_outside_the_world_entropy_is_real(ask: Any) -> None:
    drawn(ask, 1)
    assert ask() != ask()
    assert ask() not in drawn(ask, 1)


def test_a_draw_from_one_source_does_not_move_another() -> None:
    def plain() -> bytes:
        return os.urandom(8)

    def disturbed() -> bytes:
        random.random()
        uuid.uuid1()
        random.Random()
        return os.urandom(8)

    assert drawn(plain, 1)[0] == drawn(disturbed, 1)[0]


def test_a_seeded_generator_is_what_it_is_everywhere() -> None:
    def ask() -> tuple[float, int]:
        return random.Random(5).random(), random.Random("x").randint(1, 100)

    assert drawn(ask, 1)[0] == ask()


def test_seeding_the_modules_generator_in_a_step_seeds_that_node_only() -> None:
    def ask() -> tuple[float, float, float]:
        random.seed(7)
        state = random.getstate()
        first = random.random()
        random.setstate(state)
        return first, random.random(), hundred_gaussians()[0]

    here = random.getstate()
    first, second, elsewhere = drawn(ask, 1)
    assert random.getstate() == here
    expected = random.Random(7).random()
    assert first[:2] == second[:2] == elsewhere[:2] == (expected, expected)


def test_random_seed_without_a_seed_takes_the_worlds() -> None:
    def ask() -> float:
        random.seed()
        return random.random()

    assert drawn(ask, 1) == drawn(ask, 1)
    assert drawn(ask, 1) != drawn(ask, 2)


def test_the_second_gaussian_of_a_pair_made_outside_does_not_reach_the_world() -> None:
    expected = drawn(hundred_gaussians, 1)
    random.gauss(0, 1)  # leaves the other of the pair
    assert drawn(hundred_gaussians, 1) == expected


def test_the_modules_generator_is_an_ordinary_one_outside() -> None:
    drawn(random.random, 1)
    generator = random.random.__self__  # type: ignore[attr-defined]
    assert type(generator) is random.Random
    random.seed(3)
    assert random.random() == random.Random(3).random()
    random.seed()


def test_uuids_are_valid_and_tell_the_nodes_time() -> None:
    def ask() -> tuple[uuid.UUID, uuid.UUID]:
        return uuid.uuid1(), uuid.uuid4()

    (first, fourth), _, (elsewhere, _) = drawn(ask, 1)
    assert (first.version, fourth.version) == (1, 4)
    assert first.variant == fourth.variant == uuid.RFC_4122
    since_1582 = (first.time - 0x01B21DD213814000) / 1e7
    assert since_1582 == pytest.approx(1_704_067_200, abs=1)
    assert first.node != elsewhere.node


@pytest.mark.parametrize("wrong", [lambda: os.urandom(-1), lambda: os.urandom("x"), random.choice])
def test_a_wrong_call_raises_in_a_step_as_outside(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError)) as outside:
        wrong()

    async def main(_world: World) -> None:
        with pytest.raises(type(outside.value)) as caught:
            wrong()
        assert str(caught.value) == str(outside.value)

    worlds.run(main)


def test_numpy_draws_from_the_world_and_gets_its_state_back() -> None:
    numpy.random.seed(1)
    expected = numpy.random.RandomState(1).rand(2)

    def ask() -> list[float]:
        return [numpy.random.rand(), numpy.random.default_rng().random()]

    outside = [numpy.random.rand()]
    assert drawn(ask, 1) == drawn(ask, 1)
    assert drawn(ask, 1) != drawn(ask, 2)
    outside.append(numpy.random.rand())
    assert outside == list(expected)


def test_process_facts_are_the_nodes() -> None:
    def ask() -> tuple[Any, ...]:
        import platform

        return os.getpid(), os.uname().nodename, platform.node(), os.times().elapsed

    here, _, there = drawn(ask, 1)
    assert here[0] != there[0]
    assert here[1] == here[2]
    assert there[1] == there[2] == "other"
    assert 1000 <= here[3] < 1001
    assert ask()[:2] == (os.getpid(), os.uname().nodename)
    assert sys.platform != "linux" or os.getpid() == int(os.readlink("/proc/self"))

"""Sets that are walked by address, found where a task can reach them."""

from __future__ import annotations

import asyncio

from windtunnel.core import Seed
from windtunnel.explore.suspects import suspects
from windtunnel.sim import World, new_loop


class Peer:
    """Hashed by its address."""


class Named(str):
    """Hashed by its letters."""


class Holder:
    def __init__(self) -> None:
        self.peers = {Peer(), Peer()}


def found_in(body: object) -> list[str]:
    world = World(Seed(1))
    found: list[str] = []

    async def main() -> None:
        task = asyncio.ensure_future(body())  # type: ignore[operator]
        await asyncio.sleep(1)
        found.extend(map(str, suspects(world)))
        task.cancel()

    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    return found


def test_a_set_of_objects_without_a_hash_of_their_own_is_named_where_it_is() -> None:
    async def body() -> None:
        peers = {Peer(), Peer(), Peer()}
        await asyncio.sleep(60)
        peers.clear()

    (line,) = found_in(body)
    assert "the set `peers`" in line
    assert "3 Peer" in line
    assert "test_suspects.py" in line


def test_a_set_in_an_attribute_is_found_too() -> None:
    async def body() -> None:
        holder = Holder()
        await asyncio.sleep(60)
        holder.peers.clear()

    (line,) = found_in(body)
    assert "the set `holder.peers`" in line


def test_a_set_that_has_an_order_of_its_own_is_not_suspected() -> None:
    async def body() -> None:
        names = {Named("a"), Named("b")}
        alone = {Peer()}
        await asyncio.sleep(60)
        names.clear()
        alone.clear()

    assert found_in(body) == []

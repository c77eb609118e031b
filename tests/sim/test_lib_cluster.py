"""A cluster of websocket servers with aiohttp endpoints: faults, crashes, one outcome a seed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import gossip_cluster
from library_worlds import run, under_seeds

import windtunnel as wt
from windtunnel.sim import World

NAMES = ("a", "b", "c")
_TIMEOUT = aiohttp.ClientTimeout(total=3)


def start(world: World) -> dict[str, gossip_cluster.Store]:
    stores: dict[str, gossip_cluster.Store] = {}
    for name in NAMES:
        peers = [other for other in NAMES if other > name]
        world.start(name, gossip_cluster.member, name, peers, stores)
    return stores


async def put(session: aiohttp.ClientSession, name: str, key: str, value: str) -> Any:
    async with session.put(f"http://{name}:8080/keys/{key}", data=value) as response:
        return await response.json()


async def get(session: aiohttp.ClientSession, name: str, path: str) -> Any:
    async with session.get(f"http://{name}:8080{path}") as response:
        return await response.json()


async def converged(session: aiohttp.ClientSession, keys: list[str]) -> list[Any]:
    """What each key is everywhere, once it is the same everywhere."""
    found = []
    async with asyncio.timeout(60):
        for key in keys:
            while True:
                seen = [await get(session, name, f"/keys/{key}") for name in NAMES]
                if seen[0] == seen[1] == seen[2]:
                    found.append(seen[0]["value"])
                    break
                await asyncio.sleep(0.5)
    return found


def test_writes_reach_all_members() -> None:
    async def main(world: World) -> list[Any]:
        start(world)
        await asyncio.sleep(3)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            written = [await put(session, NAMES[n % 3], f"k{n}", str(n)) for n in range(9)]
            await asyncio.sleep(3)
            values = await converged(session, [f"k{n}" for n in range(9)])
            members = [await get(session, name, "/members") for name in NAMES]
        assert all(1704067203 < entry["stamp"]["at"] < 1704067210 for entry in written)
        return [values, members, [entry["id"] for entry in written]]

    runs = under_seeds(main)
    for each in runs:
        assert each.result[0] == [str(n) for n in range(9)]
        assert each.result[1] == [list(NAMES)] * 3
    assert len({each.result[2][0] for each in runs}) == len(runs)


async def troubled(world: World) -> list[Any]:
    """A minute of writes under partitions, crashes and slow links."""
    start(world)
    await asyncio.sleep(3)
    lost = 0
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        for turn in range(6):
            name = random.choice(NAMES)
            match turn % 3:
                case 0:
                    world.partition(name)
                case 1:
                    world.heal()
                    world.nodes[name].crash()
                    await asyncio.sleep(random.uniform(0, 3))
                    world.nodes[name].restart()
                case _:
                    world.slow("a", "b", latency_s=0.3, jitter_s=0.2)
            try:
                await put(session, random.choice(NAMES), f"k{turn}", str(turn))
            except (TimeoutError, aiohttp.ClientError):
                lost += 1
            await asyncio.sleep(random.uniform(1, 5))
        world.heal()
        await asyncio.sleep(20)
        await put(session, "a", "last", "word")
        await asyncio.sleep(5)
        return [await converged(session, ["last"]), lost]


def test_the_cluster_outlives_partitions_crashes_and_restarts() -> None:
    for each in under_seeds(troubled, seeds=(1, 2, 3, 4)):
        assert each.result[0] == ["word"]


def test_another_process_with_another_hash_seed_does_the_same() -> None:
    code = "import library_worlds as w, test_lib_cluster as t; print(w.run(t.troubled, 7).digest())"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert seen == {run(troubled, 7).digest() + "\n"}


def test_every_default_that_is_a_clock_is_the_worlds() -> None:
    async def main(world: World) -> list[float]:
        stores = start(world)
        await asyncio.sleep(120)
        made = [event() for event in gossip_cluster.EVENTS]
        assert {event.at for event in made} == {1704067320.0 + made[0].at % 1}
        stamp = gossip_cluster.Stamp()
        await asyncio.sleep(10)
        assert 10 <= gossip_cluster.age(stamp) < 10.1
        times = [event.at for store in stores.values() for event in store.events]
        assert len(times) > 300
        assert all(1704067200 < at < 1704067331 for at in times)
        member = gossip_cluster.Member("a")
        assert member.since.isoformat().startswith("2024-01-01T00:02:1")
        world.nodes["a"].clock.jump(3600)
        later = await world.nodes["a"].run(_stamp())
        assert 3600 < later - stamp.at < 3620
        return times

    under_seeds(main, seeds=(1, 2))


async def _stamp() -> float:
    return gossip_cluster.Stamp().at


@wt.simulated(seeds=5)
async def test_a_partitioned_member_serves_and_catches_up(world: World) -> None:
    start(world)
    await asyncio.sleep(3)
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
        world.partition("c", ["a", "b"])
        await put(session, "a", "color", "red")
        await asyncio.sleep(2)
        await put(session, "c", "color", "blue")
        await asyncio.sleep(10)
        assert (await get(session, "b", "/keys/color"))["value"] == "red"
        assert await get(session, "c", "/members") == ["c"]
        world.heal()
        await asyncio.sleep(20)
        assert await converged(session, ["color"]) == ["blue"]


def test_a_hundred_virtual_seconds_take_few_steps() -> None:
    """An idle cluster costs what its gossip costs: nothing polls."""

    async def main(world: World) -> int:
        start(world)
        await asyncio.sleep(100)
        return world.scheduler.steps

    assert run(main, 1).result < 30_000

"""What whole systems cost in the simulated world: a gossip cluster, idle nodes, libraries.

    python benchmarks/sim_libraries.py [--quick]

``cluster``: three nodes, each a websockets server, an aiohttp server and two gossiping peers
(tests/sim/gossip_cluster.py), 300 virtual seconds with a write a second; virtual seconds per wall
second, imports aside. ``idle nodes``: what a process grows by, in MB resident, for
1,000 nodes of which each has begun to serve TCP and waits. ``websockets``, ``aiohttp``, ``redis``:
round trips per second of CPU, both sides in one process, beside stock asyncio over loopback.
Each measurement is a process of its own; rounds are interleaved; ratios are medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent / "tests" / "sim"
NODES = 1_000
VIRTUAL_S = 300
LIBRARIES = {"websockets": 1.0, "aiohttp": 0.0, "redis": 0.0}
"""Library to the promised share of stock asyncio's rate; 0: only shown."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 9")
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "WHAT"))
    given = parser.parse_args()
    if given.one:
        print(one(*given.one))
        return 0
    rounds = 3 if given.quick else 9
    kept = show("cluster, virtual s per wall s", figures("cluster", rounds), least=100)
    kept &= show(f"{NODES} idle nodes, MB", figures("idle", rounds), most=200)
    for library, promise in LIBRARIES.items():
        kept &= compare(library, promise, rounds)
    return 0 if kept else 1


def figures(what: str, rounds: int) -> list[float]:
    return [measured("windtunnel", what) for _ in range(rounds)]


def measured(engine: str, what: str) -> float:
    command = [sys.executable, __file__, "--one", engine, what]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def show(name: str, seen: list[float], *, least: float = 0, most: float = float("inf")) -> bool:
    middle = statistics.median(seen)
    kept = least <= middle <= most
    promise = f"at least {least:g}" if least else f"at most {most:g}"
    print(
        f"{name:<32}{middle:>10.1f}  ({min(seen):.1f} to {max(seen):.1f}, {len(seen)} rounds)"
        f"  promised {promise}: {'kept' if kept else 'broken'}"
    )
    return kept


def compare(library: str, promise: float, rounds: int) -> bool:
    ours, ratios = [], []
    for _ in range(rounds):
        stock = measured("asyncio", library)
        ours.append(measured("windtunnel", library))
        ratios.append(ours[-1] / stock)
    ratio = statistics.median(ratios)
    words = f"  promised {promise:g}: {'kept' if ratio >= promise else 'broken'}" if promise else ""
    print(
        f"{library + ' round trips a CPU second':<32}{statistics.median(ours):>10.0f}"
        f"  {ratio:.2f} of asyncio ({min(ratios):.2f} to {max(ratios):.2f}){words}"
    )
    return ratio >= promise


# One measurement, in a process of its own.


def one(engine: str, what: str) -> float:
    sys.path.insert(0, str(TESTS))
    if what == "cluster":
        return cluster()
    if what == "idle":
        return idle()
    trips, talk = {"websockets": websockets, "aiohttp": aiohttp, "redis": redis}[what]()
    if engine == "asyncio":
        return trips / asyncio.run(talk(None))
    return trips / in_world(talk)


def in_world(body: Callable[[Any], Awaitable[float]], seed: int = 1) -> Any:
    from windtunnel import sim
    from windtunnel.core import Seed

    sim.intercept.install()
    world = sim.World(Seed(seed), sim.WorldConfig())
    with world.armed(), asyncio.Runner(loop_factory=sim.new_loop) as runner:
        return runner.run(body(world))


def cpu_s() -> float:
    """Seconds of processor time of this process; not a call that a world answers."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def cluster() -> float:
    import aiohttp
    import gossip_cluster

    names = ("a", "b", "c")

    async def body(world: Any) -> float:
        for name in names:
            peers = [other for other in names if other > name]
            world.start(name, gossip_cluster.member, name, peers)
        await asyncio.sleep(5)
        async with aiohttp.ClientSession() as session:
            for turn in range(VIRTUAL_S):
                url = f"http://{names[turn % 3]}:8080/keys/k{turn % 20}"
                async with session.put(url, data=str(turn)) as response:
                    await response.read()
                await asyncio.sleep(1)
        return VIRTUAL_S

    in_world(body, seed=2)  # imports, and what libraries make once
    began = time.perf_counter()
    return float(in_world(body)) / (time.perf_counter() - began)


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def idle() -> float:
    async def program() -> None:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(talk, "0.0.0.0", 7000)
        await server.serve_forever()

    async def body(world: Any) -> float:
        world.start("first", program)
        await asyncio.sleep(1)
        before = resident_mb()
        for number in range(NODES):
            world.start(f"node{number}", program)
        await asyncio.sleep(60)
        return resident_mb() - before

    return float(in_world(body))


def websockets() -> tuple[int, Callable[[Any], Awaitable[float]]]:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(message)

    async def server() -> None:
        async with serve(echo, "0.0.0.0", 18765, compression=None) as serving:
            await serving.serve_forever()

    async def talk(world: Any) -> float:
        host = await started(world, server)
        async with connect(f"ws://{host}:18765", compression=None) as connection:
            began = cpu_s()
            for _ in range(10_000):
                await connection.send("x" * 64)
                await connection.recv()
            return cpu_s() - began

    return 10_000, talk


def aiohttp() -> tuple[int, Callable[[Any], Awaitable[float]]]:
    import aiohttp as library
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(text="x" * 64)

    async def server() -> None:
        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, port=18080).start()
        await asyncio.Event().wait()

    async def talk(world: Any) -> float:
        host = await started(world, server)
        async with library.ClientSession(f"http://{host}:18080") as session:
            began = cpu_s()
            for _ in range(2_000):
                async with session.get("/") as response:
                    await response.read()
            return cpu_s() - began

    return 2_000, talk


def redis() -> tuple[int, Callable[[Any], Awaitable[float]]]:
    import redis.asyncio as library
    from test_lib_redis import Store

    async def talk(world: Any) -> float:
        host = await started(world, Store().serve)
        client = library.Redis(host=host, protocol=2)
        await client.set("a", "x" * 64)
        began = cpu_s()
        for _ in range(5_000):
            await client.get("a")
        spent = cpu_s() - began
        await client.aclose()
        return spent

    return 5_000, talk


async def started(world: Any, server: Callable[[], Any]) -> str:
    """Run a server, on a node of its own where there are nodes; the host to connect to."""
    if world is not None:
        world.start("server", server)
    else:
        task = asyncio.create_task(server())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.sleep(0.2)
    return "server" if world is not None else "127.0.0.1"


if __name__ == "__main__":
    sys.exit(main())

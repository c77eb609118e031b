"""Round trips per second of CPU: the simulated network, stock asyncio's loopback and the peers.

    python benchmarks/sim_echo.py [--quick]

``echo``: lines of 64 bytes over one and over 100 connections, client and server in one process,
asyncio streams at both ends. ``websockets``: messages of 64 bytes, that library's client and
server. Each measurement is a process of its own; rounds are interleaved; a ratio is the median
of the rounds' ratios. Ours picks tasks at random, writes each pick to the tape, keeps every
message for the story, and draws each message's latency from a distribution, also on the tape;
peers draw it too. seedloop has no streams; its figure is for messages of its own transport.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import sim_peers

LINE = b"x" * 63 + b"\n"
TRIPS = 20_000
SCENARIOS = {"echo 1": 1, "echo 100": 100, "websockets 1": 1}
OURS = "windtunnel"
PEERS = ("simloop", "simloom", "seedloop")
# Of the peers, those that carry asyncio's streams.
STREAMS = PEERS[:2]
OF_STOCK = {"echo 1": 1.5, "echo 100": 1.5, "websockets 1": 1.0}
OF_PEERS = {"echo 1": 3.0, "echo 100": 3.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 9")
    parser.add_argument("--one", nargs=2, metavar=("ENGINE", "SCENARIO"))
    given = parser.parse_args()
    if given.one:
        print(one(*given.one))
        return 0
    python = str(sim_peers.python() or sys.executable)
    kept = True
    print(f"{'':<14}{'engine':>12}{'trips/s':>10}{'of asyncio':>12}{'range':>14}")
    for scenario in SCENARIOS:
        kept &= show(scenario, measure(python, scenario, 3 if given.quick else 9))
    return 0 if kept else 1


def measure(python: str, scenario: str, rounds: int) -> dict[str, list[float]]:
    """Round trips a second of each engine, one figure a round; 0 for one that failed."""
    figures: dict[str, list[float]] = {engine: [] for engine in ("asyncio", OURS, *PEERS)}
    for _ in range(rounds):
        for engine, rates in figures.items():
            command = [python, __file__, "--one", engine, scenario]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            except subprocess.TimeoutExpired:
                rates.append(0.0)
                continue
            rates.append(float(done.stdout) if done.returncode == 0 else 0.0)
    return figures


def show(scenario: str, figures: dict[str, list[float]]) -> bool:
    """Print the rows of one scenario; whether the promises are kept."""
    kept = True
    for engine, rates in figures.items():
        if not all(rates):
            print(f"{scenario:<14}{engine:>12}{'cannot':>10}")
            kept &= engine not in ("asyncio", OURS)
            continue
        ratios = [rate / stock for rate, stock in zip(rates, figures["asyncio"], strict=True)]
        words = ""
        if engine == OURS:
            ok, words = promises(scenario, figures, ratios)
            kept &= ok
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        middle = statistics.median(ratios)
        rate = statistics.median(rates)
        print(f"{scenario:<14}{engine:>12}{rate:>10.0f}{middle:>12.2f}{spread:>14}{words}")
    return kept


def promises(
    scenario: str, figures: dict[str, list[float]], ratios: list[float]
) -> tuple[bool, str]:
    """Whether ours keeps its promises in a scenario, and that in words."""
    stock = statistics.median(ratios)
    ok = stock >= OF_STOCK[scenario]
    words = f"  promised {OF_STOCK[scenario]} of asyncio"
    able = [figures[peer] for peer in STREAMS if all(figures[peer])]
    if scenario in OF_PEERS and able:
        best = max(able, key=statistics.median)
        over = statistics.median(
            mine / theirs for mine, theirs in zip(figures[OURS], best, strict=True)
        )
        ok &= over >= OF_PEERS[scenario]
        words += f", {OF_PEERS[scenario]} of the best with streams: {over:.1f}"
    return ok, f"{words}: {'kept' if ok else 'broken'}"


# One measurement, in a process of its own.


def one(engine: str, scenario: str) -> float:
    """Round trips a second of CPU."""
    body = websockets_trips if scenario.startswith("websockets") else echo_trips
    rates: list[float] = []
    if engine == "seedloop":
        if body is websockets_trips:
            raise SystemExit("seedloop has no streams")
        return seedloop_messages(SCENARIOS[scenario])
    # Two of the peers do not hand out ports.
    port = 9000 if engine in PEERS else 0

    async def run() -> None:
        rates.append(await body(SCENARIOS[scenario], port))

    run_in(engine, run)
    return rates[0]


def run_in(engine: str, body: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``body()`` as a test of that engine would be."""
    if engine == "asyncio":
        asyncio.run(body())
    elif engine == "simloop":
        import simloop

        loop = simloop.SimLoop(1)
        loop.net.set_defaults(latency=(0.0005, 0.002))
        loop.run_until_complete(loop.net.host("127.0.0.1").create_task(body()))
    elif engine == "simloom":
        import simloom

        simloom.run(body, seed=1)
    else:
        from windtunnel import sim
        from windtunnel.core import Seed
        from windtunnel.sim.net.links import LinkConfig, Lognormal, NetworkConfig

        drawn = LinkConfig(latency=Lognormal(0.001, 0.5))
        world = sim.World(Seed(1), sim.WorldConfig(network=NetworkConfig(loopback=drawn)))
        with world.armed(), asyncio.Runner(loop_factory=sim.new_loop) as runner:
            runner.run(body())


def cpu() -> float:
    """Seconds of CPU: by a call that no simulated world takes over."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def timed(trips: int, clients: list[Coroutine[Any, Any, None]]) -> float:
    began = cpu()
    await asyncio.gather(*clients)
    return trips / (cpu() - began)


async def echo_trips(connections: int, port: int) -> float:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async def client(trips: int) -> None:
        reader, writer = opened.pop()
        for _ in range(trips):
            writer.write(LINE)
            await reader.readline()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", port)
    port = port or server.sockets[0].getsockname()[1]
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(connections)]
    each = TRIPS // connections
    rate = await timed(TRIPS, [client(each) for _ in range(connections)])
    await asyncio.sleep(0.2)  # let the handlers end by themselves
    server.close()
    return rate


def seedloop_messages(pairs: int) -> float:
    """Round trips of 64-byte messages over that library's own transport."""
    import seedloop

    rates: list[float] = []

    async def scenario(world: seedloop.World) -> None:
        async def answer(endpoint: Any) -> None:
            while True:
                sender, message = await endpoint.recv()
                await endpoint.send(sender, message)

        async def ask(endpoint: Any, peer: str) -> None:
            for _ in range(TRIPS // pairs):
                await endpoint.send(peer, LINE)
                await endpoint.recv()

        servers = [world.net.bind(f"s{n}") for n in range(pairs)]
        answering = [asyncio.ensure_future(answer(server)) for server in servers]
        clients = [world.net.bind(f"c{n}") for n in range(pairs)]
        rates.append(await timed(TRIPS, [ask(c, f"s{n}") for n, c in enumerate(clients)]))
        for task in answering:
            task.cancel()

    seedloop.replay(scenario, seed=1)
    return rates[0]


async def websockets_trips(connections: int, port: int) -> float:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def handle(socket) -> None:
        async for message in socket:
            await socket.send(message)

    trips = TRIPS // 4
    async with serve(handle, "127.0.0.1", port) as server:
        port = port or next(iter(server.sockets)).getsockname()[1]
        async with connect(f"ws://127.0.0.1:{port}") as socket:

            async def client() -> None:
                for _ in range(trips):
                    await socket.send("x" * 64)
                    await socket.recv()

            return await timed(trips, [client()])


if __name__ == "__main__":
    sys.exit(main())

"""Running the body of a network test in a simulated world of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from windtunnel.core.seed import Seed
from windtunnel.sim import World, WorldConfig, new_loop
from windtunnel.sim.net.links import Fixed, LinkConfig, NetworkConfig

MS = LinkConfig(latency=Fixed(0.001))


def network(**settings: Any) -> NetworkConfig:
    """A network whose links take a millisecond, unless told otherwise."""
    settings.setdefault("between", MS)
    return NetworkConfig(**settings)


def simulate(
    body: Callable[[World], Coroutine[Any, Any, Any]],
    *,
    seed: int = 1,
    nodes: str = "abc",
    net: NetworkConfig | None = None,
    **config: Any,
) -> tuple[Any, World]:
    """What ``body(world)`` returns, run with these nodes, and the world it ran in."""
    world = World(Seed(seed), WorldConfig(network=net or network(), **config))
    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        for name in nodes:
            world.add_node(name)
        return runner.run(body(world)), world


def simulated(**how: Any) -> Callable[[Any], Callable[[], None]]:
    """Make a sync test of an async one that takes the world."""

    def decorate(body: Any) -> Callable[[], None]:
        def test() -> None:
            simulate(body, **how)

        test.__name__, test.__doc__, test.__module__ = body.__name__, body.__doc__, body.__module__
        return test

    return decorate


async def echo_server(host: str = "0.0.0.0", port: int = 7000, **how: Any) -> asyncio.Server:
    """A server that sends each line back."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    return await asyncio.start_server(handle, host, port, **how)


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes) -> bytes:
    """Send a line and read one."""
    writer.write(line + b"\n")
    return (await reader.readline()).rstrip(b"\n")


class Recorder(asyncio.Protocol):
    """A protocol that keeps what happens to it."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.received = b""
        self.transport: Any = None
        self.lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.keep_open = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.received += data
        self.events.append(("data", len(data)))

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.events.append(("lost", type(exc).__name__ if exc else None))
        if not self.lost.done():
            self.lost.set_result(exc)


async def connected(
    world: World, *, server: str = "a", client: str = "b", port: int = 7000
) -> tuple[Recorder, Recorder]:
    """Two recorders, one at each end of a connection between two nodes: client and server."""
    loop = asyncio.get_running_loop()
    accepted: list[Recorder] = []

    def factory() -> Recorder:
        accepted.append(Recorder())
        return accepted[-1]

    await world.nodes[server].run(loop.create_server(factory, "0.0.0.0", port))
    _, ours = await world.nodes[client].run(loop.create_connection(Recorder, server, port))
    while not (accepted and accepted[0].transport):
        await asyncio.sleep(0.001)
    return ours, accepted[0]

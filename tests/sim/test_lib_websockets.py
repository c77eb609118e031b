"""websockets, unmodified, in the simulated world."""

from __future__ import annotations

import asyncio

import pytest
from library_worlds import under_seeds
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from windtunnel.sim import World


async def shout(connection: ServerConnection) -> None:
    """Answers each message in capitals."""
    async for message in connection:
        await connection.send(message.upper())


async def server() -> None:
    async with serve(shout, "0.0.0.0", 8765) as serving:
        await serving.serve_forever()


def test_messages_go_both_ways_with_compression_and_without() -> None:
    async def main(world: World) -> list[object]:
        world.start("server", server)
        await asyncio.sleep(0.1)
        answers: list[object] = []
        for compression in ("deflate", None):
            async with connect("ws://server:8765", compression=compression) as connection:
                for message in ("hello", "x" * 70_000, b"bytes"):
                    await connection.send(message)
                    answers.append(await connection.recv())
                await (await connection.ping())
            with pytest.raises(ConnectionClosedOK):
                await connection.recv()
        return answers

    for each in under_seeds(main):
        assert each.result == ["HELLO", "X" * 70_000, b"BYTES"] * 2


def test_a_hundred_clients_hear_one_broadcast() -> None:
    async def main(world: World) -> set[str]:
        joined: list[ServerConnection] = []

        async def join(connection: ServerConnection) -> None:
            joined.append(connection)
            await connection.wait_closed()

        async def hub() -> None:
            async with serve(join, "0.0.0.0", 8765):
                while len(joined) < 100:
                    await asyncio.sleep(0.01)
                await asyncio.gather(*(each.send("now") for each in joined))
                await asyncio.Future()

        async def listener() -> str:
            async with connect("ws://hub:8765") as connection:
                return await connection.recv()

        world.start("hub", hub)
        nodes = [world.add_node(f"client{number}") for number in range(100)]
        await asyncio.sleep(0.1)
        return set(await asyncio.gather(*(node.run(listener()) for node in nodes)))

    for each in under_seeds(main, seeds=(1, 2)):
        assert each.result == {"now"}


def test_a_partition_is_noticed_by_keepalive() -> None:
    async def main(world: World) -> tuple[int, float]:
        world.start("server", server)
        await asyncio.sleep(0.1)
        async with connect("ws://server:8765", ping_interval=5, ping_timeout=5) as connection:
            await connection.send("a")
            await connection.recv()
            began = asyncio.get_running_loop().time()
            world.partition("test", "server")
            with pytest.raises(ConnectionClosedError) as caught:
                await connection.recv()
            took = asyncio.get_running_loop().time() - began
        assert caught.value.sent is not None
        return caught.value.sent.code, took

    for each in under_seeds(main):
        code, took = each.result
        assert code == 1011
        assert 5 < took < 25


def test_a_client_reconnects_to_a_server_that_crashed_and_restarted() -> None:
    async def main(world: World) -> list[str]:
        node = world.start("server", server)
        heard = []

        async def client() -> None:
            async for connection in connect("ws://server:8765", ping_interval=1, ping_timeout=1):
                try:
                    await connection.send(f"hello {len(heard)}")
                    heard.append(await connection.recv())
                    await connection.recv()
                except ConnectionClosedError:
                    continue

        task = asyncio.create_task(client())
        await asyncio.sleep(5)
        node.crash()
        await asyncio.sleep(5)
        node.restart()
        await asyncio.sleep(120)
        task.cancel()
        return heard

    for each in under_seeds(main):
        assert each.result == ["HELLO 0", "HELLO 1"]

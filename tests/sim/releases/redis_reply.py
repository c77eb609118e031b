"""Is the reply to a command the reply to that command, when the one before was cancelled?

redis-py before 4.5.5 leaves the unread reply in the connection (CVE-2023-28858, -28859).
"""

import asyncio
import random

import redis.asyncio as redis

import windtunnel as wt

STORE = {b"foo": b"foo", b"bar": b"bar"}


async def serve() -> None:
    """As much of a Redis server as GET and a client's greeting need, in RESP2."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            words = []
            for _ in range(int(line[1:])):
                length = int((await reader.readline())[1:])
                words.append((await reader.readexactly(length + 2))[:-2])
            if words[0].upper() == b"GET":
                value = STORE[words[1]]
                writer.write(b"$%d\r\n%s\r\n" % (len(value), value))
            else:
                writer.write(b"+OK\r\n")
            await writer.drain()

    server = await asyncio.start_server(talk, "0.0.0.0", 6379)
    await server.serve_forever()


@wt.simulated
async def test_a_reply_belongs_to_its_command(world):
    world.start("redis", serve)
    await asyncio.sleep(0.1)
    client = redis.Redis(host="redis")
    for _ in range(5):
        asked = asyncio.create_task(client.get("foo"))
        await asyncio.sleep(random.uniform(0, 0.01))
        asked.cancel()
        try:
            assert await asked == b"foo"
        except asyncio.CancelledError:
            pass
        assert await client.get("bar") == b"bar"
    await client.close()

"""Can a pool of connections still be used after requests through it were cancelled?

httpcore 1.0.9 keeps connections that were assigned to a request and never begun, until none is
left (encode/httpcore#1093); httpcore2 has it fixed (pydantic/httpx2#983).
"""

import asyncio
import contextlib
import importlib
import os
import random

import windtunnel as wt

library = importlib.import_module(os.environ["WT_HTTPCORE"])


async def serve():
    async def talk(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", 80)
    await server.serve_forever()


@wt.simulated
async def test_a_pool_outlives_cancelled_requests(world):
    world.start("server", serve)
    await asyncio.sleep(0.1)
    async with library.AsyncConnectionPool(max_connections=1) as pool:

        async def ask():
            response = await pool.request("GET", "http://server/", extensions={"timeout": LIMITS})
            assert response.status == 200

        for _ in range(5):
            asked = [asyncio.create_task(ask()) for _ in range(4)]
            for _ in range(random.randrange(12)):
                await asyncio.sleep(0)
            for task in asked[::2]:
                task.cancel()
            await asyncio.wait(asked)
        await asyncio.sleep(1)
        await ask()


LIMITS = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0}

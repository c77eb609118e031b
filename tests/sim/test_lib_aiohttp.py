"""aiohttp, server and client, unmodified, in the simulated world."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web
from library_worlds import under_seeds

from windtunnel.sim import World


def application() -> web.Application:
    async def greet(request: web.Request) -> web.Response:
        name = request.match_info["name"]
        return web.json_response({"hello": name, "body": (await request.read()).decode()})

    async def count(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(5):
            await asyncio.sleep(0.1)
            await response.write(b"%d\n" % number)
        return response

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=5)
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    async def never(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    app = web.Application()
    app.router.add_route("*", "/hello/{name}", greet)
    app.router.add_get("/count", count)
    app.router.add_get("/talk", talk)
    app.router.add_route("*", "/never", never)
    return app


async def server() -> None:
    runner = web.AppRunner(application())
    await runner.setup()
    await web.TCPSite(runner, port=8080).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def test_requests_streams_and_websockets_work() -> None:
    async def main(world: World) -> list[object]:
        world.start("server", server)
        await asyncio.sleep(0.1)
        found: list[object] = []
        async with aiohttp.ClientSession("http://server:8080") as session:
            answers = await asyncio.gather(*(_greet(session, n) for n in range(20)))
            found.append(answers)
            async with session.get("/count") as response:
                found.append([line async for line in response.content])
            async with session.ws_connect("/talk") as socket:
                await socket.send_str("a")
                found.append(await socket.receive_str())
            async with session.get("/nowhere") as response:
                found.append(response.status)
        return found

    async def _greet(session: aiohttp.ClientSession, number: int) -> str:
        async with session.post(f"/hello/{number}", data="x" * number) as response:
            return str(await response.json())

    for each in under_seeds(main):
        assert each.result == [
            [str({"hello": str(n), "body": "x" * n}) for n in range(20)],
            [b"0\n", b"1\n", b"2\n", b"3\n", b"4\n"],
            "A",
            404,
        ]


def test_clients_own_errors_for_faults() -> None:
    async def main(world: World) -> list[object]:
        node = world.start("server", server)
        await asyncio.sleep(0.1)
        found: list[object] = []
        timeout = aiohttp.ClientTimeout(total=30, connect=5)
        async with aiohttp.ClientSession("http://server:8080", timeout=timeout) as session:
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await session.get("http://nobody:8080/")
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://server:81/")
            with pytest.raises(asyncio.TimeoutError):
                await session.get("/never")
            waiting = asyncio.create_task(session.post("/never"))
            await asyncio.sleep(1)
            world.cut("test", "server")
            with pytest.raises(aiohttp.ClientConnectionError) as caught:
                await waiting
            found.append(type(caught.value).__name__)
            world.partition("test", "server")
            with pytest.raises((aiohttp.ConnectionTimeoutError, aiohttp.ServerTimeoutError)):
                await session.get("/hello/you")
            world.heal()
            node.crash()
            node.restart()
            await asyncio.sleep(10)
            async with session.get("/hello/you") as response:
                found.append((await response.json())["hello"])
        return found

    for each in under_seeds(main):
        assert each.result[1] == "you"


def test_a_server_that_is_stopped_cleans_up() -> None:
    async def main(world: World) -> list[str]:
        seen = []

        async def tidy() -> None:
            app = application()

            async def cleaned(app: web.Application) -> None:
                seen.append("cleaned")

            app.on_cleanup.append(cleaned)
            await web._run_app(app, port=8080, print=None)

        node = world.start("server", tidy)
        await asyncio.sleep(0.1)
        async with aiohttp.ClientSession("http://server:8080") as session:
            async with session.get("/hello/you") as response:
                seen.append((await response.json())["hello"])
            await node.stop()
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("/hello/you")
        return seen

    for each in under_seeds(main):
        assert each.result == ["you", "cleaned"]

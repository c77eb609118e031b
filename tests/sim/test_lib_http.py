"""Starlette under uvicorn and under hypercorn, asked by httpx and httpx2; Prometheus's page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from types import ModuleType
from typing import Any

import httpx
import httpx2
import hypercorn.asyncio
import hypercorn.config
import prometheus_client
import pytest
import uvicorn
from library_worlds import under_seeds
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Mount, Route

from windtunnel.sim import World

Serve = Callable[[Any], Coroutine[Any, Any, None]]


async def by_uvicorn(app: Any) -> None:
    config = uvicorn.Config(app, host="0.0.0.0", port=8000, log_config=None, lifespan="on")
    await uvicorn.Server(config).serve()


async def by_hypercorn(app: Any) -> None:
    config = hypercorn.config.Config()
    config.bind = ["0.0.0.0:8000"]
    config.errorlog = config.accesslog = None
    await hypercorn.asyncio.serve(app, config)


def application() -> Starlette:
    async def greet(request: Request) -> JSONResponse:
        body = await request.body()
        return JSONResponse({"hello": request.path_params["name"], "size": len(body)})

    async def count(request: Request) -> StreamingResponse:
        async def numbers() -> AsyncIterator[str]:
            for number in range(5):
                await asyncio.sleep(0.1)
                yield f"{number}\n"

        return StreamingResponse(numbers())

    async def never(request: Request) -> JSONResponse:
        await asyncio.Event().wait()
        raise AssertionError

    def blocking(request: Request) -> JSONResponse:
        return JSONResponse("from a thread pool")

    return Starlette(
        routes=[
            Route("/hello/{name}", greet, methods=["GET", "POST"]),
            Route("/count", count),
            Route("/never", never),
            Route("/blocking", blocking),
        ]
    )


async def server(serve: Serve) -> None:
    await serve(application())


@pytest.mark.parametrize("client", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("serve", [by_uvicorn, by_hypercorn])
def test_requests_streams_and_thread_pools_work(serve: Serve, client: ModuleType) -> None:
    async def main(world: World) -> list[object]:
        world.start("server", server, serve)
        await asyncio.sleep(0.5)
        found: list[object] = []
        async with client.AsyncClient(base_url="http://server:8000") as session:
            answers = await asyncio.gather(
                *(session.post(f"/hello/{n}", content=b"x" * n * 1000) for n in range(10))
            )
            found.append([answer.json() for answer in answers])
            async with session.stream("GET", "/count") as response:
                found.append([line async for line in response.aiter_lines()])
            found.append((await session.get("/blocking")).json())
        return found

    for each in under_seeds(main):
        assert each.result == [
            [{"hello": str(n), "size": n * 1000} for n in range(10)],
            ["0", "1", "2", "3", "4"],
            "from a thread pool",
        ]


@pytest.mark.parametrize("client", [httpx, httpx2], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("serve", [by_uvicorn, by_hypercorn])
def test_clients_see_their_own_errors(serve: Serve, client: ModuleType) -> None:
    async def main(world: World) -> str:
        node = world.start("server", server, serve)
        await asyncio.sleep(0.5)
        async with client.AsyncClient(base_url="http://server:8000", timeout=5) as session:
            with pytest.raises(client.ReadTimeout):
                await session.get("/never")
            asked = asyncio.create_task(session.get("/never", timeout=60))
            await asyncio.sleep(1)
            world.cut("test", "server")
            with pytest.raises(client.ReadError):
                await asked
            world.partition("test", "server")
            with pytest.raises(client.ConnectTimeout):
                await session.get("/hello/you")
            world.heal()
            node.crash()
            node.restart()
            await asyncio.sleep(5)
            return str((await session.get("/hello/you")).json()["hello"])

    for each in under_seeds(main):
        assert each.result == "you"


@pytest.mark.parametrize("serve", [by_uvicorn, by_hypercorn])
def test_a_server_that_is_stopped_ends_its_lifespan(serve: Serve) -> None:
    async def main(world: World) -> list[str]:
        seen = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                while True:
                    message = await receive()
                    seen.append(message["type"])
                    await send({"type": message["type"] + ".complete"})
                    if message["type"] == "lifespan.shutdown":
                        return

        node = world.start("server", serve, app)
        await asyncio.sleep(1)
        await node.stop()
        return seen

    for each in under_seeds(main):
        assert each.result == ["lifespan.startup", "lifespan.shutdown"]


@pytest.mark.parametrize("serve", [by_uvicorn, by_hypercorn])
def test_prometheus_is_scraped(serve: Serve) -> None:
    async def main(world: World) -> tuple[str, str]:
        registry = prometheus_client.CollectorRegistry()
        requests = prometheus_client.Counter("requests", "asked", ["node"], registry=registry)
        metrics = prometheus_client.make_asgi_app(registry)
        world.start("server", serve, Starlette(routes=[Mount("/metrics", metrics)]))
        await asyncio.sleep(0.5)
        requests.labels("a").inc(3)
        async with httpx.AsyncClient(base_url="http://server:8000") as session:
            page = await session.get("/metrics/")
            created = [line for line in page.text.splitlines() if "created{" in line]
            return page.headers["content-type"], created[0] + page.text

    for each in under_seeds(main):
        kind, text = each.result
        assert kind.startswith("text/plain")
        assert 'requests_total{node="a"} 3.0' in text
        # 2024-01-01, where the world begins: the clock was the world's.
        assert 'requests_created{node="a"} 1.7040672' in text

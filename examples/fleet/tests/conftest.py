"""A scripted model server, and a fleet of real services on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import ollama
import pytest

from fleet import Coordinator, LeaseStore, MemoryLeaseStore, Planner, Server, Worker
from windtunnel.models import ModelServer

logging.getLogger("httpx").setLevel(logging.WARNING)  # it has a line for every request


def steps(*calls: tuple[str, str]) -> str:
    """The model's answer for a plan of these calls."""
    return json.dumps({"steps": [{"tool": tool, "argument": text} for tool, text in calls]})


PLAN = steps(("upper", "to the moon"), ("reverse_words", "{previous}"))


def planner() -> Planner:
    """A planner that asks the model server at OLLAMA_HOST, which the fixture sets."""
    return Planner(ollama.AsyncClient())


@pytest.fixture
def model(model_server: ModelServer) -> ModelServer:
    model_server.set_response(PLAN)
    return model_server


@dataclasses.dataclass
class Fleet:
    """A leading coordinator and its workers, reached over real HTTP."""

    coordinator: Coordinator
    url: str
    workers: list[Worker]
    http: httpx.AsyncClient

    async def do(self, goal: str) -> dict[str, Any]:
        reply = await self.http.post(f"{self.url}/jobs", json={"goal": goal})
        assert reply.status_code == 202, reply.text
        job = reply.json()["id"]
        async with asyncio.timeout(10):
            while True:
                shown = (await self.http.get(f"{self.url}/jobs/{job}")).json()
                if shown["state"] in ("done", "failed"):
                    return dict(shown)
                await asyncio.sleep(0.01)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient() as client:
        yield client


@pytest.fixture
def candidate(
    model: ModelServer, http: httpx.AsyncClient
) -> Callable[[str, LeaseStore], Coordinator]:
    def make(name: str, store: LeaseStore) -> Coordinator:
        return Coordinator(name, store, planner(), http, ttl=0.2)

    return make


@contextlib.asynccontextmanager
async def running(*services: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(service()) for service in services]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
async def fleet(model: ModelServer, http: httpx.AsyncClient) -> AsyncIterator[Fleet]:
    coordinator = Coordinator("first", MemoryLeaseStore(), planner(), http, ttl=2.0)
    workers = [Worker("ann"), Worker("bob")]
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(Server(coordinator.routes))
        for worker in workers:
            own = await stack.enter_async_context(Server(worker.routes))
            body = {"name": worker.name, "url": own.url}
            assert (await http.post(f"{server.url}/workers", json=body)).status_code == 200
        await stack.enter_async_context(running(coordinator.run))
        await asyncio.wait_for(coordinator.leading.wait(), 10)
        yield Fleet(coordinator, server.url, workers, http)

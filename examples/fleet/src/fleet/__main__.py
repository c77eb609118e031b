"""``fleet coordinator``, ``worker`` and ``keeper``: one service of the fleet, until it is stopped.

The model server is where OLLAMA_HOST says; leases are in Redis if REDIS_URL is set, else with
the keeper at FLEET_KEEPER, else in the coordinator's own memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
from collections.abc import Sequence

import httpx
import ollama

from fleet.coordinator import Coordinator
from fleet.keeper import HttpLeaseStore, Keeper
from fleet.lease import LeaseStore, MemoryLeaseStore, RedisLeaseStore
from fleet.planner import Planner
from fleet.server import Server
from fleet.worker import Worker


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="fleet", description=__doc__)
    parser.add_argument("service", choices=["coordinator", "worker", "keeper"])
    parser.add_argument("--name", default=f"fleet-{os.getpid()}")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 to be reached by others")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="llama3.2")
    parser.add_argument("--ttl", type=float, default=3.0, help="seconds a lease holds")
    parser.add_argument("--coordinator", action="append", default=[], metavar="URL")
    given = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(
            {"coordinator": coordinate, "worker": work, "keeper": keep}[given.service](given)
        )


async def coordinate(given: argparse.Namespace) -> None:
    planner = Planner(ollama.AsyncClient(), given.model)
    async with httpx.AsyncClient() as http:
        coordinator = Coordinator(given.name, lease_store(http), planner, http, ttl=given.ttl)
        async with Server(coordinator.routes, host=given.host, port=given.port) as server:
            print(f"{given.name} coordinates at {server.url}", flush=True)
            await coordinator.run()


async def work(given: argparse.Namespace) -> None:
    worker = Worker(given.name)
    service = Server(worker.routes, host=given.host, port=given.port)
    async with httpx.AsyncClient() as http, service as server:
        print(f"{given.name} works at {server.url}", flush=True)
        await worker.report(http, server.url, given.coordinator)


async def keep(given: argparse.Namespace) -> None:
    async with Server(Keeper().routes, host=given.host, port=given.port) as server:
        print(f"{given.name} keeps leases at {server.url}", flush=True)
        await asyncio.Event().wait()


def lease_store(http: httpx.AsyncClient) -> LeaseStore:
    if url := os.environ.get("REDIS_URL"):
        from redis.asyncio import Redis

        return RedisLeaseStore(Redis.from_url(url, decode_responses=True))
    if url := os.environ.get("FLEET_KEEPER"):
        return HttpLeaseStore(http, url)
    return MemoryLeaseStore()


if __name__ == "__main__":
    main()

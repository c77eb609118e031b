"""``fleet coordinator`` and ``fleet worker``: one service of the fleet, until it is stopped.

The model server is where OLLAMA_HOST says; leases are in Redis if REDIS_URL is set.
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
from fleet.lease import LeaseStore, MemoryLeaseStore, RedisLeaseStore
from fleet.planner import Planner
from fleet.server import Server
from fleet.worker import Worker


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="fleet", description=__doc__)
    parser.add_argument("service", choices=["coordinator", "worker"])
    parser.add_argument("--name", default=f"fleet-{os.getpid()}")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--model", default="llama3.2")
    parser.add_argument("--ttl", type=float, default=3.0, help="seconds a lease holds")
    parser.add_argument("--coordinator", action="append", default=[], metavar="URL")
    given = parser.parse_args(argv)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(coordinate(given) if given.service == "coordinator" else work(given))


async def coordinate(given: argparse.Namespace) -> None:
    planner = Planner(ollama.AsyncClient(), given.model)
    async with httpx.AsyncClient() as http:
        coordinator = Coordinator(given.name, lease_store(), planner, http, ttl=given.ttl)
        async with Server(coordinator.routes, port=given.port) as server:
            print(f"{given.name} coordinates at {server.url}", flush=True)
            await coordinator.run()


async def work(given: argparse.Namespace) -> None:
    worker = Worker(given.name)
    async with httpx.AsyncClient() as http, Server(worker.routes, port=given.port) as server:
        print(f"{given.name} works at {server.url}", flush=True)
        await worker.report(http, server.url, given.coordinator)


def lease_store() -> LeaseStore:
    if url := os.environ.get("REDIS_URL"):
        from redis.asyncio import Redis

        return RedisLeaseStore(Redis.from_url(url, decode_responses=True))
    return MemoryLeaseStore()


if __name__ == "__main__":
    main()

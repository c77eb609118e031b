"""A whole fleet in the simulated world: whatever breaks, there are never two leaders.

Eight machines: a keeper of leases, a model server, three coordinators, two workers, and the test's
own. Each seed gives another order of events, other delays, other faults at other times.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import ssl
from collections.abc import Callable, Iterator

import httpx
import ollama

import windtunnel as wt
from conftest import PLAN
from fleet import Coordinator, HttpLeaseStore, Keeper, Planner, Server, Worker
from windtunnel.models import MockOllamaServer
from windtunnel.sim import Node, World

TTL = 3.0
NAMES = ("ann", "bob", "cy")
PORT = 8000
# Reading the certificates takes as long as half a seed.
TLS = ssl.create_default_context()

# The coordinator that a machine runs now.
Running = dict[str, Coordinator]


async def keep() -> None:
    async with Server(Keeper().routes, host="0.0.0.0", port=PORT):
        await asyncio.Event().wait()


async def think() -> None:
    async with MockOllamaServer(host="0.0.0.0", port=PORT) as server:
        server.set_response(PLAN)
        await asyncio.Event().wait()


async def coordinate(name: str, running: Running) -> None:
    async with httpx.AsyncClient(verify=TLS) as http:
        planner = Planner(ollama.AsyncClient(f"http://model:{PORT}", verify=TLS))
        store = HttpLeaseStore(http, f"http://keeper:{PORT}")
        coordinator = Coordinator(name, store, planner, http, ttl=TTL)
        async with Server(coordinator.routes, host="0.0.0.0", port=PORT):
            running[name] = coordinator
            await coordinator.run()


async def work(name: str) -> None:
    worker = Worker(name)
    service = Server(worker.routes, host="0.0.0.0", port=PORT)
    async with httpx.AsyncClient(verify=TLS) as http, service as server:
        await worker.report(http, server.url, [f"http://{name}:{PORT}" for name in NAMES])


def start(world: World) -> Running:
    running: Running = {}
    world.start("keeper", keep)
    world.start("model", think)
    for name in NAMES:
        world.start(name, coordinate, name, running)
    return running


def leaders(world: World, running: Running) -> Iterator[str]:
    for name, coordinator in running.items():
        node = world.nodes[name]
        with world.on(node):  # by its own clock
            if node.state == "up" and coordinator.leads:
                yield name


async def watch(world: World, running: Running) -> None:
    while True:
        found = list(leaders(world, running))
        assert len(found) <= 1, f"{' and '.join(found)} lead at the same time"
        await asyncio.sleep(0.1)


async def break_things(world: World, running: Running) -> None:
    """One fault after another, mostly the leader's, each undone before the next."""
    for _ in range(6):
        await asyncio.sleep(random.uniform(0.5, 3))
        node = world.nodes[random.choice(list(leaders(world, running)) or NAMES)]
        undo = random.choice([part, crash, pause, jump, drift])(world, node, running)
        await asyncio.sleep(random.uniform(0.5, 2 * TTL))
        undo()


Undo = Callable[[], None]


def part(world: World, node: Node, _: Running) -> Undo:
    world.partition(node, "keeper", symmetric=random.random() < 0.5)
    return world.heal


def crash(_: World, node: Node, running: Running) -> Undo:
    node.crash()
    running.pop(node.name, None)
    return node.restart


def pause(_: World, node: Node, __: Running) -> Undo:
    node.pause()
    return node.resume


def jump(world: World, node: Node, running: Running) -> Undo:
    node.clock.jump(random.uniform(-10, 10))
    return part(world, node, running)


def drift(_: World, node: Node, __: Running) -> Undo:
    node.clock.drift_ppm = random.uniform(-30_000, 30_000)
    return lambda: None  # a clock that runs wrongly goes on to do so


@wt.simulated(seeds=8)
async def test_never_two_coordinators_lead_and_in_the_end_one_does(world: World):
    running = start(world)
    async with asyncio.TaskGroup() as group:
        watching = group.create_task(watch(world, running))
        await break_things(world, running)
        async with asyncio.timeout(10 * TTL):
            while not list(leaders(world, running)):
                await asyncio.sleep(0.1)
        watching.cancel()


@wt.simulated(seeds=5)
async def test_a_job_given_to_the_fleet_is_done_by_workers_on_other_machines(world: World):
    running = start(world)
    for name in ("wei", "xenia"):
        world.start(name, work, name)
    while not (found := list(leaders(world, running))):
        await asyncio.sleep(0.1)
    await asyncio.sleep(2)  # until the workers have reported
    url = f"http://{found[0]}:{PORT}"
    async with httpx.AsyncClient(verify=TLS) as http:
        job = (await http.post(f"{url}/jobs", json={"goal": "shout backwards"})).json()["id"]
        for _ in itertools.count():
            shown = (await http.get(f"{url}/jobs/{job}")).json()
            if shown["state"] in ("done", "failed"):
                break
            await asyncio.sleep(0.1)
    assert shown["results"] == ["TO THE MOON", "MOON THE TO"]

"""Coordinators and workers over real HTTP; among them the suite's one flaky test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import pytest

from conftest import Fleet, running, steps
from fleet import REGISTRY, Coordinator, LeaseStore, MemoryLeaseStore, Server, Tool, Worker
from windtunnel.models import ModelServer

Candidate = Callable[[str, LeaseStore], Coordinator]


async def test_a_job_is_planned_and_its_steps_are_executed(fleet: Fleet):
    job = await fleet.do("shout backwards")
    assert job["state"] == "done"
    assert job["results"] == ["TO THE MOON", "MOON THE TO"]


async def test_steps_go_to_the_workers_in_turn(fleet: Fleet):
    await fleet.do("shout backwards")
    assert [worker.executed for worker in fleet.workers] == [1, 1]


async def test_a_job_whose_tool_fails_says_why(
    fleet: Fleet, model: ModelServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(REGISTRY, "halve", Tool("halve", "half of it", lambda t: str(int(t) / 2)))
    model.set_response(steps(("count_words", "a b"), ("halve", "a b")))
    job = await fleet.do("halve it")
    assert job["state"] == "failed"
    assert job["results"] == ["2"]
    assert job["error"].startswith("halve: ValueError: invalid literal")


async def test_a_worker_that_is_gone_gives_way_to_the_next(fleet: Fleet, http: httpx.AsyncClient):
    async with Server({}) as gone:
        url = gone.url
    for name in ("ann", "cy"):
        await http.post(f"{fleet.url}/workers", json={"name": name, "url": url})
    job = await fleet.do("shout backwards")
    assert job["state"] == "done"
    assert fleet.workers[1].executed == 2


async def test_a_job_without_any_worker_fails(candidate: Candidate, http: httpx.AsyncClient):
    coordinator = candidate("first", MemoryLeaseStore())
    async with Server(coordinator.routes) as server, running(coordinator.run):
        await asyncio.wait_for(coordinator.leading.wait(), 10)
        job = await Fleet(coordinator, server.url, [], http).do("anything")
    assert job["error"] == "upper: no worker is known"


async def test_who_does_not_lead_takes_no_jobs(candidate: Candidate, http: httpx.AsyncClient):
    async with Server(candidate("first", MemoryLeaseStore()).routes) as server:
        reply = await http.post(f"{server.url}/jobs", json={"goal": "anything"})
    assert reply.status_code == 503


async def test_when_the_leader_stops_another_takes_over(candidate: Candidate):
    store = MemoryLeaseStore()
    first, second = candidate("first", store), candidate("second", store)
    async with running(first.run):
        await asyncio.wait_for(first.leading.wait(), 10)
    async with running(second.run):
        await asyncio.wait_for(second.leading.wait(), 10)
    assert not first.leading.is_set()


async def test_a_leader_that_a_worker_refuses_steps_down(
    fleet: Fleet, http: httpx.AsyncClient, model: ModelServer
):
    newer = {"id": "x", "token": 99, "tool": "upper", "argument": "a"}
    for url in fleet.coordinator.workers():
        assert (await http.post(f"{url}/steps", json=newer)).status_code == 200
    reply = await http.post(f"{fleet.url}/jobs", json={"goal": "anything"})
    async with asyncio.timeout(10):
        while not model.requests or fleet.coordinator.leading.is_set():
            await asyncio.sleep(0.005)
    shown = await http.get(f"{fleet.url}/jobs/{reply.json()['id']}")
    assert shown.json()["state"] == "queued"


async def test_a_worker_reports_to_its_coordinators(fleet: Fleet, http: httpx.AsyncClient):
    worker = Worker("dee")

    async def report() -> None:
        await worker.report(http, "http://127.0.0.1:9", [fleet.url], every=0.05)

    async with running(report), asyncio.timeout(10):
        while "http://127.0.0.1:9" not in fleet.coordinator.workers():
            await asyncio.sleep(0.01)


@pytest.mark.quarantine(reason="assumes that whoever starts first wins the election")
async def test_the_candidate_that_started_first_leads(candidate: Candidate):
    # The suite's flaky test, kept as it was found: candidates wait a random moment before they
    # ask for the lease, so a head start of some milliseconds is an advantage and no promise.
    store = MemoryLeaseStore()
    first, second = candidate("first", store), candidate("second", store)
    async with running(first.run):
        await asyncio.sleep(0.01)
        async with running(second.run):
            waits = [asyncio.ensure_future(c.leading.wait()) for c in (first, second)]
            await asyncio.wait(waits, timeout=10, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            assert first.leading.is_set()

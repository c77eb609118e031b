"""A worker by itself, called as its server calls it."""

from __future__ import annotations

import asyncio
import threading

import pytest

from fleet import REGISTRY, Request, Tool, Worker


def step(tool: str = "upper", argument: str = "moon", *, id: str = "1", token: int = 1) -> Request:
    return Request({"id": id, "token": token, "tool": tool, "argument": argument})


async def test_a_step_is_executed():
    status, body = await Worker("ann").handle_step(step())
    assert (status, body) == (200, {"result": "MOON", "worker": "ann"})


async def test_a_step_sent_twice_at_once_is_executed_once():
    worker = Worker("ann")
    replies = await asyncio.gather(worker.handle_step(step()), worker.handle_step(step()))
    assert replies[0] == replies[1]
    assert worker.executed == 1


async def test_a_leader_of_the_past_is_refused():
    worker = Worker("ann")
    await worker.handle_step(step(token=5))
    status, body = await worker.handle_step(step(id="2", token=4))
    assert status == 409
    assert "older than 5" in body["error"]


async def test_an_unknown_tool_is_named():
    status, body = await Worker("ann").handle_step(step("fly"))
    assert (status, body) == (404, {"error": "there is no tool fly"})


@pytest.mark.timeout(20)
async def test_a_tool_that_hangs_is_given_up_at_its_deadline(monkeypatch: pytest.MonkeyPatch):
    stop = threading.Event()

    def wait(text: str) -> str:
        stop.wait(10)
        return text

    monkeypatch.setitem(REGISTRY, "wait", Tool("wait", "waits", wait))
    status, body = await Worker("ann", timeout=0.05).handle_step(step("wait"))
    stop.set()
    assert status == 422
    assert body["error"].startswith("TimeoutError")


async def test_no_more_steps_run_at_once_than_there_are_slots(monkeypatch: pytest.MonkeyPatch):
    lock, running, most = threading.Lock(), 0, 0
    full = threading.Barrier(2)

    def meet(text: str) -> str:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        full.wait(10)
        with lock:
            running -= 1
        return text

    monkeypatch.setitem(REGISTRY, "meet", Tool("meet", "waits for a second step", meet))
    worker = Worker("ann", concurrency=2)
    await asyncio.gather(*(worker.handle_step(step("meet", id=str(n))) for n in range(6)))
    assert most == 2

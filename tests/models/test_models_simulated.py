"""In the simulated world: the same server on the simulated network, where waiting costs nothing."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import sys

import httpx
import openai
import pytest

import windtunnel as wt
from windtunnel.core.seed import Seed
from windtunnel.explore import loops
from windtunnel.models import Pace, serve
from windtunnel.models.fixtures import SIMULATED_PORT
from windtunnel.models.thread import new_loop
from windtunnel.sim import World

SLOW = Pace(30.0, tokens_per_s=1)


@pytest.fixture
def scripted(model_server):
    model_server.on("hello").reply("first", "second")
    return model_server


@wt.simulated(seeds=3)
async def test_the_official_client_waits_for_a_slow_model_in_no_time(model_server):
    model_server.on("hello").reply("one two three", latency=SLOW)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with openai.AsyncOpenAI() as client:
        asked = [{"role": "user", "content": "hello"}]
        answer = await client.chat.completions.create(model="gpt-4o", messages=asked)
    assert answer.choices[0].message.content == "one two three"
    assert 32 <= loop.time() - began < 33
    assert model_server.request_count == 1


@wt.simulated(seeds=3)
async def test_every_seed_begins_with_what_the_fixtures_said(scripted):
    async with httpx.AsyncClient() as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        found = []
        for _ in range(2):
            answer = await client.post(f"{scripted.url}/v1/chat/completions", json=body)
            found.append(answer.json()["choices"][0]["message"]["content"])
    assert found == ["first", "second"]
    assert scripted.request_count == 2


@wt.simulated(seeds=2)
async def test_its_port_is_the_same_in_every_process(model_server):
    assert model_server.port == SIMULATED_PORT
    assert os.environ["OPENAI_BASE_URL"] == f"http://127.0.0.1:{SIMULATED_PORT}/v1"


@wt.simulated(seeds=3)
async def test_each_seed_has_its_own_server_and_none_of_those_before(model_server):
    assert [frame.function for frame in inspect.stack()].count("during") == 1


@wt.simulated(seeds=2)
async def test_a_providers_own_host_is_answered_in_virtual_time(model_server):
    model_server.on("hello").reply("here", latency=5.0)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with httpx.AsyncClient(timeout=60) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
        answer = await client.post("https://api.openai.com/v1/chat/completions", json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "here"
    assert 5 <= loop.time() - began < 6


@wt.simulated(seeds=2)
async def test_a_server_started_in_the_world_is_on_its_network():
    async with serve(("openai",)) as server:
        server.on("hello").reply("here", latency=100.0)
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hello"}]})
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body.encode())
        )
        assert b'"here"' in await reader.read()
        writer.close()


@wt.simulated(seeds=2)
async def test_the_server_of_a_simulated_test_can_be_closed_and_opened_again(model_server):
    model_server.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(model_server.host, model_server.port)
    model_server.accept_connections()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{model_server.url}/api/version")).status_code == 200


def test_the_house_s_loop_is_a_real_one_where_uvloop_is_not_installed(monkeypatch):
    loops.install()
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with World(Seed(1)).armed():
        made, the_worlds = new_loop(), asyncio.new_event_loop()
        assert type(the_worlds).__module__.startswith("windtunnel.sim")
        the_worlds.close()
    assert type(made) is asyncio.SelectorEventLoop
    assert made.run_until_complete(asyncio.sleep(0, "runs")) == "runs"
    made.close()


def test_a_call_that_no_script_fits_fails_its_seed(pytester):
    pytester.makepyfile(
        """
        import httpx, windtunnel as wt

        @wt.simulated(seeds=2)
        async def test_it(model_server):
            model_server.on("hello").reply("world")
            async with httpx.AsyncClient() as client:
                body = {"model": "m", "messages": [{"role": "user", "content": "hallo"}]}
                await client.post(model_server.url + "/v1/chat/completions", json=body)
        """
    )
    found = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*no script fits this call*"])

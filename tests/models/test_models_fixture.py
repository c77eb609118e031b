"""The fixture model_server: where clients find it, how it fails a test, what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import urllib.request

import pytest

pytest_plugins = ["pytester"]

ASK = """
import json, os, urllib.request

def ask(text, url=None):
    url = url or os.environ["OPENAI_BASE_URL"]
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": text}]})
    request = urllib.request.Request(
        url + "/chat/completions", body.encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]
"""


def outcomes(pytester: pytest.Pytester, body: str, *options: str) -> pytest.RunResult:
    pytester.makepyfile(asking=ASK)
    pytester.makepyfile(test_it="from asking import ask\nimport pytest, os\n" + body)
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_the_environment_points_official_clients_at_it_and_is_put_back(model_server):
    url = model_server.url
    assert os.environ["OPENAI_BASE_URL"] == f"{url}/v1"
    assert os.environ["ANTHROPIC_BASE_URL"] == url
    assert url.partition("//")[2] in os.environ["OLLAMA_HOST"]
    assert os.environ["GOOGLE_GEMINI_BASE_URL"].startswith(url)
    assert os.environ["GEMINI_API_BASE"] == f"{url}/v1beta"
    assert os.environ["OLLAMA_API_BASE"] == url
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        assert os.environ[name]


def test_the_environment_is_as_it_was_before_and_after(pytester, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://mine.example")
    monkeypatch.delenv("OLLAMA_HOST", raising=False)
    found = outcomes(
        pytester,
        """
def test_one(model_server):
    assert os.environ["OPENAI_BASE_URL"].startswith("http://127.0.0.1:")
    assert ask("hi")

def test_two():
    assert os.environ["OPENAI_BASE_URL"] == "https://mine.example"
    assert "OLLAMA_HOST" not in os.environ
""",
    )
    found.assert_outcomes(passed=2)


def test_a_call_that_no_script_fits_fails_the_test_although_its_error_was_swallowed(pytester):
    found = outcomes(
        pytester,
        """
def test_swallows(model_server):
    model_server.on("hello").reply("world")
    try:
        ask("hallo")
    except OSError:
        pass
""",
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(
        ["*no script fits this call: openai chat, model 'gpt-4o', user: 'hallo'", "*- hello", "*"]
    )


def test_an_asynchronous_test_is_failed_too(pytester):
    found = outcomes(
        pytester,
        """
import asyncio

@pytest.mark.asyncio
async def test_swallows(model_server):
    model_server.on("hello").reply("world")
    assert await asyncio.to_thread(ask, "hello") == "world"
    try:
        await asyncio.to_thread(ask, "hallo")
    except OSError:
        pass
""",
    )
    found.assert_outcomes(failed=1)


def test_a_function_that_answers_and_raises_fails_the_test_with_what_it_raised(pytester):
    found = outcomes(
        pytester,
        """
def test_broken(model_server):
    def answer(call):
        raise ZeroDivisionError("in my script")
    model_server.on("hello").reply(answer)
    with pytest.raises(OSError):
        ask("hello")
""",
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*ZeroDivisionError: in my script"])


def test_a_test_that_fails_by_itself_is_told_what_no_script_fitted(pytester):
    found = outcomes(
        pytester,
        """
def test_fails(model_server):
    model_server.on("hello").reply("world")
    try:
        ask("hallo")
    except OSError:
        raise AssertionError("mine")
""",
    )
    found.assert_outcomes(failed=1)
    found.stdout.fnmatch_lines(["*AssertionError: mine", "*no script fits*"])


def test_tests_do_not_see_each_others_scripts_and_requests(pytester):
    found = outcomes(
        pytester,
        """
@pytest.mark.parametrize("n", range(3))
def test_one(model_server, n):
    assert model_server.request_count == 0
    model_server.on("hello").reply(str(n))
    assert ask("hello") == str(n)
""",
    )
    found.assert_outcomes(passed=3)


def test_the_same_test_under_the_same_seed_is_answered_the_same(pytester):
    body = """
def test_one(model_server):
    print("ANSWER", ask("anything"))
"""
    lines = []
    for seed in ("1", "1", "2"):
        found = outcomes(pytester, body, "-s", "--wt-seed", seed)
        lines.append([line for line in found.outlines if "ANSWER" in line])
    assert lines[0] == lines[1]
    assert lines[0]


@pytest.mark.asyncio
async def test_an_asynchronous_tests_server_stands_in_its_loop(model_server):
    gate = asyncio.Event()

    async def answer(call) -> str:
        await gate.wait()
        return "opened"

    model_server.on("wait").reply(answer)
    reader, writer = await asyncio.open_connection(model_server.host, model_server.port)
    body = b'{"model": "m", "messages": [{"role": "user", "content": "wait"}]}'
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    gate.set()
    assert b"opened" in await reader.read()
    writer.close()


@pytest.mark.asyncio
async def test_a_synchronous_client_that_blocks_the_tests_loop_is_answered(model_server):
    with urllib.request.urlopen(f"{model_server.url}/api/version", timeout=5) as answer:
        assert answer.status == 200


def test_no_real_provider_is_reached_from_a_test(model_server):
    import socket

    with pytest.raises(ConnectionRefusedError, match=r"api\.mistral\.ai was refused"):
        socket.create_connection(("api.mistral.ai", 443), timeout=1)


def test_the_plugin_loads_nothing_of_it_before_it_is_asked_for(pytester):
    pytester.makepyfile("def test_plain(): pass")
    pytester.makeconftest(
        """
import socket
import sys

def pytest_unconfigure():
    print("LOADED", [name for name in sys.modules if name.startswith("windtunnel.models")])
"""
    )
    found = pytester.run(sys.executable, "-m", "pytest", "-s", "-p", "no:cacheprovider")
    found.stdout.fnmatch_lines(["LOADED []"])


@pytest.mark.asyncio
async def test_an_asynchronous_test_s_port_is_closed_while_connections_are_refused(model_server):
    where = model_server.host, model_server.port
    ask = b"GET /api/version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    for _ in range(2):
        kept, holding = await asyncio.open_connection(*where)
        holding.write(ask[:10])
        reader, writer = await asyncio.open_connection(*where)
        writer.write(ask)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        model_server.refuse_connections()
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):  # hung up on
            await kept.readexactly(1)
        holding.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*where)
        with pytest.raises(ConnectionRefusedError):  # nor does the house's thread open
            socket.create_connection(where, timeout=5)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(where)  # nor is another process given the port
        model_server.accept_connections()
    # A client that blocks the loop is answered by the thread again.
    assert urllib.request.urlopen(f"{model_server.url}/api/version", timeout=5).status == 200


@pytest.mark.asyncio
async def test_a_test_may_end_while_connections_are_refused(model_server):
    model_server.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(model_server.host, model_server.port)

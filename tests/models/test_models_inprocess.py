"""In process: clients of httpx, httpx2, httpcore and aiohttp without a socket, and the fence."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from collections.abc import Iterator

import aiohttp
import httpcore
import httpx
import httpx2
import pytest
import tiny_dialect  # noqa: F401 - it registers itself

from windtunnel.models import ModelServer, Pace, serve
from windtunnel.models.wiring import EgressError, Opened, answering, close_server, open_server

URL = "https://api.tiny.example/tiny/say"
HELLO = {"text": "hello"}
EARLY = httpx.Client()
"""A client made before any server."""


@pytest.fixture
def server() -> Iterator[ModelServer]:
    made = ModelServer(("tiny",))
    made.on("hello").reply("one two")
    made.open_in_process()
    yield made
    made.stop()


LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


@LIBRARIES
def test_a_client_of_a_providers_own_host_is_answered_without_a_socket(server, library):
    with library.Client() as client:
        answer = client.post(URL, json=HELLO)
    assert (answer.status_code, answer.json()["text"]) == (200, "one two")
    assert answer.http_version == "HTTP/1.1"
    assert server.last_request.headers["host"] == "api.tiny.example"


def test_a_client_made_before_the_server_is_reached_and_let_go_again(server):
    assert EARLY.post(URL, json=HELLO).json()["text"] == "one two"
    server.close_in_process()
    with pytest.raises(httpx.ConnectError):
        EARLY.post("https://api.tiny.example:1/tiny/say", json=HELLO)
    server.open_in_process()
    assert EARLY.post(URL, json={**HELLO, "stream": True}).text.count("\n") == 4


def test_a_kept_connection_is_not_kept_for_the_next_server():
    with httpx.Client() as client:
        for text in ("first", "second"):
            server = ModelServer(("tiny",)).open_in_process()
            server.set_response(text)
            # A stream goes through httpcore's pool, which keeps the connection.
            assert text in client.post(URL, json={**HELLO, "stream": True}).text
            assert server.request_count == 1
            server.stop()


@LIBRARIES
@pytest.mark.parametrize(
    ("fault", "arguments", "error"),
    [
        ("reset", {}, "ReadError"),
        ("close", {}, "RemoteProtocolError"),
        ("truncate", {}, "RemoteProtocolError"),
        ("stall", {}, "ReadTimeout"),
        ("delay", {"seconds": 60}, "ReadTimeout"),
    ],
)
def test_faults_raise_the_librarys_own_errors(server, library, fault, arguments, error):
    def sync() -> None:
        with library.Client(timeout=0.02) as client:
            client.post(URL, json=HELLO)

    async def asynchronous() -> None:
        async with library.AsyncClient(timeout=0.02) as client:
            await client.post(URL, json=HELLO)

    for way in (sync, lambda: asyncio.run(asynchronous())):
        server.fail_next(fault=fault, **arguments)
        with pytest.raises(getattr(library, error)):
            way()
    assert server.request_count == 2


@LIBRARIES
def test_a_server_that_refuses_connections_is_not_connected_to(server, library):
    async def asynchronous() -> None:
        async with library.AsyncClient() as client:
            await client.post(URL, json=HELLO)

    async def by_aiohttp() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post(URL, json=HELLO)

    server.refuse_connections()
    with pytest.raises(library.ConnectError, match="refused"):
        library.post(URL, json=HELLO)
    with pytest.raises(library.ConnectError, match="refused"):
        asyncio.run(asynchronous())
    with pytest.raises(aiohttp.ClientConnectorError, match="refused"):
        asyncio.run(by_aiohttp())
    server.accept_connections()
    asyncio.run(by_aiohttp())
    assert library.post(URL, json=HELLO).status_code == 200


@LIBRARIES
def test_an_asynchronous_client_streams_and_waits_in_its_own_loop(server, library):
    server.on("slow").reply("a b c", latency=Pace(0.0, tokens_per_s=500))

    async def main() -> list[str]:
        async with library.AsyncClient() as client:
            asked = {"text": "slow", "stream": True}
            async with client.stream("POST", URL, json=asked) as answer:
                return [json.loads(line).get("text", "") async for line in answer.aiter_lines()]

    assert asyncio.run(main()) == ["", "a", " b", " c", ""]


@LIBRARIES
def test_a_function_that_awaits_answers_synchronous_clients_too(server, library):
    async def answer(call) -> str:
        await asyncio.sleep(0)
        return "awaited"

    server.on("wait").reply(answer)

    def ask() -> str:
        with library.Client() as client:
            return client.post(URL, json={"text": "wait"}).json()["text"]

    async def in_a_loop() -> str:
        return ask()

    assert ask() == "awaited"
    assert asyncio.run(in_a_loop()) == "awaited"


def test_httpcore_by_itself_is_reached_below_its_pool(server):
    with httpcore.ConnectionPool() as pool:
        first = pool.request("POST", URL, content=json.dumps(HELLO).encode())
        second = pool.request("POST", URL, content=json.dumps(HELLO).encode())
    assert [json.loads(answer.content)["text"] for answer in (first, second)] == ["one two"] * 2


def test_a_body_that_is_made_while_it_is_sent_is_read(server):
    def parts() -> Iterator[bytes]:
        yield b'{"text": '
        yield b'"hello"}'

    with httpx.Client() as client:
        assert client.post(URL, content=parts()).json()["text"] == "one two"


def test_the_same_words_asked_in_another_way_are_not_taken_for_the_same():
    server = ModelServer(("gemini",))
    server.open_in_process()
    url = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash"
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    with httpx.Client(headers={"x-goog-api-key": "any"}) as client:
        kinds = [
            client.post(f"{url}:streamGenerateContent{query}", json=body).headers["content-type"]
            for query in ("", "?alt=sse", "", "?alt=sse", "", "?alt=sse")
        ]
    server.stop()
    assert kinds[0].startswith("application/json")
    assert kinds[1].startswith("text/event-stream")
    assert kinds == kinds[:2] * 3


def test_aiohttp_is_reached_below_its_connector(server):
    async def main() -> tuple[str, str, list[type]]:
        errors = []
        async with aiohttp.ClientSession() as session:
            async with session.post(URL, json=HELLO) as answer:
                plain = (await answer.json())["text"]
            async with session.post(URL, json={**HELLO, "stream": True}) as answer:
                streamed = await answer.text()
            for fault in ("reset", "close", "truncate"):
                server.fail_next(fault=fault)
                try:
                    async with session.post(URL, json=HELLO) as answer:
                        await answer.read()
                except aiohttp.ClientError as error:
                    errors.append(type(error))
            server.fail_next(fault="stall")
            try:
                await session.post(URL, json=HELLO, timeout=aiohttp.ClientTimeout(total=0.02))
            except TimeoutError as error:
                errors.append(type(error))
        return plain, streamed, errors

    plain, streamed, errors = asyncio.run(main())
    assert plain == "one two"
    assert streamed.count("\n") == 4
    assert errors == [
        aiohttp.ClientOSError,
        aiohttp.ServerDisconnectedError,
        aiohttp.ClientPayloadError,
        TimeoutError,
    ]


def test_the_address_the_server_listens_on_needs_no_socket_either():
    with serve(("tiny",)) as server:
        server.open_in_process()
        server.set_response("x")
        with httpx.Client() as client:
            assert client.post(f"{server.url}/tiny/say", json=HELLO).json()["text"] == "x"
        assert server._listener is not None
        assert not server._listener.connections


def test_urllib_asks_the_loopback_server_in_place_of_the_provider():
    with serve(("tiny",)) as server:
        server.open_in_process()
        with urllib.request.urlopen("https://api.tiny.example/tiny/models") as answer:
            assert json.load(answer) == {"models": ["tiny-1"]}
        assert server.last_request.headers["host"] == "api.tiny.example"


# -- the fence ------------------------------------------------------------------------------------

PROVIDER = "https://api.mistral.ai/v1/models"


def test_no_client_reaches_a_real_provider(server):
    with (
        pytest.raises(EgressError, match=r"api\.mistral\.ai was refused"),
        httpx.Client() as client,
    ):
        client.get(PROVIDER)
    with pytest.raises(EgressError), httpcore.ConnectionPool() as pool:
        pool.request("GET", PROVIDER)
    with pytest.raises(EgressError):
        socket.create_connection(("api.mistral.ai", 443), timeout=1)
    with pytest.raises(OSError, match="was refused"):
        urllib.request.urlopen(PROVIDER)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            await session.get(PROVIDER)

    with pytest.raises(OSError, match="was refused"):
        asyncio.run(main())
    assert set(server.refused_hosts) == {"api.mistral.ai"}
    assert len(server.refused_hosts) == 5


def test_a_provider_may_be_allowed(server):
    server.allow("api.mistral.ai")
    called = []

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            called.append(request.url.host)
            return httpx.Response(204)

    with httpx.Client(transport=Transport()) as client:
        assert client.get(PROVIDER).status_code == 204
    assert called == ["api.mistral.ai"]


def test_other_hosts_are_nobodys_business(server):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with socket.create_connection(("localhost", port), timeout=5):
            pass


def test_nothing_is_left_in_the_libraries_when_the_last_server_is_closed():
    before = httpx.HTTPTransport.handle_request, socket.getaddrinfo
    one, other = ModelServer(("tiny",)), ModelServer(("tiny",))
    one.open_in_process()
    other.open_in_process()
    one.stop()
    assert httpx.HTTPTransport.handle_request is not before[0]
    other.stop()
    assert (httpx.HTTPTransport.handle_request, socket.getaddrinfo) == before


def test_what_is_open_stays_answered_while_another_server_is_opened_and_closed(server):
    first, seen = answering("api.tiny.example", 443), []

    class Asking(Opened):
        """Asks, as another thread might, in the midst of the change."""

        def addresses(self) -> Iterator[tuple[str, int | None]]:
            seen.append(answering("api.tiny.example", 443))
            yield ("other.example", None)
            seen.append(answering("api.tiny.example", 443))

    other = Asking(server.core)
    open_server(other)
    third = ModelServer(("openai",)).open_in_process()  # the table is made anew again
    third.stop()
    close_server(other)
    assert len(seen) == 6
    assert set(seen) == {first}


def test_what_was_patched_over_ours_meanwhile_is_left_as_it_is(monkeypatch, server):
    def theirs(host, *args, **kwargs):
        raise AssertionError

    monkeypatch.setattr(socket, "getaddrinfo", theirs)
    server.stop()
    assert socket.getaddrinfo is theirs

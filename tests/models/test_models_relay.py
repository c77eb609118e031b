"""A stream of a real server passes through as it comes, and is recorded whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import httpx
import pytest

from windtunnel.models import ModelServer, serve
from windtunnel.models.cassettes import Cassette
from windtunnel.models.relay import Passing

FRAMES = [
    b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % word
    for word in (b"one", b"two", b"three")
] + [b"data: [DONE]\n\n"]
BODY = {"model": "gpt-4o", "messages": [{"role": "user", "content": "count"}], "stream": True}
WAIT_S = 60.0


class Upstream:
    """A server that sends its first event, and the rest when it is told to."""

    def __init__(self, frames: list[bytes] = FRAMES, missing: int = 0) -> None:
        self.go_on = threading.Event()
        self.frames, self.missing = frames, missing
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.sock.settimeout(WAIT_S)
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        with contextlib.suppress(OSError), self.sock.accept()[0] as client:
            while b"\r\n\r\n" not in client.recv(65536):
                pass
            client.sendall(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            for number, frame in enumerate(self.frames[: len(self.frames) - self.missing]):
                if number:
                    self.go_on.wait(WAIT_S)
                client.sendall(b"%x\r\n%b\r\n" % (len(frame), frame))
            if not self.missing:
                client.sendall(b"0\r\n\r\n")
            client.shutdown(socket.SHUT_WR)
            client.recv(1)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    yield made
    made.go_on.set()
    made.sock.close()


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("openai",)) as server:
        yield server


def sync_client(url: str, first: Callable[[], None]) -> bytes:
    got = b""
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=BODY, timeout=WAIT_S) as answer:
        for data in answer.iter_raw():
            got += data
            first()
    return got


def async_client(url: str, first: Callable[[], None]) -> bytes:
    async def main() -> bytes:
        got = b""
        async with (
            httpx.AsyncClient(timeout=WAIT_S) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as answer,
        ):
            async for data in answer.aiter_raw():
                got += data
                first()
        return got

    return asyncio.run(main())


def aiohttp_client(url: str, first: Callable[[], None]) -> bytes:
    async def main() -> bytes:
        got = b""
        timeout = aiohttp.ClientTimeout(sock_read=WAIT_S)
        async with (
            aiohttp.ClientSession(timeout=timeout) as client,
            client.post(f"{url}/v1/chat/completions", json=BODY) as answer,
        ):
            async for data in answer.content.iter_any():
                got += data
                first()
        return got

    return asyncio.run(main())


@pytest.mark.parametrize("in_process", [False, True])
@pytest.mark.parametrize("client", [sync_client, async_client, aiohttp_client])
def test_the_first_event_is_there_before_the_second_was_sent(
    server, upstream, tmp_path, client, in_process
):
    path = tmp_path / "s.yaml"
    server.use_cassette(path, "record", upstream=upstream.url)
    if in_process:
        server.open_in_process()
    # The real server goes on only when the client has its first event.
    got = client(server.url, upstream.go_on.set)
    assert got == b"".join(FRAMES)
    assert Cassette(path).interactions[0].body == [frame.decode() for frame in FRAMES]
    server.use_cassette(path)
    assert client(server.url, lambda: None) == got


def test_a_stream_that_breaks_off_does_so_for_the_client_and_is_not_recorded(server, tmp_path):
    broken = Upstream(missing=2)
    broken.go_on.set()
    path = tmp_path / "b.yaml"
    server.use_cassette(path, "record", upstream=broken.url)
    for open_in_process in (False, True):
        if open_in_process:
            broken = Upstream(missing=2)
            broken.go_on.set()
            server.use_cassette(path, "record", upstream=broken.url)
            server.open_in_process()
        got = []
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            sync_client(server.url, lambda got=got: got.append(1))
        assert got
        assert not path.exists()


def test_a_client_that_hangs_up_leaves_a_whole_recording(server, upstream, tmp_path):
    path = tmp_path / "h.yaml"
    relay = server.use_cassette(path, "record", upstream=upstream.url)
    url = f"{server.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=BODY, timeout=WAIT_S) as answer:
        assert next(answer.iter_raw()) == FRAMES[0]
    upstream.go_on.set()
    relay.wait()
    assert Cassette(path).interactions[0].body == [frame.decode() for frame in FRAMES]


def test_streams_that_begin_at_once_are_all_waited_for():
    passing, end, begun = Passing(), threading.Event(), threading.Barrier(9)

    def stream() -> None:
        begun.wait(WAIT_S)
        end.wait(WAIT_S)

    beginners = [threading.Thread(target=passing.begin, args=(stream,)) for _ in range(8)]
    for each in beginners:
        each.start()
    begun.wait(WAIT_S)
    for each in beginners:
        each.join()
    threads = passing.threads()
    assert len(threads) == 8
    end.set()
    for each in threads:
        each.join()
    assert passing.threads() == []


def test_events_that_end_with_carriage_returns_are_recorded_as_they_came(server, tmp_path):
    frames = [frame.replace(b"\n", b"\r\n") for frame in FRAMES]
    real = Upstream(frames)
    real.go_on.set()
    path = tmp_path / "c.yaml"
    server.use_cassette(path, "record", upstream=real.url)
    assert sync_client(server.url, lambda: None) == b"".join(frames)
    server.use_cassette(path)
    assert sync_client(server.url, lambda: None) == b"".join(frames)
    assert len(Cassette(path).interactions[0].body) == len(frames)


@pytest.mark.parametrize("name", ["c.yaml", "c.json"])
def test_what_is_recorded_is_added_to_the_file(tmp_path, name):
    path = Path(tmp_path, name)
    with serve(("openai",)) as real, serve(("openai",)) as one, serve(("openai",)) as other:
        real.set_response(lambda call: call.last_user_text.upper())
        servers = [one, other] if name == "c.yaml" else [one, one]  # YAML is shared by processes
        for server in dict.fromkeys(servers):
            server.use_cassette(path, "record_missing", upstream=real.url)
        for number, server in enumerate([*servers, *servers]):
            body = BODY | {"messages": [{"role": "user", "content": f"a\nb {number}"}]}
            url = f"{server.url}/v1/chat/completions"
            httpx.post(url, json=body | {"stream": False}, timeout=WAIT_S)
    found = [one.body["choices"][0]["message"]["content"] for one in Cassette(path).interactions]
    assert found == [f"A\nB {number}" for number in range(4)]
    assert (name == "c.json") == (path.read_text()[0] == "{")
    json.dumps(found)

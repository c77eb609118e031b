"""The socket server: HTTP as it must be spoken, in the test's loop and in the house's thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import tiny_dialect  # noqa: F401 - it registers itself

from windtunnel.core.errors import ResourceError, UsageError
from windtunnel.models import ModelServer, Pace, Reply, serve
from windtunnel.models.connection import Clients, Connection
from windtunnel.models.listening import Lookout

HEAD = b"Host: x\r\nContent-Type: application/json\r\n"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serve(("tiny",)) as server:
        yield server


def post(server: ModelServer, text: str = "hello", **more) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        connection.request("POST", "/tiny/say", json.dumps({"text": text, **more}))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def request(text: str, extra: bytes = b"", version: bytes = b"1.1") -> bytes:
    body = json.dumps({"text": text}).encode()
    head = b"POST /tiny/say HTTP/%b\r\n%b%bContent-Length: %d\r\n\r\n"
    return head % (version, HEAD, extra, len(body)) + body


def exchange(server: ModelServer, *parts: bytes, until: bytes = b"") -> bytes:
    """Send parts, and read until the server closes or ``until`` was seen."""
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        for part in parts:
            client.sendall(part)
        data = b""
        while not (until and until in data):
            more = client.recv(65536)
            if not more:
                break
            data += more
        return data


def answers(data: bytes) -> list[str]:
    """The texts of the answers in what was read, in order."""
    return [json.loads(part.partition(b"\r\n\r\n")[2])["text"] for part in _responses(data)]


def _responses(data: bytes) -> list[bytes]:
    return [b"HTTP/1.1" + part for part in data.split(b"HTTP/1.1")[1:]]


def test_a_kept_connection_answers_one_request_after_the_other(server):
    server.set_response("a", "b", "c")
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    found = []
    for _ in range(3):
        connection.request("POST", "/tiny/say", json.dumps({"text": "x"}))
        sock = connection.sock
        found.append(json.loads(connection.getresponse().read())["text"])
        assert connection.sock is sock
    connection.close()
    assert found == ["a", "b", "c"]


def test_requests_sent_at_once_are_answered_in_their_order(server):
    server.on("slow").reply("slow", latency=0.02)
    server.on("fast").reply("fast")
    data = exchange(
        server, request("slow") + request("fast") + request("fast", b"Connection: close\r\n")
    )
    assert answers(data) == ["slow", "fast", "fast"]


def test_a_body_may_be_chunked_and_come_in_pieces(server):
    server.on("hello").reply("world")
    head = b"POST /tiny/say HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n"
    head += b"Connection: close\r\n\r\n"
    pieces = [b"7\r\n", b'{"text"', b'\r\n9\r\n: "hello"', b"\r\n1\r\n}\r\n0", b"\r\n\r\n"]
    data = exchange(server, head, *pieces)
    assert answers(data) == ["world"]


def test_who_waits_for_100_continue_is_told_to_go_on(server):
    server.on("hello").reply("world")
    whole = request("hello", b"Expect: 100-continue\r\nConnection: close\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert b'"world"' in client.recv(65536)


def test_a_client_of_http_1_0_is_answered_and_hung_up_on(server):
    data = exchange(server, request("hello", version=b"1.0"))
    assert data.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in data


@pytest.mark.parametrize("data", [b"\x16\x03\x01\x00", b"GET / HTTP/1.1\r\nbad\r\n\r\n"])
def test_bytes_that_are_no_request_get_status_400_and_are_hung_up_on(server, data):
    found = exchange(server, data)
    assert found.startswith(b"HTTP/1.1 400 Bad Request")
    assert "error" in json.loads(found.partition(b"\r\n\r\n")[2])


def test_a_client_of_http_2_is_told_what_is_spoken(server):
    data = exchange(server, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert data.startswith(b"HTTP/1.1 505 HTTP Version Not Supported")
    assert b"HTTP/1.1 is" in data


def test_a_client_that_says_it_is_done_writing_still_gets_its_answer(server):
    server.on("slow").reply("slow", latency=0.02)
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        client.sendall(request("slow"))
        client.shutdown(socket.SHUT_WR)
        data = b""
        while more := client.recv(65536):
            data += more
    assert answers(data) == ["slow"]


def test_a_stream_larger_than_any_buffer_arrives_whole_at_a_slow_reader(server):
    text = "word " * 200_000
    server.on("much").reply(in_hundreds(text))
    status, body = post(server, "much", stream=True)
    assert status == 200
    pieces = [json.loads(line) for line in body.splitlines()]
    assert "".join(piece.get("text", "") for piece in pieces) == text


def in_hundreds(text: str) -> Reply:
    return Reply(text, pieces=tuple(text[i : i + 100] for i in range(0, len(text), 100)))


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


class SlowReader(asyncio.Transport):
    """The transport of a client that has to be waited for after every write."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Connection
        self.sent = b""
        self.reading = True

    def write(self, data: bytes) -> None:
        self.sent += data
        self.protocol.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


@pytest.mark.parametrize("stream", [True, False])
def test_what_was_asked_behind_an_answer_that_is_read_slowly_is_answered_too(stream, loop):
    core = ModelServer(("tiny",)).core
    core.scripts.on("long").reply("word " * 4_000)
    core.scripts.on("short").reply("the end")
    body = json.dumps({"text": "long", "stream": stream}).encode()
    head = b"POST /tiny/say HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n" % (HEAD, len(body))
    client = SlowReader()
    client.protocol = Connection(core, loop, Clients())
    client.protocol.connection_made(client)
    client.protocol.data_received((head + body) * 3 + request("short"))
    writes = 1
    while b"the end" not in client.sent:
        before = len(client.sent)
        client.protocol.resume_writing()
        assert len(client.sent) > before, "it waits for a client that has read everything"
        writes += 1
    assert writes >= 4
    assert client.sent.count(b"HTTP/1.1 200 OK") == 4
    client.protocol.resume_writing()
    assert client.reading


def test_a_client_that_hangs_up_in_the_midst_is_noted(server):
    server.on("slow").reply("a b c", latency=Pace(0.0, tokens_per_s=0.001))
    with socket.create_connection((server.host, server.port), timeout=10) as client:
        body = b'{"text": "slow", "stream": true}'
        client.sendall(
            b"POST /tiny/say HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (HEAD, len(body), body)
        )
        assert client.recv(10)
        entry = server.last_request
        assert entry.state == "answering"
    with serve(("tiny",)) as other:  # its start and stop pass through the same thread
        post(other)
        while entry.state == "answering":
            post(other)
    assert entry.state == "aborted"


def test_who_was_accepted_as_the_server_stopped_is_hung_up_on_when_heard_of(loop):
    class Accepted(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    clients, client = Clients(), Accepted()
    late = Connection(ModelServer(("tiny",)).core, loop, clients)
    clients.drop()
    late.connection_made(client)
    assert client.aborted


class ByHand:
    """As much of a loop as a lookout needs; its timers go off when they are told to."""

    def __init__(self) -> None:
        self.timers: list = []
        self.reader: Callable[[], None] | None = None

    def add_reader(self, fd: int, call: Callable[[], None]) -> None:
        self.reader = call

    def remove_reader(self, fd: int) -> None:
        self.reader = None

    def call_later(self, delay: float, call: Callable, *arguments) -> None:
        self.timers.append((call, arguments))

    def create_task(self, work) -> None:
        work.close()


@pytest.mark.parametrize("opens", [True, False])
def test_a_loop_gets_several_turns_to_accept_before_the_lookout_does(opens):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        loop = ByHand()
        lookout = Lookout(ModelServer(("tiny",)).core, sock, loop)
        lookout.begin()
        with socket.create_connection(sock.getsockname(), timeout=60):
            loop.reader()
            turns = 0
            while loop.timers:
                turns += 1
                if opens and turns == 5:
                    sock.accept()[0].close()
                call, arguments = loop.timers.pop()
                call(*arguments)
        lookout.close()
    assert (turns, lookout.taken) == (10, not opens)


def test_a_port_that_is_taken_is_one_clear_error(server):
    with pytest.raises(ResourceError, match="cannot listen there"):
        serve(("tiny",), port=server.port).start()


def test_a_server_that_was_not_started_has_no_url():
    with pytest.raises(UsageError, match="not started"):
        _ = serve(("tiny",)).url


def test_a_stopped_server_refuses_connections_and_can_be_started_again():
    server = serve(("tiny",)).start()
    address = server.host, server.port
    server.stop()
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.bind(address)  # so that no other process is given the port meanwhile
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=5)
    server.start()
    assert post(server)[0] == 200
    server.stop()
    server.stop()


LEFT = """
import os, threading, urllib.request
from windtunnel.models import serve

def there():
    return threading.active_count(), len(os.listdir("/proc/self/fd"))

with serve(("ollama",)) as server:  # what is imported and kept for good is, after this
    urllib.request.urlopen(server.url + "/api/version").read()
before = there()
with serve(("ollama",)) as server:
    urllib.request.urlopen(server.url + "/api/version").read()
    assert threading.active_count() == before[0] + 1
assert there() == before, (there(), before)
"""


def test_nothing_is_left_of_a_stopped_server():
    done = subprocess.run([sys.executable, "-c", LEFT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


async def _asked(server: ModelServer) -> bytes:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request("hello", b"Connection: close\r\n"))
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    return data


def _loops() -> list:
    import uvloop

    return [asyncio.run, uvloop.run]


@pytest.mark.parametrize("run", _loops(), ids=["asyncio", "uvloop"])
def test_in_an_event_loop_the_server_stands_in_that_loop(run):
    before = set(threading.enumerate())  # one that an earlier test left may end meanwhile

    async def main() -> bytes:
        async with serve(("tiny",)) as server:
            server.on("hello").reply("world")
            assert set(threading.enumerate()) <= before
            return await _asked(server)

    assert answers(run(main())) == ["world"]


@pytest.mark.parametrize("run", _loops(), ids=["asyncio", "uvloop"])
def test_start_and_stop_may_be_awaited_or_not(run):
    async def main() -> list[bytes]:
        one = await serve(("tiny",)).start()
        other = serve(("tiny",)).start()
        found = [await _asked(one), await _asked(other)]
        await one.stop()
        other.stop()
        return found

    assert all(data.startswith(b"HTTP/1.1 200") for data in run(main()))


@pytest.mark.parametrize("run", _loops(), ids=["asyncio", "uvloop"])
def test_a_function_that_answers_may_await_in_the_tests_loop(run):
    async def main() -> bytes:
        gate = asyncio.Event()

        async def answer(call) -> str:
            await gate.wait()
            return "after the gate"

        async with serve(("tiny",)) as server:
            server.on("hello").reply(answer)
            task = asyncio.create_task(_asked(server))
            while not server.requests:
                await asyncio.sleep(0)
            assert not task.done()
            gate.set()
            return await task

    assert answers(run(main())) == ["after the gate"]


def test_the_server_of_one_dialect_is_found_by_the_standard_library():
    with serve(("tiny",)) as server:
        assert server.environment() == {"TINY_URL": server.url, "TINY_KEY": "windtunnel"}
        with urllib.request.urlopen(server.url + "/tiny/models") as answer:
            assert json.load(answer) == {"models": ["tiny-1"]}

"""Streams: what asyncio's protocols and streams see of a simulated TCP connection."""

from __future__ import annotations

import asyncio
import contextvars
import io
from typing import Any

import pytest
from simnet import Recorder, ask, connected, echo_server, network, simulate, simulated

from windtunnel.sim import World
from windtunnel.sim.net.links import Fixed, LinkConfig


@simulated()
async def test_lines_come_back_in_order(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    reader, writer = await asyncio.open_connection("a", 7000)
    for number in range(50):
        assert await ask(reader, writer, b"line %d" % number) == b"line %d" % number
    assert writer.get_extra_info("peername") == (world.nodes["a"].addresses[0], 7000)
    assert writer.get_extra_info("sockname")[0] == world.nodes["test"].addresses[0]
    writer.close()
    await writer.wait_closed()


@simulated()
async def test_a_message_takes_the_latency_of_its_link_and_nothing_else(world: World) -> None:
    client, server = await connected(world)
    sent = world.now_ns
    client.transport.write(b"now")
    while not server.received:
        await asyncio.sleep(0.0001)
    assert 1_000_000 <= world.now_ns - sent < 1_200_000


@simulated()
async def test_writes_of_one_moment_arrive_as_one(world: World) -> None:
    client, server = await connected(world)
    for part in (b"one ", b"two ", b"three"):
        client.transport.write(part)
    await asyncio.sleep(0.01)
    assert server.received == b"one two three"
    assert server.events == ["made", ("data", 13)]


def test_fragmented_pieces_still_make_the_same_stream() -> None:
    link = LinkConfig(latency=Fixed(0.001), fragment=1.0)

    async def body(world: World) -> list[Any]:
        client, server = await connected(world)
        client.transport.write(b"abcdefghij" * 10)
        await asyncio.sleep(0.1)
        assert server.received == b"abcdefghij" * 10
        return server.events

    events, _ = simulate(body, net=network(between=link))
    assert sum(isinstance(event, tuple) and event[0] == "data" for event in events) == 2


@simulated()
async def test_a_large_transfer_arrives_whole(world: World) -> None:
    received = 0

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        while data := await reader.read(100_000):
            received += len(data)
            assert data == pattern[:1] * len(data)
        writer.write(b"done")
        writer.close()

    pattern = b"x" * 3_000_001
    await world.nodes["a"].run(asyncio.start_server(sink, "0.0.0.0", 1))
    reader, writer = await asyncio.open_connection("a", 1)
    writer.write(pattern)
    writer.write_eof()
    assert await reader.read() == b"done"
    assert received == len(pattern)
    writer.close()


@simulated()
async def test_each_direction_ends_on_its_own(world: World) -> None:
    client, server = await connected(world)
    server.keep_open = True
    client.transport.write(b"last words")
    client.transport.write_eof()
    with pytest.raises(RuntimeError, match="write_eof"):
        client.transport.write(b"more")
    await asyncio.sleep(0.01)
    assert server.events == ["made", ("data", 10), "eof"]
    server.transport.write(b"answer")
    await asyncio.sleep(0.01)
    assert client.received == b"answer"
    server.transport.close()
    assert await client.lost is None
    assert client.events[-2:] == ["eof", ("lost", None)]


@simulated()
async def test_a_protocol_that_does_not_keep_it_open_is_closed_at_the_end_of_the_stream(
    world: World,
) -> None:
    client, server = await connected(world)
    client.transport.close()
    assert await server.lost is None
    assert client.events == ["made", ("lost", None)]
    assert server.events == ["made", "eof", ("lost", None)]


# Back-pressure.


@simulated()
async def test_a_reader_that_does_not_read_stops_the_writer(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    sizes = []
    for _ in range(100):
        client.transport.write(b"x" * 10_000)
        await asyncio.sleep(0.01)
        sizes.append(client.transport.get_write_buffer_size())
    config = world.config.network
    assert client.events == ["made", "pause"]
    assert sizes[-1] == 1_000_000 - config.receive_buffer - config.send_buffer
    assert server.received == b""
    server.transport.resume_reading()
    await asyncio.sleep(1)
    assert len(server.received) == 1_000_000
    assert client.events == ["made", "pause", "resume"]
    assert client.transport.get_write_buffer_size() == 0


@simulated()
async def test_drain_waits_for_a_slow_reader(world: World) -> None:
    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(10_000):
            await asyncio.sleep(0.1)
        writer.close()

    loop = asyncio.get_running_loop()
    await world.nodes["a"].run(asyncio.start_server(slowly, "0.0.0.0", 1, limit=10_000))
    _, writer = await asyncio.open_connection("a", 1)
    begin = loop.time()
    for _ in range(100):
        writer.write(b"x" * 10_000)
        await writer.drain()
    # A million bytes at a hundred thousand a second, less what buffers hold.
    assert 5 < loop.time() - begin < 10
    writer.close()


@simulated()
async def test_write_buffer_limits_are_kept(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    client.transport.set_write_buffer_limits(high=10, low=5)
    config = world.config.network
    client.transport.write(b"x" * (config.receive_buffer + config.send_buffer))
    assert client.events == ["made"]
    client.transport.write(b"x" * 11)
    assert client.events == ["made", "pause"]


@simulated()
async def test_closing_sends_what_was_written_before(world: World) -> None:
    client, server = await connected(world)
    client.transport.write(b"y" * 1_000_000)
    client.transport.close()
    assert await server.lost is None
    assert len(server.received) == 1_000_000


@simulated()
async def test_aborting_drops_what_is_still_in_the_program(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    client.transport.write(b"y" * 1_000_000)
    client.transport.abort()
    assert await client.lost is None
    server.transport.resume_reading()
    await server.lost
    config = world.config.network
    assert len(server.received) == config.receive_buffer + config.send_buffer


# Resets.


@simulated()
async def test_a_program_that_leaves_bytes_unread_resets_the_connection(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    client.transport.write(b"unread")
    await asyncio.sleep(0.01)
    server.transport.close()
    error = await client.lost
    assert isinstance(error, ConnectionResetError)
    assert error.errno == 104
    assert server.events == ["made", ("lost", None)]


@simulated()
async def test_writing_to_a_closed_peer_breaks_the_pipe(world: World) -> None:
    client, server = await connected(world)
    client.keep_open = True
    server.transport.close()
    await asyncio.sleep(0.01)
    assert client.events == ["made", "eof"]
    client.transport.write(b"first goes out, and is answered by a reset")
    await asyncio.sleep(0.01)
    assert not client.lost.done()
    client.transport.write(b"second fails")
    assert isinstance(await client.lost, BrokenPipeError)


@simulated()
async def test_a_protocol_that_fails_loses_its_connection_and_the_loop_is_told(
    world: World,
) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    client, server = await connected(world)

    def fail(data: bytes) -> None:
        raise LookupError("no such thing")

    server.data_received = fail  # type: ignore[method-assign]
    server.transport.set_protocol(server)
    client.transport.write(b"?")
    assert isinstance(await server.lost, LookupError)
    assert await client.lost is None
    assert [context["message"] for context in told] == [
        "Fatal error: protocol.data_received() call failed."
    ]


# Other ways to read and write.


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(7)
        self.received = b""
        self.closed = asyncio.get_running_loop().create_future()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self.buffer[:nbytes]

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(exc)


@simulated()
async def test_buffered_protocols_get_what_fits_their_buffer(world: World) -> None:
    loop = asyncio.get_running_loop()
    made: list[Buffered] = []

    def factory() -> Buffered:
        made.append(Buffered())
        return made[-1]

    await world.nodes["a"].run(loop.create_server(factory, "0.0.0.0", 1))
    transport, _ = await loop.create_connection(asyncio.Protocol, "a", 1)
    transport.writelines([b"seven by seven ", bytearray(b"and "), memoryview(b"the rest")])
    transport.close()
    while not made:
        await asyncio.sleep(0.001)
    assert await made[0].closed is None
    assert made[0].received == b"seven by seven and the rest"


@simulated()
async def test_pausing_keeps_bytes_until_reading_goes_on(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    assert not server.transport.is_reading()
    client.transport.write(b"early")
    await asyncio.sleep(0.01)
    assert server.received == b""
    server.transport.resume_reading()
    client.transport.write(b" late")
    await asyncio.sleep(0.01)
    assert server.received == b"early late"


@simulated()
async def test_a_new_protocol_takes_over(world: World) -> None:
    client, server = await connected(world)
    other = Recorder()
    client.transport.write(b"to the first")
    await asyncio.sleep(0.01)
    server.transport.set_protocol(other)
    assert server.transport.get_protocol() is other
    client.transport.write(b"to the second")
    await asyncio.sleep(0.01)
    assert (server.received, other.received) == (b"to the first", b"to the second")


@simulated()
async def test_files_are_sent_by_the_fallback_of_asyncio(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await connected(world)
    sent = await loop.sendfile(client.transport, io.BytesIO(b"0123456789" * 1000), 5, 9000)
    await asyncio.sleep(0.01)
    assert sent == 9000
    assert server.received == (b"0123456789" * 1000)[5:9005]
    with pytest.raises(RuntimeError, match=r"fallback is disabled|not supported"):
        await loop.sendfile(client.transport, io.BytesIO(b"x"), fallback=False)


who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


@simulated()
async def test_context_variables_do_not_travel_with_a_message(world: World) -> None:
    seen = []

    class Server(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            seen.append(who.get())

    loop = asyncio.get_running_loop()
    who.set("server")
    await world.nodes["a"].run(loop.create_server(Server, "0.0.0.0", 1))
    who.set("client")
    transport, _ = await loop.create_connection(asyncio.Protocol, "a", 1)
    transport.write(b"?")
    await asyncio.sleep(0.01)
    assert seen == ["server"]
    transport.close()


@simulated()
async def test_callbacks_run_on_the_node_that_owns_the_socket(world: World) -> None:
    nodes = []

    class Server(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            nodes.append(world.node.name)

        def data_received(self, data: bytes) -> None:
            nodes.append(world.node.name)

        def connection_lost(self, exc: Exception | None) -> None:
            nodes.append(world.node.name)

    loop = asyncio.get_running_loop()
    await world.nodes["a"].run(loop.create_server(Server, "0.0.0.0", 1))
    transport, _ = await loop.create_connection(asyncio.Protocol, "a", 1)
    transport.write(b"?")
    transport.close()
    await asyncio.sleep(0.01)
    assert nodes == ["a", "a", "a"]


@simulated()
async def test_writing_to_a_lost_connection_is_harmless(world: World) -> None:
    client, server = await connected(world)
    server.transport.abort()
    await client.lost
    for _ in range(10):
        client.transport.write(b"into the void")
    assert client.transport.is_closing()
    client.transport.close()
    client.transport.abort()


def test_bandwidth_makes_messages_queue() -> None:
    async def body(world: World) -> float:
        client, server = await connected(world)
        begin = world.now_ns
        for _ in range(10):
            client.transport.write(b"x" * 10_000)
        while len(server.received) < 100_000:
            await asyncio.sleep(0.001)
        return (world.now_ns - begin) / 1e9

    link = LinkConfig(latency=Fixed(0.001), bandwidth=100_000)
    took, _ = simulate(body, net=network(between=link))
    assert took == pytest.approx(1.0, abs=0.05)

"""What the peers of a node see when it crashes, stops, pauses and boots again."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from simnet import Recorder, ask, echo_server, network, simulate, simulated

from windtunnel.sim import World


async def _serve() -> None:
    await (await echo_server()).serve_forever()


async def _client(world: World) -> Recorder:
    """A node "s" that boots a server, and a connection to it."""
    loop = asyncio.get_running_loop()
    if "s" not in world.nodes:
        world.start("s", _serve)
        await asyncio.sleep(0.01)
    _, recorder = await loop.create_connection(Recorder, "s", 7000)
    return recorder


def _crash(world: World, how: str) -> None:
    """Crash the node, with the outcome that is wanted instead of the one drawn."""
    draw = world.choose

    def chosen(label: str, n: int) -> int:
        return ("reset", "silence").index(how) if label == "net.crash" else draw(label, n)

    world.choose = chosen  # type: ignore[method-assign]
    world.nodes["s"].crash()
    del world.choose  # type: ignore[method-assign]


@simulated()
async def test_a_crashed_program_on_a_living_machine_resets_its_connections(
    world: World,
) -> None:
    client = await _client(world)
    _crash(world, "reset")
    assert isinstance(await client.lost, ConnectionResetError)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(world.nodes["s"].addresses[0], 7000)


@simulated(net=network(user_timeout_s=60))
async def test_a_machine_that_is_gone_is_silent(world: World) -> None:
    client = await _client(world)
    _crash(world, "silence")
    await asyncio.sleep(1_000)
    assert client.events == ["made"]  # half-open: who says nothing hears nothing
    begin = world.now_ns
    client.transport.write(b"anybody?\n")
    assert isinstance(await client.lost, TimeoutError)
    assert (world.now_ns - begin) / 1e9 == pytest.approx(60, abs=0.1)
    with pytest.raises(TimeoutError):
        await asyncio.open_connection(world.nodes["s"].addresses[0], 7000)


@simulated()
async def test_bytes_under_way_to_a_machine_that_dies_are_not_forgotten(world: World) -> None:
    client = await _client(world)
    client.transport.write(b"under way\n")
    _crash(world, "silence")
    await asyncio.sleep(5)
    world.nodes["s"].restart()
    # The kernel that boots knows nothing of the connection and answers with a reset.
    assert isinstance(await client.lost, ConnectionResetError)


@simulated()
async def test_a_booted_machine_resets_old_connections_and_takes_new_ones(
    world: World,
) -> None:
    client = await _client(world)
    _crash(world, "silence")
    await asyncio.sleep(5)
    world.nodes["s"].restart()
    await asyncio.sleep(1)
    assert client.events == ["made"]
    client.transport.write(b"do you remember me?\n")
    assert isinstance(await client.lost, ConnectionResetError)
    again = await _client(world)
    again.transport.write(b"hello\n")
    await asyncio.sleep(0.01)
    assert again.received == b"hello\n"


@simulated()
async def test_keepalive_finds_a_machine_that_is_gone(world: World) -> None:
    client = await _client(world)
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    _crash(world, "silence")
    begin = world.now_ns
    assert isinstance(await client.lost, TimeoutError)
    assert (world.now_ns - begin) / 1e9 == pytest.approx(40, abs=1)


def test_which_of_the_two_happens_is_drawn() -> None:
    async def body(world: World) -> bool:
        client = await _client(world)
        world.nodes["s"].crash()
        await asyncio.sleep(1)
        return client.lost.done()

    outcomes = [simulate(body, seed=seed)[0] for seed in range(12)]
    assert set(outcomes) == {True, False}
    assert outcomes == [simulate(body, seed=seed)[0] for seed in range(12)]


@simulated()
async def test_nothing_of_a_crashed_program_is_called_back(world: World) -> None:
    seen: list[Any] = []

    class Noisy(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            seen.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append("lost")

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Noisy, "0.0.0.0", 7000)
        await server.serve_forever()

    world.start("s", serve)
    await asyncio.sleep(0.01)
    for how in ("reset", "silence"):
        client = await _client(world)
        client.transport.write(b"before")
        await asyncio.sleep(0.01)
        client.transport.write(b"under way")
        _crash(world, how)
        await asyncio.sleep(5)
        world.nodes["s"].restart()
        await asyncio.sleep(0.01)
    assert seen == [b"before", b"before"]


@simulated()
async def test_a_crash_frees_the_ports_of_the_node(world: World) -> None:
    for how in ("reset", "silence"):
        await _client(world)
        _crash(world, how)
        world.nodes["s"].restart()
        await asyncio.sleep(0.01)
        client = await _client(world)
        client.transport.write(b"hello\n")
        await asyncio.sleep(0.01)
        assert client.received == b"hello\n"
    assert not world.failures


@simulated()
async def test_a_program_that_stops_closes_what_it_left_open(world: World) -> None:
    async def hold_on() -> None:
        class Held(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                transport.write(b"welcome")
                held.append(transport)

        held: list[Any] = []
        await asyncio.get_running_loop().create_server(Held, "0.0.0.0", 7000)
        await asyncio.Event().wait()

    world.start("s", hold_on)
    await asyncio.sleep(0.01)
    client = await _client(world)
    await asyncio.sleep(0.1)
    await world.nodes["s"].stop()
    assert await client.lost is None
    assert client.events == ["made", ("data", 7), "eof", ("lost", None)]
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(world.nodes["s"].addresses[0], 7000)


@simulated()
async def test_a_paused_program_has_a_kernel_that_goes_on(world: World) -> None:
    client = await _client(world)
    world.nodes["s"].pause()
    client.transport.write(b"kept for later\n")
    other = await _client(world)  # the kernel accepts
    await asyncio.sleep(2_000)
    assert client.received == b""
    assert not client.lost.done()
    world.nodes["s"].resume()
    await asyncio.sleep(0.01)
    assert client.received == b"kept for later\n"
    other.transport.write(b"me too\n")
    await asyncio.sleep(0.01)
    assert other.received == b"me too\n"


@simulated()
async def test_writers_to_a_paused_program_feel_its_full_buffers(world: World) -> None:
    client = await _client(world)
    world.nodes["s"].pause()
    client.transport.write(b"x" * 499_999 + b"\n")
    await asyncio.sleep(1)
    config = world.config.network
    buffered = 500_000 - config.receive_buffer - config.send_buffer
    assert client.transport.get_write_buffer_size() == buffered


@simulated()
async def test_datagrams_to_a_paused_program_fill_its_buffer(world: World) -> None:
    got: list[bytes] = []

    class Inbox(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            got.append(data)

    async def listen() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(Inbox, ("0.0.0.0", 53))
        await asyncio.Event().wait()

    world.start("s", listen)
    await asyncio.sleep(0.01)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("s", 53)
    )
    world.nodes["s"].pause()
    for _ in range(100):
        transport.sendto(b"x" * 10_000)
    await asyncio.sleep(1)
    world.nodes["s"].resume()
    await asyncio.sleep(1)
    assert len(got) == world.config.network.datagram_buffer // 10_256
    transport.close()


@simulated()
async def test_a_client_that_crashes_is_seen_by_its_server(world: World) -> None:
    lost: list[Any] = []

    class Server(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            lost.append(getattr(exc, "errno", None))

    loop = asyncio.get_running_loop()
    await loop.create_server(Server, "0.0.0.0", 7000)

    async def dial() -> None:
        reader, writer = await asyncio.open_connection("test", 7000)
        try:
            await reader.read()
        finally:
            writer.close()

    world.start("s", dial)
    await asyncio.sleep(0.1)
    _crash(world, "reset")
    await asyncio.sleep(0.1)
    assert lost == [errno.ECONNRESET]


@simulated()
async def test_waiting_clients_of_a_crashed_node_connect_once_it_boots(world: World) -> None:
    await _client(world)
    _crash(world, "silence")
    waiting = asyncio.create_task(asyncio.open_connection("s", 7000))
    await asyncio.sleep(2)
    world.nodes["s"].restart()
    reader, writer = await waiting
    assert await ask(reader, writer, b"finally") == b"finally"
    writer.close()

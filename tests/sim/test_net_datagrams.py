"""Datagrams: whole, perhaps twice, perhaps late, perhaps not at all."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from simnet import network, simulate, simulated

from windtunnel.sim import EscapeError, World
from windtunnel.sim.net.links import Fixed, LinkConfig


class Inbox(asyncio.DatagramProtocol):
    def __init__(self, *, answer: bool = False) -> None:
        self.got: list[bytes] = []
        self.senders: list[Any] = []
        self.errors: list[Exception] = []
        self.transport: Any = None
        self.closed = False
        self._answer = answer

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append(data)
        self.senders.append(addr)
        if self._answer:
            self.transport.sendto(data.upper(), addr)

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True


async def _endpoint(answer: bool = False, **how: Any) -> Inbox:
    loop = asyncio.get_running_loop()
    _, inbox = await loop.create_datagram_endpoint(lambda: Inbox(answer=answer), **how)
    return inbox


@simulated()
async def test_a_question_is_answered_to_whom_it_came_from(world: World) -> None:
    server = await world.nodes["a"].run(_endpoint(answer=True, local_addr=("0.0.0.0", 53)))
    client = await _endpoint(remote_addr=("a", 53))
    client.transport.sendto(b"who?")
    await asyncio.sleep(0.01)
    assert client.got == [b"WHO?"]
    assert server.senders == [client.transport.get_extra_info("sockname")]
    assert client.senders == [(world.nodes["a"].addresses[0], 53)]
    server.transport.close()
    await asyncio.sleep(0.01)
    assert server.closed
    client.transport.sendto(b"anybody?")
    await asyncio.sleep(0.01)
    assert [error.errno for error in client.errors] == [errno.ECONNREFUSED]  # type: ignore[attr-defined]
    client.transport.close()


@simulated()
async def test_unconnected_sockets_do_not_hear_of_closed_ports(world: World) -> None:
    client = await _endpoint(local_addr=("0.0.0.0", 0))
    client.transport.sendto(b"?", (world.nodes["a"].addresses[0], 9))
    await asyncio.sleep(1)
    assert client.errors == []


@simulated()
async def test_a_connected_socket_hears_its_peer_alone(world: World) -> None:
    peer = await world.nodes["a"].run(_endpoint(local_addr=("0.0.0.0", 53)))
    stranger = await world.nodes["b"].run(_endpoint(local_addr=("0.0.0.0", 53)))
    client = await _endpoint(remote_addr=("a", 53))
    own = client.transport.get_extra_info("sockname")
    peer.transport.sendto(b"peer", own)
    stranger.transport.sendto(b"stranger", own)
    await asyncio.sleep(0.01)
    assert client.got == [b"peer"]
    with pytest.raises(ValueError, match="Invalid address"):
        client.transport.sendto(b"x", ("10.0.0.9", 1))


@simulated()
async def test_messages_stay_whole_and_have_a_largest_size(world: World) -> None:
    server = await world.nodes["a"].run(_endpoint(local_addr=("::", 53)))
    client = await _endpoint(remote_addr=(world.nodes["a"].addresses[1], 53))
    for data in (b"", b"one", b"x" * 65_507):
        client.transport.sendto(data)
    await asyncio.sleep(0.01)
    assert sorted(map(len, server.got)) == [0, 3, 65_507]
    client.transport.sendto(b"x" * 65_508)
    assert [error.errno for error in client.errors] == [errno.EMSGSIZE]  # type: ignore[attr-defined]


def _arrivals(count: int, *, seed: int = 1, **link: Any) -> list[int]:
    """The order in which numbered messages arrive over such a link."""
    config = LinkConfig(**{"latency": Fixed(0.001), **link})

    async def body(world: World) -> list[int]:
        server = await world.nodes["a"].run(_endpoint(local_addr=("0.0.0.0", 53)))
        client = await _endpoint(remote_addr=("a", 53))
        for number in range(count):
            client.transport.sendto(b"%d" % number)
            await asyncio.sleep(0.001)
        await asyncio.sleep(1)
        return [int(data) for data in server.got]

    found: list[int] = simulate(body, seed=seed, net=network(between=config))[0]
    return found


def test_a_quiet_link_delivers_each_once_and_in_order() -> None:
    assert _arrivals(100) == list(range(100))


def test_loss_loses_about_its_share_and_which_ones_hangs_on_the_seed() -> None:
    first, second = _arrivals(300, loss=0.3), _arrivals(300, loss=0.3, seed=2)
    assert 150 < len(first) < 270
    assert sorted(set(first)) == first
    assert first != second
    assert first == _arrivals(300, loss=0.3)


def test_duplication_delivers_some_twice() -> None:
    found = _arrivals(200, duplicate=0.5)
    assert set(found) == set(range(200))
    assert 250 < len(found) < 350


def test_reordering_lets_later_ones_overtake() -> None:
    found = _arrivals(200, reorder=0.2)
    assert found != sorted(found)
    assert sorted(found) == list(range(200))


@simulated(net=network(datagram_buffer=10_000))
async def test_a_full_buffer_drops_what_comes(world: World) -> None:
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 53))
    client = await _endpoint(remote_addr=("127.0.0.1", 53))
    for _ in range(100):
        client.transport.sendto(b"x" * 744)
    await asyncio.sleep(0.01)
    assert sum(note.kind == "drop" for note in world.trace.notes) == 90
    for _ in range(10):
        assert len(await loop.sock_recv(sock, 1000)) == 744
    with pytest.raises(BlockingIOError):
        sock.recv(1)
    sock.close()


@simulated()
async def test_calls_on_sockets_send_and_receive_with_addresses(world: World) -> None:
    loop = asyncio.get_running_loop()
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (one, other):
        sock.setblocking(False)
    one.bind(("127.0.0.1", 1000))
    assert await loop.sock_sendto(other, b"sent to", ("127.0.0.1", 1000)) == 7
    data, sender = await loop.sock_recvfrom(one, 100)
    assert (data, sender) == (b"sent to", ("127.0.0.1", other.getsockname()[1]))
    other.connect(("localhost", 1000))
    other.send(b"cut short")
    buffer = bytearray(3)
    assert await loop.sock_recvfrom_into(one, buffer) == (3, other.getsockname())
    assert buffer == b"cut"
    with pytest.raises(OSError) as caught:
        one.send(b"to whom?")
    assert caught.value.errno == errno.EDESTADDRREQ
    one.close()
    other.close()


@simulated()
async def test_groups_of_receivers_are_refused_clearly(world: World) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    for address in ("224.0.0.251", "255.255.255.255", "<broadcast>"):
        with pytest.raises(EscapeError, match="not to a group"):
            sock.sendto(b"anyone", (address, 5353))
    sock.close()

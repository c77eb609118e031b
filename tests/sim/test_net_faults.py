"""The verbs: what programs see of partitions, holds, slow and lossy links, and cuts."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest
from simnet import Recorder, ask, connected, echo_server, network, simulate, simulated

from windtunnel.core.errors import UsageError
from windtunnel.sim import World
from windtunnel.sim.net.links import Fixed, LinkConfig


async def _reaches(world: World, source: str, target: str, *, port: int = 53) -> bool:
    """Whether a datagram from one node gets to another."""
    loop = asyncio.get_running_loop()

    async def listen() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("0.0.0.0", port))
        return sock

    async def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            await loop.sock_sendto(sock, b"?", (world.nodes[target].addresses[0], port))

    with await world.nodes[target].run(listen()) as sock:
        await world.nodes[source].run(send())
        await asyncio.sleep(0.5)
        try:
            return sock.recv(10) == b"?"
        except BlockingIOError:
            return False


async def _table(world: World, names: str = "abc") -> set[str]:
    """Every pair of nodes of which the first reaches the second, as "ab"."""
    pairs = [x + y for x in names for y in names if x != y]
    return {pair for pair in pairs if await _reaches(world, *pair)}


ALL = {"ab", "ba", "ac", "ca", "bc", "cb"}


@simulated()
async def test_a_partition_parts_groups_and_heal_joins_them(world: World) -> None:
    assert await _table(world) == ALL
    world.partition(["a", "b"], ["c"])
    assert await _table(world) == {"ab", "ba"}
    world.heal()
    assert await _table(world) == ALL


@simulated()
async def test_a_single_group_is_cut_off_from_all_others(world: World) -> None:
    world.partition(world.nodes["a"])
    assert await _table(world) == {"bc", "cb"}
    assert not await _reaches(world, "test", "a")


@simulated()
async def test_a_partition_may_be_one_way_or_between_named_pairs(world: World) -> None:
    world.partition("a", ["b", "c"], symmetric=False)
    assert await _table(world) == {"ba", "ca", "bc", "cb"}
    world.heal()
    world.partition(pairs=[("a", "b"), ("b", "c")])
    assert await _table(world) == {"ac", "ca"}
    world.heal("a", "b")
    assert await _table(world) == ALL - {"bc", "cb"}


@simulated()
async def test_a_node_in_two_groups_is_a_bridge(world: World) -> None:
    world.partition(["a", "b"], ["b", "c"])
    assert await _table(world) == ALL - {"ac", "ca"}


@simulated(nodes="ab")
async def test_a_partition_holds_for_its_loopback_neither_nor_later_nodes(world: World) -> None:
    world.partition("a", "b")
    assert await _reaches(world, "a", "a")
    world.add_node("late")
    assert await _reaches(world, "a", "late")


# Streams.


@simulated()
async def test_a_stream_stalls_in_a_partition_and_goes_on_after_it(world: World) -> None:
    client, server = await connected(world)
    world.partition("a", "b")
    begin = world.now_ns
    client.transport.write(b"one ")
    await asyncio.sleep(2)
    client.transport.write(b"two")
    await asyncio.sleep(1.5)
    assert server.received == b""
    world.heal()
    while server.received != b"one two":
        await asyncio.sleep(0.01)
    # Sent again after 0.2, 0.6, 1.4, 3.0 and, the first after the heal, 6.2 s.
    assert (world.now_ns - begin) / 1e9 == pytest.approx(6.2, abs=0.1)
    assert client.events == ["made"]


@simulated()
async def test_bytes_under_way_when_it_begins_are_sent_again(world: World) -> None:
    client, server = await connected(world)
    client.transport.write(b"under way")
    world.partition("a", "b")
    await asyncio.sleep(0.1)
    assert server.received == b""
    world.heal()
    await asyncio.sleep(1)
    assert server.received == b"under way"


@simulated(net=network(user_timeout_s=20))
async def test_a_partition_that_lasts_times_the_connection_out(world: World) -> None:
    client, server = await connected(world)
    world.partition("a", "b")
    begin = world.now_ns
    client.transport.write(b"?")
    error = await client.lost
    assert isinstance(error, TimeoutError)
    assert error.errno == errno.ETIMEDOUT
    assert (world.now_ns - begin) / 1e9 == pytest.approx(20, abs=0.1)
    assert not server.lost.done()  # half-open: it never sent anything
    world.heal()
    server.transport.write(b"!")
    assert isinstance(await server.lost, ConnectionResetError)


@simulated()
async def test_the_user_timeout_of_a_socket_is_kept(world: World) -> None:
    client, _ = await connected(world)
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5_000)
    world.partition("a", "b")
    begin = world.now_ns
    client.transport.write(b"?")
    assert isinstance(await client.lost, TimeoutError)
    assert (world.now_ns - begin) / 1e9 == pytest.approx(5, abs=0.1)


@simulated()
async def test_keepalive_finds_a_silent_peer(world: World) -> None:
    client, server = await connected(world)
    sock = client.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, 10),
        (socket.TCP_KEEPINTVL, 2),
        (socket.TCP_KEEPCNT, 3),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    world.partition("a", "b")
    begin = world.now_ns
    assert isinstance(await client.lost, TimeoutError)
    assert (world.now_ns - begin) / 1e9 == pytest.approx(16, abs=0.5)
    assert not server.lost.done()


@simulated(net=network(user_timeout_s=30))
async def test_one_way_the_message_arrives_and_its_sender_does_not_know(world: World) -> None:
    client, server = await connected(world)
    world.partition("a", "b", symmetric=False)  # the server's answers are lost
    client.transport.write(b"delivered")
    await asyncio.sleep(0.1)
    assert server.received == b"delivered"
    server.transport.write(b"lost")
    assert isinstance(await client.lost, TimeoutError)
    assert isinstance(await server.lost, TimeoutError)


@simulated(net=network(user_timeout_s=30))
async def test_a_short_one_way_partition_is_survived(world: World) -> None:
    client, server = await connected(world)
    world.partition("a", "b", symmetric=False)
    client.transport.write(b"delivered")
    await asyncio.sleep(1)
    world.heal()
    await asyncio.sleep(60)
    client.transport.write(b" and more")
    await asyncio.sleep(0.1)
    assert server.received == b"delivered and more"
    assert not client.lost.done()


@simulated()
async def test_closing_in_a_partition_is_heard_of_after_it(world: World) -> None:
    client, server = await connected(world)
    world.partition("a", "b")
    client.transport.write(b"goodbye")
    client.transport.close()
    assert await client.lost is None
    assert server.events == ["made"]
    world.heal()
    assert await server.lost is None
    assert server.events == ["made", ("data", 7), "eof", ("lost", None)]


@simulated()
async def test_back_pressure_survives_a_partition(world: World) -> None:
    client, server = await connected(world)
    server.transport.pause_reading()
    client.transport.write(b"x" * 500_000)
    await asyncio.sleep(0.1)
    assert client.events == ["made", "pause"]
    world.partition("a", "b")
    server.transport.resume_reading()
    await asyncio.sleep(0.1)
    got = len(server.received)
    assert got < 500_000
    world.heal()
    await asyncio.sleep(2)
    assert len(server.received) == 500_000
    assert client.events == ["made", "pause", "resume"]


# Holding.


@simulated()
async def test_what_is_held_comes_in_order_when_it_is_released(world: World) -> None:
    client, server = await connected(world)
    client.transport.write(b"under way, ")
    world.hold("a", "b")
    client.transport.write(b"written, ")
    await asyncio.sleep(30)
    client.transport.write(b"later")
    client.transport.close()
    await asyncio.sleep(30)
    assert server.events == ["made"]
    world.release("a", "b")
    assert await server.lost is None
    assert server.received == b"under way, written, later"


@simulated()
async def test_held_datagrams_and_connects_wait_too(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    world.hold("test", "a")
    connecting = asyncio.create_task(asyncio.open_connection("a", 7000))
    reaching = asyncio.create_task(_reaches(world, "test", "a"))
    await asyncio.sleep(0.2)
    assert not connecting.done()
    world.release()
    assert await reaching
    reader, writer = await connecting
    assert await ask(reader, writer, b"hello") == b"hello"
    writer.close()


@simulated()
async def test_holding_one_way_lets_the_other_pass(world: World) -> None:
    client, server = await connected(world)
    world.hold("a", "b", symmetric=False)
    server.transport.write(b"held")
    client.transport.write(b"passes")
    await asyncio.sleep(1)
    assert (client.received, server.received) == (b"", b"passes")
    world.release("a", "b")
    await asyncio.sleep(0.01)
    assert client.received == b"held"


# Slow and lossy.


@simulated()
async def test_slow_makes_a_link_slow_until_it_is_healed(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("a", 7000)

    async def round_trip() -> float:
        begin = loop.time()
        await ask(reader, writer, b"?")
        return loop.time() - begin

    assert await round_trip() == pytest.approx(0.002, abs=0.001)
    world.slow("test", "a", latency_s=0.2)
    assert await round_trip() == pytest.approx(0.4, abs=0.001)
    world.slow("test", "a", latency_s=0.2, jitter_s=0.1, symmetric=False)
    varied = [await round_trip() for _ in range(20)]
    assert 0.3 < min(varied) < 0.35
    assert 0.45 < max(varied) < 0.5
    world.heal("test", "a")
    assert await round_trip() == pytest.approx(0.002, abs=0.001)
    writer.close()


@simulated()
async def test_slow_narrows_a_link(world: World) -> None:
    client, server = await connected(world)
    world.slow("a", "b", bandwidth=1_000)
    client.transport.write(b"x" * 2_000)
    await asyncio.sleep(1.9)
    assert server.received == b""
    await asyncio.sleep(0.2)
    assert len(server.received) == 2_000


@simulated()
async def test_a_lossy_link_delays_streams_and_keeps_their_bytes(world: World) -> None:
    client, server = await connected(world)
    world.drop("a", "b", rate=0.3)
    begin = world.now_ns
    expected = b""
    for number in range(50):
        expected += b"%d," % number
        client.transport.write(b"%d," % number)
        await asyncio.sleep(0.001)
    while server.received != expected:
        await asyncio.sleep(0.01)
    assert (world.now_ns - begin) / 1e9 > 0.2


@simulated(net=network(user_timeout_s=10))
async def test_a_link_that_loses_everything_times_streams_out(world: World) -> None:
    client, _ = await connected(world)
    world.drop("a", "b", rate=1.0)
    client.transport.write(b"?")
    assert isinstance(await client.lost, TimeoutError)
    assert not await _reaches(world, "a", "b")
    world.drop("a", "b", rate=0.0)
    assert await _reaches(world, "a", "b")


@simulated()
async def test_a_link_takes_any_shape_until_it_is_healed(world: World) -> None:
    world.net.shape("a", "b", LinkConfig(latency=Fixed(0.6)))
    assert not await _reaches(world, "a", "b")
    world.heal()
    assert await _reaches(world, "a", "b")


# Cuts.


@simulated()
async def test_a_cut_resets_the_connections_between_two_nodes_and_no_others(
    world: World,
) -> None:
    client, server = await connected(world)
    other, _ = await connected(world, server="c", client="a", port=7001)
    client.transport.write(b"never arrives")
    world.cut("a", "b")
    assert isinstance(await client.lost, ConnectionResetError)
    assert isinstance(await server.lost, ConnectionResetError)
    assert server.received == b""
    await asyncio.sleep(1)
    assert other.events == ["made"]
    again, there = await connected(world, port=7002)
    again.transport.write(b"a new one")
    await asyncio.sleep(0.01)
    assert there.received == b"a new one"


# Bad use.


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda world: world.partition("a", "nobody"), "no such node"),
        (lambda world: world.partition(), "two groups"),
        (lambda world: world.partition("a", "a"), "two groups"),
        (lambda world: world.partition("a", []), "one node or several"),
        (lambda world: world.partition(pairs=[("a", "a")]), "pair has two"),
        (lambda world: world.heal("a"), "no groups or two"),
        (lambda world: world.release("a"), "no groups or two"),
        (lambda world: world.hold("a", 7), "one node or several"),
        (lambda world: world.slow("a", "b"), "latency_s or bandwidth"),
        (lambda world: world.slow("a", "b", latency_s=-1), "latency_s"),
        (lambda world: world.slow("a", "b", jitter_s=1), "jitter_s needs"),
        (lambda world: world.slow("a", "b", latency_s=1, jitter_s=2), "at most"),
        (lambda world: world.slow("a", "b", bandwidth=0), "bandwidth"),
        (lambda world: world.drop("a", "b", rate=2), "rate is a share"),
        (lambda world: world.drop("a", "b", rate="half"), "rate is a share"),
        (lambda world: world.cut("a", None), "one node or several"),
        (lambda world: world.net.shape("a", "b", "slow"), "LinkConfig"),
    ],
)
def test_nonsense_is_one_clear_error_and_changes_nothing(
    wrong: Callable[[World], Any], says: str
) -> None:
    async def body(world: World) -> None:
        with pytest.raises(UsageError, match=says):
            wrong(world)
        client, server = await connected(world)
        client.transport.write(b"fine")
        await asyncio.sleep(0.01)
        assert server.received == b"fine"
        assert isinstance(client, Recorder)

    simulate(body)

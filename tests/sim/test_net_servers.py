"""Addresses, ports and servers: who hears whom, and the errors of those that nobody hears."""

from __future__ import annotations

import asyncio
import errno
import socket
from typing import Any

import pytest
from simnet import ask, echo_server, network, simulate, simulated

from windtunnel.sim import World
from windtunnel.sim.net.links import Fixed, LinkConfig


def _ports(server: asyncio.Server) -> list[tuple[Any, ...]]:
    return [sock.getsockname() for sock in server.sockets]


async def _reach(host: str, port: int, **how: Any) -> str:
    """Connect, and say which address answered."""
    reader, writer = await asyncio.open_connection(host, port, **how)
    assert await ask(reader, writer, b"hello") == b"hello"
    writer.close()
    return str(writer.get_extra_info("peername")[0])


@simulated()
async def test_every_node_has_a_loopback_of_its_own(world: World) -> None:
    a, b = world.nodes["a"], world.nodes["b"]
    await a.run(echo_server("127.0.0.1", 80))
    assert await a.run(_reach("127.0.0.1", 80)) == "127.0.0.1"
    assert await a.run(_reach("localhost", 80)) == "127.0.0.1"
    for host in ("127.0.0.1", "localhost", "a"):
        with pytest.raises(ConnectionRefusedError):
            await b.run(_reach(host, 80, family=socket.AF_INET))


@simulated()
async def test_a_server_on_all_addresses_is_reached_by_each(world: World) -> None:
    await world.nodes["a"].run(echo_server(None, 80))
    four, six = world.nodes["a"].addresses
    assert await _reach("a", 80) == four
    assert await _reach(four, 80) == four
    assert await _reach(six, 80) == six
    for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
        await world.nodes["a"].run(_reach(host, 80))


@simulated()
async def test_port_zero_takes_a_free_port_the_same_in_each_run(world: World) -> None:
    first, second = await echo_server("127.0.0.1", 0), await echo_server("127.0.0.1", 0)
    (_, one), (_, two) = _ports(first)[0], _ports(second)[0]
    assert one != two
    assert min(one, two) >= 32_768
    assert await _reach("127.0.0.1", two) == "127.0.0.1"


def test_ports_are_the_same_for_every_seed() -> None:
    async def body(world: World) -> list[Any]:
        return _ports(await echo_server("127.0.0.1", 0)) + _ports(await echo_server(None, 0))

    assert simulate(body, seed=1)[0] == simulate(body, seed=2)[0]


@simulated()
async def test_an_address_in_use_is_refused(world: World) -> None:
    await echo_server("0.0.0.0", 80)
    for host in ("0.0.0.0", "127.0.0.1"):
        with pytest.raises(OSError, match="address already in use") as caught:
            await echo_server(host, 80)
        assert caught.value.errno == errno.EADDRINUSE
    await echo_server("::1", 80)
    await world.nodes["a"].run(echo_server("0.0.0.0", 80))


@simulated()
async def test_a_closed_server_frees_its_port_for_those_who_reuse_the_address(
    world: World,
) -> None:
    server = await echo_server("127.0.0.1", 80)
    await _reach("127.0.0.1", 80)
    await asyncio.sleep(1)
    server.close()
    await server.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        await _reach("127.0.0.1", 80)
    server = await echo_server("127.0.0.1", 80, reuse_address=True)
    await _reach("127.0.0.1", 80)


@simulated()
async def test_a_connection_closed_by_the_server_keeps_the_port_for_a_while(
    world: World,
) -> None:
    async def goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(goodbye, "127.0.0.1", 80)
    reader, writer = await asyncio.open_connection("127.0.0.1", 80)
    assert await reader.read() == b""
    writer.close()
    await asyncio.sleep(1)
    server.close()
    await server.wait_closed()
    with pytest.raises(OSError, match="in use"):
        await echo_server("127.0.0.1", 80, reuse_address=False)
    await asyncio.sleep(world.config.network.time_wait_s)
    await echo_server("127.0.0.1", 80, reuse_address=False)


@simulated()
async def test_servers_that_share_a_port_share_its_connections(world: World) -> None:
    counts = {"one": 0, "two": 0}

    def counting(name: str) -> Any:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            counts[name] += 1
            writer.close()

        return connected

    for name in counts:
        await asyncio.start_server(counting(name), "127.0.0.1", 80, reuse_port=True)
    for _ in range(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", 80)
        await reader.read()
        writer.close()
    assert sum(counts.values()) == 30
    assert min(counts.values()) > 3


@simulated()
async def test_an_address_of_another_node_cannot_be_bound(world: World) -> None:
    with socket.socket() as sock, pytest.raises(OSError) as caught:
        sock.bind((world.nodes["a"].addresses[0], 80))
    assert caught.value.errno == errno.EADDRNOTAVAIL


@simulated()
async def test_the_family_of_a_server_is_kept(world: World) -> None:
    six = await echo_server(None, 80, family=socket.AF_INET6)
    assert [sock.family for sock in six.sockets] == [socket.AF_INET6]
    assert await _reach("::1", 80) == "::1"
    with pytest.raises(ConnectionRefusedError):
        await _reach("127.0.0.1", 80)
    both = await echo_server("localhost", 81)
    assert sorted(sock.getsockname()[0] for sock in both.sockets) == ["127.0.0.1", "::1"]


@simulated()
async def test_a_dual_stack_socket_hears_both_families(world: World) -> None:
    seen = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        writer.close()

    async def serve() -> None:
        sock = socket.create_server(("", 80), family=socket.AF_INET6, dualstack_ipv6=True)
        await asyncio.start_server(handle, sock=sock)

    await world.nodes["a"].run(serve())
    four, six = world.nodes["a"].addresses
    for host in (four, six):
        reader, writer = await asyncio.open_connection(host, 80)
        await reader.read()
        writer.close()
    mine = world.nodes["test"].addresses
    assert seen == [f"::ffff:{mine[0]}", mine[1]]


@simulated()
async def test_happy_eyeballs_take_the_family_that_answers(world: World) -> None:
    await world.nodes["a"].run(echo_server("::", 80))
    loop = asyncio.get_running_loop()
    world.net.shape("test", "a", LinkConfig(latency=Fixed(0.05)))
    begin = loop.time()
    six = world.nodes["a"].addresses[1]
    assert await _reach("a", 80, happy_eyeballs_delay=0.01) == six
    assert loop.time() - begin < 0.3


# Those that nobody hears.


async def _failure(host: str, port: int) -> tuple[int | None, float]:
    """The errno with which a connection fails, and after how many seconds."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(OSError) as caught:
        await asyncio.open_connection(host, port)
    return caught.value.errno, loop.time() - begin


@simulated()
async def test_a_port_nobody_listens_at_refuses_after_a_round_trip(world: World) -> None:
    number, after = await _failure(world.nodes["a"].addresses[0], 80)
    assert number == errno.ECONNREFUSED
    assert after == pytest.approx(0.002, abs=0.0002)


@simulated()
async def test_an_address_without_a_machine_is_unreachable(world: World) -> None:
    assert await _failure("10.0.0.99", 80) == (errno.EHOSTUNREACH, pytest.approx(3.0, abs=0.01))
    assert await _failure("192.0.2.1", 80) == (errno.ENETUNREACH, pytest.approx(0.0, abs=0.01))


@simulated()
async def test_a_machine_that_does_not_answer_times_out_as_on_linux(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    world.partition("test", "a")
    number, after = await _failure(world.nodes["a"].addresses[0], 7000)
    assert (number, after) == (errno.ETIMEDOUT, pytest.approx(127, abs=0.1))


@simulated()
async def test_a_request_to_connect_is_made_again_when_it_is_lost(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    world.partition("test", "a")
    connecting = asyncio.create_task(_reach("a", 7000))
    await asyncio.sleep(5)
    world.heal()
    await connecting
    # After 1, 3 and 7 seconds: the third is the first after the heal.
    assert 7 < world.now_ns / 1e9 < 7.1


@simulated()
async def test_a_full_backlog_makes_clients_wait_for_another_try(world: World) -> None:
    loop = asyncio.get_running_loop()
    listening = socket.socket()
    listening.setblocking(False)
    listening.bind(("127.0.0.1", 80))
    listening.listen(1)
    clients = [asyncio.create_task(asyncio.open_connection("127.0.0.1", 80)) for _ in range(3)]
    await asyncio.sleep(0.5)
    assert sorted(client.done() for client in clients) == [False, True, True]
    accepted = [await loop.sock_accept(listening) for _ in range(3)]
    assert 1 <= world.now_ns / 1e9 < 1.1
    for client in clients:
        (await client)[1].close()
    for sock, _ in accepted:
        sock.close()
    listening.close()


@simulated()
async def test_connections_that_were_not_accepted_are_reset_with_the_listener(
    world: World,
) -> None:
    listening = socket.create_server(("127.0.0.1", 80))
    reader, writer = await asyncio.open_connection("127.0.0.1", 80)
    listening.close()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


@simulated()
async def test_a_server_that_is_closed_keeps_the_connections_it_has(world: World) -> None:
    server = await world.nodes["a"].run(echo_server())
    reader, writer = await asyncio.open_connection("a", 7000)
    assert await ask(reader, writer, b"one") == b"one"
    server.close()
    assert await ask(reader, writer, b"two") == b"two"
    with pytest.raises(OSError):
        await asyncio.open_connection("a", 7000)
    writer.close()


@simulated()
async def test_the_first_bytes_may_be_sent_before_the_server_has_accepted(world: World) -> None:
    listening = socket.create_server(("127.0.0.1", 80))
    listening.setblocking(False)
    _, writer = await asyncio.open_connection("127.0.0.1", 80)
    writer.write(b"early\n")
    await asyncio.sleep(1)
    sock, _ = await asyncio.get_running_loop().sock_accept(listening)
    other, other_writer = await asyncio.open_connection(sock=sock)
    assert await other.readline() == b"early\n"
    other_writer.close()
    writer.close()
    listening.close()


@simulated()
async def test_a_local_address_can_be_asked_for(world: World) -> None:
    await world.nodes["a"].run(echo_server())
    own = world.nodes["test"].addresses[0]
    _, writer = await asyncio.open_connection("a", 7000, local_addr=(own, 5555))
    assert writer.get_extra_info("sockname") == (own, 5555)
    writer.close()


def test_the_order_in_which_a_server_binds_does_not_hang_on_the_hash_seed() -> None:
    async def body(world: World) -> list[Any]:
        server = await echo_server(["127.0.0.1", "::1", world.node.addresses[0]], 0)
        return [sock.getsockname()[0] for sock in server.sockets]

    hosts, _ = simulate(body, net=network())
    assert len(hosts) == 3
    assert hosts == simulate(body, net=network())[0]

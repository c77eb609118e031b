"""Names: what programs in the simulated world are told about hosts."""

from __future__ import annotations

import asyncio
import socket
from socket import getaddrinfo, gethostbyname, gethostname
from typing import Any

import pytest
from simnet import network, simulate, simulated

from windtunnel.core.errors import UsageError
from windtunnel.sim import World


def _hosts(infos: list[Any]) -> list[str]:
    return [info[4][0] for info in infos]


@simulated()
async def test_nodes_are_known_by_name_on_all_nodes(world: World) -> None:
    async def look() -> list[str]:
        infos = await asyncio.get_running_loop().getaddrinfo("a", 80, type=socket.SOCK_STREAM)
        assert infos == getaddrinfo("a", "http", type=socket.SOCK_STREAM)
        return _hosts(infos)

    expected = list(world.nodes["a"].addresses)
    assert await look() == await world.nodes["b"].run(look()) == expected


@simulated()
async def test_entries_are_what_the_real_function_gives(world: World) -> None:
    (info,) = getaddrinfo("127.0.0.1", 80, proto=socket.IPPROTO_TCP, type=socket.SOCK_STREAM)
    assert info == (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    assert isinstance(info[0], socket.AddressFamily)
    kinds = [(info[1], info[2]) for info in getaddrinfo("127.0.0.1", 80)]
    assert kinds == [(socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17), (socket.SOCK_RAW, 0)]


@simulated()
async def test_no_name_means_this_machine(world: World) -> None:
    how = {"type": socket.SOCK_STREAM}
    assert _hosts(getaddrinfo(None, 80, **how)) == ["::1", "127.0.0.1"]
    passive = getaddrinfo(None, 80, flags=socket.AI_PASSIVE, **how)
    assert _hosts(passive) == ["0.0.0.0", "::"]
    assert _hosts(getaddrinfo("localhost", 80, socket.AF_INET, **how)) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("host", "port", "family", "error"),
    [
        ("nowhere.example", 80, 0, socket.EAI_NONAME),
        ("1.2.3.4", 80, socket.AF_INET6, socket.EAI_ADDRFAMILY),
        ("1.2.3.4", "no such service", 0, socket.EAI_SERVICE),
        ("", 80, 0, socket.EAI_NONAME),
    ],
)
def test_errors_are_those_of_glibc(host: str, port: Any, family: int, error: int) -> None:
    async def body(world: World) -> None:
        for ask in (getaddrinfo, asyncio.get_running_loop().getaddrinfo):

            async def look(ask: Any = ask) -> Any:
                return await ask(host, port, family=family)

            with pytest.raises(socket.gaierror) as caught:
                await look()
            assert caught.value.errno == error

    simulate(body)
    if host != "nowhere.example":  # which would be looked up in the real world
        with pytest.raises(socket.gaierror) as real:
            getaddrinfo(host, port, family)
        assert real.value.errno == error


@simulated()
async def test_a_name_can_be_added_for_addresses_or_nodes(world: World) -> None:
    world.net.add_host("db.internal", "a")
    world.net.add_host("cache.internal", "10.0.0.99", "fd00::99")
    assert gethostbyname("DB.internal.") == world.nodes["a"].addresses[0]
    assert socket.gethostbyname_ex("cache.internal") == ("cache.internal", [], ["10.0.0.99"])
    for wrong in ((), ("nobody",)):
        with pytest.raises(UsageError, match=r"db\.internal"):
            world.net.add_host("db.internal", *wrong)


@simulated()
async def test_a_name_without_an_address_of_that_family_is_told_apart(world: World) -> None:
    world.net.add_host("six", "fd00::6")
    with pytest.raises(socket.gaierror) as caught:
        gethostbyname("six")
    assert caught.value.errno == socket.EAI_NODATA


@simulated()
async def test_addresses_have_names(world: World) -> None:
    address = world.nodes["a"].addresses[0]
    assert socket.gethostbyaddr(address) == ("a", [], [address])
    assert socket.gethostbyaddr("127.0.0.1")[0] == "localhost"
    assert socket.getnameinfo((address, 80), 0) == ("a", "http")
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    loop = asyncio.get_running_loop()
    assert await loop.getnameinfo((address, 80), numeric) == (address, "80")
    with pytest.raises(socket.herror):
        socket.gethostbyaddr("10.0.0.99")
    with pytest.raises(socket.gaierror):
        socket.getnameinfo(("10.0.0.99", 1), socket.NI_NAMEREQD)


@simulated()
async def test_each_node_has_a_host_name(world: World) -> None:
    async def names() -> tuple[str, str]:
        return gethostname(), socket.getfqdn()

    assert await world.nodes["a"].run(names()) == ("a", "a")
    assert gethostname() == "test"
    world.net.add_host("a.example.org", "a")
    assert socket.getfqdn(world.nodes["a"].addresses[0]) == "a.example.org"


@simulated(net=network(ipv6=False))
async def test_a_network_can_be_without_ipv6(world: World) -> None:
    assert _hosts(getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)) == ["127.0.0.1"]
    assert _hosts(getaddrinfo("a", 80, type=socket.SOCK_STREAM)) == [world.nodes["a"].addresses[0]]


@simulated(net=network(resolve_s=0.25))
async def test_looking_up_takes_its_time(world: World) -> None:
    await asyncio.get_running_loop().getaddrinfo("a", 80)
    assert 0.25 <= world.now_ns / 1e9 < 0.26


def test_outside_a_world_names_are_real() -> None:
    real = gethostname()

    async def body(world: World) -> str:
        return gethostname()

    assert simulate(body)[0] == "test"
    assert gethostname() == real

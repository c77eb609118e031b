"""Addresses of the simulated network: which are whose, in both families.

Every node has a loopback of its own (127.0.0.0/8, ::1) and one address of each family on the
one network that all share (10.0.0.0/8, fd00::/64). There is nothing beyond it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.sim.errors import EscapeError
from windtunnel.sim.net.files import Address, os_error

if TYPE_CHECKING:
    from windtunnel.sim.node import Node
    from windtunnel.sim.world import World

IP: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NETWORKS: tuple[Any, ...] = (
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_network("fd00::/64"),
)
ANY: dict[int, str] = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}
_LOOPBACK: dict[int, str] = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_MAPPED = "::ffff:"


@lru_cache(maxsize=4096)
def parse(host: str) -> IP | None:
    """The IP address that a text is, or None when it is a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


def is_any(host: str) -> bool:
    """Whether it is the wildcard to which servers bind."""
    ip = parse(host)
    return ip is not None and ip.is_unspecified


def unmapped(host: str) -> str:
    """An IPv4 address out of its IPv6 form (``::ffff:10.0.0.2``), others as they are."""
    ip = parse(host)
    mapped = getattr(ip, "ipv4_mapped", None)
    return host if mapped is None else str(mapped)


def make(family: int, host: str, port: int) -> Address:
    """A socket address of that family, as Python shows it."""
    if family == socket.AF_INET:
        return (unmapped(host), port)
    ip = parse(host)
    if ip is not None and ip.version == 4:
        host = _MAPPED + host
    return (host, port, 0, 0)


def same(first: str, second: str) -> bool:
    """Whether two texts are one address (``::0:1`` and ``::1``)."""
    return first == second or parse(unmapped(first)) == parse(unmapped(second))


class Routes:
    """Which node an address leads to.

    :param world: whose nodes have the addresses.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._owners: dict[IP, Node] = {}

    def owner(self, host: str) -> Node | None:
        """The node that has that address on the network, or None."""
        ip = parse(unmapped(host))
        if ip is None:
            return None
        known = self._owners.get(ip)
        if known is None:
            for node in self._world.nodes.values():
                for address in node.addresses:
                    self._owners[ipaddress.ip_address(address)] = node
            known = self._owners.get(ip)
        return known

    def is_local(self, node: Node, host: str) -> bool:
        """Whether a socket of that node may be bound to the address."""
        ip = parse(unmapped(host))
        return ip is not None and (ip.is_unspecified or ip.is_loopback or self.owner(host) is node)

    def route(self, node: Node, host: str) -> Node | None:
        """Who gets what ``node`` sends to that address; None when nobody has it.

        :raises OSError: ENETUNREACH for an address outside the simulated network.
        :raises EscapeError: for a group of receivers: broadcast or multicast.
        """
        ip = parse(unmapped(host))
        if ip is None:
            raise os_error(errno.EINVAL)
        if ip.is_unspecified or ip.is_loopback:
            return node
        refuse_groups(self._world, host)
        found = self.owner(host)
        if found is None and not any(ip in network for network in _NETWORKS):
            raise os_error(errno.ENETUNREACH)
        return found

    def source(self, node: Node, family: int, host: str) -> str:
        """The address that ``node`` has on the way to ``host``."""
        ip = parse(unmapped(host))
        if ip is None or ip.is_unspecified or ip.is_loopback:
            return _LOOPBACK[socket.AF_INET if ip is not None and ip.version == 4 else family]
        wanted = ip.version
        for address in node.addresses:
            own = parse(address)
            if own is not None and own.version == wanted:
                return address
        raise os_error(errno.EADDRNOTAVAIL)


def refuse_groups(world: World, host: str) -> None:
    """:raises EscapeError: for an address that stands for many receivers."""
    ip = parse(unmapped(host))
    if ip is None:
        return
    if ip.is_multicast or host == "255.255.255.255" or host == "10.255.255.255":
        error = EscapeError(
            "the simulated network carries messages to one receiver, not to a group",
            found=f"address {host}",
            fix="send to each node by its own address",
        )
        world.escape(error)
        raise error

"""Names and addresses: what ``getaddrinfo`` and its relatives say in the simulated world.

Known are ``localhost``, the names of nodes, and what the test adds; everything else does not
exist. Orders and errors are glibc's (getaddrinfo(3), RFC 6724).
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sim.net import addresses

if TYPE_CHECKING:
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

Info: TypeAlias = tuple[int, int, int, str, tuple[Any, ...]]
"""Family, type, protocol, canonical name and socket address."""

_KINDS = (
    (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    (socket.SOCK_RAW, 0),
)
_SERVICES = {"http": 80, "https": 443, "domain": 53, "ssh": 22, "smtp": 25, "redis": 6379}
_LOOPBACK = ("::1", "127.0.0.1")

_ERRORS = {
    socket.EAI_NONAME: "Name or service not known",
    socket.EAI_SERVICE: "Servname not supported for ai_socktype",
    socket.EAI_NODATA: "No address associated with hostname",
    socket.EAI_ADDRFAMILY: "Address family for hostname not supported",
    socket.EAI_FAMILY: "ai_family not supported",
    socket.EAI_SOCKTYPE: "ai_socktype not supported",
}


def _error(number: int) -> socket.gaierror:
    return socket.gaierror(number, _ERRORS[number])


class _Info(tuple[Any, ...]):
    """An entry whose hash is the same in every process: asyncio's ``create_server`` puts them
    into a set and binds in its order."""

    __slots__ = ()

    def __hash__(self) -> int:
        family, kind, _, _, address = self
        ip = addresses.parse(address[0])
        return int(ip or 0) % 1_000_003 * 64 + int(family) * 4 + int(kind)


def stable(infos: list[Any]) -> list[Any]:
    """The same entries, in a set in the same order in every process."""
    return [_Info(info) for info in infos]


class Hosts:
    """The names that the nodes of a world know.

    :param net: whose nodes have names.
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        self._added: dict[str, tuple[str, ...]] = {}

    def add(self, name: str, *where: str) -> None:
        """Make a name known on all nodes.

        :param where: IP addresses, or the name of a node, which stands for its addresses.
        :raises UsageError: when ``where`` is empty, or neither an address nor a node.
        """
        found: list[str] = []
        for item in where:
            node = self._net.world.nodes.get(item)
            if node is not None:
                found.extend(node.addresses)
            elif addresses.parse(item) is not None:
                found.append(item)
            else:
                raise UsageError(
                    f"host {name!r} needs an IP address or the name of a node", found=repr(item)
                )
        if not found:
            raise UsageError(f"host {name!r} needs an address")
        self._added[name.lower().rstrip(".")] = tuple(found)

    def lookup(self, name: str) -> tuple[str, ...]:
        """The addresses of a name, the preferred one first; empty when it is not known."""
        key = name.lower().rstrip(".")
        found = self._added.get(key, ())
        if not found:
            if key in ("localhost", "ip6-localhost") or key.endswith(".localhost"):
                found = _LOOPBACK
            else:
                for node in self._net.world.nodes.values():
                    if key in (node.name.lower(), node.hostname.lower()):
                        found = node.addresses
                        break
        if self._net.config.ipv6:
            return found
        return tuple(host for host in found if ":" not in host)

    def first(self, name: str, family: int) -> str:
        """One address of a name or an address as a text.

        :raises gaierror: when there is none of that family.
        """
        if name == "":
            return addresses.ANY[family]
        if name == "<broadcast>":
            return "255.255.255.255"
        return str(self.getaddrinfo(name, 0, family, socket.SOCK_STREAM)[0][4][0])

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Info]:
        """As :func:`socket.getaddrinfo`, out of the simulated world.

        :raises gaierror: with the error that glibc gives.
        """
        if family not in (0, socket.AF_INET, socket.AF_INET6):
            raise _error(socket.EAI_FAMILY)
        name = _text(host)
        number = _port(port, flags)
        kinds = [
            (kind, protocol)
            for kind, protocol in _KINDS
            if (type in (0, kind)) and (proto in (0, protocol) or protocol == 0)
        ]
        if not kinds:
            raise _error(socket.EAI_SOCKTYPE)
        canonical = name if flags & socket.AI_CANONNAME and name else ""
        infos: list[Info] = []
        for each in self._candidates(name, family, flags):
            version = socket.AF_INET6 if ":" in each else socket.AF_INET
            for kind, protocol in kinds:
                address = addresses.make(version, each, number)
                first = canonical if not infos else ""
                infos.append((version, kind, protocol or proto, first, address))
        return infos

    def _candidates(self, name: str | None, family: int, flags: int) -> list[str]:
        if name is None:
            found: tuple[str, ...] = ("0.0.0.0", "::") if flags & socket.AI_PASSIVE else _LOOPBACK
            if not self._net.config.ipv6:
                found = tuple(host for host in found if ":" not in host)
        elif addresses.parse(name) is not None:
            found = (name,)
            if family not in (0, _version(name)):
                raise _error(socket.EAI_ADDRFAMILY)
        elif flags & socket.AI_NUMERICHOST:
            raise _error(socket.EAI_NONAME)
        else:
            found = self.lookup(name)
        if not found:
            raise _error(socket.EAI_NONAME)
        matching = [host for host in found if family in (0, _version(host))]
        if not matching:
            raise _error(socket.EAI_NODATA)
        return matching

    def gethostbyname(self, name: str) -> str:
        """As :func:`socket.gethostbyname`."""
        return self.first(_text(name) or "", socket.AF_INET)

    def gethostbyname_ex(self, name: str) -> tuple[str, list[str], list[str]]:
        """As :func:`socket.gethostbyname_ex`."""
        infos = self.getaddrinfo(name, 0, socket.AF_INET, socket.SOCK_STREAM)
        return (_text(name) or "", [], [str(info[4][0]) for info in infos])

    def gethostbyaddr(self, address: str) -> tuple[str, list[str], list[str]]:
        """As :func:`socket.gethostbyaddr`.

        :raises herror: for an address that has no name.
        """
        host = _text(address) or ""
        if addresses.parse(host) is None:
            host = self.getaddrinfo(host, 0, 0, socket.SOCK_STREAM)[0][4][0]
        name = self.name_of(host)
        if name is None:
            raise socket.herror(1, "Unknown host")
        return (name, [], [host])

    def getnameinfo(self, address: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """As :func:`socket.getnameinfo`.

        :raises gaierror: when the host is not an address, or has no name and one is required.
        """
        host, port = str(address[0]), int(address[1])
        if addresses.parse(host) is None:
            raise _error(socket.EAI_NONAME)
        name = None if flags & socket.NI_NUMERICHOST else self.name_of(host)
        if name is None and flags & socket.NI_NAMEREQD:
            raise _error(socket.EAI_NONAME)
        service = str(port)
        if not flags & socket.NI_NUMERICSERV:
            names = {number: known for known, number in _SERVICES.items()}
            service = names.get(port, service)
        return (name or host, service)

    def name_of(self, host: str) -> str | None:
        """The name that an address has, or None."""
        ip = addresses.parse(addresses.unmapped(host))
        if ip is None:
            return None
        if ip.is_loopback:
            return "localhost"
        for name, found in self._added.items():
            if any(addresses.same(host, each) for each in found):
                return name
        owner: Node | None = self._net.routes.owner(host)
        return None if owner is None else owner.hostname


def _version(host: str) -> int:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _text(host: Any) -> str | None:
    if host is None or isinstance(host, str):
        return host
    if isinstance(host, (bytes, bytearray)):
        return bytes(host).decode("ascii")
    raise TypeError("getaddrinfo() argument 1 must be string or None")


def _port(port: Any, flags: int) -> int:
    if port is None:
        return 0
    if isinstance(port, (bytes, str)):
        text = port.decode() if isinstance(port, bytes) else port
        if text.isdecimal():
            return int(text)
        if not text:
            return 0
        if text in _SERVICES and not flags & socket.AI_NUMERICSERV:
            return _SERVICES[text]
        raise _error(socket.EAI_SERVICE)
    if isinstance(port, int):
        return port
    raise OSError("Int or String expected")

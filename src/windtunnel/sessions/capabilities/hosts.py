"""Network addresses: one normal form for hosts and ports, and patterns that match it.

An address is what a host function was asked to reach: ``host``, ``host:port``, ``[v6]:port`` or a
URL. A host is a name in its ASCII form or an IP address; each odd notation of an address
(``0x7f.1``, ``2130706433``, ``::ffff:127.0.0.1``) is read as what it reaches, and one that programs
read differently (``0177.0.0.1``) is refused.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import re
import unicodedata
from typing import TypeAlias

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.paths import LONGEST, UnclearResource

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)", re.DOTALL)
_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"(0[xX][0-9a-fA-F]*|[0-9]+)")
# IDNA 2003, which Python has, and IDNA 2008, which browsers have, send these to different hosts.
_DEVIATIONS = frozenset("ßς\u200c\u200d")
_PORTS = {
    "ftp": 21, "ssh": 22, "sftp": 22, "smtp": 25, "http": 80, "ws": 80, "ldap": 389, "https": 443,
    "wss": 443, "ldaps": 636, "mysql": 3306, "postgres": 5432, "postgresql": 5432, "redis": 6379,
    "nats": 4222, "amqp": 5672, "mongodb": 27017,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where a host function was asked to connect.

    :param host: a lower-case ASCII name without trailing dot, or an IP address.
    :param port: None where it named none and its scheme has no usual one.
    :param path: the path of a URL, empty otherwise.
    """

    host: str | IPAddress
    port: int | None
    path: str = ""


@functools.lru_cache(maxsize=2048)
def parsed_address(resource: str) -> Address:
    """Read what a host function was asked to reach.

    :raises UnclearResource: where programs would not agree on what it means.

    >>> parsed_address("HTTPS://API.Example.COM./v1?key=1")
    Address(host='api.example.com', port=443, path='/v1')
    >>> parsed_address("0x7f.1:80")
    Address(host=IPv4Address('127.0.0.1'), port=80, path='')
    """
    if not resource:
        raise UnclearResource("it names no host")
    if len(resource) > LONGEST:
        raise UnclearResource(f"it has more than {LONGEST} characters")
    for character in resource:
        if character == "\\" or character.isspace() or unicodedata.category(character) == "Cc":
            raise UnclearResource(f"an address has no character {character!a}")
    url = _URL.match(resource)
    if url is None:
        host, port = _split_port(resource)
        return Address(normalised_host(host), port)
    host, port = _split_port(url[2])
    if port is None:
        port = _PORTS.get(url[1].lower())
    return Address(normalised_host(host), port, url[3] or "/")


def _split_port(authority: str) -> tuple[str, int | None]:
    if "@" in authority:
        raise UnclearResource("what stands before @ may be read as the host")
    if authority.startswith("["):
        host, bracket, rest = authority[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise UnclearResource("its brackets hold no IPv6 address")
        return host, _port(rest[1:]) if rest else None
    if authority.count(":") > 1:
        return authority, None  # an IPv6 address without brackets, or nothing
    host, colon, port = authority.partition(":")
    return host, _port(port) if colon else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 0 < int(text[:6]) <= 65535:
        raise UnclearResource(f"{text!a} is no port")
    return int(text)


@functools.lru_cache(maxsize=2048)
def normalised_host(host: str) -> str | IPAddress:
    """The one form of a host.

    :raises UnclearResource: where it has none.

    >>> normalised_host("Bücher.example.")
    'xn--bcher-kva.example'
    >>> normalised_host("2130706433")
    IPv4Address('127.0.0.1')
    """
    if ":" in host:
        return _ipv6(host)
    name = host if host.isascii() else _ascii_name(host)
    name = name.lower()
    if name.endswith("."):
        name = name[:-1]
    if not name:
        raise UnclearResource("it names no host")
    if _NUMBER.fullmatch(name.rpartition(".")[2]):
        return _ipv4(name)
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise UnclearResource(f"{host!a} is no host name")
    return name


def _ipv6(host: str) -> IPAddress:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise UnclearResource(f"{host!a} is no IPv6 address") from None
    if address.scope_id is not None:
        raise UnclearResource("an address with a zone means another host on each machine")
    return address.ipv4_mapped or address


def _ascii_name(host: str) -> str:
    if _DEVIATIONS & frozenset(host.lower()):
        raise UnclearResource("it has a letter that resolvers of names read differently")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise UnclearResource(f"{host!a} has no ASCII form") from None


def _ipv4(name: str) -> IPAddress:
    """As ``inet_aton`` reads it: one to four numbers, the last of which fills what is left."""
    parts = name.split(".")
    if len(parts) > 4:
        raise UnclearResource(f"{name!a} ends in a number and is no IPv4 address")
    numbers = [_ipv4_number(part, name) for part in parts]
    room = 256 ** (5 - len(parts))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= room:
        raise UnclearResource(f"{name!a} is beyond the IPv4 addresses")
    whole = numbers[-1]
    for place, number in enumerate(numbers[:-1]):
        whole += number << (8 * (3 - place))
    return ipaddress.IPv4Address(whole)


def _ipv4_number(part: str, name: str) -> int:
    if not _NUMBER.fullmatch(part) or part.lower() == "0x" or len(part) > 12:
        raise UnclearResource(f"{name!a} ends in a number and is no IPv4 address")
    if part[:2].lower() == "0x":
        return int(part[2:], 16)
    if part[0] == "0" and len(part) > 1:
        raise UnclearResource(f"{part!a} is octal for some programs and decimal for others")
    return int(part)


@dataclasses.dataclass(frozen=True, slots=True)
class HostPattern:
    """A host name, ``*.name`` (one label more), ``**.name`` (one or more), an address, a network
    such as ``10.0.0.0/8``, or ``**`` (any host at all).

    :param text: as it was written.
    """

    text: str
    name: str = ""
    network: IPNetwork | None = None
    depth: str = ""

    @classmethod
    def parse(cls, text: str) -> HostPattern:
        """Read a pattern.

        :raises UsageError: where it has no clear meaning.

        >>> HostPattern.parse("*.example.com").matches("api.example.com")
        True
        >>> HostPattern.parse("*.example.com").matches("a.b.example.com")
        False
        """
        if text == "**":
            return cls(text, depth="**")
        depth, dot, rest = text.partition(".")
        try:
            if "/" in text:
                return cls(text, network=ipaddress.ip_network(text))
            if depth not in ("*", "**"):
                host = normalised_host(text.removeprefix("[").removesuffix("]"))
                if isinstance(host, str):
                    return cls(text, name=host)
                return cls(text, network=ipaddress.ip_network(host))
            name = normalised_host(rest) if dot else ""
        except ValueError as bad:
            raise _no_pattern(text, str(bad)) from None
        if not isinstance(name, str) or not name:
            raise _no_pattern(text, "a wildcard stands for labels before a name")
        return cls(text, name=name, depth=depth)

    def matches(self, host: str | IPAddress) -> bool:
        """Whether it matches a host in its normal form."""
        if not isinstance(host, str):
            if self.network is not None:
                return host.version == self.network.version and host in self.network
            return self.depth == "**" and not self.name
        if self.network is not None:
            return False
        if not self.depth:
            return host == self.name
        if not self.name:
            return True
        _label, dot, rest = host.partition(".")
        if self.depth == "*":
            return bool(dot) and rest == self.name
        return host.endswith(f".{self.name}")

    def covers(self, other: HostPattern) -> bool:
        """Whether it matches all that ``other`` matches."""
        if self.depth == "**" and not self.name:
            return True
        if other.depth == "**" and not other.name:
            return False
        if self.network is not None or other.network is not None:
            return _inside(other.network, self.network)
        if not other.depth:
            return self.matches(other.name)
        if not self.depth:
            return False
        if self.depth == "**":
            return other.name == self.name or other.name.endswith(f".{self.name}")
        return other.depth == "*" and other.name == self.name


def _inside(inner: IPNetwork | None, outer: IPNetwork | None) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def _no_pattern(text: str, reason: str) -> UsageError:
    return UsageError(
        "a host pattern has no clear meaning",
        found=f"{text!a}: {reason}",
        fix="write a name, *.name (one label more), **.name (any), an address, a network or **",
    )


__all__ = ["Address", "HostPattern", "IPAddress", "normalised_host", "parsed_address"]

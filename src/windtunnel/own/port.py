"""A TCP port that is one holder's alone: claimed by number, bound, and handed over without a race.

Two things keep the port. A claim on its number: an abstract unix socket named after it, which the
kernel lets exist once in a network namespace, exactly where ports collide, and takes back when
the holder dies (unix(7); where there are none, a file lock). And the port itself, bound but not
listening, so that neither the kernel nor another program gets it. Numbers come from
outside the range the kernel hands out by itself (ip_local_port_range in ip(7)).

Hand-over, best first: give the server :meth:`PortLease.listener`; or start it by number, as two
sockets with SO_REUSEADDR may be bound to one port while only one of them listens, and all
common servers set it; or call :meth:`PortLease.unbind` before for one that does not.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from windtunnel.core import ResourceError
from windtunnel.own import forks
from windtunnel.own.home import folder
from windtunnel.own.ledger import note
from windtunnel.own.locks import FileLock

_LOWEST = 10_000
_HIGHEST = 65_535


class PortLease:
    """A leased TCP port; a context manager.

    :param host: the address it is bound to.
    :raises ResourceError: when no port is free.

    >>> with PortLease() as lease:
    ...     server = lease.listener()
    ...     client = socket.create_connection((lease.host, lease.number))
    >>> client.close(); server.close()
    """

    kind = "port"

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.host = host
        self._pid = os.getpid()
        self._socket: socket.socket | None
        self.number, self._claim, self._socket = _claim_and_bind(host)
        note("acquired", self.kind, str(self.number))

    @property
    def name(self) -> str:
        """The number as text."""
        return str(self.number)

    @property
    def address(self) -> tuple[str, int]:
        """Host and number."""
        return self.host, self.number

    def __int__(self) -> int:
        return self.number

    def listener(self, backlog: int = 128) -> socket.socket:
        """The leased socket itself, listening, for a server that takes one over:
        ``asyncio.start_server(sock=...)``, ``uvicorn --fd``, ``gunicorn -b fd://``. The caller
        closes it; it is handed out once.

        :raises ResourceError: when it was handed out or unbound before.
        """
        if self._socket is None:
            raise ResourceError(
                f"the socket of port {self.number} is not held any more",
                found="listener() or unbind() was called before",
                fix="take another lease for a second server",
            )
        handed, self._socket = self._socket, None
        handed.listen(backlog)
        return handed

    def unbind(self) -> int:
        """Close the socket and return the number, still claimed: for a server that binds
        without SO_REUSEADDR. Until it does, only a program that asks for this very number,
        and is not ours, could come between."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        return self.number

    # -- as a part of a scope ----------------------------------------------------------------

    def stop(self) -> None:
        """Close our own socket."""
        self.unbind()

    def stopped(self) -> bool:
        """Whether nobody listens on the port."""
        return self._pid != os.getpid() or not _in_use(self.address)

    def force(self) -> str:
        """Name who still listens."""
        return f"is still listened on by {_listener_of(self.number)}"

    def release(self) -> None:
        """Give the number back."""
        self.unbind()
        if self._pid == os.getpid() and self._claim is not None:
            self._claim.close()
            self._claim = None
            note("released", self.kind, str(self.number))

    def __enter__(self) -> PortLease:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class _AbstractClaim:
    """The right to a port number in this network namespace."""

    def __init__(self, number: int) -> None:
        """:raises OSError: when somebody has it."""
        self._pid = os.getpid()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as claimed:
            claimed.bind(f"\0windtunnel/port/{number}")
            self._fd = forks.claim(claimed.detach())

    def close(self) -> None:
        if self._pid == os.getpid():
            forks.give_up(self._fd)


def _claim_and_bind(
    host: str,
) -> tuple[int, _AbstractClaim | FileLock | None, socket.socket]:
    for number in _candidates():
        claim = _claim(number)
        if claim is None:
            continue
        bound = _bind(host, number)
        if bound is not None:
            return number, claim, bound
        claim.close()
    raise ResourceError(
        f"no TCP port is free on {host}",
        found=f"{len(_numbers())} ports tried, all taken",
        fix="end what holds them: ss -ltnp shows who",
    )


def _claim(number: int) -> _AbstractClaim | FileLock | None:
    if os.uname().sysname == "Linux":
        try:
            return _AbstractClaim(number)
        except OSError:
            return None
    lock = FileLock(folder("ports") / str(number))
    if lock.take():
        return lock
    lock.close()
    return None


def _bind(host: str, number: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # First without SO_REUSEADDR, which fails while anybody else has it bound or had it lately.
    strict = socket.socket(family, socket.SOCK_STREAM)
    try:
        strict.bind((host, number))
        strict.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    except OSError:
        strict.close()
        return None
    return strict


def _in_use(address: tuple[str, int]) -> bool:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return True
    return False


@cache
def _numbers() -> list[int]:
    """Port numbers to lease, those first that the kernel does not hand out by itself."""
    low, high = 32_768, 60_999
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if path.exists():
        low, high = map(int, path.read_text(encoding="ascii").split())
    outside = [n for n in range(_LOWEST, _HIGHEST + 1) if not low <= n <= high]
    return outside if len(outside) >= 1000 else list(range(_LOWEST, _HIGHEST + 1))


_next: int | None = None


def _candidates() -> Iterator[int]:
    """Each number once, beginning after the last one leased, so that one given back rests."""
    global _next
    numbers = _numbers()
    if _next is None:
        # Not drawn from the run's seed: it decides nothing but where the search begins.
        _next = random.SystemRandom().randrange(len(numbers))
    for _ in numbers:
        _next = (_next + 1) % len(numbers)
        yield numbers[_next]


def _forget() -> None:
    global _next
    _next = None


forks.in_child(_forget)


def _listener_of(number: int) -> str:
    """Who listens on a port, as far as this user may see."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        lines = (
            Path(table).read_text(encoding="ascii").splitlines()[1:] if Path(table).exists() else []
        )
        for fields in map(str.split, lines):
            if int(fields[1].rpartition(":")[2], 16) == number and fields[3] == "0A":
                inodes.add(f"socket:[{fields[9]}]")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                pid = int(link.parts[2])
                command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
                return "this process" if pid == os.getpid() else f"{command} (pid {pid})"
        except OSError:
            continue
    return "somebody"

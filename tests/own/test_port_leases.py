"""Port leases: nobody else's, from the lease to the server that listens."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import socket
import socketserver
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.core import ResourceError
from windtunnel.own import PortLease, Scope

TAKER = """
import sys
from windtunnel.own import PortLease
held = []
for round in range(5):
    for lease in held[: len(held) // 2]:
        lease.release()
    del held[: len(held) // 2]
    held += [PortLease() for _ in range(int(sys.argv[1]))]
print(*[lease.number for lease in held], flush=True)
sys.stdin.read()
"""


def test_leases_of_eight_processes_at_once_never_collide() -> None:
    takers = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, "100"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(8)
    ]
    held: list[str] = []
    for taker in takers:  # all of them hold theirs until the last has told
        assert taker.stdout is not None
        held += taker.stdout.readline().split()
    for taker in takers:
        taker.communicate()
    assert len(held) >= 8 * 100
    assert len(set(held)) == len(held)


def test_a_leased_port_cannot_be_bound_by_a_stranger() -> None:
    with PortLease() as lease, socket.socket() as stranger, pytest.raises(OSError):
        stranger.bind(lease.address)


def test_the_kernel_never_hands_out_a_leased_port_by_itself() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    with contextlib.ExitStack() as stack:
        numbers = [stack.enter_context(PortLease()).number for _ in range(50)]
    assert not any(low <= number <= high for number in numbers)


def test_the_leased_socket_itself_serves() -> None:
    async def main() -> bytes:
        with PortLease() as lease:

            async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                writer.write(b"hello")
                writer.close()

            async with await asyncio.start_server(answer, sock=lease.listener()):
                reader, writer = await asyncio.open_connection(*lease.address)
                said = await reader.read()
                writer.close()
                return said

    assert asyncio.run(main()) == b"hello"


def test_a_server_that_reuses_addresses_binds_by_number_while_the_lease_keeps_it_bound() -> None:
    with (
        PortLease() as lease,
        http.server.HTTPServer(lease.address, http.server.BaseHTTPRequestHandler),
        socket.create_connection(lease.address),
    ):
        pass


def test_a_server_that_does_not_reuse_addresses_binds_after_unbind() -> None:
    with PortLease() as lease:
        with pytest.raises(OSError):
            socketserver.TCPServer(lease.address, socketserver.BaseRequestHandler)
        lease.unbind()
        with PortLease() as other:  # unbound, it is still leased
            assert other.number != lease.number
        socketserver.TCPServer(lease.address, socketserver.BaseRequestHandler).server_close()


def test_the_socket_is_handed_over_once() -> None:
    with PortLease() as lease:
        lease.listener().close()
        with pytest.raises(ResourceError, match="not held any more"):
            lease.listener()


def test_a_port_is_free_again_when_its_holder_is_killed() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", TAKER, "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    number = int(holder.stdout.readline().split()[-1])
    claim = f"\0windtunnel/port/{number}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe, pytest.raises(OSError):
        probe.bind(claim)
    holder.kill()
    holder.communicate()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        probe.bind(claim)


def test_a_forked_child_holds_no_lease_of_its_parent() -> None:
    lease = PortLease()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        theirs.send(b"up")
        theirs.recv(1)
        os._exit(0)
    try:
        assert ours.recv(2) == b"up"
        lease.release()
        # The child lives, with copies of all descriptors that were not claims.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.bind(f"\0windtunnel/port/{lease.number}")
    finally:
        ours.send(b"x")
        os.waitpid(pid, 0)
        ours.close()
        theirs.close()


def test_a_listener_left_on_a_leased_port_is_named() -> None:
    with Scope("port", house=True) as scope:
        lease = scope.port()
        left = lease.listener()
    left.close()
    assert [str(leak) for leak in scope.leaks] == [
        f"port {lease.number} is still listened on by this process"
    ]

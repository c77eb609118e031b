"""``socket.socket`` and the ``loop.sock_*`` calls inside a simulated world."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from socket import create_connection, socketpair
from socket import socket as bound_before
from typing import Any

import pytest
from simnet import echo_server, simulate, simulated

from windtunnel.sim import EscapeError, World


async def _pair() -> tuple[socket.socket, socket.socket]:
    """Two connected TCP sockets of this node, both non-blocking."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        client = bound_before()
        client.setblocking(False)
        await loop.sock_connect(client, listening.getsockname())
        server, address = await loop.sock_accept(listening)
        assert address == client.getsockname()
    return client, server


@simulated()
async def test_a_name_bound_before_makes_simulated_sockets(world: World) -> None:
    sock = bound_before(socket.AF_INET6, socket.SOCK_STREAM)
    assert isinstance(sock, socket.socket)
    assert sock.fileno() >= 1_000_000
    assert (sock.family, sock.type, sock.proto) == (socket.AF_INET6, socket.SOCK_STREAM, 0)
    assert repr(sock).startswith("<socket.socket fd=10000")
    assert sock.getsockname() == ("::", 0, 0, 0)
    sock.close()
    assert sock.fileno() == -1
    with pytest.raises(OSError) as caught:
        sock.bind(("::1", 1))
    assert caught.value.errno == errno.EBADF


class Counting(socket.socket):
    """A socket class as programs derive it."""

    def __init__(self, *args: Any, label: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label = label
        self.sent = 0

    def send(self, data: Any, flags: int = 0) -> int:
        sent = super().send(data, flags)
        self.sent += sent
        return sent


@simulated()
async def test_a_class_derived_from_socket_keeps_its_ways(world: World) -> None:
    loop = asyncio.get_running_loop()
    await echo_server("127.0.0.1", 80)
    with Counting(socket.AF_INET, label="mine") as sock:
        sock.setblocking(False)
        assert isinstance(sock, Counting)
        assert sock.fileno() >= 1_000_000
        await loop.sock_connect(sock, ("127.0.0.1", 80))
        assert sock.send(b"hello\n") == 6
        assert await loop.sock_recv(sock, 100) == b"hello\n"
        assert (sock.label, sock.sent) == ("mine", 6)


def test_outside_a_step_sockets_are_real() -> None:
    async def body(world: World) -> None:
        pass

    before = vars(socket.socket).get("__new__")
    simulate(body)
    assert vars(socket.socket).get("__new__") is before
    with socket.socket() as real:
        assert type(real) is socket.socket
        assert os.fstat(real.fileno())


@simulated()
async def test_nothing_blocks_a_call_that_cannot_wait_says_so(world: World) -> None:
    client, server = await _pair()
    for call in (
        lambda: client.recv(1),
        lambda: client.recv_into(bytearray(1)),
        lambda: client.recvfrom(1),
    ):
        with pytest.raises(BlockingIOError):
            call()
    while True:
        try:
            client.send(b"x" * 50_000)
        except BlockingIOError:
            break
    client.setblocking(True)
    assert client.getblocking()
    assert client.gettimeout() is None
    for blocking in (lambda: client.recv(1), lambda: client.sendall(b"y" * 500_000)):
        with pytest.raises(EscapeError, match="would block the one thread"):
            blocking()
    for sock in (client, server):
        sock.close()
    assert len(world.escapes) == 2


@simulated()
async def test_a_blocking_connect_is_refused_with_advice(world: World) -> None:
    await echo_server("127.0.0.1", 80)
    with pytest.raises(EscapeError, match="asyncio's streams"):
        create_connection(("127.0.0.1", 80), timeout=1)


# The loop's calls.


@simulated()
async def test_each_call_of_the_loop_works_on_simulated_sockets(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await _pair()
    await loop.sock_sendall(client, b"all of it")
    assert await loop.sock_recv(server, 3) == b"all"
    buffer = bytearray(100)
    assert await loop.sock_recv_into(server, buffer) == 6
    assert buffer[:6] == b" of it"
    waiting = asyncio.create_task(loop.sock_recv(server, 10))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    await loop.sock_sendall(client, memoryview(b"later"))
    assert await waiting == b"later"
    with open(os.devnull, "rb") as empty:
        assert await loop.sock_sendfile(client, empty) == 0
    client.close()
    assert await loop.sock_recv(server, 10) == b""
    server.close()


@simulated()
async def test_sending_everything_waits_for_the_reader(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await _pair()
    sending = asyncio.create_task(loop.sock_sendall(client, b"z" * 1_000_000))
    await asyncio.sleep(1)
    assert not sending.done()
    received = 0
    while received < 1_000_000:
        received += len(await loop.sock_recv(server, 65_536))
    await sending
    client.close()
    server.close()


@simulated()
async def test_a_cancelled_call_leaves_the_socket_usable(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await _pair()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(loop.sock_recv(server, 10), 0.5)
    client.send(b"still here")
    assert await loop.sock_recv(server, 10) == b"still here"
    client.close()
    server.close()


@simulated()
async def test_readers_and_writers_are_called_while_their_socket_is_ready(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await _pair()
    got: list[bytes] = []

    def read() -> None:
        got.append(server.recv(2))

    loop.add_reader(server, read)
    client.send(b"abcdef")
    await asyncio.sleep(0.01)
    assert got == [b"ab", b"cd", b"ef"]
    assert loop.remove_reader(server.fileno())
    assert not loop.remove_reader(server.fileno())
    client.send(b"gh")
    await asyncio.sleep(0.01)
    assert len(got) == 3
    writable = asyncio.Event()
    loop.add_writer(client.fileno(), writable.set)
    await writable.wait()
    assert loop.remove_writer(client)
    client.close()
    server.close()


@simulated()
async def test_a_descriptor_in_the_hands_of_a_transport_is_not_for_others(world: World) -> None:
    loop = asyncio.get_running_loop()
    client, server = await _pair()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=client)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(client.fileno(), print)
    transport.close()
    server.close()


def test_a_real_socket_does_not_get_in() -> None:
    real, other = socket.socketpair()

    async def body(world: World) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(EscapeError, match="real"):
            await loop.create_connection(asyncio.Protocol, sock=real)
        with pytest.raises(EscapeError, match="real"):
            loop.add_reader(real.fileno(), print)
        assert len(world.escapes) == 2

    with real, other:
        real.setblocking(False)
        simulate(body)


@simulated()
async def test_a_failed_connect_is_told_by_the_error_option(world: World) -> None:
    sock = bound_before()
    sock.setblocking(False)
    assert sock.connect_ex(("127.0.0.1", 9)) == errno.EINPROGRESS
    assert sock.connect_ex(("127.0.0.1", 9)) == errno.EALREADY
    await asyncio.sleep(0.01)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    with pytest.raises(OSError) as caught:
        sock.getpeername()
    assert caught.value.errno == errno.ENOTCONN
    sock.close()


# Descriptors, options and endings.


@simulated()
async def test_pairs_duplicates_and_detached_descriptors(world: World) -> None:
    left, right = socketpair()
    assert left.family == socket.AF_UNIX
    again = left.dup()
    left.close()
    assert again.send(b"through the duplicate") == 21
    right.setblocking(False)
    await asyncio.sleep(0.01)
    assert right.recv(100) == b"through the duplicate"
    descriptor = right.detach()
    assert (right.fileno(), descriptor >= 1_000_000) == (-1, True)
    revived = socket.socket(fileno=descriptor)
    again.close()
    await asyncio.sleep(0.01)
    assert revived.recv(10) == b""
    revived.close()
    with pytest.raises(OSError):
        socket.socket(fileno=descriptor)


@simulated()
async def test_options_are_kept_and_have_the_defaults_of_linux(world: World) -> None:
    with bound_before() as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7200
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5000)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 10_000
        linger = struct.pack("ii", 1, 5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == linger
        sock.set_inheritable(True)
        assert sock.get_inheritable()


@simulated()
async def test_lingering_for_nothing_resets(world: World) -> None:
    client, server = await _pair()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await asyncio.sleep(0.01)
    with pytest.raises(ConnectionResetError):
        server.recv(1)
    server.close()


@simulated()
async def test_shutting_down_one_direction_leaves_the_other(world: World) -> None:
    client, server = await _pair()
    client.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        client.send(b"x")
    await asyncio.sleep(0.01)
    assert server.recv(10) == b""
    server.send(b"answer")
    await asyncio.sleep(0.01)
    assert client.recv(10, socket.MSG_PEEK) == b"answer"
    assert client.recv(10) == b"answer"
    server.close()
    client.close()
    with bound_before() as unconnected, pytest.raises(OSError) as caught:
        unconnected.shutdown(socket.SHUT_WR)
    assert caught.value.errno == errno.ENOTCONN


@simulated()
async def test_files_over_sockets_read_what_is_there(world: World) -> None:
    client, server = await _pair()
    stream = client.makefile("wb")
    stream.write(b"one\ntwo\n")
    stream.flush()
    await asyncio.sleep(0.01)
    with server.makefile("rb") as lines:
        assert [lines.readline(), lines.readline()] == [b"one\n", b"two\n"]
    stream.close()
    client.close()
    server.close()


@simulated()
async def test_what_is_not_simulated_is_refused(world: World) -> None:
    with pytest.raises(EscapeError, match="TCP, UDP and Unix"):
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
    with pytest.raises(EscapeError, match="TCP, UDP and Unix"):
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    loop = asyncio.get_running_loop()
    for refused in (
        loop.connect_read_pipe(asyncio.Protocol, None),
        loop.connect_write_pipe(asyncio.Protocol, None),
        loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        loop.subprocess_shell(asyncio.SubprocessProtocol, "true"),
    ):
        with pytest.raises(EscapeError, match="not simulated"):
            await refused
    assert len(world.escapes) == 6


@simulated()
async def test_an_unclosed_socket_is_named_and_its_peer_sees_the_end(world: World) -> None:
    client, server = await _pair()
    with pytest.warns(ResourceWarning, match="unclosed <socket.socket fd=10000"):
        del client
    await asyncio.sleep(0.01)
    assert server.recv(10) == b""
    server.close()

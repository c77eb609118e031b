"""One suite, two worlds: what programs see on the kernel's loopback they see in the simulation.

Each body is run by ``asyncio.run`` over real sockets and by a simulated loop; what it reports
must be the same.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from simnet import Recorder, network, simulate

from windtunnel.sim.net.links import Fixed, LinkConfig

Body = Callable[[], Awaitable[Any]]
bodies: list[Body] = []


def contract(body: Body) -> Body:
    bodies.append(body)
    return body


async def _settle() -> None:
    """Until what is under way has arrived, in either world.

    In ten turns: of one, a real machine may have slept through all before the loop has looked
    at what the kernel has for it.
    """
    for _ in range(10):
        await asyncio.sleep(0.005)


async def _pair(**options: Any) -> tuple[Recorder, Recorder, Any]:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[Recorder] = loop.create_future()

    class Accepting(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.set_result(self)

    server = await loop.create_server(Accepting, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _, client = await loop.create_connection(Recorder, "127.0.0.1", port)
    return client, await made, server


async def _sockets() -> tuple[socket.socket, socket.socket]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, listening.getsockname())
        server, _ = await loop.sock_accept(listening)
    return client, server


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OSError as error:
        return type(error).__name__, error.errno
    except Exception as error:
        return type(error).__name__, str(error)


@contract
async def closing_is_an_end_of_stream_for_the_peer() -> Any:
    client, server, listening = await _pair()
    client.transport.write(b"bye")
    client.transport.close()
    await _settle()
    listening.close()
    return client.events, server.events, server.received


@contract
async def half_closed_streams_go_on_in_the_other_direction() -> Any:
    client, server, listening = await _pair()
    server.keep_open = True
    client.transport.write_eof()
    await _settle()
    server.transport.write(b"still here")
    server.transport.write_eof()
    await _settle()
    listening.close()
    return client.events, server.events, client.received


@contract
async def unread_bytes_reset() -> Any:
    client, server, listening = await _pair()
    server.transport.pause_reading()
    client.transport.write(b"unread")
    await _settle()
    server.transport.abort()
    await _settle()
    listening.close()
    return client.events, server.events


@contract
async def a_write_after_the_peer_has_gone_breaks_the_pipe() -> Any:
    client, server, listening = await _pair()
    client.keep_open = True
    server.transport.close()
    await _settle()
    client.transport.write(b"answered by a reset")
    await _settle()
    seen = list(client.events)
    client.transport.write(b"fails")
    await _settle()
    listening.close()
    return seen, client.events


@contract
async def a_reset_under_a_reading_protocol() -> Any:
    client, server, listening = await _pair()
    sock = server.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.transport.abort()
    await _settle()
    listening.close()
    return client.events


@contract
async def a_reset_under_a_protocol_that_does_not_read_is_found_by_its_next_write() -> Any:
    client, server, listening = await _pair()
    client.transport.pause_reading()
    sock = server.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.transport.abort()
    await _settle()
    seen = list(client.events)
    client.transport.write(b"?")
    await _settle()
    listening.close()
    return seen, client.events


@contract
async def data_before_a_reset_is_still_read() -> Any:
    client, server = await _sockets()
    client.send(b"last words")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await _settle()
    client.close()
    await _settle()
    first, then = _outcome(lambda: server.recv(4)), _outcome(lambda: server.recv(100))
    end = _outcome(lambda: server.recv(100))
    again = _outcome(lambda: server.recv(100))
    server.close()
    return first, then, end, again


@contract
async def writes_after_a_reset_fail_twice_differently() -> Any:
    client, server = await _sockets()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await _settle()
    found = [_outcome(lambda: server.send(b"x")) for _ in range(3)]
    server.close()
    return found


@contract
async def refused_connects() -> Any:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
    sock = socket.socket()
    sock.setblocking(False)
    try:
        await loop.sock_connect(sock, address)
    except OSError as error:
        found = type(error).__name__, error.errno, "Connect call failed" in str(error)
    later = _outcome(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    peer = _outcome(sock.getpeername)
    sock.close()
    return found, later, peer


@contract
async def sockets_that_are_not_connected() -> Any:
    sock = socket.socket()
    sock.setblocking(False)
    found = [
        _outcome(lambda: sock.recv(1)),
        _outcome(lambda: sock.send(b"x")),
        _outcome(sock.accept),
        _outcome(sock.getpeername),
        _outcome(lambda: sock.shutdown(socket.SHUT_RDWR)),
        _outcome(sock.getsockname),
        _outcome(lambda: sock.bind(("127.0.0.1", 70_000))),
        _outcome(lambda: sock.bind("nonsense")),  # type: ignore[arg-type]
        _outcome(lambda: sock.bind(("192.0.2.1", 80))),
    ]
    sock.close()
    return [*found, _outcome(lambda: sock.recv(1)), sock.fileno()]


@contract
async def sockets_that_are_connected() -> Any:
    client, server = await _sockets()
    found = [
        _outcome(lambda: client.recv(1)),
        _outcome(lambda: client.connect(server.getsockname())),
        _outcome(lambda: client.connect(server.getsockname())),
        _outcome(lambda: client.listen()),
        _outcome(client.accept),
        _outcome(lambda: client.send(b"")),
        _outcome(lambda: client.bind(("127.0.0.1", 0))),
        client.getpeername() == server.getsockname(),
        (client.family, client.type, client.proto, client.gettimeout()),
        client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    ]
    client.close()
    server.close()
    return found


@contract
async def bound_ports() -> Any:
    first, second = socket.socket(), socket.socket()
    first.bind(("127.0.0.1", 0))
    port = first.getsockname()[1]
    found = [_outcome(lambda: second.bind(("127.0.0.1", port)))]
    for sock in (first, second):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.append(_outcome(lambda: second.bind(("127.0.0.1", port))))
    found.append(_outcome(first.listen))
    found.append(_outcome(second.listen))
    third = socket.socket()
    third.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.append(_outcome(lambda: third.bind(("0.0.0.0", port))))
    for sock in (first, second, third):
        sock.close()
    return found


@contract
async def udp_to_a_port_nobody_listens_at() -> Any:
    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    probe.bind(("127.0.0.1", 0))
    address = probe.getsockname()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.connect(address)  # which gives it a port of its own, not that one
    probe.close()
    found = [_outcome(lambda: sock.send(b"?"))]
    await _settle()
    found.append(_outcome(lambda: sock.recv(1)))
    found.append(_outcome(lambda: sock.recv(1)))
    found.append(_outcome(lambda: sock.send(b"x" * 70_000)))
    sock.close()
    return found


@contract
async def datagrams_keep_their_borders() -> Any:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.setblocking(False)
    server.bind(("127.0.0.1", 0))
    for data in (b"first", b"", b"third"):
        client.sendto(data, server.getsockname())
        await _settle()
    found = [_outcome(lambda: server.recvfrom(3)[0]) for _ in range(4)]
    client.close()
    server.close()
    return found


@contract
async def unix_pairs() -> Any:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    left.send(b"hello")
    await _settle()
    found = [right.recv(100), left.getsockname(), left.getpeername(), left.family]
    left.close()
    await _settle()
    found += [_outcome(lambda: right.recv(1)), _outcome(lambda: right.send(b"x"))]
    right.close()
    return found


@contract
async def unix_paths_that_are_not_there() -> Any:
    loop: Any = asyncio.get_running_loop()
    found = []
    for path in ("/nowhere/at/all.sock", "\0windtunnel nobody"):
        try:
            await loop.create_unix_connection(asyncio.Protocol, path)
        except OSError as error:
            found.append((type(error).__name__, error.errno))
    return found


@contract
async def streams_and_servers_of_asyncio() -> Any:
    log: list[Any] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        log.append(await reader.readexactly(3))
        writer.writelines([b"a", b"b"])
        await writer.drain()
        log.append(await reader.read())
        writer.close()
        await writer.wait_closed()
        log.append("closed")

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        log.append(writer.can_write_eof())
        writer.write(b"onetwo")
        log.append(await reader.read(1))
        writer.write_eof()
        log.append(await reader.read())
        log.append(reader.at_eof())
        writer.close()
        await writer.wait_closed()
        await _settle()
        log.append(server.is_serving())
    log.append(server.is_serving())
    try:
        await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError as error:
        log.append(error.errno == errno.ECONNREFUSED)
    return log


@contract
async def limits_and_flow_control_callbacks() -> Any:
    client, server, listening = await _pair()
    server.transport.pause_reading()
    limits = client.transport.get_write_buffer_limits()
    paused = False
    while "pause" not in client.events:
        client.transport.write(b"x" * 100_000)
        paused = client.transport.get_write_buffer_size() > limits[1]
        await asyncio.sleep(0)  # in which the kernel may find room for more
    server.transport.resume_reading()
    while "resume" not in client.events:
        await asyncio.sleep(0.01)
    resumed = client.transport.get_write_buffer_size() <= limits[0]
    client.transport.abort()
    await _settle()
    listening.close()
    return limits, paused, resumed, client.events


@pytest.mark.parametrize("body", bodies, ids=lambda body: body.__name__)
def test_both_worlds_agree_that(body: Body) -> None:
    real = asyncio.run(body())  # type: ignore[arg-type]
    quick = network(loopback=LinkConfig(latency=Fixed(20e-6)))
    found, _ = simulate(lambda world: body(), net=quick)  # type: ignore[arg-type, return-value]
    assert found == real

"""Unix sockets: a namespace of paths for each node, and no file anywhere."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from simnet import ask, simulated

from windtunnel.sim import World


async def _echo(path: Any) -> asyncio.AbstractServer:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        writer.close()

    return await asyncio.start_unix_server(handle, path)


async def _call(path: Any) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        return await ask(reader, writer, b"hello")
    finally:
        writer.close()


@simulated()
async def test_a_server_is_reached_by_its_path_on_its_own_node(world: World) -> None:
    path = Path("/run/app.sock")
    server = await world.nodes["a"].run(_echo(path))
    assert await world.nodes["a"].run(_call(path)) == b"hello"
    assert await world.nodes["a"].run(_call("/run/../run/app.sock")) == b"hello"
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        await world.nodes["b"].run(_call(path))
    assert server.sockets[0].getsockname() == str(path)  # type: ignore[attr-defined]


@simulated()
async def test_a_path_in_use_is_refused_until_its_server_closes(world: World) -> None:
    server = await _echo("/run/app.sock")
    with pytest.raises(OSError, match=r"'/run/app.sock' is already in use") as caught:
        await _echo("/run/app.sock")
    assert caught.value.errno == errno.EADDRINUSE
    server.close()
    await server.wait_closed()
    await _echo("/run/app.sock")
    assert await _call("/run/app.sock") == b"hello"


@simulated()
async def test_abstract_names_need_no_path(world: World) -> None:
    server = await _echo("\0app")
    assert await _call("\0app") == b"hello"
    assert server.sockets[0].getsockname() == b"\0app"  # type: ignore[attr-defined]
    with pytest.raises(ConnectionRefusedError):
        await _call("\0other")


@simulated()
async def test_datagrams_between_paths_wait_for_room(world: World) -> None:
    loop = asyncio.get_running_loop()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for sock in (server, client):
        sock.setblocking(False)
    server.bind("/run/log.sock")
    client.connect("/run/log.sock")
    sent = 0
    while True:
        try:
            client.send(b"%05d" % sent)
        except BlockingIOError:
            break
        sent += 1
    waiting = asyncio.create_task(loop.sock_sendall(client, b"%05d" % sent))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    for number in range(sent + 1):
        assert await loop.sock_recv(server, 100) == b"%05d" % number
    await waiting
    server.close()
    with pytest.raises(ConnectionRefusedError):
        client.send(b"gone")
    client.close()


class Inbox(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[Any] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.got.append((data, addr))


@simulated()
async def test_datagram_endpoints_take_paths(world: World) -> None:
    loop = asyncio.get_running_loop()
    _, inbox = await loop.create_datagram_endpoint(
        Inbox, local_addr="/run/in.sock", family=socket.AF_UNIX
    )
    transport, _ = await loop.create_datagram_endpoint(
        Inbox, "/run/out.sock", "/run/in.sock", family=socket.AF_UNIX
    )
    transport.sendto(b"hello")
    await asyncio.sleep(0.01)
    assert inbox.got == [(b"hello", "/run/out.sock")]
    transport.close()


@simulated()
async def test_misuse_is_told_as_asyncio_tells_it(world: World) -> None:
    loop: Any = asyncio.get_running_loop()
    with pytest.raises(ValueError, match="no path"):
        await loop.create_unix_connection(asyncio.Protocol)
    with socket.socket(socket.AF_INET) as sock, pytest.raises(ValueError, match="UNIX Domain"):
        await loop.create_unix_server(asyncio.Protocol, sock=sock)
    assert not os.path.exists("/run/in.sock")

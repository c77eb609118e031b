"""TLS: real, over simulated streams, and without a trace of its randomness."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme
from simnet import Recorder, ask, network, simulate, simulated

from windtunnel.sim import EscapeError, World
from windtunnel.sim.net.links import Fixed, LinkConfig


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's context and the client's; the server is called "a"."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("a", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


Contexts = tuple[ssl.SSLContext, ssl.SSLContext]


async def _serve(context: ssl.SSLContext | None, **how: Any) -> asyncio.Server:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"STARTTLS\n":
                writer.write(b"go\n")
                await writer.start_tls(how["later"])
            else:
                writer.write(line)
                await writer.drain()
        writer.close()

    return await asyncio.start_server(handle, "0.0.0.0", 443, ssl=context)


def test_lines_go_through_tls_both_ways(contexts: Contexts) -> None:
    server, client = contexts

    async def body(world: World) -> None:
        await world.nodes["a"].run(_serve(server))
        reader, writer = await asyncio.open_connection("a", 443, ssl=client)
        for number in range(10):
            assert await ask(reader, writer, b"%d" % number) == b"%d" % number
        assert isinstance(writer.get_extra_info("ssl_object"), ssl.SSLObject)
        assert writer.get_extra_info("sslcontext") is client
        assert writer.get_extra_info("peercert")["subjectAltName"] == (
            ("DNS", "a"),
            ("DNS", "localhost"),
        )
        writer.close()
        await writer.wait_closed()

    simulate(body)


def test_a_certificate_for_another_name_is_refused(contexts: Contexts) -> None:
    server, client = contexts

    async def body(world: World) -> None:
        await world.nodes["a"].run(_serve(server))
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("a", 443, ssl=client, server_hostname="b")

    simulate(body)


def test_a_connection_is_upgraded_later(contexts: Contexts) -> None:
    server, client = contexts

    async def body(world: World) -> None:
        await world.nodes["a"].run(_serve(None, later=server))
        reader, writer = await asyncio.open_connection("a", 443)
        assert await ask(reader, writer, b"plain") == b"plain"
        assert await ask(reader, writer, b"STARTTLS") == b"go"
        await writer.start_tls(client, server_hostname="a")
        assert await ask(reader, writer, b"secret") == b"secret"
        writer.close()

    simulate(body)


def test_large_transfers_are_whole_and_writers_feel_slow_readers(contexts: Contexts) -> None:
    server, client = contexts

    async def body(world: World) -> None:
        made: list[Recorder] = []

        def factory() -> Recorder:
            made.append(Recorder())
            return made[-1]

        loop = asyncio.get_running_loop()
        await world.nodes["a"].run(loop.create_server(factory, "0.0.0.0", 443, ssl=server))
        transport, ours = await loop.create_connection(Recorder, "a", 443, ssl=client)
        while not made[0].transport:
            await asyncio.sleep(0.001)
        made[0].transport.pause_reading()
        for _ in range(40):
            transport.write(b"x" * 50_000)
            await asyncio.sleep(0.01)
        assert "pause" in ours.events
        made[0].transport.resume_reading()
        await asyncio.sleep(1)
        assert ours.events[-1] == "resume"
        assert made[0].received == b"x" * 2_000_000
        transport.close()

    simulate(body)


def _bytes_on_the_link(world: World) -> list[tuple[int, int]]:
    return [(segment[3], segment[1]) for segment in world.net.segments]


def test_sizes_and_times_are_those_of_the_plaintext(contexts: Contexts) -> None:
    """Signatures and tickets of each run differ in length; what is recorded does not."""
    server, client = contexts
    link = LinkConfig(latency=Fixed(0.001), bandwidth=1e6)

    async def body(world: World) -> Any:
        await world.nodes["a"].run(_serve(server))
        reader, writer = await asyncio.open_connection("a", 443, ssl=client)
        for size in (1, 10, 5_000):
            await ask(reader, writer, b"x" * size)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(1)
        return _bytes_on_the_link(world), world.trace.steps, world.now_ns

    runs = [simulate(body, net=network(between=link), trace=True)[0] for _ in range(8)]
    assert all(run == runs[0] for run in runs)
    sizes = [size for _, size in runs[0][0] if size]
    assert sizes == [2, 2, 11, 11, 5_001, 5_001]


@simulated()
async def test_tls_over_a_socket_object_is_refused(world: World) -> None:
    with socket.socket() as sock, pytest.raises(EscapeError, match="asyncio's ssl="):
        ssl.create_default_context().wrap_socket(sock, server_hostname="a")


@simulated()
async def test_a_handshake_with_a_silent_peer_times_out(world: World) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    await world.nodes["a"].run(asyncio.start_server(silent, "0.0.0.0", 443))
    with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer than 5"):
        await asyncio.open_connection(
            "a", 443, ssl=ssl.create_default_context(), ssl_handshake_timeout=5
        )
    assert 5 <= world.now_ns / 1e9 < 5.1

"""h2 over asyncio's streams, also under TLS, and dnspython over UDP."""

from __future__ import annotations

import asyncio
import ssl

import dns.asyncresolver
import dns.message
import dns.resolver
import dns.rrset
import h2.config
import h2.connection
import h2.events
import pytest
import trustme
from library_worlds import under_seeds

from windtunnel.sim import World

Writer = asyncio.StreamWriter
Reader = asyncio.StreamReader


class Talk:
    """One side of an HTTP/2 connection over a pair of streams."""

    def __init__(self, reader: Reader, writer: Writer, *, client: bool) -> None:
        self._reader, self._writer = reader, writer
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=client))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self._writer.write(self.h2.data_to_send())

    async def events(self) -> list[h2.events.Event]:
        """What has come about; nothing at the end of the stream."""
        data = await self._reader.read(65_536)
        found = self.h2.receive_data(data) if data else []
        for event in found:
            if isinstance(event, h2.events.DataReceived):
                size = event.flow_controlled_length or 0
                self.h2.acknowledge_received_data(size, event.stream_id)
        self.flush()
        return found


async def server(context: ssl.SSLContext | None) -> None:
    async def talk(reader: Reader, writer: Writer) -> None:
        side = Talk(reader, writer, client=False)
        while events := await side.events():
            for event in events:
                if isinstance(event, h2.events.RequestReceived):
                    path = dict(event.headers)[b":path"]
                    side.h2.send_headers(event.stream_id, [(":status", "200")])
                    side.h2.send_data(event.stream_id, path * 1000, end_stream=True)
            side.flush()
        writer.close()

    serving = await asyncio.start_server(talk, "0.0.0.0", 443, ssl=context)
    await serving.serve_forever()


async def ask(host: str, context: ssl.SSLContext | None) -> dict[int, bytes]:
    reader, writer = await asyncio.open_connection(host, 443, ssl=context)
    side = Talk(reader, writer, client=True)
    bodies: dict[int, bytes] = {}
    for number in range(5):
        stream = side.h2.get_next_available_stream_id()
        head = {":method": "GET", ":path": f"/{number}", ":authority": host, ":scheme": "https"}
        side.h2.send_headers(stream, list(head.items()), end_stream=True)
        bodies[stream] = b""
    side.flush()
    missing = set(bodies)
    while missing:
        for event in await side.events():
            if isinstance(event, h2.events.DataReceived):
                bodies[event.stream_id] += event.data
            elif isinstance(event, h2.events.StreamEnded):
                missing.discard(event.stream_id)
    writer.close()
    await writer.wait_closed()
    return bodies


@pytest.mark.parametrize("encrypted", [False, True], ids=["plain", "tls"])
def test_five_streams_of_http2_share_a_connection(encrypted: bool) -> None:
    ours = theirs = None
    if encrypted:
        authority = trustme.CA()
        theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("server").configure_cert(theirs)
        ours = ssl.create_default_context()
        authority.configure_trust(ours)

    async def main(world: World) -> dict[int, bytes]:
        world.start("server", server, theirs)
        await asyncio.sleep(0.1)
        return await ask("server", ours)

    for each in under_seeds(main):
        assert each.result == {2 * n + 1: b"/%d" % n * 1000 for n in range(5)}


class Names(asyncio.DatagramProtocol):
    """Knows where one name leads, and forgets to answer the first time it is asked."""

    def __init__(self) -> None:
        self._asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._asked += 1
        if self._asked == 1:
            return
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        name = query.question[0].name
        if name.to_text() == "known.example.":
            answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "192.0.2.1"))
        else:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self._transport.sendto(answer.to_wire(), address)  # type: ignore[attr-defined]


async def name_server() -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Names, local_addr=("0.0.0.0", 53))
    await asyncio.Event().wait()


def test_names_are_resolved_over_udp_and_asked_for_again_when_lost() -> None:
    async def main(world: World) -> list[str]:
        node = world.start("dns", name_server)
        await asyncio.sleep(0.1)
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [node.addresses[0]]
        resolver.timeout, resolver.lifetime = 1, 30
        world.drop("test", "dns", rate=0.3)
        found = [each.address for each in await resolver.resolve("known.example", "A")]
        with pytest.raises(dns.resolver.NXDOMAIN):
            await resolver.resolve("unknown.example", "A")
        world.partition("test", "dns")
        with pytest.raises(dns.resolver.LifetimeTimeout):
            await resolver.resolve("known.example", "A")
        return found

    for each in under_seeds(main):
        assert each.result == ["192.0.2.1"]
        assert each.virtual_s > 30

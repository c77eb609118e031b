"""nats-py, unmodified, against a small server that speaks the NATS protocol."""

from __future__ import annotations

import asyncio
import json

import nats
import nats.errors
import pytest
from library_worlds import under_seeds

from windtunnel.sim import World


class Broker:
    """CONNECT, PING, SUB, UNSUB and PUB."""

    def __init__(self) -> None:
        self._subscribers: list[tuple[str, str, asyncio.StreamWriter]] = []

    async def serve(self) -> None:
        server = await asyncio.start_server(self._talk, "0.0.0.0", 4222)
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        info = {"server_id": "A", "version": "2.10.0", "max_payload": 1_000_000, "headers": False}
        writer.write(b"INFO " + json.dumps(info).encode() + b"\r\n")
        try:
            while line := await reader.readline():
                verb, *words = line.decode().split()
                if verb == "PING":
                    writer.write(b"PONG\r\n")
                elif verb == "SUB":
                    self._subscribers.append((words[0], words[-1], writer))
                elif verb == "PUB":
                    payload = await reader.readexactly(int(words[-1]) + 2)
                    self._publish(words[0], words[1:-1], payload)
        except (OSError, asyncio.IncompleteReadError):
            pass
        self._subscribers = [each for each in self._subscribers if each[2] is not writer]
        writer.close()

    def _publish(self, subject: str, reply: list[str], payload: bytes) -> None:
        for pattern, number, writer in self._subscribers:
            if pattern == subject or (pattern[-1] == "*" and subject.startswith(pattern[:-1])):
                head = " ".join(["MSG", subject, number, *reply, str(len(payload) - 2)])
                writer.write(head.encode() + b"\r\n" + payload)


def test_publish_subscribe_and_request_work() -> None:
    async def main(world: World) -> list[object]:
        world.start("broker", Broker().serve)
        world.start("doubler", doubler)
        await asyncio.sleep(1)
        client = await nats.connect("nats://broker:4222")
        subscription = await client.subscribe("news")
        await client.flush()
        await client.publish("news", b"hello")
        found: list[object] = [(await subscription.next_msg(timeout=5)).data]
        answers = await asyncio.gather(*(_double(client, number) for number in range(20)))
        found.append(answers)
        with pytest.raises(nats.errors.TimeoutError):
            await client.request("nobody", b"", timeout=1)
        await client.drain()
        return found

    async def doubler() -> None:
        client = await nats.connect("nats://broker:4222")

        async def double(message: nats.aio.msg.Msg) -> None:
            await message.respond(str(2 * int(message.data)).encode())

        await client.subscribe("double", cb=double)
        await asyncio.Event().wait()

    async def _double(client: nats.NATS, number: int) -> int:
        return int((await client.request("double", str(number).encode(), timeout=5)).data)

    for each in under_seeds(main):
        assert each.result == [b"hello", [2 * number for number in range(20)]]


def test_a_client_reconnects_and_subscribes_anew_after_a_crash() -> None:
    async def main(world: World) -> list[str]:
        seen = []

        async def disconnected() -> None:
            seen.append("disconnected")

        async def reconnected() -> None:
            seen.append("reconnected")

        async def ignored(error: Exception) -> None:
            pass

        broker = world.start("broker", Broker().serve)
        await asyncio.sleep(0.1)
        client = await nats.connect(
            "nats://broker:4222", disconnected_cb=disconnected, reconnected_cb=reconnected,
            error_cb=ignored, ping_interval=1, max_outstanding_pings=2, reconnect_time_wait=1,
        )  # fmt: skip
        subscription = await client.subscribe("news")
        await client.flush()
        broker.crash()
        await asyncio.sleep(5)
        broker.restart()
        await asyncio.sleep(60)
        await client.publish("news", b"again")
        seen.append((await subscription.next_msg(timeout=5)).data.decode())
        await client.close()
        return seen

    for each in under_seeds(main):
        assert each.result[:3] == ["disconnected", "reconnected", "again"]

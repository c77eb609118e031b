"""redis.asyncio, unmodified, against a small server that speaks RESP."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio as redis
from library_worlds import under_seeds
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from windtunnel.sim import World


class Store:
    """GET, SET, INCRBY, SUBSCRIBE and PUBLISH; in RESP2."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.listeners: dict[bytes, list[asyncio.StreamWriter]] = {}

    async def serve(self) -> None:
        server = await asyncio.start_server(self._talk, "0.0.0.0", 6379)
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                words = []
                for _ in range(int(line[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2])
                writer.write(self._answer(words, writer))
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _answer(self, words: list[bytes], writer: asyncio.StreamWriter) -> bytes:
        command, *rest = words
        match command.upper(), rest:
            case b"GET", [key]:
                value = self.values.get(key)
                return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)
            case b"SET", [key, value, *_]:
                self.values[key] = value
            case b"INCRBY", [key, _]:
                number = int(self.values.get(key, b"0")) + 1
                self.values[key] = b"%d" % number
                return b":%d\r\n" % number
            case b"SUBSCRIBE", [topic]:
                self.listeners.setdefault(topic, []).append(writer)
                return _array(b"subscribe", topic) + b":1\r\n"
            case b"PUBLISH", [topic, text]:
                for listener in self.listeners.get(topic, ()):
                    listener.write(_array(b"message", topic) + b"$%d\r\n%s\r\n" % (len(text), text))
                return b":%d\r\n" % len(self.listeners.get(topic, ()))
            case b"HELLO", _:
                return b"-ERR unknown command 'HELLO'\r\n"
        return b"+OK\r\n"


def _array(kind: bytes, topic: bytes) -> bytes:
    return b"*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n" % (len(kind), kind, len(topic), topic)


def test_commands_pipelines_and_subscriptions_work() -> None:
    async def main(world: World) -> list[object]:
        world.start("redis", Store().serve)
        await asyncio.sleep(0.1)
        client = redis.Redis(host="redis", protocol=2)
        await client.set("a", "1")
        found: list[object] = [await client.get("a"), await client.get("b")]
        await asyncio.gather(*(client.incr("n") for _ in range(20)))
        found.append(await client.get("n"))
        async with client.pipeline(transaction=False) as pipe:
            found.append(await pipe.set("c", "2").get("c").incr("n").execute())
        async with client.pubsub() as topic:
            await topic.subscribe("news")
            heard = [await topic.get_message(timeout=5)]
            await client.publish("news", "hello")
            heard.append(await topic.get_message(timeout=5))
            found.append([message and message["data"] for message in heard])
        await client.aclose()
        return found

    for each in under_seeds(main):
        assert each.result == [b"1", None, b"20", [True, b"2", 21], [1, b"hello"]]


def test_a_crashed_server_is_a_connection_error_and_its_restart_is_used() -> None:
    async def main(world: World) -> list[object]:
        node = world.start("redis", Store().serve)
        await asyncio.sleep(0.1)
        client = redis.Redis(host="redis", protocol=2, socket_timeout=1, socket_connect_timeout=1)
        await client.set("a", "1")
        world.partition("test", "redis")
        with pytest.raises((RedisTimeoutError, RedisConnectionError)):
            await client.get("a")
        world.heal()
        node.crash()
        with pytest.raises((RedisTimeoutError, RedisConnectionError)):
            await client.get("a")
        node.restart()
        await asyncio.sleep(5)
        found: list[object] = [await client.get("a")]
        await client.aclose()
        return found

    for each in under_seeds(main):
        assert each.result == [b"1"]

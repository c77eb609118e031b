"""asyncpg and aiomysql, unmodified, against small servers that speak their wire protocols."""

from __future__ import annotations

import asyncio
import struct

import aiomysql
import asyncpg
import pymysql
import pytest
from library_worlds import under_seeds

from windtunnel.sim import World

# PostgreSQL: https://www.postgresql.org/docs/current/protocol-message-formats.html


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


_READY = _message(b"Z", b"I")
_INT4 = struct.pack("!ihihih", 0, 0, 23, 4, -1, 0)


class Postgres:
    """Knows one query: what 41 + 1 is. Any other sleeps until it is cancelled."""

    def __init__(self) -> None:
        self._cancelled: dict[int, asyncio.Event] = {}

    async def serve(self) -> None:
        server = await asyncio.start_server(self._talk, "0.0.0.0", 5432)
        await server.serve_forever()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await self._greet(reader, writer):
                await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        size, code = struct.unpack("!ii", await reader.readexactly(8))
        if code == _ENCRYPT:
            writer.write(b"N")
            size, code = struct.unpack("!ii", await reader.readexactly(8))
        body = await reader.readexactly(size - 8)
        if code == _CANCEL:
            self._cancelled[struct.unpack("!ii", body)[0]].set()
            return False
        number = len(self._cancelled) + 1
        self._cancelled[number] = asyncio.Event()
        writer.write(_message(b"R", struct.pack("!i", 0)))
        for name, value in (("server_version", "16.0"), ("client_encoding", "UTF8")):
            writer.write(_message(b"S", f"{name}\0{value}\0".encode()))
        writer.write(_message(b"K", struct.pack("!ii", number, 7)) + _READY)
        self._mine = self._cancelled[number]
        return True

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cancelled, failed = self._mine, False
        while (kind := await reader.readexactly(1)) != b"X":
            (size,) = struct.unpack("!i", await reader.readexactly(4))
            body = await reader.readexactly(size - 4)
            failed = failed and kind != b"S"
            if kind == b"P" and b"41 + 1" not in body:
                await cancelled.wait()
                writer.write(_message(b"E", b"SERROR\0C57014\0Mcancelled\0\0"))
                failed = True
            elif not failed:
                writer.write(_ANSWERS.get(kind, b""))


_ENCRYPT, _CANCEL = 80877103, 80877102
_ANSWERS = {
    b"P": _message(b"1"),
    b"D": _message(b"t", struct.pack("!h", 0))
    + _message(b"T", struct.pack("!h", 1) + b"answer\0" + _INT4),
    b"B": _message(b"2"),
    b"E": _message(b"D", struct.pack("!hii", 1, 4, 42)) + _message(b"C", b"SELECT 1\0"),
    b"S": _READY,
}


def test_asyncpg_asks_and_finds_its_own_errors() -> None:
    async def main(world: World) -> list[object]:
        node = world.start("db", Postgres().serve)
        await asyncio.sleep(0.1)
        connection = await asyncpg.connect("postgresql://me@db/main", timeout=5)
        found: list[object] = [await connection.fetchval("SELECT 41 + 1") for _ in range(3)]
        with pytest.raises(TimeoutError):
            await connection.fetchval("SELECT pg_sleep(60)", timeout=1)
        found.append(await connection.fetchval("SELECT 41 + 1"))
        await connection.close()
        pool = await asyncpg.create_pool(
            "postgresql://me@db/main", min_size=3, max_size=3, reset=_nothing
        )
        found.append(await asyncio.gather(*(pool.fetchval("SELECT 41 + 1") for _ in range(10))))
        asked = asyncio.create_task(pool.fetchval("SELECT pg_sleep(60)"))
        await asyncio.sleep(1)
        world.cut("test", "db")
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await asked
        pool.terminate()
        node.crash()
        with pytest.raises((TimeoutError, OSError)):
            await asyncpg.connect("postgresql://me@db/main", timeout=5)
        return found

    async def _nothing(connection: object) -> None:
        pass

    for each in under_seeds(main):
        assert each.result == [42, 42, 42, 42, [42] * 10]


# MySQL: https://dev.mysql.com/doc/dev/mysql-server/latest/PAGE_PROTOCOL.html

_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000


class _Packets:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.number = 0

    async def read(self) -> bytes:
        head = await self._reader.readexactly(4)
        self.number = head[3] + 1
        return await self._reader.readexactly(int.from_bytes(head[:3], "little"))

    def write(self, *bodies: bytes) -> None:
        for body in bodies:
            head = len(body).to_bytes(3, "little") + bytes([self.number])
            self._writer.write(head + body)
            self.number += 1


def _text(value: bytes) -> bytes:
    return bytes([len(value)]) + value


_OK = b"\0\0\0\2\0\0\0"
_EOF = b"\xfe\0\0\2\0"
_COLUMN = (
    b"".join(map(_text, (b"def", b"", b"", b"", b"answer", b"")))
    + b"\x0c"
    + struct.pack("<HIBHB", 63, 11, 3, 0, 0)
    + b"\0\0"
)


async def mysql() -> None:
    """Answers 42 to each SELECT and fine to all else."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        packets = _Packets(reader, writer)
        low, high = _CAPABILITIES & 0xFFFF, _CAPABILITIES >> 16
        packets.write(
            b"\x0a8.0.0\0" + struct.pack("<I", 7) + b"saltsalt\0" + struct.pack("<H", low)
            + b"\x2d" + struct.pack("<HHB", 2, high, 21) + bytes(10) + b"saltsaltsalt\0"
            + b"mysql_native_password\0"
        )  # fmt: skip
        try:
            await packets.read()
            packets.write(_OK)
            while True:
                query = await packets.read()
                if query.startswith(b"\x03SELECT"):
                    packets.write(b"\1", _COLUMN, _EOF, _text(b"42"), _EOF)
                elif query[0] == 1:
                    writer.close()
                    return
                else:
                    packets.write(_OK)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    server = await asyncio.start_server(talk, "0.0.0.0", 3306)
    await server.serve_forever()


def test_aiomysql_asks_and_finds_its_own_errors() -> None:
    async def main(world: World) -> list[object]:
        world.start("db", mysql)
        await asyncio.sleep(0.1)
        found: list[object] = []
        async with (
            aiomysql.connect(host="db", user="me", connect_timeout=5) as connection,
            connection.cursor() as cursor,
        ):
            await cursor.execute("SELECT 41 + 1")
            found.append(await cursor.fetchone())
        pool = await aiomysql.create_pool(host="db", user="me", minsize=2, maxsize=4)
        found.append(await asyncio.gather(*(_ask(pool) for _ in range(10))))
        async with pool.acquire() as connection, connection.cursor() as cursor:
            world.cut("test", "db")
            with pytest.raises((pymysql.err.OperationalError, pymysql.err.InterfaceError)):
                await cursor.execute("SELECT 41 + 1")
        pool.terminate()
        await pool.wait_closed()
        world.partition("test", "db")
        with pytest.raises(pymysql.err.OperationalError):
            await aiomysql.connect(host="db", user="me", connect_timeout=5)
        return found

    async def _ask(pool: aiomysql.Pool) -> int:
        async with pool.acquire() as connection, connection.cursor() as cursor:
            await cursor.execute("SELECT 41 + 1")
            return int((await cursor.fetchone())[0])

    for each in under_seeds(main):
        assert each.result == [(42,), [42] * 10]

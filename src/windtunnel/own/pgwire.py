"""As much of the PostgreSQL protocol as creating and dropping databases takes.

The start-up of a trusted connection and the simple query (Frontend/Backend Protocol 3.0,
postgresql.org/docs/current/protocol.html). A query may be sent now and its end waited for
later, which is how the next test's database is cloned while this one's test runs. Not a client
library: tests use theirs.
"""

from __future__ import annotations

import socket
import struct
from collections import deque

from windtunnel.core import ResourceError


class PostgresQueryError(ResourceError):
    """The server answered a query with an error."""


class PostgresConnection:
    """A connection over a unix socket to a server that trusts it.

    :param path: the server's socket file.
    :param timeout: seconds an answer may take.
    :raises OSError: when there is no connection, or the server goes away or is late.
    :raises PostgresQueryError: when the server refuses it, as while it still starts.
    """

    def __init__(self, path: str, *, user: str, database: str, timeout: float = 60.0) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._pending: deque[str] = deque()
        self._ended = 0
        try:
            self._socket.connect(path)
            self._input = self._socket.makefile("rb")
            parameters = f"user\0{user}\0database\0{database}\0\0".encode()
            self._socket.sendall(struct.pack("!ii", 8 + len(parameters), 196_608) + parameters)
            self._pending.append("connect")
            self.wait()
        except BaseException:
            self._socket.close()
            raise

    def send(self, sql: str) -> int:
        """Send a query without waiting for its end; returns its number, for :meth:`wait_for`."""
        query = sql.encode() + b"\0"
        self._socket.sendall(b"Q" + struct.pack("!i", 4 + len(query)) + query)
        self._pending.append(sql)
        return self._ended + len(self._pending)

    def wait_for(self, number: int) -> None:
        """Wait for the end of the query with this number, and of those before it.

        :raises PostgresQueryError: when one of them failed.
        """
        while self._ended < number:
            self.wait()

    def wait(self) -> list[tuple[str | None, ...]]:
        """Wait for the end of the oldest query sent; its rows, as text.

        :raises PostgresQueryError: when it failed.
        """
        sql = self._pending.popleft()
        self._ended += 1
        rows: list[tuple[str | None, ...]] = []
        problem = ""
        while True:
            kind, body = self._message()
            if kind == b"E":
                problem = _error_text(body)
                if sql == "connect":
                    break  # no ReadyForQuery follows a refused start-up
            elif kind == b"D":
                rows.append(_row(body))
            elif kind == b"Z":
                break
            elif kind == b"R" and struct.unpack_from("!i", body)[0] != 0:
                problem = "it asks for a password"
                break
        if problem:
            raise PostgresQueryError(f"PostgreSQL refused: {sql[:100]}", found=problem)
        return rows

    def query(self, sql: str) -> list[tuple[str | None, ...]]:
        """Send a query, wait for all that are pending, and return this one's rows.

        :raises PostgresQueryError: when one of them failed.
        """
        self.wait_for(self.send(sql) - 1)
        return self.wait()

    def close(self) -> None:
        """Close the connection."""
        self._input.close()
        self._socket.close()

    def _message(self) -> tuple[bytes, bytes]:
        head = self._input.read(5)
        if len(head) < 5:
            raise ConnectionError("the PostgreSQL server closed the connection")
        return head[:1], self._input.read(struct.unpack("!i", head[1:])[0] - 4)


def _error_text(body: bytes) -> str:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    detail = fields.get(b"D", "")
    return fields.get(b"M", "an error without a message") + (f" ({detail})" if detail else "")


def _row(body: bytes) -> tuple[str | None, ...]:
    (count,) = struct.unpack_from("!h", body)
    position = 2
    values: list[str | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", body, position)
        position += 4
        values.append(None if length < 0 else body[position : position + length].decode())
        position += max(0, length)
    return tuple(values)

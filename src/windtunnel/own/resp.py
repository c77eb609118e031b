"""As much of the Redis protocol as asking a server to be ready, be clean and count takes.

Requests are RESP arrays of bulk strings, replies RESP2 (redis.io/docs/reference/protocol-spec).
Not a client library: tests use theirs.
"""

from __future__ import annotations

import dataclasses
import socket
from typing import TypeAlias

from windtunnel.core import ResourceError

Reply: TypeAlias = "str | int | list[Reply] | None"


class RedisReplyError(ResourceError):
    """The server answered a command with an error."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Refusal:
    text: str


class RedisConnection:
    """A connection that sends commands and reads their replies.

    :param address: path of a unix socket, or host and port.
    :param timeout: seconds a reply may take.
    :raises OSError: when there is no connection, or the server goes away or is late.
    """

    def __init__(self, address: str | tuple[str, int], *, timeout: float = 5.0) -> None:
        if isinstance(address, str):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.settimeout(timeout)
            try:
                self._socket.connect(address)
            except OSError:
                self._socket.close()
                raise
        else:
            self._socket = socket.create_connection(address, timeout=timeout)
        self._input = self._socket.makefile("rb")

    def call(self, *words: str) -> Reply:
        """Send one command and return its reply.

        :raises RedisReplyError: when the reply is an error.
        """
        return self.call_all(words)[0]

    def call_all(self, *commands: tuple[str, ...]) -> list[Reply]:
        """Send several commands in one write and return their replies.

        :raises RedisReplyError: when one of them is an error; the others were carried out.
        """
        self._socket.sendall(b"".join(map(_encoded, commands)))
        replies = [self._read() for _ in commands]
        answers: list[Reply] = []
        for command, reply in zip(commands, replies, strict=True):
            if isinstance(reply, _Refusal):
                raise RedisReplyError(f"redis refused {command[0]}", found=reply.text)
            answers.append(reply)
        return answers

    def close(self) -> None:
        """Close the connection."""
        self._input.close()
        self._socket.close()

    def _read(self) -> Reply | _Refusal:
        line = self._input.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the redis server closed the connection")
        kind, rest = line[:1], line[1:-2].decode()
        if kind == b"+":
            return rest
        if kind == b"-":
            return _Refusal(rest)
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == "-1" else self._input.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            items = [self._read() for _ in range(int(rest))]
            return [item for item in items if not isinstance(item, _Refusal)]
        raise ConnectionError(f"that is no redis server: {line[:40]!r}")


def _encoded(words: tuple[str, ...]) -> bytes:
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        encoded = word.encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(encoded), encoded))
    return b"".join(parts)

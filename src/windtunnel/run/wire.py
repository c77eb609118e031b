"""What controller and workers say to each other, and the two channels they say it on.

*Up* (worker to controller) is a stream of pickled frames. *Down* (controller to worker) is a
queue of packets, and both ends keep its reading side: the worker reads it to learn its next
test, the controller reads it to steal a test back that the worker has not begun. The kernel
gives each packet to exactly one reader, so stealing needs no handshake and cannot race.

Both ends are the same program on the same machine, so pickle is no wider a door than the fork
that made the worker.
"""

from __future__ import annotations

import dataclasses
import pickle
import selectors
import socket
import struct
import sys
import traceback
from typing import Any, TypeAlias

import pytest

from windtunnel.core import WindtunnelError

_LENGTH = struct.Struct("!I")
_PACKET = 64
# A sequenced packet socket tells the reader that the writer is gone; macOS only has datagrams.
_QUEUE_TYPE = socket.SOCK_DGRAM if sys.platform == "darwin" else socket.SOCK_SEQPACKET


@dataclasses.dataclass(frozen=True, slots=True)
class Collected:
    """A spawned worker has collected these tests (a forked one inherits them)."""

    nodeids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What happened since the last frame: tests finished with their reports, one begun.

    ``reports`` are ``(hook name, payload)`` in the order they were logged; ``wants`` says that
    the worker has nothing queued and waits for an answer; ``fixtures_s`` how many seconds its
    fixtures of session and package scope have taken to set up, all told; infinite where a new
    process could not set them up again.
    """

    finished: tuple[int, ...] = ()
    started: int | None = None
    reports: tuple[tuple[str, Any], ...] = ()
    wants: bool = False
    fixtures_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True)
class Broken:
    """The worker cannot go on. ``exit_code`` is that of an error meant for the user, or of a test
    that called ``pytest.exit``, whose message is ``text``; None when the machinery itself failed,
    and ``text`` is the traceback."""

    text: str
    exit_code: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class Stopped:
    """A test or plugin in the worker set ``session.shouldstop`` or ``shouldfail`` to this."""

    reason: str
    failed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Leaving:
    """The worker has ended in order. ``output`` is what it hands to the controller's plugins."""

    output: dict[str, Any]


Upward: TypeAlias = Collected | Progress | Broken | Stopped | Leaving


def broken(error: BaseException) -> Broken:
    """The message that tells the controller of an error."""
    if isinstance(error, WindtunnelError):
        return Broken(f"windtunnel: {error}", int(error.exit_code))
    if isinstance(error, pytest.exit.Exception):
        code = pytest.ExitCode.INTERRUPTED if error.returncode is None else error.returncode
        return Broken(error.msg, int(code))
    return Broken("".join(traceback.format_exception(error)), None)


STOP = -1
"""Packet: run what is running to its end, tear down and leave."""
NOTHING = -2
"""Packet: there is no further test for now; tear down and wait."""


class Queue:
    """The packets down to one worker. Each is a test's index, :data:`STOP` or :data:`NOTHING`."""

    def __init__(self) -> None:
        self.reader, self.writer = socket.socketpair(socket.AF_UNIX, _QUEUE_TYPE)

    def put(self, packet: int) -> None:
        """Send a packet; a worker that has died does not matter here (its stream says so)."""
        try:
            self.writer.send(b"%d" % packet)
        except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError):
            pass

    def steal(self) -> int | None:
        """Take back the oldest packet that nobody has read."""
        return receive(self.reader, block=False)

    def close(self) -> None:
        """Close both sides in this process."""
        self.reader.close()
        self.writer.close()


def receive(reader: socket.socket, *, block: bool) -> int | None:
    """The next packet; None when there is none (not blocking) or the controller is gone."""
    try:
        data = reader.recv(_PACKET, 0 if block else socket.MSG_DONTWAIT)
    except (BlockingIOError, ConnectionResetError):
        return None
    return int(data) if data else None


def peek(reader: socket.socket) -> int | None:
    """The test that would be received next, left where it is; None where there is none."""
    try:
        data = reader.recv(_PACKET, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, ConnectionResetError):
        return None
    packet = int(data) if data else STOP
    return packet if packet >= 0 else None


class Stream:
    """Frames up from one worker."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = bytearray()

    def send(self, message: Upward) -> None:
        """Write one frame; blocks while the controller is behind."""
        body = pickle.dumps(message, protocol=5)
        self.sock.sendall(_LENGTH.pack(len(body)) + body)

    def read(self) -> list[Upward] | None:
        """The frames that have arrived, after the socket became readable; None at its end."""
        try:
            data = self.sock.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            return None
        self._buffer += data
        messages: list[Upward] = []
        start = 0
        while len(self._buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, start)
            end = start + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            with memoryview(self._buffer) as view:
                messages.append(pickle.loads(view[start + _LENGTH.size : end]))
            start = end
        del self._buffer[:start]
        return messages

    def close(self) -> None:
        """Close this side."""
        self.sock.close()


def stream_pair() -> tuple[Stream, Stream]:
    """The controller's and the worker's end of a stream."""
    ours, theirs = socket.socketpair()
    return Stream(ours), Stream(theirs)


def new_selector() -> selectors.BaseSelector:
    """A selector that is not shared with forked children, as epoll and kqueue would be."""
    return selectors.PollSelector()

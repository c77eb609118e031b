"""The owner's side of one cell: its messages, its output, its life.

Everything that comes from a cell is held for hostile: sizes are bounded before memory is taken,
reading never blocks on half a message, and descriptors that it tries to pass are never received.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from windtunnel.core import REAL_CLOCK, IsolationError
from windtunnel.sandboxes.protocol import CellDiedError

_CHUNK = 1 << 16
_PIPE_READS = 32  # what a pipe can hold, twice
_GONE_WITHIN_S = 10.0


class Life(Protocol):
    """How a cell is signalled and seen to be gone."""

    @property
    def pid(self) -> int: ...
    def signal(self, number: int) -> None: ...
    def gone(self, within_s: float) -> bool: ...
    def close(self) -> None: ...


class Pidfd:
    """A cell by the descriptor that its process gave of itself: no number is ever reused."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @property
    def pid(self) -> int:
        for line in Path(f"/proc/self/fdinfo/{self._fd}").read_text("ascii").splitlines():
            if line.startswith("Pid:"):
                return max(0, int(line.split()[1]))
        return 0

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)

    def gone(self, within_s: float) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(within_s * 1000))

    def close(self) -> None:
        os.close(self._fd)


class ProcessCell:
    """A cell in a process of this machine.

    :param channel: this side of the stream of messages.
    :param output: the end of the pipe from which its output is read.
    :param message_bytes: bytes of one message from it.
    :param give_back: called once when it is closed and gone.
    """

    def __init__(
        self,
        channel: socket.socket,
        output: int,
        life: Life,
        *,
        message_bytes: int,
        give_back: Callable[[], None],
    ) -> None:
        channel.setblocking(False)
        os.set_blocking(output, False)
        self._channel = channel
        self._output = output
        self._life = life
        self._message_bytes = message_bytes
        self._give_back = give_back
        self._received = bytearray()
        self._printed = bytearray()
        self._sending = threading.Lock()
        self._reading = threading.RLock()
        self._ending = threading.RLock()
        self._awake, self._waker = os.pipe()
        self._poll = select.poll()
        for fd in (channel.fileno(), output, self._awake):
            self._poll.register(fd, select.POLLIN)
        self._gone = False
        self._closed = False
        self._owner = os.getpid()

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return not self._gone and not self._life.gone(0)

    @property
    def pid(self) -> int:
        """Its number as this process sees it, 0 once it is gone: to look at, not to signal."""
        return 0 if self._closed else self._life.pid

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def send(self, message: bytes, *, timeout_s: float | None = None) -> None:
        """Send a message whole; see :class:`windtunnel.sandboxes.Cell`."""
        deadline = None if timeout_s is None else REAL_CLOCK.monotonic() + timeout_s
        rest = memoryview(struct.pack("<I", len(message)) + message)
        # Another message may be on its way, for ever where the cell does not take it.
        left = -1 if timeout_s is None else min(max(timeout_s, 0), threading.TIMEOUT_MAX)
        if not self._sending.acquire(timeout=left):
            raise _not_taken()
        try:
            while rest:
                try:
                    rest = rest[self._channel.send(rest) :]
                except BlockingIOError:
                    self._until_writable(deadline)
                except OSError as error:
                    raise _died("it no longer takes messages") from error
        finally:
            self._sending.release()

    def _until_writable(self, deadline: float | None) -> None:
        left = None if deadline is None else deadline - REAL_CLOCK.monotonic()
        if left is not None and left <= 0:
            raise _not_taken()
        number = self._channel.fileno()
        if number < 0:  # closed meanwhile
            raise _died("it no longer takes messages")
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        poll.poll(None if left is None else left * 1000)

    def receive(self, timeout_s: float | None = None) -> bytes | None:
        """The next message or None; see :class:`windtunnel.sandboxes.Cell`."""
        with self._reading:
            if self._closed:
                raise _died("it was closed")
            return self._next(timeout_s)

    def _next(self, timeout_s: float | None) -> bytes | None:
        message = self._take()
        if message is not None:
            return message
        ready = dict(self._poll.poll(None if timeout_s is None else max(0.0, timeout_s) * 1000))
        if self._output in ready:
            self._read_output()
        if self._awake in ready:
            os.read(self._awake, _CHUNK)
        if self._channel.fileno() in ready:
            self._read()
        return self._take()

    def _read(self) -> None:
        try:
            data = self._channel.recv(_CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            raise _died(str(error)) from error
        if not data:
            raise _died("its process has ended")
        self._received += data

    def _take(self) -> bytes | None:
        if len(self._received) < 4:
            return None
        (size,) = struct.unpack_from("<I", self._received)
        if size > self._message_bytes:
            raise CellDiedError(
                "a cell sent more than it may",
                found=f"a message of {size} bytes; at most {self._message_bytes} are taken",
                fix="have the program send less at a time, or raise CellLimits.message_bytes",
            )
        if len(self._received) < 4 + size:
            return None
        message = bytes(self._received[4 : 4 + size])
        del self._received[: 4 + size]
        return message

    def _read_output(self) -> bool:
        try:
            data = os.read(self._output, _CHUNK)
        except BlockingIOError:
            return False
        if not data:  # every writer is gone; the channel says the rest
            self._poll.unregister(self._output)
            return False
        self._printed += data
        return True

    def take_output(self) -> bytes:
        """What it printed since last asked, all that it wrote before its last message too."""
        with self._reading, contextlib.suppress(KeyError):
            for _ in range(0 if self._closed else _PIPE_READS):
                if not self._read_output():
                    break
        printed, self._printed = bytes(self._printed), bytearray()
        return printed

    @property
    def printed(self) -> int:
        """Bytes of output that have come and were not taken."""
        return len(self._printed)

    def wake(self) -> None:
        """Have :meth:`receive` return."""
        with self._ending:
            if not self._closed:
                os.write(self._waker, b"!")

    def interrupt(self) -> None:
        """SIGINT."""
        self._signal(signal.SIGINT)

    def freeze(self) -> None:
        """SIGSTOP, which nothing can hold back."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with self._ending:
            if not self._gone:
                self._life.signal(number)

    def kill(self) -> None:
        """End it and all of it; see :class:`windtunnel.sandboxes.Cell`."""
        with self._ending:
            if self._gone or self._owner != os.getpid():
                return  # a process forked from its owner has only copies to close
            self._life.signal(signal.SIGKILL)
            if not self._life.gone(_GONE_WITHIN_S):
                raise IsolationError(
                    "a cell could not be killed",
                    found=f"its process is there {_GONE_WITHIN_S:g} s after SIGKILL",
                    fix="look at it with ps: it waits in the kernel",
                )
            self._gone = True
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)  # whoever sends must not wait on

    def close(self) -> None:
        """Kill it and give back what it took here."""
        with self._ending:
            if self._closed:
                return
            self.kill()
            # Whoever waits for a message of it is told by now that it is gone. Before they have
            # let go, a number could become another file's under them.
            with self._reading if self._owner == os.getpid() else contextlib.nullcontext():
                self._closed = True
                self._life.close()
                self._channel.close()
                for fd in (self._output, self._awake, self._waker):
                    os.close(fd)
        if self._owner == os.getpid():
            self._give_back()


def _not_taken() -> TimeoutError:
    return TimeoutError("the cell does not take the message")


def _died(found: str) -> CellDiedError:
    return CellDiedError("a cell is gone", found=found, fix="start another")

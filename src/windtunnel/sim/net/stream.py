"""One end of a connection: what a kernel keeps for a stream, TCP or Unix.

A segment is one timer at the end that it goes to; segments of a connection arrive in the order in
which they were sent. What arrives goes straight to the protocol that reads, or is kept for the
program until it does. The sending half is in :mod:`~windtunnel.sim.net.outgoing`; links that do
more than delay go through :mod:`~windtunnel.sim.net.trouble`.
"""

from __future__ import annotations

import contextvars
import errno
from collections import deque
from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Any

from windtunnel.sim.handle import TimerHandle
from windtunnel.sim.net.files import Address, SocketFile, lingers_for_nothing, os_error
from windtunnel.sim.net.outgoing import (
    DONE,
    DUE,
    END,
    FIN,
    RST,
    SENT,
    SIZE,
    WHAT,
    Outgoing,
    Segment,
)
from windtunnel.sim.net.trouble import Trouble
from windtunnel.sim.node import IDENTITY

if TYPE_CHECKING:
    from windtunnel.sim.net.links import Link
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.node import Node

__all__ = ["DONE", "DUE", "END", "FIN", "RST", "SENT", "SIZE", "WHAT", "Segment", "StreamEnd"]

# What arrived stays readable for the story of a failure, as long as it is no longer than this.
TOLD = 512


class StreamEnd(Outgoing):
    """One end of a stream.

    :ivar inflight: segments under way to this end, in order.
    :ivar kept: what has arrived and was not read.
    :ivar eof: the peer sends no more.
    :ivar sink: called with bytes that arrive; None while nobody reads, then they are kept.
    """

    __slots__ = ("eof", "inflight", "kept", "kept_size", "local", "remote", "sink")

    def __init__(self, net: Network, file: SocketFile, link: Link) -> None:
        super().__init__(net, file, link)
        self.local: Address = file.local
        self.remote: Address = file.remote
        self.inflight: deque[Segment] = deque()
        self.kept: deque[tuple[Any, int]] = deque()
        self.kept_size = 0
        self.eof = False
        self.sink: Callable[[Any], object] | None = None
        self._timer = self._new_timer(file.node, contextvars.Context())
        file.part = self

    def _new_timer(self, node: Node, context: contextvars.Context) -> TimerHandle:
        context.run(IDENTITY.set, (node, node.incarnation))
        return TimerHandle(self._arrive, (), context, node, 0.0, 0)

    def enter_context(self, context: contextvars.Context) -> None:
        """From here on, what arrives is handled in that context."""
        self._swap_timer(self.node, context)

    def _swap_timer(self, node: Node, context: contextvars.Context) -> None:
        old, self._timer = self._timer, self._new_timer(node, context)
        if self.inflight:
            old.cancel()
            if self.trouble is None or not self.trouble.waiting:
                self.wait_for_next()

    def get_name(self) -> str:
        """What a trace calls its steps."""
        return f"deliver {self.peer.node.name}->{self.node.name}"

    # Receiving.

    def expect(self, segment: Segment) -> None:
        """A segment is under way to this end; never earlier than the one before it."""
        inflight = self.inflight
        if inflight:
            if segment[DUE] < inflight[-1][DUE]:
                segment[DUE] = inflight[-1][DUE]
            inflight.append(segment)
        else:
            inflight.append(segment)
            self.wait_for_next()

    def wait_for_next(self) -> None:
        """Set the timer for the first segment under way."""
        due = max(self.inflight[0][DUE], self.world.now_ns)
        scheduler = self.scheduler
        scheduler._serial = serial = scheduler._serial + 1
        heappush(scheduler.timers, (due, serial, self._timer))

    def _arrive(self) -> None:
        """The timer of the first segment under way."""
        if self.trouble is not None and not self.trouble.passes():
            return
        inflight = self.inflight
        segment = inflight.popleft()
        if inflight:
            self.wait_for_next()
        _, size, what, _, peer, _ = segment
        segment[DONE] = self.world.now_ns
        if size > TOLD:
            segment[WHAT] = None
        sink = self.sink
        if sink is None or type(what) is not bytes:
            self._take(what, size)
            return
        peer.sent -= size
        if peer._wants_room:
            peer.room_made()
        try:
            sink(what)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            if self.transport is None:
                raise
            self.transport.protocol_failed("data_received", error)

    def _take(self, what: Any, size: int) -> None:
        if what is RST:
            self.lost(errno.EPIPE if self.eof else errno.ECONNRESET)
        elif self.over:
            # A connection that is not known here any more: the peer has missed its end.
            if not self.peer.over:
                self._answer_reset()
        elif self._closed:
            if what is not FIN:
                self.reset()
            self.eof = True
        elif what is FIN:
            self.eof = True
            self._wake_reader()
        else:
            self.kept.append((what if type(what) is bytes else b"".join(what), size))
            self.kept_size += size
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self.transport is not None:
            self.transport.readable()
        else:
            self.file.reader.look()

    def read(self, most: int, *, peek: bool = False) -> bytes:
        """Bytes that have arrived, ``most`` of them at most; empty at the end of the stream.

        :raises BlockingIOError: when there are none yet.
        :raises OSError: when the connection is lost.
        """
        kept = self.kept
        if not kept:
            if self.error:
                self.raise_error()
            if self.eof or self.over:
                return b""
            raise os_error(errno.EAGAIN)
        if most <= 0:
            return b""
        if len(kept) > 1:
            joined = b"".join(data for data, _ in kept), self.kept_size
            kept.clear()
            kept.append(joined)
        data: bytes
        data, size = kept[0]
        if peek:
            return data[:most]
        if len(data) <= most:
            kept.clear()
            self._consumed(size)
            return data
        # Ciphertext counts for something else than its length: all of it with the first byte.
        used = most if size == len(data) else size
        kept[0] = (data[most:], size - used)
        self._consumed(used)
        return data[:most]

    def _consumed(self, size: int) -> None:
        self.kept_size -= size
        peer = self.peer
        peer.sent -= size
        if peer._wants_room:
            peer.room_made()

    # State.

    def readable(self) -> bool:
        return bool(self.kept or self.eof or self.error or self.over)

    def stop_reading(self) -> None:
        """The program will read no more (``shutdown(SHUT_RD)``)."""
        self.eof = True
        self._wake_reader()

    def close(self, *, abruptly: bool = False) -> None:
        """The program closed its socket: the kernel sends what it still has, then the end.

        As Linux does, a program that leaves bytes unread, or lingers for 0 seconds, resets.
        """
        if self._closed:
            return
        self._closed = True
        self.sink = None
        self.transport = None
        if self.over:
            return
        if self.local_only:
            self.peer.review()
        # The program has no part in it any more: what arrives is the kernel's business.
        self._swap_timer(self.net.kernel, contextvars.Context())
        if abruptly or self.kept or lingers_for_nothing(self.file):
            self.reset()
            return
        if not self.eof:
            self.net.ports.linger(self.file)
        self.shut_down()

    def reset(self) -> None:
        """Tear the connection down: the peer is told so."""
        if self.over:
            return
        self.end()
        self.net.note("reset", self)
        self._answer_reset()

    def _answer_reset(self) -> None:
        segment = [0, 0, RST, self.world.now_ns, self, -1]
        if self.trouble is not None:
            self.trouble.transmit(segment)
        else:
            self.launch(segment)

    def crash(self, *, silent: bool) -> None:
        """The program is gone; silently: its machine as well, so nobody tells the peer."""
        if self.over:
            return
        self._closed = True
        self.sink = None
        self.transport = None
        self._swap_timer(self.net.kernel, contextvars.Context())
        if silent:
            self.end()
            self.trouble = Trouble(self)
        else:
            self.reset()

    def end(self) -> None:
        """Nothing more is sent or taken."""
        self.over = self.hindered = True
        self.sink = None
        self.queue.clear()
        self.queued = 0
        if self.trouble is not None:
            self.trouble.end()
        self.net.forget(self)

    def lost(self, number: int) -> None:
        """The connection is gone, as ``errno`` says; the program finds out by its next call."""
        if self.over:
            return
        self.error = number
        self.end()
        if self._closed:
            return
        if self.transport is not None:
            self.transport.broken()
        else:
            self.file.reader.look()
            self.file.writer.look()

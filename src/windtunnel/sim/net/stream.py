"""One end of a connection: what a kernel keeps for a stream, TCP or Unix.

Bytes go from a program into its kernel's send queue, from there, as far as the peer's window
allows, as segments over the link, into the peer's receive buffer, and from there to its program.
A segment is one timer; segments of a connection arrive in the order in which they were sent.
Links that do more than delay go through :mod:`~windtunnel.sim.net.trouble`.
"""

from __future__ import annotations

import contextvars
import errno
import socket
from collections import deque
from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.sim.handle import TimerHandle
from windtunnel.sim.net.files import Address, SocketFile, lingers_for_nothing, os_error
from windtunnel.sim.net.trouble import Trouble
from windtunnel.sim.node import IDENTITY

if TYPE_CHECKING:
    from windtunnel.sim.net.links import Link
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.net.transport import SimStreamTransport
    from windtunnel.sim.node import Node

Segment: TypeAlias = list[Any]
"""What travels: a list, because one is made for each message and nothing is cheaper to make.
The names below are its places."""

DUE, SIZE, WHAT, SENT, END, DONE = range(6)

FIN = "fin"
RST = "rst"

# The longest run of bytes that travels as one: what Linux hands to a network card at once.
MOST = 65_536

# What arrived stays readable for the story of a failure, as long as it is no longer than this.
TOLD = 512


class StreamEnd:
    """One end of a stream.

    :ivar peer: the other end.
    :ivar link: the way there.
    :ivar sent: bytes under way or unread at the peer.
    :ivar queued: bytes accepted from the program that the window does not yet allow to send.
    :ivar window: most bytes that may be under way or unread: the peer's receive buffer.
    :ivar hindered: sending takes more than the quick path.
    :ivar sink: called with bytes that arrive; None while nobody reads, then they are kept.
    """

    __slots__ = (
        "_ack_pending", "_closed", "_timer", "_wants_room", "capacity", "eof", "error", "file",
        "fin", "hindered", "inflight", "kept", "kept_size", "link", "local", "local_only", "net",
        "node", "over", "peer", "queue", "queued", "remote", "scheduler", "sent", "sink",
        "transport", "trouble",
        "window", "world",
    )  # fmt: skip

    def __init__(self, net: Network, file: SocketFile, link: Link) -> None:
        self.net = net
        self.world = net.world
        self.scheduler = net.world.scheduler
        self.file = file
        self.node: Node = file.node
        self.local: Address = file.local
        self.remote: Address = file.remote
        self.link = link
        self.peer: StreamEnd
        self.transport: SimStreamTransport | None = None
        self.sent = 0
        self.queued = 0
        self.queue: deque[tuple[Any, int]] = deque()
        self.fin = False
        self.inflight: deque[Segment] = deque()
        self.kept: deque[tuple[Any, int]] = deque()
        self.kept_size = 0
        self.eof = False
        self.error = 0
        self.over = False
        # Between Unix sockets a writer learns at once that the other side is closed.
        self.local_only = file.family == socket.AF_UNIX
        self.sink: Callable[[Any], object] | None = None
        self.trouble: Trouble | None = None
        self._closed = False
        self._wants_room = False
        self._ack_pending = False
        self._timer = self._new_timer(file.node, contextvars.Context())
        self.window = net.config.receive_buffer
        self.capacity = self.window + net.config.send_buffer
        self.hindered = not link.plain
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

    # Sending.

    def send(self, data: bytes, size: int) -> None:
        """The quick path: the caller has seen that nothing hinders and the window is open."""
        self.sent += size
        peer = self.peer
        inflight = peer.inflight
        now = self.world.now_ns
        if inflight:
            last = inflight[-1]
            if last[SENT] == now and last[SIZE] + size <= MOST and last[WHAT] is not FIN:
                what = last[WHAT]
                if type(what) is bytes:
                    last[WHAT] = [what, data]
                else:
                    what.append(data)
                last[SIZE] += size
                return
            due = now + self.link.delay()
            if due < last[DUE]:
                due = last[DUE]
            segment = [due, size, data, now, self, -1]
        else:
            due = now + self.link.delay()
            segment = [due, size, data, now, self, -1]
            scheduler = self.scheduler
            scheduler._serial = serial = scheduler._serial + 1
            heappush(scheduler.timers, (due, serial, peer._timer))
        inflight.append(segment)
        self.net.segments.append(segment)

    def room(self) -> int:
        """Bytes that the kernel would take now."""
        return self.capacity - self.sent - self.queued

    def offer(self, data: Any, size: int | None = None) -> int:
        """Take bytes from the program, as many as there is room for.

        :param size: what they count for; their length, unless they are ciphertext, which is
            taken whole or not at all.
        :returns: how many were taken; 0 when the program has to wait.
        :raises OSError: when the connection is lost or was shut down for writing.
        """
        self.raise_error()
        if self.fin or self.over or (self.local_only and self.peer._closed):
            raise os_error(errno.EPIPE)
        whole = size is not None
        if size is None:
            size = len(data)
        room = self.room()
        if room <= 0:
            self._wants_room = True
            return 0
        if room < size and not whole:
            size = room
            data = data[:size]
        self.queue.append((data if type(data) is bytes else bytes(data), size))
        self.queued += size
        self.flush()
        return size

    def want_room(self) -> None:
        """Tell the program when there is room again."""
        self._wants_room = True

    def flush(self) -> None:
        """Send as much of the queue as the window allows."""
        queue = self.queue
        while queue and (self.trouble is None or not self.trouble.stalled):
            data, size = queue[0]
            if data is FIN:
                queue.popleft()
                self.transmit(FIN, 0)
                continue
            free = self.window - self.sent
            # Not in crumbs: a reader that takes a byte at a time does not make segments of one.
            if free < min(size, self.window // 4) and self.sent:
                break
            take = min(size, max(free, 1), MOST)
            if take < size and len(data) == size:
                queue[0] = (data[take:], size - take)
                data, size = data[:take], take
            else:
                queue.popleft()
            self.queued -= size
            self.sent += size
            self.transmit(data, size)
        self._wants_room = self._wants_room or bool(queue)
        self.review()

    def transmit(self, what: Any, size: int) -> None:
        """Put one segment on the link."""
        segment = [0, size, what, self.world.now_ns, self, -1]
        self.net.segments.append(segment)
        if self.trouble is not None:
            self.trouble.transmit(segment)
        else:
            self.launch(segment)

    def launch(self, segment: Segment) -> None:
        """A segment goes on its way and will arrive."""
        link = self.link
        segment[DUE] = link.arrival_ns(segment[SIZE])
        if link.plain or self._roughly(link, segment):
            self.peer.expect(segment)

    def _roughly(self, link: Link, segment: Segment) -> bool:
        """Loss makes a segment of a stream late, or too late; it may also come in two."""
        config = self.net.config
        wait = round(config.retransmit_s * 1e9)
        latest = segment[DUE] + round(config.user_timeout_s * 1e9)
        while link.chance("net.loss", link.config.loss):
            segment[DUE] += wait
            wait = min(wait * 2, round(config.retransmit_most_s * 1e9))
            if segment[DUE] > latest:
                self.trouble = self.trouble or Trouble(self)
                self.trouble.lose(segment)
                self.review()
                return False
        what, size = segment[WHAT], segment[SIZE]
        whole = type(what) is bytes and size == len(what) > 1  # and no ciphertext
        if whole and link.chance("net.fragment", link.config.fragment):
            at = 1 + self.world.choose("net.fragment.at", size - 1)
            first = [segment[DUE], at, what[:at], segment[SENT], self, -1]
            self.net.segments.append(first)
            self.peer.expect(first)
            segment[SIZE], segment[WHAT] = size - at, what[at:]
            segment[DUE] += max(1000, link.usual_ns // 4)
        return True

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

    # Receiving.

    def _arrive(self) -> None:
        """The timer of the first segment under way."""
        if self.trouble is not None and not self.trouble.passes():
            return
        inflight = self.inflight
        segment = inflight.popleft()
        if inflight:
            self.wait_for_next()
        segment[DONE] = self.world.now_ns
        what = segment[WHAT]
        if segment[SIZE] > TOLD:
            segment[WHAT] = None
        sink = self.sink
        if sink is None or type(what) is not bytes:
            self._take(what, segment[SIZE])
            return
        peer = self.peer
        peer.sent -= segment[SIZE]
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

    def room_made(self) -> None:
        """The peer's program has read; the news takes its way back."""
        if not self._ack_pending and not self.over:
            self._ack_pending = True
            back = self.peer.link
            self.world.at(self.world.now_ns + back.usual_ns, self._window_open)

    def _window_open(self) -> None:
        self._ack_pending = False
        if self.over or (self.trouble is not None and not self.trouble.hears()):
            return
        self._wants_room = False
        self.flush()
        if self._closed or not self.writable():
            self._wants_room = self._wants_room or not self._closed
        elif self.transport is not None:
            self.world.soon(self.transport.writable, node=self.node)
        else:
            self.file.writer.look()

    # State.

    def readable(self) -> bool:
        return bool(self.kept or self.eof or self.error or self.over)

    def writable(self) -> bool:
        # As Linux does: room for a third, not for a byte.
        if self.room() * 3 >= self.capacity or self.error or self.over or self.fin:
            return True
        self._wants_room = True
        return False

    def review(self) -> None:
        """Find out anew whether the quick path is enough."""
        self.hindered = bool(
            self.fin
            or self.over
            or self.error
            or self.queue
            or self.trouble
            or not self.link.plain
            or (self.local_only and self.peer._closed)
        )

    def take_error(self) -> int:
        error, self.error = self.error, 0
        return error

    def raise_error(self) -> None:
        """:raises OSError: what went wrong with the connection, once."""
        if self.error:
            raise os_error(self.take_error())

    def stop_reading(self) -> None:
        """The program will read no more (``shutdown(SHUT_RD)``)."""
        self.eof = True
        self._wake_reader()

    def shut_down(self) -> None:
        """No more will be sent; the peer reads the end of the stream after what is queued."""
        if self.fin or self.over:
            return
        self.fin = self.hindered = True
        self.queue.append((FIN, 0))
        self.flush()

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

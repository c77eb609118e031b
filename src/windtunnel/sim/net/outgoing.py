"""The sending half of a stream's end: queue, window, segments onto the link.

Bytes go from a program into its kernel's send queue and from there, as far as the peer's window
allows, as segments over the link. The quick path is for the many writes that nothing hinders.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable
from heapq import heappush
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.sim.handle import TimerHandle
from windtunnel.sim.net.files import SocketFile, os_error
from windtunnel.sim.net.trouble import Trouble

if TYPE_CHECKING:
    from windtunnel.sim.net.links import Link
    from windtunnel.sim.net.network import Network
    from windtunnel.sim.net.stream import StreamEnd
    from windtunnel.sim.net.transport import SimStreamTransport
    from windtunnel.sim.node import Node
    from windtunnel.sim.scheduler import Scheduler
    from windtunnel.sim.world import World

Segment: TypeAlias = list[Any]
"""What travels: a list, because one is made for each message and nothing is cheaper to make.
The names below are its places."""

DUE, SIZE, WHAT, SENT, END, DONE = range(6)

FIN = "fin"
RST = "rst"

# The longest run of bytes that travels as one: what Linux hands to a network card at once.
MOST = 65_536


class Outgoing:
    """What one end of a stream sends.

    :ivar peer: the other end.
    :ivar link: the way there.
    :ivar sent: bytes under way or unread at the peer.
    :ivar queued: bytes accepted from the program that the window does not yet allow to send.
    :ivar window: most bytes that may be under way or unread: the peer's receive buffer.
    :ivar hindered: sending takes more than the quick path.
    :ivar over: nothing more is sent or taken.
    """

    __slots__ = (
        "_ack_pending", "_closed", "_timer", "_wants_room", "capacity", "error", "file", "fin",
        "hindered", "link", "local_only", "log", "net", "node", "over", "peer", "queue", "queued",
        "scheduler", "sent", "transport", "trouble", "window", "world",
    )  # fmt: skip

    peer: StreamEnd
    _timer: TimerHandle

    def __init__(self, net: Network, file: SocketFile, link: Link) -> None:
        self.net = net
        self.world: World = net.world
        self.scheduler: Scheduler = net.world.scheduler
        self.file = file
        self.node: Node = file.node
        self.link = link
        self.transport: SimStreamTransport | None = None
        self.sent = 0
        self.queued = 0
        self.queue: deque[tuple[Any, int]] = deque()
        self.fin = False
        self.error = 0
        self.over = False
        # Between Unix sockets a writer learns at once that the other side is closed.
        self.local_only = file.family == socket.AF_UNIX
        self.trouble: Trouble | None = None
        self._closed = False
        self._wants_room = False
        self._ack_pending = False
        self.window: int = net.config.receive_buffer
        self.capacity: int = self.window + net.config.send_buffer
        self.hindered = not link.plain
        self.log: Callable[[Segment], object] = net.segments.append

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
        self.log(segment)

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
        self.log(segment)
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
                self.trouble = self.trouble or Trouble(self.peer.peer)
                self.trouble.lose(segment)
                self.review()
                return False
        what, size = segment[WHAT], segment[SIZE]
        whole = type(what) is bytes and size == len(what) > 1  # and no ciphertext
        if whole and link.chance("net.fragment", link.config.fragment):
            at = 1 + self.world.choose("net.fragment.at", size - 1)
            first = [segment[DUE], at, what[:at], segment[SENT], self, -1]
            self.log(first)
            self.peer.expect(first)
            segment[SIZE], segment[WHAT] = size - at, what[at:]
            segment[DUE] += max(1000, link.usual_ns // 4)
        return True

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

    def shut_down(self) -> None:
        """No more will be sent; the peer reads the end of the stream after what is queued."""
        if self.fin or self.over:
            return
        self.fin = self.hindered = True
        self.queue.append((FIN, 0))
        self.flush()

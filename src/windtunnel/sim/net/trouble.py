"""A connection over a way that is blocked or held, or to a machine that is gone.

TCP sends again what is not acknowledged, at growing intervals, and gives up in the end (RFC
6298, RFC 9293 section 3.8; the defaults are those of tcp(7)). Nothing polls here: the times of
the attempts are known, so when the way is free again the next of them is looked up. An end of a
connection has a :class:`Trouble` only while there is some, so healthy ones pay nothing.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.sim.handle import TimerHandle
    from windtunnel.sim.net.stream import Segment, StreamEnd

_WHAT = 2
_RST = "rst"
_S = 1_000_000_000


class Trouble:
    """What one end of a connection does about a way that is not free.

    :ivar stalled: bytes were lost and wait to be sent again; later ones queue behind them.
    :ivar waiting: what is under way to this end is held.
    """

    __slots__ = (
        "_alive", "_end", "_give_up", "_keepalive", "_lost", "_lost_under_way", "_retry",
        "_since_ns", "_unheard", "stalled", "waiting",
    )  # fmt: skip

    def __init__(self, end: StreamEnd) -> None:
        self._end = end
        self.stalled = False
        # Bytes that were under way when the way was blocked come before those that were not
        # even sent, although they are found lost later.
        self._lost_under_way: list[Segment] = []
        self._lost: list[Segment] = []
        self._since_ns = 0
        self._give_up: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._keepalive: TimerHandle | None = None
        self.waiting = False
        self._unheard = False
        self._alive = True

    # The state of the way.

    def _reaches(self) -> bool:
        """Whether what this end sends gets to the peer's machine."""
        return not (self._end.link.blocked or self._end.peer.node in self._end.net.down)

    def hears(self) -> bool:
        """Whether what the peer's machine sends gets here."""
        if self._end.peer.link.blocked or self._end.node in self._end.net.down:
            self._unheard = True
            return False
        return True

    # Sending.

    def transmit(self, segment: Segment) -> None:
        """Send a segment, or keep it for later when it does not get through."""
        if self.stalled:
            self._lost.append(segment)
        elif self._reaches():
            self._end.launch(segment)
        else:
            self.lose(segment)

    def lose(self, segment: Segment) -> None:
        """A segment does not get there, and those after it wait for it."""
        self._stall(self._lost, segment)

    def _lose_under_way(self, segment: Segment) -> None:
        self._stall(self._lost_under_way, segment)

    def _stall(self, lost: list[Segment], segment: Segment) -> None:
        if segment[_WHAT] == _RST:
            return  # nobody sends a reset again
        lost.append(segment)
        if not self.stalled:
            self.stalled = True
            self._end.net.note("lost", self._end, bytes=segment[1])
            self._not_acknowledged()

    def _not_acknowledged(self) -> None:
        """Something that was sent is not acknowledged: the patience of the kernel begins."""
        end = self._end
        if self._give_up is None and self._alive and not end.over:
            now = end.world.now_ns
            self._since_ns = now
            patience = round(end.net.config.user_timeout_s * _S)
            own = end.file.options.get((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
            if own:
                patience = int(own) * 1_000_000
            self._give_up = end.world.at(now + patience, self._timed_out)

    def _timed_out(self) -> None:
        self._end.net.note("timeout", self._end)
        self._end.lost(errno.ETIMEDOUT)

    # Receiving.

    def passes(self) -> bool:
        """The first segment under way to this end is due: whether it arrives."""
        end = self._end
        sender = end.peer
        if sender.link.held:
            self.waiting = True
            return False
        theirs = sender.trouble
        if theirs is None:
            return True
        if theirs.stalled or not theirs._reaches():
            segment = end.inflight.popleft()
            theirs._lose_under_way(segment)
            if end.inflight:
                end.wait_for_next()
            return False
        if not theirs.hears():
            theirs._not_acknowledged()
        return True

    # Changes.

    def review(self) -> bool:
        """Something about the way has changed. Whether there is still trouble."""
        end = self._end
        if end.over:
            return False
        sender = end.peer
        if self.waiting and not sender.link.held:
            self.waiting = False
            if end.inflight:
                end.wait_for_next()
        reaches, hears = self._reaches(), not end.peer.link.blocked
        if reaches and hears:
            if self._keepalive is not None:
                self._keepalive.cancel()
                self._keepalive = None
            if self._give_up is not None and self._retry is None:
                self._retry = end.world.at(self._next_attempt(), self._try_again)
            elif self._unheard and self._retry is None:
                self._retry = end.world.at(end.world.now_ns + 1_000_000, self._try_again)
        elif self._keepalive is None and end.file.flag(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            self._keepalive = end.world.at(end.world.now_ns + self._keepalive_ns(), self._timed_out)
        held = end.link.held or sender.link.held
        return (
            held or self._retry is not None or self._give_up is not None or not (reaches and hears)
        )

    def _keepalive_ns(self) -> int:
        def option(name: int, default: int) -> int:
            return int(self._end.file.options.get((socket.IPPROTO_TCP, name), default))

        probes = option(socket.TCP_KEEPCNT, 9) * option(socket.TCP_KEEPINTVL, 75)
        return (option(socket.TCP_KEEPIDLE, 7200) + probes) * _S

    def _next_attempt(self) -> int:
        """When the kernel sends again: at growing intervals since the first loss."""
        config = self._end.net.config
        now = self._end.world.now_ns
        wait = round(config.retransmit_s * _S)
        at = self._since_ns + wait
        while at <= now:
            wait = min(wait * 2, round(config.retransmit_most_s * _S))
            at += wait
        return at

    def _try_again(self) -> None:
        self._retry = None
        end = self._end
        if end.over or not self._reaches() or end.peer.link.blocked:
            return
        if self._give_up is not None:
            self._give_up.cancel()
            self._give_up = None
        self.stalled = self._unheard = False
        lost = self._lost_under_way + self._lost
        self._lost_under_way, self._lost = [], []
        for segment in lost:
            self.transmit(segment)
        end.flush()
        if not end.over:
            end.room_made()
        end.net.review(end)

    def end(self) -> None:
        """The connection is over."""
        self._alive = self.stalled = False
        self._lost.clear()
        self._lost_under_way.clear()
        for timer in (self._give_up, self._retry, self._keepalive):
            if timer is not None:
                timer.cancel()
        self._give_up = self._retry = self._keepalive = None


def disturbed(end: Any) -> bool:
    """Whether the way of a connection is not free, in either direction."""
    there, back = end.link, end.peer.link
    return bool(
        there.blocked or back.blocked or there.held or back.held
        or end.node in end.net.down or end.peer.node in end.net.down
    )  # fmt: skip

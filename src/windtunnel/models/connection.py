"""One connection to a model server, as an ``asyncio.Protocol``: requests in, plans out, in order.

Requests that come while an answer is being sent (pipelining) wait their turn. A plan is sent as
fast as the client reads; its pauses are spent on the event loop's clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING, cast

from windtunnel.models.protocol import Awaited, BrokenOffError, Ending, Plan, Step
from windtunnel.models.wire import BadRequestError, RequestReader

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

_PATIENCE = 1 << 20  # bytes of waiting requests before the client is made to wait
_LINGER_NOT = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Clients(set["Connection"]):
    """Those who are connected, until nobody is to be any more."""

    closed = False

    def drop(self) -> None:
        """Hang up on all of them, and on who was accepted but is not heard of yet."""
        self.closed = True
        for one in list(self):
            one.drop()


class Connection(asyncio.Protocol):
    """Speaks with one client."""

    __slots__ = (
        "_awaiting",
        "_core",
        "_draining",
        "_due",
        "_ended",
        "_eof",
        "_loop",
        "_open",
        "_plan",
        "_reader",
        "_steps",
        "_task",
        "_timer",
        "_transport",
    )

    def __init__(self, core: ModelCore, loop: asyncio.AbstractEventLoop, open: Clients) -> None:
        self._core = core
        self._loop = loop
        self._open = open
        self._reader = RequestReader(self._proceed)
        self._transport: asyncio.Transport
        self._plan: Plan | None = None
        self._steps: Iterator[Step] = iter(())
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._awaiting: Awaited | None = None  # what the next step depends on
        self._draining = False  # the client reads more slowly than is written
        self._ended = False
        self._eof = False

    # -- what the loop tells ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        # uvloop's transports and the simulated ones are asyncio's by shape, not by class.
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)
        if self._open.closed or self._core.refusing:
            self._no_linger()
            self.drop()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._ended:
            return
        reader = self._reader
        reader.feed(data)
        if self._plan is None and self._task is None:
            self._work()
        elif reader.pending > _PATIENCE:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        """The client does not read fast enough."""
        self._draining = True

    def resume_writing(self) -> None:
        """It does again."""
        self._draining = False
        if self._plan is not None and self._timer is None and self._awaiting is None:
            self._drive()
        if self._plan is None and self._task is None:
            self._resume()

    def eof_received(self) -> bool:
        """The client writes no more; what it asked for is still answered."""
        self._eof = True
        return self._plan is not None or self._task is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or we have."""
        self._ended = True
        self._open.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
        self._awaiting = None
        if self._plan is not None:
            self._noted("aborted")
            self._plan = None

    # -- from requests to plans ------------------------------------------------------------------

    def _proceed(self) -> None:
        self._transport.write(_CONTINUE)

    def _work(self) -> None:
        """Answer what has come, as long as that takes no time."""
        core, reader = self._core, self._reader
        while not self._ended:
            try:
                request = reader.next()
            except BadRequestError as error:
                self._begin(core.malformed(error.status, error.message))
                return
            if request is None:
                if self._eof:
                    self._ended = True
                    self._transport.close()
                return
            plan = core.handle(request)
            if type(plan) is Plan:
                steps = plan.steps
                if type(steps) is tuple and plan.ending == "keep" and not steps[0][0]:
                    # The usual answer: all of it at once, and the connection stays.
                    self._transport.write(steps[0][1])
                    plan.recorded.state = "sent"
                    if self._draining:
                        self._transport.pause_reading()
                        return
                    continue
                self._begin(plan)
            else:
                assert not isinstance(plan, Plan)
                self._task = self._loop.create_task(self._awaited(plan))
            if self._plan is not None or self._task is not None:
                return

    async def _awaited(self, later: Awaitable[Plan]) -> None:
        plan = await later
        self._task = None
        self._begin(plan)
        if self._plan is None:
            self._resume()

    def _resume(self) -> None:
        """Go on with requests that waited."""
        self._transport.resume_reading()
        self._work()

    # -- sending ---------------------------------------------------------------------------------

    def _begin(self, plan: Plan) -> None:
        self._plan = plan
        self._steps = iter(plan.steps)
        self._due = 0.0
        self._drive()

    def _drive(self) -> None:
        """Send the steps that are due, until one is not, or the client must read first."""
        transport = self._transport
        steps = self._steps
        while True:
            try:
                delay, data, awaits = next(steps)
            except StopIteration:
                break
            except BrokenOffError:
                assert self._plan is not None
                self._plan.ending = "close"
                break
            if awaits is not None:
                self._awaiting = awaits
                awaits.when_more(functools.partial(self._tell, awaits))
                return
            if delay > 0:
                # From when the last one was due, so that late timers do not add up.
                now = self._loop.time()
                self._due = max(self._due or now, now - 1.0) + delay
                self._timer = self._loop.call_at(self._due, self._on_time, data)
                return
            transport.write(data)
            if self._draining:
                return
        self._end()

    def _tell(self, awaited: Awaited) -> None:
        """There is more to send; told in whatever thread."""
        with contextlib.suppress(RuntimeError):  # the loop has gone, and the client with it
            self._loop.call_soon_threadsafe(self._go_on, awaited)

    def _go_on(self, awaited: Awaited) -> None:
        if self._ended or self._awaiting is not awaited:
            return
        self._awaiting = None
        if not self._draining:
            self._drive()
            if self._plan is None:
                self._resume()

    def _on_time(self, data: bytes) -> None:
        self._timer = None
        if self._ended:
            return
        self._transport.write(data)
        if not self._draining:
            self._drive()
            if self._plan is None:
                self._resume()

    def _end(self) -> None:
        plan = self._plan
        assert plan is not None
        ending: Ending = plan.ending
        if ending == "stall":
            return  # the plan stays; whoever waits, waits for the client to hang up
        self._noted("sent")
        self._plan = None
        if ending == "close":
            self._ended = True
            self._transport.close()
        elif ending == "reset":
            self._ended = True
            self._reset()

    def _noted(self, state: str) -> None:
        if self._plan is not None and self._plan.recorded is not None:
            self._plan.recorded.state = state

    def _reset(self) -> None:
        """Send what is left, then RST instead of FIN."""
        if self._transport.get_write_buffer_size() and not self._transport.is_closing():
            self._loop.call_soon(self._reset)
            return
        self._no_linger()
        self._transport.abort()

    def _no_linger(self) -> None:
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)

    def drop(self) -> None:
        """Close the connection now, whatever was going on."""
        self._ended = True
        self._transport.abort()


__all__ = ["Clients", "Connection"]

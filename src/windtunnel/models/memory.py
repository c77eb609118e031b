"""A connection to a server that is no socket: bytes written are requests, bytes read are plans."""

from __future__ import annotations

import contextvars
from collections.abc import Awaitable, Iterator
from typing import TYPE_CHECKING

from windtunnel.models.protocol import BrokenOffError, Plan, Step
from windtunnel.models.wire import BadRequestError, RequestReader
from windtunnel.models.wiring import Opened, answering

if TYPE_CHECKING:
    from windtunnel.models.core import ModelCore

HANDED: contextvars.ContextVar[Plan | None] = contextvars.ContextVar("handed", default=None)
"""A plan made already for the request that is about to be written."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Ended(Exception):
    """There is nothing more to read. ``how`` is ``close``, ``reset``, ``stall``, or ``idle`` where
    no answer is due at all."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Wire:
    """One such connection, without a way to wait: whoever reads is told how long.

    :param host: the address that was connected to; who answers is asked anew for each request,
        because a client's pool may keep the connection longer than a server is open.
    """

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._opened: Opened | None = answering(host, port)
        self._reader = RequestReader(self._proceed)
        self._early = b""
        self._plan: Plan | None = None
        self._steps: Iterator[Step] = iter(())
        self._over = ""

    @property
    def stale(self) -> bool:
        """Whether whoever answered has gone: to a pool, a connection the server closed."""
        return bool(self._over) or answering(*self._address) is not self._opened

    def write(self, data: bytes) -> None:
        """Take bytes of requests."""
        self._reader.feed(data)

    def next(self) -> Step | Awaitable[Plan]:
        """The next bytes and how long to wait for them, or, where the step ``awaits``, what to wait
        for before asking again; or a plan to await and :meth:`take`.

        :raises Ended: where there are none.
        """
        if self._early:
            early, self._early = self._early, b""
            return Step(0.0, early)
        while True:
            if self._plan is None:
                plan = self._ask()
                if not isinstance(plan, Plan):
                    return plan
                self.take(plan)
            try:
                for step in self._steps:
                    return step
            except BrokenOffError:
                assert self._plan is not None
                self._plan.ending = "close"
            self._finish()

    def take(self, plan: Plan) -> None:
        """Send that plan now."""
        self._plan = plan
        self._steps = iter(plan.steps)

    def close(self) -> None:
        """The client hangs up."""
        self._note("aborted")
        self._plan, self._over = None, "close"

    def _ask(self) -> Plan | Awaitable[Plan]:
        if self._over:
            raise Ended(self._over)
        core = self._core()
        try:
            request = self._reader.next()
        except BadRequestError as error:
            return core.malformed(error.status, error.message)
        if self._early:
            return Plan((), "keep")
        if request is None:
            raise Ended("idle")
        handed = HANDED.get()
        if handed is not None:
            HANDED.set(None)
            return handed
        return core.handle(request)

    def _core(self) -> ModelCore:
        if self._opened is None:
            raise Ended("close")
        return self._opened.core

    def _finish(self) -> None:
        plan = self._plan
        assert plan is not None
        if plan.ending == "stall":
            raise Ended("stall")
        self._note("sent")
        self._plan = None
        if plan.ending != "keep":
            self._over = plan.ending
            raise Ended(plan.ending)

    def _note(self, state: str) -> None:
        if self._plan is not None and self._plan.recorded is not None:
            self._plan.recorded.state = state

    def _proceed(self) -> None:
        self._early += _CONTINUE


__all__ = ["HANDED", "Ended", "Wire"]

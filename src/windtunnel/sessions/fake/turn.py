"""One at a time: runs and calls of one session take turns, from tasks and threads alike.

First come, first served. Who waits in an event loop is woken there, by whoever ends: no thread
blocks a loop, except where the loop's own code calls a blocking twin.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from windtunnel.sessions.fake.waiting import anyio
from windtunnel.sessions.session import SessionBusyError


class Turn:
    """Whose turn it is in a session."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._holder: object = None
        self._waiting: collections.deque[tuple[object, Callable[[], None]]] = collections.deque()

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold the turn, in a task.

        :raises SessionBusyError: where the task holds it already.
        """
        me = ("task", threading.get_ident(), anyio().get_current_task().id)
        event = anyio().Event()
        if not self._first(me, _waker(event.set)):
            try:
                await event.wait()
            except BaseException:
                self._give_up(me)
                raise
        try:
            yield
        finally:
            self._pass_on()

    @contextlib.contextmanager
    def taken_sync(self) -> Iterator[None]:
        """Hold the turn, in this thread.

        :raises SessionBusyError: where something of this thread holds it, which could never end.
        """
        me = ("thread", threading.get_ident(), object())
        event = threading.Event()
        if not self._first(me, event.set):
            event.wait()
        try:
            yield
        finally:
            self._pass_on()

    def _first(self, me: tuple[str, int, object], wake: Callable[[], None]) -> bool:
        """Whether the turn is had at once; else ``wake`` is called when it is."""
        with self._guard:
            held: Any = self._holder
            if held is None:
                self._holder = me
                return True
            own = held == me if me[0] == "task" and held[0] == "task" else held[1] == me[1]
            if own:
                raise SessionBusyError(
                    "the session is busy, and this call is part of what it is busy with",
                    found="a call from within a run, or a blocking call beside an awaited one",
                    fix="use another session, or await run() and call() from another task",
                )
            self._waiting.append((me, wake))
            return False

    def _pass_on(self) -> None:
        with self._guard:
            if not self._waiting:
                self._holder = None
                return
            self._holder, wake = self._waiting.popleft()
        wake()

    def _give_up(self, me: object) -> None:
        """Cancelled while waiting: out of the queue, or pass on what was just handed over."""
        with self._guard:
            still = [entry for entry in self._waiting if entry[0] == me]
            for entry in still:
                self._waiting.remove(entry)
        if not still:
            self._pass_on()


def _waker(wake: Callable[[], None]) -> Callable[[], None]:
    """``wake`` as any thread may call it."""
    thread = threading.get_ident()
    try:
        post: Callable[[Callable[[], None]], Any] = asyncio.get_running_loop().call_soon_threadsafe
    except RuntimeError:
        import trio

        post = trio.lowlevel.current_trio_token().run_sync_soon

    def anywhere() -> None:
        if threading.get_ident() == thread:
            wake()
        else:
            post(wake)

    return anywhere


__all__ = ["Turn"]

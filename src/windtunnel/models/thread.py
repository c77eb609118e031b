"""The house's own event loop, in a thread: there while a server needs it, and then gone.

Servers of synchronous tests stand in it. One thread serves all of them; the last to leave ends it,
so that a test that forks finds no thread of ours.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from windtunnel.own import forks

T = TypeVar("T")
_NAME = "windtunnel-models"


def new_loop() -> asyncio.AbstractEventLoop:
    """An event loop: uvloop's where it is installed."""
    try:
        import uvloop
    except ImportError:
        # Past what gives a simulated test the world's loop: this one is for the thread.
        plain = object.__new__(asyncio.SelectorEventLoop)
        plain.__init__()  # type: ignore[misc]
        return plain
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class HouseLoop:
    """An event loop in a daemon thread, shared by whoever enters it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def enter(self) -> asyncio.AbstractEventLoop:
        """The loop, running; to be left again."""
        with self._lock:
            self._users += 1
            if self._loop is None:
                self._loop = new_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name=_NAME, daemon=True
                )
                self._thread.start()
            return self._loop

    def leave(self) -> None:
        """Need it no more."""
        with self._lock:
            if not self._users:
                return  # whoever entered did so in the process this one was forked from
            self._users -= 1
            if self._users or self._loop is None or self._thread is None:
                return
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        if thread is not threading.current_thread():
            thread.join()

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Have a function called in the loop's thread, soon; whoever posts has entered the loop."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in the loop's thread; what it returns or raises is the caller's.

        Whoever calls has entered the loop.
        """
        loop = self._loop
        assert loop is not None
        if threading.current_thread() is self._thread:
            return function(*arguments)
        done = threading.Event()
        result: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                result.append(function(*arguments))
            except BaseException as error:
                errors.append(error)
            done.set()

        loop.call_soon_threadsafe(work)
        done.wait()
        if errors:
            raise errors[0]
        value: T = result[0]
        return value

    def forget(self) -> None:
        """Be new: the thread stayed in the process this one was forked from."""
        self._lock = threading.Lock()
        self._users = 0
        self._thread = self._loop = None


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        asyncio.set_event_loop(None)
        loop.close()


HOUSE = HouseLoop()
"""This process's."""

forks.in_child(HOUSE.forget)

__all__ = ["HOUSE", "HouseLoop", "new_loop"]

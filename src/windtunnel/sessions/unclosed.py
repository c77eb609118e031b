"""Guests of sessions that nobody closed: closed by a thread of their own.

The collector finds such a session in whichever thread it happens to run, at whatever line: with
locks held that closing a guest takes too, or where a Ctrl-C that comes meanwhile would be lost. So
all that it does is to hand the guest on.
"""

from __future__ import annotations

import atexit
import sys
import threading
import weakref
from queue import Empty, SimpleQueue

from windtunnel.own import forks
from windtunnel.sessions.protocol import Guest


def watch(session: object, guest: Guest) -> weakref.finalize[[Guest], object]:
    """Have the guest closed once the session is collected, or as the process ends."""
    _closer.start()
    return weakref.finalize(session, _found, guest)


class _Closer:
    def __init__(self) -> None:
        self._left: SimpleQueue[Guest] = SimpleQueue()  # whose put may come within another put
        self._mutex = threading.Lock()
        self._started = False

    def start(self) -> None:
        with self._mutex:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="windtunnel-unclosed", daemon=True).start()

    def take(self, guest: Guest) -> None:
        self._left.put(guest)

    def _work(self) -> None:
        while True:
            guest = self._left.get()
            try:
                guest.close()
            except Exception as error:  # told as a finalizer's is; others are to be closed yet
                sys.excepthook(type(error), error, error.__traceback__)
            del guest

    def finish(self) -> None:
        """Close what is left, in this thread."""
        while True:
            try:
                self._left.get_nowait().close()
            except Empty:
                return


_closer = _Closer()
_ending = False


def _found(guest: Guest) -> None:
    if _ending:
        guest.close()
    else:
        _closer.take(guest)


def _end() -> None:
    # The finalizers of what is still there are called before this or after it.
    global _ending
    _ending = True
    _closer.finish()


def _forget() -> None:
    global _closer
    _closer = _Closer()  # threads are not forked


atexit.register(_end)
forks.in_child(_forget)

__all__ = ["watch"]

"""Something to be done at a deadline, on one thread that all deadlines of the process share."""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
from collections.abc import Callable

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.own import forks


class Alarm:
    """An action that runs once, after some seconds, unless it was called off before.

    Must be entered with ``with``. After the block, :attr:`rang` says which of the two it was, and
    the action neither runs nor will.

    :param seconds: until then; None for never.
    :param action: runs on the thread of all alarms, so it must be quick.
    """

    def __init__(self, seconds: float | None, action: Callable[[], object]) -> None:
        self._seconds = seconds
        self._action = action
        self._mutex = threading.Lock()
        self._open = True
        self.rang = False

    def __enter__(self) -> Alarm:
        if self._seconds is not None:
            _clockwork().add(REAL_CLOCK.monotonic() + self._seconds, self)
        return self

    def __exit__(self, *exc: object) -> None:
        with self._mutex:
            self._open = False

    def ring(self) -> None:
        """Do it now, unless called off."""
        with self._mutex:
            if self._open:
                self._open, self.rang = False, True
                self._action()


class _Clockwork:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        thread = threading.Thread(target=self._work, name="windtunnel-deadlines", daemon=True)
        thread.start()

    def add(self, when: float, alarm: Alarm) -> None:
        with self._changed:
            heapq.heappush(self._due, (when, next(self._order), alarm))
            if self._due[0][2] is alarm:
                self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > REAL_CLOCK.monotonic():
                    self._changed.wait(
                        self._due[0][0] - REAL_CLOCK.monotonic() if self._due else None
                    )
                alarm = heapq.heappop(self._due)[2]
            try:
                alarm.ring()
            except (
                Exception
            ) as error:  # as for want of descriptors; the deadlines of others are to be kept
                sys.excepthook(type(error), error, error.__traceback__)
            del alarm


_work: _Clockwork | None = None
_making = threading.Lock()


def _clockwork() -> _Clockwork:
    global _work
    with _making:
        _work = _work or _Clockwork()
        return _work


def _forget() -> None:
    global _work, _making
    _work, _making = None, threading.Lock()


forks.in_child(_forget)

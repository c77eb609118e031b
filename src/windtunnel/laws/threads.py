"""Threads that run one at a time and change places between lines, where a schedule says so.

A race between two lines shows under a real scheduler once in a million runs. Here each thread
stops at each line of Python it runs, and the schedule says at which of those lines another goes
on: a drawn schedule finds the race, and shrinks to it. A thread that waits for a lock is passed
over until it moves again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from types import FrameType
from typing import Any

from windtunnel.core.clock import REAL_CLOCK

_HERE = os.path.dirname(__file__)
_BLOCKED_AFTER_S = 0.02


class DeadlockError(Exception):
    """All threads that are left wait for something: which lines they stand at."""


class Interleaving:
    """Some functions, each in a thread of its own, of which one runs at a time.

    :param works: the functions.
    :param switches: the lines, counted from 0 over all threads, before which the next thread's
        turn comes.
    :ivar lines: how many lines were run.
    :ivar overlapped: whether one of them was interrupted in the middle by another.
    """

    def __init__(self, works: Sequence[Callable[[], Any]], switches: Collection[int]) -> None:
        self._works = works
        self._switches = frozenset(switches)
        self._changed = threading.Condition()
        self._turn = 0
        self._left = set(range(len(works)))
        self._stuck: set[int] = set()
        self._started: set[int] = set()
        self._abandoned = False
        self.lines = 0
        self.overlapped = False

    def run(self, within_s: float) -> None:
        """Run them all.

        :param within_s: seconds without any progress that count as a deadlock.
        :raises DeadlockError: where they wait for each other.
        """
        names = [f"call {number}" for number in range(1, len(self._works) + 1)]
        threads = [
            threading.Thread(target=self._run, args=(number,), name=name, daemon=True)
            for number, name in enumerate(names)
        ]
        for thread in threads:
            thread.start()
        self._watch_over(threads, within_s)
        for thread in threads:
            thread.join()

    def _watch_over(self, threads: Sequence[threading.Thread], within_s: float) -> None:
        seen, since = -1, REAL_CLOCK.monotonic()
        with self._changed:
            while self._left:
                self._changed.wait(_BLOCKED_AFTER_S)
                now = REAL_CLOCK.monotonic()
                if self.lines != seen:
                    seen, since = self.lines, now
                elif now - since > within_s:
                    self._abandoned = True
                    self._changed.notify_all()
                    raise DeadlockError("; ".join(_where(threads[one]) for one in self._left))
                elif now - since > _BLOCKED_AFTER_S:
                    self._stuck.add(self._turn)  # in a lock, asleep, or in C
                    self._pass_on()

    def _run(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number)
            self._started.add(number)
        sys.settrace(self._tracer(number))
        try:
            self._works[number]()
        finally:
            sys.settrace(None)
            with self._changed:
                self._left.discard(number)
                self._stuck.discard(number)
                self.lines += 1
                if self._turn == number:
                    self._pass_on()
                self._changed.notify_all()

    def _tracer(self, number: int) -> Callable[[FrameType, str, Any], Any]:
        def called(frame: FrameType, event: str, _: Any) -> Any:
            file = frame.f_code.co_filename
            if file.startswith(_HERE) or os.path.basename(file) == "threading.py":
                return None  # a lock is taken at once, as far as its user can tell
            return line

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                self._at_line(number)
            return line

        return called

    def _at_line(self, number: int) -> None:
        with self._changed:
            self._stuck.discard(number)
            if self._turn == number and self.lines in self._switches:
                self._pass_on()
                self.overlapped |= self._turn != number
            self.lines += 1
            if self._turn != number:
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._turn == number or self._abandoned or number not in self._left
                )

    def _pass_on(self) -> None:
        """Let the next thread that can go on."""
        count = len(self._works)
        order = [(self._turn + step) % count for step in range(1, count + 1)]
        able = [one for one in order if one in self._left and one not in self._stuck]
        waiting = [one for one in order if one in self._left]
        if able or waiting:
            self._turn = (able or waiting)[0]
            self._changed.notify_all()


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return thread.name
    return f"{thread.name} at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"

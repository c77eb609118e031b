"""Threads that run one at a time and change places between lines, where a schedule says so.

A race between two lines shows under a real scheduler once in a million runs. Here each thread
stops at each line of Python it runs, and the schedule says at which of those lines another goes
on: a drawn schedule finds the race, and shrinks to it. A thread that waits for a lock is passed
over until it moves again. Few switches are enough for most races: Musuvathi et al., "Finding and
Reproducing Heisenbugs in Concurrent Programs", OSDI 2008.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.laws.leftovers import in_library

_LOOK_S = 0.006  # longer than the interpreter's switch interval


class DeadlockError(Exception):
    """All threads that are left wait for something: which lines they stand at."""


class Interleaving:
    """Some functions, each in a thread of its own, of which one runs at a time.

    :param works: the functions.
    :param switches: the lines, counted from 0 over all threads, before which the next thread's
        turn comes. Lines of the standard library do not count: what it does is done at once.
    :ivar lines: how many lines were run.
    :ivar overlapped: whether one of them was interrupted in the middle by another.

    >>> seen = []
    >>> def work(name):
    ...     seen.append(name)
    ...     seen.append(name.upper())
    >>> both = Interleaving([lambda: work("a"), lambda: work("b")], switches={2})
    >>> both.run(within_s=5)
    >>> seen, both.lines
    (['a', 'b', 'B', 'A'], 6)
    """

    def __init__(self, works: Sequence[Callable[[], Any]], switches: Collection[int]) -> None:
        self._works = works
        self._switches = frozenset(switches)
        self._changed = threading.Condition()
        self._turn = 0
        self._left = set(range(len(works)))
        self._moves = 0
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
        collecting = gc.isenabled()
        gc.disable()  # its callbacks are lines too, and come where they like
        try:
            for thread in threads:
                thread.start()
            self._watch_over(threads, within_s)
            for thread in threads:
                thread.join()
        finally:
            if collecting:
                gc.enable()

    def _watch_over(self, threads: Sequence[threading.Thread], within_s: float) -> None:
        """Pass over the thread whose turn it is when it waits; give up when all do for long."""
        seen, since = -1, REAL_CLOCK.monotonic()
        last: object = None
        with self._changed:
            while self._left:
                self._changed.wait(_LOOK_S)
                asleep = _asleep(threads[self._turn])
                before, last = last, (self._moves, asleep)
                if not asleep or last != before:
                    continue
                if self.lines != seen:
                    seen, since = self.lines, REAL_CLOCK.monotonic()
                elif REAL_CLOCK.monotonic() - since > within_s:
                    self._abandoned = True
                    self._changed.notify_all()
                    raise DeadlockError("; ".join(_where(threads[one]) for one in self._left))
                self._pass_on()

    def _run(self, number: int) -> None:
        self._wait_for_turn(number)
        sys.settrace(self._tracer(number))
        try:
            self._works[number]()
        finally:
            sys.settrace(None)
            self._wait_for_turn(number)
            with self._changed:
                self._left.discard(number)
                self._pass_on()

    def _wait_for_turn(self, number: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._turn == number or self._abandoned)
            self._moves += 1

    def _tracer(self, number: int) -> Callable[[FrameType, str, Any], Any]:
        def called(frame: FrameType, event: str, _: Any) -> Any:
            # Of libraries, what they cache would change how many lines there are, run by run.
            if in_library(frame.f_code.co_filename):
                return None
            return line

        def line(frame: FrameType, event: str, _: Any) -> Any:
            if event == "line":
                self._at_line(number)
            return line

        return called

    def _at_line(self, number: int) -> None:
        self._wait_for_turn(number)  # it may have waited for a lock, and been passed over
        if self._abandoned:
            return
        if self.lines in self._switches and len(self._left) > 1:
            with self._changed:
                self._pass_on()
            self.overlapped = True
        self.lines += 1
        self._wait_for_turn(number)

    def _pass_on(self) -> None:
        """Let the next thread go on; where it waits itself, that is seen, and it is passed over."""
        count = len(self._works)
        order = ((self._turn + step) % count for step in range(1, count + 1))
        self._turn = next((one for one in order if one in self._left), self._turn)
        self._moves += 1
        self._changed.notify_all()


def _asleep(thread: threading.Thread) -> str:
    """How often the kernel has put a thread to sleep that is asleep now; empty for one awake.

    One that is asleep for the same time as a moment ago waits for a lock, a timer or a file. One
    that is only slow is awake, and one that wants the interpreter wakes up every few milliseconds.
    """
    if thread.native_id is None:
        return ""  # is being started
    try:
        status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    except OSError:
        return "unknown"  # no such files on this system
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    if fields.get("State", "S")[0] not in "SD":
        return ""
    return f"asleep {fields.get('voluntary_ctxt_switches', '')}"


def _where(thread: threading.Thread) -> str:
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return thread.name
    return f"{thread.name} at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"

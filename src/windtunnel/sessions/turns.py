"""Turns: one call at a time on a session, in the order they came, from any thread and any loop."""

from __future__ import annotations

import collections
import threading


class Turns:
    """Who may use a thing that serves one at a time.

    Nothing here blocks; whoever is told to wait waits for the event that it is given.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: collections.deque[threading.Event] = collections.deque()
        self._taken = False

    def take(self) -> threading.Event | None:
        """None where the turn is the caller's now, else the event that says so later."""
        with self._mutex:
            if not self._taken:
                self._taken = True
                return None
            turn = threading.Event()
            self._waiting.append(turn)
            return turn

    def leave(self) -> None:
        """Hand the turn to the one who has waited longest."""
        with self._mutex:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False

    def give_up(self, turn: threading.Event) -> None:
        """Wait no longer; where the turn had come meanwhile, hand it on."""
        with self._mutex:
            waiting = turn in self._waiting
            if waiting:
                self._waiting.remove(turn)
        if not waiting:
            self.leave()

"""Turns: one call at a time on a session, in the order they came, from any thread and any loop."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A place in the queue.

    :param came: tells its holder that the turn is theirs, on whatever thread or loop they wait.
    """

    came: Callable[[], object]


class Turns:
    """Who may use a thing that serves one at a time. Nothing here blocks."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._waiting: collections.deque[Ticket] = collections.deque()
        self._taken = False

    def take(self, came: Callable[[], object]) -> Ticket | None:
        """None where the turn is the caller's now, else a ticket; ``came`` is called later."""
        with self._mutex:
            if not self._taken:
                self._taken = True
                return None
            ticket = Ticket(came)
            self._waiting.append(ticket)
            return ticket

    def leave(self) -> None:
        """Hand the turn to the one who has waited longest."""
        while True:
            with self._mutex:
                if not self._waiting:
                    self._taken = False
                    return
                ticket = self._waiting.popleft()
            try:
                ticket.came()
            except RuntimeError:  # the loop that it waited on is closed
                continue
            return

    def give_up(self, ticket: Ticket) -> None:
        """Wait no longer; where the turn had come meanwhile, hand it on."""
        with self._mutex:
            waiting = ticket in self._waiting
            if waiting:
                self._waiting.remove(ticket)
        if not waiting:
            self.leave()

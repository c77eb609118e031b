"""An answer that is sent while it is still coming: frames that one thread has, and others send.

A body is frames one after the other, and a plan steps; neither can wait. Where the next frame is
not there yet, a feed gives an empty one that says whom to ask when it is (``awaits``). Whoever
sends then waits in its own way, a loop or a thread, and takes up the same iterator again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from windtunnel.models.protocol import BrokenOffError, Chunk


class Feed:
    """Frames on their way, from one thread to whoever sends them.

    >>> feed = Feed()
    >>> frames = feed.chunks()
    >>> next(frames).awaits is feed
    True
    >>> feed.put(Chunk(b"data: 1\\n\\n"))
    >>> feed.finish()
    >>> [chunk.data for chunk in frames]
    [b'data: 1\\n\\n']
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._coming: deque[Chunk] = deque()
        self._over = False
        self._broken = ""
        self._listeners: list[Callable[[], None]] = []

    # -- whoever has them ------------------------------------------------------------------------

    def put(self, chunk: Chunk) -> None:
        """Send this next."""
        with self._changed:
            self._coming.append(chunk)
        self._tell()

    def finish(self) -> None:
        """Send no more: that was all."""
        with self._changed:
            self._over = True
        self._tell()

    def break_off(self, why: str) -> None:
        """Send no more, although it was not all."""
        with self._changed:
            self._over, self._broken = True, why
        self._tell()

    # -- whoever sends them ----------------------------------------------------------------------

    def chunks(self) -> Iterator[Chunk]:
        """The frames; an empty one wherever the next is not there yet.

        :raises BrokenOffError: where they end before the end.
        """
        while True:
            with self._changed:
                coming = self._coming.popleft() if self._coming else None
                over = self._over
            if coming is not None:
                yield coming
            elif not over:
                yield Chunk(b"", awaits=self)
            elif self._broken:
                raise BrokenOffError(self._broken)
            else:
                return

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until there is more, or the end; whether there was in time."""
        with self._changed:
            return self._changed.wait_for(self._more, timeout_s)

    def when_more(self, call: Callable[[], None]) -> None:
        """Have a function called once there is more, or the end: in any thread, or at once."""
        with self._changed:
            if not self._more():
                self._listeners.append(call)
                return
        call()

    def _more(self) -> bool:
        return bool(self._coming) or self._over

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners, self._listeners = self._listeners, []
        for call in listeners:
            call()


__all__ = ["Feed"]

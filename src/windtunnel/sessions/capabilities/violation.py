"""A refusal on record: what was wanted, what was held, and where in the code it was asked for."""

from __future__ import annotations

import dataclasses
import os
import sys
from types import FrameType
from typing import Final

from windtunnel.core.events import Violation, current_test, emit
from windtunnel.sessions.errors import CapabilityDenied, shortened

KEPT = 10_000
"""Refusals that a context remembers; the oldest go first, and are counted all the same."""

EMITTED = 1_000
WINDOW_S = 10.0
"""A tree of contexts emits so many events of refusals in so many seconds: code that asks in a loop
must not fill the record. The last one says that more are counted only."""


class Ration:
    """How many events may still be emitted in this window."""

    __slots__ = ("_began", "_drawn")

    LAST: Final = 2

    def __init__(self) -> None:
        self._began = 0.0
        self._drawn = 0

    def draw(self, now: float) -> int:
        """0 for no event, 1 for one, ``LAST`` for the last of the window."""
        if not self._began <= now < self._began + WINDOW_S:
            self._began, self._drawn = now, 0
        self._drawn += 1
        if self._drawn == EMITTED:
            return self.LAST
        return int(self._drawn < EMITTED)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CapabilityViolation:
    """One refusal.

    :param capability: the type that was wanted.
    :param resource: on what.
    :param operation: which operation.
    :param reason: why not.
    :param context: the name of the context it was asked in, with those above it: ``root/child``.
    :param location: ``file:line`` of the first frame outside windtunnel.
    :param wanted: what was asked for, in one text.
    :param held: the tokens of that type that were held there.
    :param time: seconds since the epoch on the context's clock.
    """

    capability: str
    resource: str = ""
    operation: str = ""
    reason: str = ""
    context: str = ""
    location: str = ""
    wanted: str = ""
    held: tuple[str, ...] = ()
    time: float = 0.0

    def error(self) -> CapabilityDenied:
        """The error that tells of it."""
        return CapabilityDenied(
            self.capability,
            self.resource,
            self.operation,
            self.reason,
            location=self.location,
            held=self.held,
        )

    def emit(self, *, last: bool = False) -> None:
        """Put it on record as an event."""
        held = ", ".join(self.held) or "nothing"
        detail = f"wanted {self.wanted}; held {held}: {self.reason} (context {self.context})"
        if last:
            detail += f"; more within {WINDOW_S:g} s are counted, not recorded"
        emit(
            Violation(
                time=self.time,
                rule="capability",
                subject=self.capability,
                detail=detail,
                nodeid=current_test(),
                location=self.location,
            )
        )


def wanted_text(capability: str, resource: str, operation: str) -> str:
    """What was asked for, as a reader says it.

    >>> wanted_text("fs.read", "/etc/passwd", "open")
    "fs.read open on '/etc/passwd'"
    """
    text = f"{capability} {operation}".rstrip()
    return f"{text} on {shortened(resource)}" if resource else text


# Frames of these say nothing about who asked: they only lead the way from one thread to another.
_WAYS = ("windtunnel", "asyncio", "anyio", "concurrent", "contextlib", "threading", "trio")


def caller() -> tuple[str, int] | None:
    """File and line of the first frame outside windtunnel; None where there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _WAYS:
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None


def location_text(place: tuple[str, int] | None) -> str:
    """``file:line``, relative to the working folder where it is below it, as pytest shows files."""
    if place is None:
        return ""
    path, line = place
    if os.path.isabs(path):
        try:
            relative = os.path.relpath(path)
        except OSError:  # the working folder is gone
            relative = ".."
        path = path if relative.startswith("..") else relative
    return f"{path}:{line}"


__all__ = [
    "EMITTED",
    "KEPT",
    "WINDOW_S",
    "CapabilityViolation",
    "Ration",
    "caller",
    "location_text",
    "wanted_text",
]

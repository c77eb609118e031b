"""What is refused to attempts is no violation of the run that makes them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from windtunnel.core.events import Event, Sink, Violation, set_sink

_depth = 0
_before: Sink | None = None


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """Keep refusals of capabilities off the record for the block; everything else goes on it."""
    global _depth, _before
    if not _depth:
        _before = set_sink(_without_refusals)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            set_sink(_before)


def _without_refusals(event: Event) -> None:
    refusal = isinstance(event, Violation) and event.rule == "capability"
    if not refusal and _before is not None:
        _before(event)


__all__ = ["unrecorded"]

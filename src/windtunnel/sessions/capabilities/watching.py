"""Who wants to know what is asked for: none, as a rule. For finding what is never asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

Watcher: TypeAlias = Callable[[str, str, bool], object]
"""Called with a type, an operation and whether it was admitted, at each use that is asked for."""

WATCHERS: list[Watcher] = []


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Tell ``watcher`` of every use in this process, in whatever context, during the block.

    >>> from windtunnel.sessions import CapabilityContext
    >>> root, seen = CapabilityContext("root"), []
    >>> token = root.grant("mail")
    >>> with watched(lambda *asked: seen.append(asked)):
    ...     root.use("mail", operation="send")
    >>> seen
    [('mail', 'send', True)]
    """
    WATCHERS.append(watcher)
    try:
        yield
    finally:
        WATCHERS.remove(watcher)


def tell(capability: str, operation: str, admitted: bool) -> None:
    """A use was asked for."""
    for watcher in list(WATCHERS):
        watcher(capability, operation, admitted)


__all__ = ["WATCHERS", "Watcher", "tell", "watched"]

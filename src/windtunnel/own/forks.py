"""What a forked child must not keep: locks and sockets that claim something for its parent.

A file lock and a bound socket live as long as any process holds a copy of the descriptor, and
``fork`` copies them all. A worker forked while its parent holds a lease would hold that lease
too, past the parent's death. So whoever claims something registers the descriptor here, and a
child closes its copies first thing; the parent's claim is untouched by that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

_claims: set[int] = set()
_forgetters: list[Callable[[], None]] = []


def claim(fd: int) -> int:
    """Register a descriptor that holds a claim of this process; returns it."""
    _claims.add(fd)
    return fd


def give_up(fd: int) -> None:
    """Close a registered descriptor, and with it the claim."""
    _claims.discard(fd)
    with contextlib.suppress(OSError):
        os.close(fd)


def in_child(forget: Callable[[], None]) -> None:
    """Call ``forget`` in every process forked from here on, to drop what is the parent's."""
    _forgetters.append(forget)


def _after_fork() -> None:
    for fd in _claims:
        with contextlib.suppress(OSError):
            os.close(fd)
    _claims.clear()
    for forget in _forgetters:
        forget()


os.register_at_fork(after_in_child=_after_fork)

"""What a child process of a run does first, and how its end is read."""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import Any

_PR_SET_PDEATHSIG = 1


@functools.cache
def _libc() -> Any:
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def before_forks() -> None:
    """Import once, in the parent, what every child of it would import first thing."""
    if sys.platform.startswith("linux"):
        _libc()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, however it dies (Linux).

    Elsewhere a worker notices the end of its channel instead. See prctl(2), PR_SET_PDEATHSIG.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    _libc().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died in between
        os._exit(1)


def describe_status(status: int) -> str:
    """A wait status in words.

    >>> describe_status(9)
    'was killed by SIGKILL'
    >>> describe_status(3 << 8)
    'left with exit code 3'
    """
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"was killed by {name}"
    return f"left with exit code {os.WEXITSTATUS(status)}"


def thread_count() -> int:
    """Threads of this process, those that Python does not know of included (Linux)."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        import threading

        return threading.active_count()

"""A quick look at threads, descriptors and children, which asks for a census where it differs.

A census of the fence reads some dozens of links, which is too much for each of a thousand seeds;
whether the numbers are the same is known at once.
"""

from __future__ import annotations

import contextlib
import os

from windtunnel.own.identity import child_pids
from windtunnel.sim.fence import Census

_TASKS = "/proc/self/task"
_DESCRIPTORS = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"

_last: tuple[frozenset[str], Census] | None = None


class Headcount:
    """What there was before a test's body."""

    def __init__(self, numbers: frozenset[str], census: Census) -> None:
        self._numbers = numbers
        self._census = census

    @classmethod
    def take(cls) -> Headcount:
        """Look now, outside the world's steps."""
        global _last
        numbers = _numbers()
        if _last is None or _last[0] != numbers:
            _last = _census_of(numbers)
        return cls(*_last)

    def since(self) -> tuple[list[str], list[str]]:
        """What has come since: what is beyond the world's control, and files left open."""
        if _numbers() == self._numbers:
            return [], []
        # What a number leads to may be from an earlier test: the census is kept while the numbers
        # are the same. So only those that are new are told of.
        known = tuple(f"descriptor left open: {n} -> " for n in self._census.descriptors)
        lines = [line for line in self._census.changes() if not line.startswith(known)]
        files = [line for line in lines if line.startswith("descriptor") and " -> /" in line]
        return [line for line in lines if line not in files], files


def _census_of(numbers: frozenset[str]) -> tuple[frozenset[str], Census]:
    """A census, and the numbers that it is of: another thread may close or open something just
    then, and the census is kept for all tests that begin with the same numbers."""
    census = Census.take()
    for _ in range(100):
        before, numbers = numbers, _numbers()
        if numbers == before:
            break
        census = Census.take()
    return numbers, census


def _numbers() -> frozenset[str]:
    found = [f"fd {name}" for name in os.listdir(_DESCRIPTORS)]
    with contextlib.suppress(OSError):
        found += os.listdir(_TASKS)
    if _has_children():
        found += [f"child {pid}" for pid in child_pids()]
    return frozenset(found)


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True

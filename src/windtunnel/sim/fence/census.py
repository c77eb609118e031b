"""Third ring: threads, descriptors and child processes of this process, before and after.

For what no patch and no audit event saw: native code that starts a thread or opens a descriptor.
What it opened and closed again in between stays unseen; that is the fence's limit.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
from collections.abc import Mapping

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.own.identity import child_pids

_TASKS = "/proc/self/task"
_DESCRIPTORS = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"


@dataclasses.dataclass(frozen=True, slots=True)
class Census:
    """What there was at one moment.

    :param threads: name of each thread by the kernel's number for it.
    :param descriptors: what each open descriptor leads to.
    :param children: numbers of the child processes.

    >>> before = Census.take()
    >>> read, write = os.pipe()
    >>> for line in before.differences(Census.take()):
    ...     print(line.partition(":")[0])
    descriptor left open
    descriptor left open
    >>> os.close(read), os.close(write)
    (None, None)
    """

    threads: Mapping[int, str]
    descriptors: Mapping[int, str]
    children: frozenset[int]

    @classmethod
    def take(cls) -> Census:
        """Look now. Call it outside the world's steps."""
        return cls(_threads(), _descriptors(), child_pids())

    def changes(self) -> list[str]:
        """What there is now and was not then, as `differences` says it.

        A thread that Python has joined may be the kernel's for some microseconds more; one that
        Python does not know is given a tenth of a second to go.
        """
        lines: list[str] = []
        for _ in range(100):
            lines = self.differences(Census.take())
            if not any(": native, " in line for line in lines):
                break
            REAL_CLOCK.sleep(0.001)
        return lines

    def differences(self, after: Census) -> list[str]:
        """One line for each thread, descriptor and child there is now and was not before."""
        lines = [
            f"thread left running: {name} ({number})"
            for number, name in sorted(after.threads.items())
            if number not in self.threads
        ]
        lines += [
            f"descriptor left open: {number} -> {target}"
            for number, target in sorted(after.descriptors.items())
            if self.descriptors.get(number) != target
        ]
        lines += [
            f"child process left: {number}" for number in sorted(after.children - self.children)
        ]
        return lines


def _threads() -> dict[int, str]:
    known = {
        thread.native_id: thread.name
        for thread in threading.enumerate()
        if thread.native_id is not None
    }
    if not os.path.isdir(_TASKS):
        return known
    return {
        int(number): known.get(int(number)) or f"native, {_command(number)}"
        for number in os.listdir(_TASKS)
    }


def _command(number: str) -> str:
    try:
        with open(f"{_TASKS}/{number}/comm") as file:
            return file.read().strip()
    except OSError:
        return "gone meanwhile"


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir(_DESCRIPTORS):
        # The one that listdir itself read from is gone by now.
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"{_DESCRIPTORS}/{name}")
    return found

"""The sandbox that all guests of an engine have in common."""

from __future__ import annotations

import threading
from collections.abc import Callable

from windtunnel.own import forks, inventory
from windtunnel.sandboxes import ProcessSandbox, Program


class SharedSandbox:
    """One sandbox a process: its interpreter is started once, at the first guest.

    :param program: says what its interpreter runs.
    """

    def __init__(self, program: Callable[[], Program]) -> None:
        self._program = program
        self._mutex = threading.Lock()
        self._sandbox: ProcessSandbox | None = None
        forks.in_child(self._forget)

    def get(self) -> ProcessSandbox:
        """It, which ends with the process."""
        with self._mutex:
            if self._sandbox is None:
                self._sandbox = ProcessSandbox(self._program())
                inventory.before_closing(self._end)
            return self._sandbox

    def _end(self) -> None:
        with self._mutex:
            sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.close()

    def _forget(self) -> None:
        self._mutex, self._sandbox = threading.Lock(), None  # the parent's cells are the parent's


__all__ = ["SharedSandbox"]

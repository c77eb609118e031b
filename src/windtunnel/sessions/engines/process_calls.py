"""Host functions on behalf of a guest in a process: several at once, where its threads call.

Each call has a helper thread, since a host function may block and the time limit must hold all the
same. It runs in a copy of the context in which the run was started, so what it may use is what
that run may use.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable

from windtunnel.own import forks
from windtunnel.sandboxes import Cell, CellDiedError
from windtunnel.sessions import values
from windtunnel.sessions.engines.process_messages import Call
from windtunnel.sessions.protocol import HostCall

_IDLE_S = 2.0


class HostCalls:
    """The calls of one run.

    :param most: how many may be under way; an honest guest has no more threads than that.
    """

    def __init__(self, cell: Cell, host: HostCall, *, most: int) -> None:
        self._cell = cell
        self._host = host
        self._most = most
        self._context = contextvars.copy_context()
        self._under_way = 0
        self._mutex = threading.Lock()

    def begin(self, call: Call) -> None:
        """Have it answered, and go on.

        :raises CellDiedError: where there are more than an honest guest can have.
        """
        with self._mutex:
            if self._under_way >= self._most:
                raise CellDiedError(
                    "a guest calls more than it can have threads",
                    found=f"{self._under_way} calls under way",
                    fix="look at what its code did to its own process",
                )
            self._under_way += 1
        context = self._context.copy()
        _helpers.put(lambda: context.run(self._answer, call))

    def _answer(self, call: Call) -> None:
        try:
            reply = self._reply(call)
        finally:
            with self._mutex:
                self._under_way -= 1
        with contextlib.suppress(CellDiedError):  # a late answer to a guest that is gone
            self._cell.send(values.encode(("reply", call.key, *reply)))

    def _reply(self, call: Call) -> tuple[bool, bytes]:
        try:
            return True, values.encode(self._host(call.name, call.args, call.kwargs))
        except BaseException as error:  # the guest's to handle, whatever it is
            return False, values.encode((type(error).__name__, str(error)))


class _Helpers:
    """Daemon threads that are there while there is something to do, and a little longer."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._idle = 0
        self._mutex = threading.Lock()

    def put(self, work: Callable[[], object]) -> None:
        """Have a thread call it."""
        with self._mutex:
            if self._idle:
                self._idle -= 1  # of those that wait, one is spoken for
                self._work.put(work)
                return
        threading.Thread(
            target=self._help, args=(work,), name="windtunnel-host-call", daemon=True
        ).start()

    def _help(self, work: Callable[[], object]) -> None:
        while True:
            work()
            with self._mutex:
                self._idle += 1
            try:
                work = self._work.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._mutex:
                    if self._work.empty():
                        self._idle -= 1
                        return
                work = self._work.get()  # spoken for at the last moment


_helpers = _Helpers()


def _forget() -> None:
    global _helpers
    _helpers = _Helpers()  # threads are not forked


forks.in_child(_forget)

__all__ = ["HostCalls"]

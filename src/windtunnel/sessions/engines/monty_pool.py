"""Monty's workers: one pool for all sessions of a process, kept warm, gone with it."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import threading
import weakref
from typing import TYPE_CHECKING

from windtunnel.core.errors import MissingExtraError, ResourceError
from windtunnel.own import forks, inventory
from windtunnel.own.identity import ProcessIdentity
from windtunnel.sessions.protocol import Limits

if TYPE_CHECKING:
    import pydantic_monty

# A worker whose owner was killed stops by itself after this, should no next run reap it before.
_LONGEST_RUN_S = 24 * 3600.0
_MANY = 2**31 - 1
_DEEPEST = 10_000  # where no limit is said: monty must have one
_KEPT_IDLE = 8


class Worker:
    """A worker process, checked out until it is given back.

    :raises MissingExtraError: where pydantic-monty is not installed.
    :raises ResourceError: in a process forked from one that had used the pool.
    """

    def __init__(self, limits: Limits) -> None:
        wanted: pydantic_monty.ResourceLimits = {
            "max_suspensions": _MANY,
            "max_feed_duration_secs": max(_LONGEST_RUN_S, limits.timeout_s or 0.0),
            "max_recursion_depth": _DEEPEST if limits.recursion is None else limits.recursion,
        }
        if limits.memory_mb is not None:
            wanted["max_memory"] = limits.memory_mb << 20
        self.session = _workers.checkout(wanted)
        pid = self.session.worker_pid
        self._identity = None if pid is None else ProcessIdentity.of(pid)
        if self._identity is not None:
            _workers.put_on_record(self._identity)
        _out.add(self)

    def kill(self) -> None:
        """End its process."""
        if self._identity is not None:
            self._identity.signal(signal.SIGKILL)

    def serves(self) -> bool:
        """Whether it can still run anything; a full heap cannot."""
        try:
            return self.session.feed_run("[0] == [0]") is True
        except Exception:
            return False

    def give_back(self, *, usable: bool = True) -> None:
        """Let another have it; a call too many does nothing."""
        if self not in _out:
            return
        _out.discard(self)
        kept = usable and _workers.may_keep_another()
        if usable and not kept:
            self.kill()
        # That it is gone is told by exceptions of several types.
        with contextlib.suppress(Exception):
            self.session.__exit__(None, None, None)
        if kept:
            _workers.came_back()


class _Workers:
    """The pool, made at the first checkout."""

    def __init__(self) -> None:
        self.pool: pydantic_monty.Monty | None = None
        self._mutex = threading.Lock()
        self._idle = 0
        self._coming_back = 0
        self._recorded: dict[ProcessIdentity, int] = {}

    def checkout(self, limits: pydantic_monty.ResourceLimits) -> pydantic_monty.MontySession:
        with self._mutex:
            if self.pool is None:
                self.pool = _started()
            # One on its way back is not to be had yet: the pool starts another.
            self._idle = max(0, self._idle - 1)
        session = self.pool.checkout(limits=limits, os_policy={"sleep": "call_host"})
        session.__enter__()
        return session

    def may_keep_another(self) -> bool:
        """Whether one more may wait idle; where it may, it is on its way back."""
        with self._mutex:
            fits = self._idle + self._coming_back < _KEPT_IDLE
            self._coming_back += fits
            return fits

    def came_back(self) -> None:
        """One that was on its way back waits idle."""
        with self._mutex:
            self._coming_back -= 1
            self._idle += 1

    def put_on_record(self, worker: ProcessIdentity) -> None:
        """Have the next run end it, should this process be killed while it is busy."""
        with self._mutex:
            if worker in self._recorded:
                return
            for gone in [known for known in self._recorded if not known.alive]:
                inventory.current().drop(self._recorded.pop(gone))
            self._recorded[worker] = inventory.current().take(
                "process",
                pid=worker.pid,
                start=worker.start,
                world=worker.world,
                signal=int(signal.SIGKILL),
            )

    def end(self) -> None:
        """Let them all go, as one of this process's last acts."""
        for worker in list(_out):
            worker.give_back()
        with self._mutex:
            pool, self.pool = self.pool, None
            self._idle = self._coming_back = 0
            if pool is not None:
                pool.__exit__(None, None, None)
            while self._recorded:
                inventory.current().drop(self._recorded.popitem()[1])


def _started() -> pydantic_monty.Monty:
    if _forked_away:
        raise ResourceError(
            "the engine monty cannot be used in this process",
            found="it was forked from one that had used it, and the library's threads were not",
            fix="open no monty session before the fork, or use the engine process",
        )
    try:
        import pydantic_monty
    except ImportError as error:
        raise MissingExtraError("sessions", needed_for="the engine monty") from error
    # As many as there are sessions: one waiting for another's worker could wait for ever.
    pool = pydantic_monty.Monty(min_processes=1, max_processes=4096)
    _keep_for_ever(pool)
    inventory.before_closing(_workers.end)
    return pool.__enter__()


_out: weakref.WeakSet[Worker] = weakref.WeakSet()
_workers = _Workers()
_forked_away = False


def _keep_for_ever(thing: object) -> None:
    """In a forked child its destructor would end the workers of the parent."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _forget() -> None:
    global _workers, _out, _forked_away
    for worker in list(_out):
        _keep_for_ever(worker.session)
    _forked_away = _forked_away or _workers.pool is not None
    _workers, _out = _Workers(), weakref.WeakSet()


forks.in_child(_forget)

__all__ = ["Worker"]

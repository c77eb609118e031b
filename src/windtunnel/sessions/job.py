"""One execution on a guest: what a thread runs, and what whoever waits for it can do about it."""

from __future__ import annotations

import contextvars
import dataclasses
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import ExecResult, Guest, HostCall, Limits, Timings

GRACE_S = 2.0
"""How long after its time limit a guest that is ended may take to be gone, and after that a host
function that it called."""
AGAIN_S = 0.02

Work = Callable[[Guest, HostCall, Limits], ExecResult]
AwaitHere = Callable[[Awaitable[Any], float | None], Any]
"""Blocks until an awaitable is done, at most for some seconds."""

_jobs: contextvars.ContextVar[tuple[Job, ...]] = contextvars.ContextVar("jobs", default=())


def inside(guest_of: object) -> bool:
    """Whether the calling code is itself called by what runs for ``guest_of`` now."""
    return any(job.owner is guest_of and not job.finished.is_set() for job in _jobs.get())


class Job:
    """One execution.

    :param owner: whose it is: a session.
    :param release: called once, when the guest is free for another.
    """

    def __init__(
        self,
        owner: object,
        guest: Guest,
        functions: Mapping[str, HostFunction],
        work: Work,
        limits: Limits,
        release: Callable[[], None],
    ) -> None:
        self.owner = owner
        self.finished = threading.Event()
        self.await_here: AwaitHere
        self._guest = guest
        self._functions = functions
        self._work = work
        self._limits = limits
        self._release: Callable[[], None] | None = release
        self._mutex = threading.Lock()
        self._began = 0.0
        self._calling = ""
        self._interrupted = False
        self._left_alone = False
        self._result: ExecResult | None = None

    @property
    def longest_s(self) -> float | None:
        """How long to wait for it at most; None for ever."""
        return None if self._limits.timeout_s is None else self._limits.timeout_s + GRACE_S

    def run(self) -> ExecResult:
        """Run it, in whatever thread, under the context variables of here."""
        self._began = REAL_CLOCK.monotonic()
        token = _jobs.set((*_jobs.get(), self))
        try:
            if self._interrupted:
                return ExecResult(ok=False, error="interrupted", error_type="InterruptedError")
            result = _bounded(self._work(self._guest, self._call, self._limits), self._limits)
            self._result = result
            return result
        finally:
            _jobs.reset(token)
            with self._mutex:
                self.finished.set()
            if self._left_alone:
                self._guest.close()  # whoever left it releases, with another guest in its place
            else:
                self.release()

    def interrupt(self) -> None:
        """End what the guest runs; a host function that it waits for is not ended by that."""
        self._interrupted = True
        with self._mutex:  # so that it is not the next one's run that is ended
            if not self.finished.is_set():
                self._guest.interrupt()

    def stop(self) -> None:
        """:meth:`interrupt`, and wait for its end, at most :data:`GRACE_S`."""
        until = REAL_CLOCK.monotonic() + GRACE_S
        while REAL_CLOCK.monotonic() < until:
            self.interrupt()  # again: the first may have come before the guest began
            if self.finished.wait(AGAIN_S):
                return

    def release(self) -> None:
        """Let the guest go to the next. Twice is allowed."""
        with self._mutex:
            release, self._release = self._release, None
        if release is not None:
            release()

    def leave_alone(self) -> bool:
        """Leave the guest to the thread, where that has not come back; whether it has not."""
        with self._mutex:
            self._left_alone = not self.finished.is_set()
            return self._left_alone

    def late(self) -> ExecResult:
        """The result of a run whose thread did not come back in time."""
        if self._result is not None and not self._result.ok and not self._left_alone:
            return self._result  # it came a little later
        what = f"the host function {self._calling} did" if self._calling else "its thread did"
        then = "; its process was ended and its names are lost" if self._left_alone else " in time"
        return ExecResult(
            ok=False,
            error=f"it ran longer than {self._limits.timeout_s:g} s and {what} not return{then}",
            error_type="TimeoutError",
            timings=Timings(run_s=REAL_CLOCK.monotonic() - self._began),
        )

    def _call(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        function = self._functions.get(name)
        if function is None:
            raise NameError(f"there is no host function {name!r}")
        self._calling = name
        value = function.invoke(args, kwargs)
        if inspect.isawaitable(value):
            value = self.await_here(value, self._left())
        self._calling = ""
        return value

    def _left(self) -> float | None:
        if self._limits.timeout_s is None:
            return None
        return max(0.0, self._limits.timeout_s - (REAL_CLOCK.monotonic() - self._began))


_LONGEST_TYPE = 200


def _bounded(result: ExecResult, limits: Limits) -> ExecResult:
    """The result with no more of the guest's own words about an error than it may print."""
    if len(result.error_type) <= _LONGEST_TYPE and len(result.error) <= limits.output_bytes // 4:
        return result
    kept = result.error.encode("utf-8", "replace")[: limits.output_bytes].decode("utf-8", "ignore")
    return dataclasses.replace(result, error=kept, error_type=result.error_type[:_LONGEST_TYPE])

"""Sessions and executors over an engine's guest."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions import unclosed, works
from windtunnel.sessions.asked import BOUNDED, Asked
from windtunnel.sessions.callbacks import MISSING, Callback, Callbacks, OnError
from windtunnel.sessions.capabilities.context import CapabilityContext
from windtunnel.sessions.capabilities.token import CapabilityToken
from windtunnel.sessions.closing import Closes
from windtunnel.sessions.errors import GuestError, SessionClosedError
from windtunnel.sessions.holding import by_name, for_this_alone, held_as, narrowed
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.job import AGAIN_S, GRACE_S, Job, Work, inside
from windtunnel.sessions.protocol import (
    Engine,
    ExecRecord,
    ExecResult,
    Grants,
    Guest,
    HostCall,
    Limits,
)
from windtunnel.sessions.turns import Turns

if TYPE_CHECKING:
    from types import ModuleType

HISTORY_KEPT = 10_000
RESET = "reset"
INTERRUPTED = "InterruptedError"


class SessionBusyError(UsageError):
    """A host function used the session that waits for it, which could wait for ever."""


class EngineSession(Closes):
    """A session over an engine; made by :func:`windtunnel.sessions.open`.

    Calls made at the same time take turns in the order they came, from any thread or loop. The
    methods that end in ``_sync`` do the same without a loop, or inside a running one, which they
    block; async host functions then run on a loop of their own.

    >>> import asyncio
    >>> from windtunnel import sessions
    >>> async def main():
    ...     async with sessions.open("monty") as session:
    ...         await session.run("def double(n): return 2 * n")
    ...         return await session.call("double", 21)
    >>> asyncio.run(main())
    42
    """

    def __init__(
        self,
        engine: Engine,
        *,
        functions: Iterable[HostFunction] = (),
        capabilities: CapabilityContext | Iterable[CapabilityToken] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        name: str = "session",
        clock: Clock = REAL_CLOCK,
    ) -> None:
        self.name = name
        self.limits = limits
        self.callbacks = Callbacks()
        """The callbacks made of its functions, by name."""
        self._functions = by_name(functions)
        self._capabilities = held_as(capabilities, name, clock)
        self._clock = clock
        self._engine = engine
        self._turns = Turns()
        self._job: Job | None = None
        self._history: collections.deque[tuple[float, ExecRecord]]
        self._history = collections.deque(maxlen=HISTORY_KEPT)
        self._since = 0.0
        """When it was reset; what had its turn before is not remembered."""
        self._closed = False
        self._memory_mb = 0.0
        self._mutex = threading.Lock()
        self._have(engine(tuple(self._functions)))

    # -- what it is

    @property
    def capabilities(self) -> CapabilityContext:
        """What its code may use."""
        return self._capabilities

    @property
    def history(self) -> Sequence[ExecRecord]:
        """What was executed since it was opened or reset, oldest first; the last ten thousand."""
        with self._mutex:
            return tuple(record for _, record in self._history)

    @property
    def isolation(self) -> str:
        """What keeps its code in, in one sentence that names what does not."""
        return self._guest.isolation

    @property
    def functions(self) -> Mapping[str, HostFunction]:
        """The host functions its code may call."""
        return dict(self._functions)

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    # -- running code

    async def run(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """Run ``code`` with the names of ``inputs`` defined; all names live on.

        Cancelling the await ends the code for certain.

        :param timeout_s: seconds until it is ended; None for the session's own limit.
        :param grants: what it may use, at most what the session may; None for just that.
        :raises CapabilityDenied: for grants beyond what the session may use.
        :raises ValueCrossingError: for an input that the engine cannot hold.
        :raises SessionClosedError: after it was closed.
        """
        return await self._awaited("run", code, works.running(code, inputs), timeout_s, grants)

    def run_sync(
        self,
        code: str,
        *,
        timeout_s: float | None = None,
        grants: Grants = None,
        inputs: Mapping[str, Any] | None = None,
    ) -> ExecResult:
        """:meth:`run`, blocking. Ctrl-C ends the code."""
        return self._waited_for("run", code, works.running(code, inputs), timeout_s, grants)

    async def call(
        self, function: str, /, *args: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """Call a function that its code defined.

        :raises GuestError: where it fails, with the guest's error type.
        :raises ValueCrossingError: for an argument that the engine cannot hold.
        """
        work = works.calling(function, args, kwargs)
        return _value(await self._awaited("call", function, work, timeout_s))

    def call_sync(
        self, function: str, /, *args: Any, timeout_s: float | None = None, **kwargs: Any
    ) -> Any:
        """:meth:`call`, blocking."""
        work = works.calling(function, args, kwargs)
        return _value(self._waited_for("call", function, work, timeout_s))

    async def define(self, name: str, value: Any) -> None:
        """Give the guest a value by name, exactly as it is here.

        :raises ValueCrossingError: for one that the engine cannot hold.
        :raises UsageError: for a name that is none.
        """
        await self._awaited("define", name, works.defining(name, value))

    def define_sync(self, name: str, value: Any) -> None:
        """:meth:`define`, blocking."""
        self._waited_for("define", name, works.defining(name, value))

    def callback(
        self,
        name: str,
        *,
        default: Any = MISSING,
        on_error: OnError | None = None,
        timeout_s: float | None = None,
    ) -> Callback:
        """A Python callable of the guest's function ``name``, also found in :attr:`callbacks`.

        :param default: what a call gives where the function fails.
        :param on_error: is given the :class:`GuestError` and says what the call gives.

        >>> from windtunnel import sessions
        >>> with sessions.open("monty") as session:
        ...     ran = session.run_sync("def half(n): return 1 / n")
        ...     half = session.callback("half", default=None)
        ...     half(2), half(0)
        (0.5, None)
        """
        made = Callback(self, name, default=default, on_error=on_error, timeout_s=timeout_s)
        return self.callbacks.add(made)

    # -- its life

    async def reset(self) -> None:
        """Forget every name and the history; capabilities stay."""
        await self._awaited(RESET, "", self._resetting)

    def reset_sync(self) -> None:
        """:meth:`reset`, blocking."""
        self._waited_for(RESET, "", self._resetting)

    async def close(self) -> None:
        """End the guest and what it runs. Twice is allowed."""
        if not self._begin_to_close():
            return
        import anyio

        with anyio.CancelScope(shield=True):
            await _aside().in_thread(self._finish_to_close)

    def close_sync(self) -> None:
        """:meth:`close`, blocking."""
        if self._begin_to_close():
            self._finish_to_close()

    def __repr__(self) -> str:
        return f"<EngineSession {self.name}{' closed' if self._closed else ''}>"

    # -- inside

    async def _awaited(
        self,
        kind: str,
        code: str,
        work: Work,
        timeout_s: float | None = None,
        grants: Grants = None,
    ) -> ExecResult:
        aside = _aside()
        with self._asked(kind, code, timeout_s, grants) as asked:
            came, tell = aside.event_on_loop()
            ticket = self._turns.take(tell)
            if ticket is not None:
                try:
                    await came.wait()
                except BaseException:
                    self._turns.give_up(ticket)
                    raise
            job = self._begin(work, asked)
            return self._ended(job, asked, await aside.awaited(job))

    def _waited_for(
        self,
        kind: str,
        code: str,
        work: Work,
        timeout_s: float | None = None,
        grants: Grants = None,
    ) -> ExecResult:
        aside = _aside()
        with self._asked(kind, code, timeout_s, grants) as asked:
            came = threading.Event()
            ticket = self._turns.take(came.set)
            if ticket is not None:
                try:
                    came.wait()
                except BaseException:
                    self._turns.give_up(ticket)
                    raise
            job = self._begin(work, asked)
            return self._ended(job, asked, aside.waited_for(job))

    @contextlib.contextmanager
    def _asked(
        self, kind: str, code: str, timeout_s: float | None, grants: Grants
    ) -> Iterator[Asked]:
        """What is asked for, under the capabilities that it is asked for with."""
        self._refuse_where_unusable()
        limits = self.limits
        if timeout_s is not None:
            limits = dataclasses.replace(limits, timeout_s=timeout_s)
        context = narrowed(self._capabilities, grants)
        with context.scope(), for_this_alone(context, grants):
            asked = Asked(kind, code, context, limits, self._clock.time(), _now())
            if kind in BOUNDED:
                asked.bound()
            try:
                yield asked
            except UsageError:
                raise
            except BaseException as error:
                stopped = ExecResult(
                    ok=False, error=f"stopped by {type(error).__name__}", error_type=INTERRUPTED
                )
                self._remember(asked, stopped)
                raise

    def _refuse_where_unusable(self) -> None:
        if self._closed:
            raise SessionClosedError(name=self.name)
        if inside(self):
            raise SessionBusyError(
                f"the session {self.name} is used by a host function that it waits for",
                fix="open another session for it, or return first",
            )

    def _begin(self, work: Work, asked: Asked) -> Job:
        if self._closed:
            self._turns.leave()
            raise SessionClosedError(name=self.name)
        asked.began = _now()
        if asked.refused is not None:
            work = works.refused(asked.refused)
        elif asked.kind in BOUNDED and self._has_more_memory_than(asked.limits):
            work = works.too_roomy(asked.limits)
        job = Job(self, self._guest, self._functions, work, asked.limits, self._turns.leave)
        self._job = job
        if self._closed:
            job.interrupt()
        return job

    def _has_more_memory_than(self, limits: Limits) -> bool:
        """Whether the guest may have been given more than these limits allow, since its last reset.

        What an engine gives a guest when that starts, it cannot take back.
        """
        wanted = math.inf if limits.memory_mb is None else float(limits.memory_mb)
        self._memory_mb = max(self._memory_mb, wanted)
        return wanted < self._memory_mb

    def _ended(self, job: Job, asked: Asked, result: ExecResult | None) -> ExecResult:
        if result is None:
            if job.leave_alone():
                # A host function does not return. Its thread keeps the old guest until it does.
                try:
                    self._finalizer.detach()
                    self._have(self._engine(tuple(self._functions)))
                finally:
                    job.release()
            result = job.late()
        if asked.use is not None:
            asked.use.charge(cpu_s=result.timings.run_s)
        timings = dataclasses.replace(
            result.timings, start_s=result.timings.start_s + asked.began - asked.at
        )
        result = dataclasses.replace(result, timings=timings)
        self._remember(asked, result)
        return result

    def _remember(self, asked: Asked, result: ExecResult) -> None:
        if asked.kind == RESET:
            return
        record = ExecRecord(
            kind=asked.kind,
            code=asked.code,
            result=result,
            grants=asked.context.types(),
            started=asked.started,
        )
        at = asked.began or _now()  # it may be given up before its turn comes
        later: list[tuple[float, ExecRecord]] = []
        with self._mutex:
            if at < self._since:
                return
            # Whose turn came next may have been told of its end before this one was.
            while self._history and self._history[-1][0] > at:
                later.append(self._history.pop())
            self._history.extend([(at, record), *reversed(later)])

    def _resetting(self, guest: Guest, host: HostCall, limits: Limits) -> ExecResult:
        """Forget, while nobody else has the turn: what comes after is not forgotten with it."""
        result = works.resetting(guest, host, limits)
        with self._mutex:
            if guest is self._guest:  # not one that was given up on
                self._history.clear()
                self._since = _now()
                self._memory_mb = 0.0
        return result

    def _have(self, guest: Guest) -> None:
        self._guest = guest
        self._memory_mb = 0.0
        # For a session that nobody closes: its process must not outlive it.
        self._finalizer = unclosed.watch(self, guest)

    def _begin_to_close(self) -> bool:
        with self._mutex:
            if self._closed:
                return False
            self._closed = True
        if self._job is not None:
            self._job.interrupt()
        return True

    def _finish_to_close(self) -> None:
        came = threading.Event()
        ticket = self._turns.take(came.set)
        if ticket is not None:
            until = _now() + GRACE_S
            while not came.wait(AGAIN_S):
                if self._job is not None:
                    self._job.interrupt()  # again: the first may have come before the guest began
                if _now() >= until:
                    break
        if self._finalizer.detach() is not None:
            self._guest.close()
        if ticket is None or came.is_set():
            self._turns.leave()
        else:
            self._turns.give_up(ticket)


def _value(result: ExecResult) -> Any:
    if not result.ok:
        raise GuestError(result.error_type, result.error)
    return result.value


def _now() -> float:
    return REAL_CLOCK.monotonic()


def _aside() -> ModuleType:
    # Needs anyio, which whoever only names these classes may not have.
    from windtunnel.sessions import aside

    return aside

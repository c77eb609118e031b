"""Scopes: whatever is started or taken has an owner, and is gone when the owner's block ends.

A scope closes its parts last in, first out, once, and all of them even where one fails. A part
is first asked to end, then waited for until the deadline, then forced; what had to be forced, or
could not be, is a leak and is named.

Prior art: ``contextlib.ExitStack`` for the order of closing, Trio's nurseries for the idea that
nothing outlives the block that started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from windtunnel.own import forks
from windtunnel.own.ledger import note
from windtunnel.own.parts import Callback, Directory, File, Held, Mount, Task, Thread
from windtunnel.own.waiting import pauses, wait_until

if TYPE_CHECKING:
    import asyncio

    from windtunnel.own.children import Child, Stream
    from windtunnel.own.port import PortLease

T = TypeVar("T")
P = TypeVar("P", bound="Part")


@dataclasses.dataclass(frozen=True, slots=True)
class Leak:
    """Something that did not end with its scope.

    :param kind: what it is: ``process``, ``thread``, ``task``, ``port``, ``file``, ``scope`` …
    :param name: which one.
    :param detail: what was found.
    :param scope: the name of the scope that owned it.
    """

    kind: str
    name: str
    detail: str
    scope: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name} {self.detail}"


# Who listens on a port is owned by somebody else: waiting only covers one that is just closing.
_PATIENCE_S = {"port": 1.0}
_HURRY_S = 1.0


class Part(Protocol):
    """One thing a scope owns: how it is asked to end, seen to have ended, and forced to."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    def stop(self) -> None: ...
    def stopped(self) -> bool: ...
    def force(self) -> str: ...
    def release(self) -> None: ...


class Scope:
    """Owns what is started through it; a sync and an async context manager.

    :param name: what to call it in messages.
    :param within: seconds each part may take to end before it is forced.
    :param house: whether it is the house's own; a leak in it is noted, but fails no test.

    >>> with Scope("tour") as scope:
    ...     folder = scope.temp_dir()
    ...     port = scope.port()
    ...     folder.is_dir(), 1024 <= port.number < 65536
    (True, True)
    >>> folder.exists(), scope.leaks
    (False, [])
    """

    def __init__(self, name: str, *, within: float = 5.0, house: bool = False) -> None:
        self.name = name
        self.house = house
        self.leaks: list[Leak] = []
        """What did not end by itself, known once the scope is closed."""
        self.closed = False
        self._within = within
        self._parts: list[Part] = []
        self._pid = os.getpid()
        self.owner: object = _watch.owner()
        """Who opened it: the fixture or test at work, None outside a test."""
        _watch.open.append(self)

    # -- what can be owned -------------------------------------------------------------------

    def child(
        self,
        argv: Sequence[str],
        *,
        name: str = "",
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
        stdin: Stream = subprocess.DEVNULL,
        stdout: Stream = None,
        stderr: Stream = None,
        pass_fds: Sequence[int] = (),
        user: str | None = None,
        stop_signal: int = signal.SIGTERM,
        death_signal: int = signal.SIGKILL,
    ) -> Child:
        """Start a child process in a process group of its own; see
        :class:`windtunnel.own.Child` for the parameters.

        :raises MissingBinaryError: where there is no such program.
        """
        from windtunnel.own.children import Child

        return self.add(
            Child(
                argv,
                name=name,
                env=env,
                cwd=cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=pass_fds,
                user=user,
                stop_signal=stop_signal,
                death_signal=death_signal,
            )
        )

    def thread(
        self,
        target: Callable[..., object],
        *args: object,
        name: str = "",
        stop: Callable[[], object] | None = None,
    ) -> threading.Thread:
        """Start a thread. ``stop`` is called to ask it to end, such as an Event's ``set``.

        A thread cannot be killed: one that does not end is named as a leak and left behind as
        a daemon, so that it does not keep the process from ending.
        """
        part = Thread(target, args, name=name or getattr(target, "__name__", "thread"), stop=stop)
        self.add(part)
        part.thread.start()
        return part.thread

    def task(self, work: Coroutine[Any, Any, T], *, name: str = "") -> asyncio.Task[T]:
        """Start a task in the running event loop; it is cancelled and awaited at the end.

        A scope that owns tasks is closed by ``async with`` or :meth:`aclose`. An exception a
        task ended with is raised when the scope closes.
        """
        part = Task(work, name=name)
        self.add(part)
        return part.task

    def port(self, host: str = "127.0.0.1") -> PortLease:
        """Lease a TCP port: bound, and nobody else's until the scope ends."""
        from windtunnel.own.port import PortLease

        return self.add(PortLease(host))

    def temp_dir(self, prefix: str = "wt-") -> Path:
        """Make a temporary folder, removed at the end with what is in it."""
        return self.add(Directory.make(prefix)).path

    def file(self, path: str | Path) -> Path:
        """Own the file at ``path``, there already or to come: it is removed at the end."""
        return self.add(File(Path(path))).path

    def mount(self, source: str, target: str | Path, kind: str, options: str = "") -> Path:
        """Mount a file system (mount(2), needs the right to), unmounted at the end.

        :param kind: the file system's name, ``tmpfs``; ``bind`` mounts a folder again.
        :param options: what the file system takes, comma-separated: ``size=1m``.
        :raises ResourceError: when the kernel refuses.
        """
        return self.add(Mount(source, Path(target), kind, options)).path

    def callback(self, function: Callable[..., object], *args: object, name: str = "") -> None:
        """Call ``function(*args)`` at the end."""
        self.add(Callback(lambda: function(*args), name or getattr(function, "__name__", "")))

    def enter(self, manager: AbstractContextManager[T]) -> T:
        """Enter a context manager, and leave it at the end."""
        value = manager.__enter__()
        self.add(Held(manager, type(manager).__name__))
        return value

    def add(self, part: P) -> P:
        """Own a part that exists already.

        :raises RuntimeError: when the scope is closed; the part is ended first.
        """
        if self.closed:
            part.stop()
            if not wait_until(part.stopped, self._within):
                part.force()
            part.release()
            raise RuntimeError(f"the scope {self.name!r} is closed and can own nothing more")
        self._parts.append(part)
        return part

    @property
    def owned(self) -> str:
        """The names of what it owns, for messages."""
        return ", ".join(f"{part.kind} {part.name}" for part in self._parts)

    # -- closing -----------------------------------------------------------------------------

    def close(self, *, within: float | None = None) -> None:
        """End everything, last in first out. Does nothing the second time.

        :param within: seconds each part may take, instead of the scope's own.
        :raises ExceptionGroup: of what parts raised while they were ended, after all of them
            were. A leak raises nothing here: it is in :attr:`leaks`.
        """
        if not self._begin_closing():
            return
        seconds = self._within if within is None else within
        errors: list[Exception] = []
        while self._parts:
            part = self._parts.pop()
            with _collected(errors):
                part.stop()
                patience = min(seconds, _PATIENCE_S.get(part.kind, seconds))
                # Blocking the very loop that a task needs in order to end would be in vain.
                in_vain = isinstance(part, Task) and part.in_its_loop()
                if not wait_until(part.stopped, 0 if in_vain else patience):
                    self._leaked(part)
            with _collected(errors):
                part.release()
        self._end_closing(errors)

    async def aclose(self, *, within: float | None = None) -> None:
        """As :meth:`close`, without blocking the event loop.

        Cancelled meanwhile, it forces the part it waits for, waits at most a second for each of
        the others, and is cancelled when everything has ended.
        """
        import asyncio

        if not self._begin_closing():
            return
        seconds = self._within if within is None else within
        errors: list[Exception] = []
        cancelled: asyncio.CancelledError | None = None
        while self._parts:
            part = self._parts.pop()
            with _collected(errors):
                part.stop()
                try:
                    patience = min(seconds, _PATIENCE_S.get(part.kind, seconds))
                    await _ended(part, min(patience, _HURRY_S) if cancelled else patience)
                except asyncio.CancelledError as error:
                    cancelled = error
                if not part.stopped():
                    self._leaked(part)
            with _collected(errors):
                part.release()
        if cancelled is not None:
            with contextlib.suppress(ExceptionGroup):
                self._end_closing(errors)
            raise cancelled
        self._end_closing(errors)

    def abandon(self) -> None:
        """Own nothing more, and end nothing: somebody else has taken over what was owned."""
        self.closed = True
        self._parts.clear()
        _watch.closed(self)

    def __enter__(self) -> Scope:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Scope:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{len(self._parts)} parts"
        return f"<Scope {self.name!r}, {state}>"

    def _begin_closing(self) -> bool:
        if self.closed:
            return False
        self.closed = True
        _watch.closed(self)
        if self._pid != os.getpid():
            self._parts.clear()  # they are the parent's, who closes them
            return False
        return True

    def _leaked(self, part: Part) -> None:
        detail = part.force()
        self.leaks.append(Leak(part.kind, part.name, detail, self.name))
        note("leaked", part.kind, part.name)
        _watch.leaked(self, self.leaks[-1])

    def _end_closing(self, errors: list[Exception]) -> None:
        if errors:
            raise ExceptionGroup(f"closing the scope {self.name!r}", errors)


async def _ended(part: Part, within: float) -> None:
    import asyncio

    await asyncio.sleep(0)
    for pause in pauses(within):
        if part.stopped():
            return
        await asyncio.sleep(pause)


@contextlib.contextmanager
def _collected(errors: list[Exception]) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        errors.append(error)


# -- what a test run watches ---------------------------------------------------------------------


class Watch:
    """Who hears of scopes opened, closed and leaking in this process: nobody, or the plugin."""

    def __init__(self) -> None:
        self.open: list[Scope] = []
        self.leaks: list[tuple[Scope, Leak]] = []
        self.owner: Callable[[], object] = lambda: None

    def closed(self, scope: Scope) -> None:
        with contextlib.suppress(ValueError):
            self.open.remove(scope)

    def leaked(self, scope: Scope, leak: Leak) -> None:
        self.leaks.append((scope, leak))


_watch = Watch()


def watch() -> Watch:
    """The scopes open in this process and the leaks of those closed, since last asked."""
    return _watch


def _forget() -> None:
    _watch.open.clear()
    _watch.leaks.clear()


forks.in_child(_forget)

__all__ = ["Leak", "Part", "Scope", "Watch", "watch"]

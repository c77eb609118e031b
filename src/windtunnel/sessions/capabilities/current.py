"""Which context is current, and how it goes along to where work goes.

It is a context variable: a task has the context that was current where it was made, and
``asyncio.to_thread`` and anyio's worker threads take it along. ``loop.run_in_executor``,
``ThreadPoolExecutor.submit`` and ``threading.Thread`` do not: work there has no context, which
allows nothing, unless it is taken along with :func:`carry` or :class:`CarryingThreadPool`.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from windtunnel.sessions.capabilities.violation import caller

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities.context import CapabilityContext
    from windtunnel.sessions.capabilities.token import CapabilityToken

P = ParamSpec("P")
T = TypeVar("T")

_current: contextvars.ContextVar[CapabilityContext] = contextvars.ContextVar("capabilities")
_entered_from: contextvars.ContextVar[tuple[str, int] | None] = contextvars.ContextVar(
    "capabilities_entered_from", default=None
)
_nothing: CapabilityContext


def settle(nothing: CapabilityContext) -> None:
    """Say what is current where no scope was entered. Called once."""
    global _nothing
    _nothing = nothing


def current_context() -> CapabilityContext:
    """The context that is current here; one that allows nothing where no scope was entered.

    >>> current_context().allowed("fs.read", "/etc/passwd")
    False
    """
    return _current.get(_nothing)


def in_scope() -> bool:
    """Whether a scope was entered here."""
    return _current.get(_nothing) is not _nothing


def asked_from() -> tuple[str, int] | None:
    """File and line of the code that asks: the first frame outside windtunnel, or, in a thread
    that holds none, where the scope was entered."""
    return caller() or _entered_from.get()


class Scope(AbstractContextManager["CapabilityContext"]):
    """Makes a context the current one for a ``with`` block, and what was before it after that."""

    __slots__ = ("_before", "_context", "_tokens")

    def __init__(self, context: CapabilityContext) -> None:
        self._context = context

    def __enter__(self) -> CapabilityContext:
        self._before = (_current.get(_nothing), _entered_from.get())
        place = caller() or self._before[1]
        self._tokens = (_current.set(self._context), _entered_from.set(place))
        return self._context

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            _current.reset(self._tokens[0])
            _entered_from.reset(self._tokens[1])
        except ValueError:
            # Left in another contextvars.Context than entered, as an async fixture is.
            _current.set(self._before[0])
            _entered_from.set(self._before[1])


def carry(function: Callable[P, T]) -> Callable[P, T]:
    """The function, to be called anywhere under the context variables that are current here.

    For threads, executors and callbacks that would otherwise have no context, or the one of whoever
    calls them. A coroutine function stays one; of it the capability context alone is carried.

    >>> import threading
    >>> from windtunnel.sessions import CapabilityContext, CapabilityToken
    >>> seen = []
    >>> def work():
    ...     seen.append(current_context().name)
    >>> with CapabilityContext("mine").scope():
    ...     bare, carried = threading.Thread(target=work), threading.Thread(target=carry(work))
    ...     for thread in (bare, carried):
    ...         thread.start()
    ...         thread.join()
    >>> seen
    ['nothing', 'mine']
    """
    if inspect.iscoroutinefunction(function):
        return _carry_coroutine(function)
    captured = contextvars.copy_context()

    @functools.wraps(function)
    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        # A copy each, since one Context cannot be entered by two threads at a time.
        return captured.copy().run(function, *args, **kwargs)

    return carried


def _carry_coroutine(function: Callable[P, Any]) -> Callable[P, Any]:
    context = current_context()

    @functools.wraps(function)
    async def carried(*args: P.args, **kwargs: P.kwargs) -> Any:
        with Scope(context):
            return await function(*args, **kwargs)

    return carried


class CarryingThreadPool(ThreadPoolExecutor):
    """A thread pool whose work has the context variables of who submitted it.

    Given to a loop (``loop.set_default_executor``) it makes ``loop.run_in_executor`` carry too.

    >>> from windtunnel.sessions import CapabilityContext
    >>> with CarryingThreadPool(max_workers=1) as pool, CapabilityContext("mine").scope():
    ...     pool.submit(lambda: current_context().name).result()
    'mine'
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As ``ThreadPoolExecutor.submit``, in a copy of the context variables of here."""
        return super().submit(self.carried(fn), *args, **kwargs)

    def carried(self, fn: Callable[P, T]) -> Callable[P, T]:
        """What is submitted for a function. The loop of a simulated world, which runs a pool's work
        itself, asks for it."""
        context = contextvars.copy_context()
        return lambda *args, **kwargs: context.run(fn, *args, **kwargs)


class Capabilities:
    """The checker that asks whichever context is current. It has no state of its own.

    >>> from windtunnel.sessions import CapabilityChecker, CapabilityContext
    >>> checker = Capabilities()
    >>> isinstance(checker, CapabilityChecker)
    True
    >>> with checker.scope(CapabilityContext("root")) as root:
    ...     token = root.grant("mail.send")
    ...     checker.allowed("mail.send")
    True
    """

    __slots__ = ()

    def scope(self, context: CapabilityContext) -> AbstractContextManager[CapabilityContext]:
        """Make ``context`` the current one for the block, and for the work it starts."""
        return Scope(context)

    def child(self, name: str, tokens: Iterable[CapabilityToken] = ()) -> CapabilityContext:
        """A context below the current one, which may only narrow it."""
        return current_context().child(name, tokens)

    def allowed(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        *,
        operation: str = "",
        size: int = 0,
    ) -> bool:
        """Whether that could be used now. Uses nothing up and records nothing."""
        return current_context().allowed(capability, resource, operation=operation, size=size)

    def use(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        *,
        operation: str = "",
        size: int = 0,
    ) -> None:
        """Use it once.

        :raises CapabilityDenied: where it may not be used; the refusal is on record.
        """
        current_context().use(capability, resource, operation=operation, size=size)

    def revoke(self, token: CapabilityToken | str) -> None:
        """Take a token, or every token of a type, back, wherever it was handed on to."""
        current_context().revoke(token)


__all__ = [
    "Capabilities",
    "CarryingThreadPool",
    "Scope",
    "asked_from",
    "carry",
    "current_context",
    "in_scope",
    "settle",
]

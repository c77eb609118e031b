"""Running what is async from code that is not, whether or not an event loop runs in the thread."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Generic, TypeVar

from windtunnel.core.errors import MissingExtraError

T = TypeVar("T")


class Settled(Generic[T]):
    """What an assertion found, for who looks at it and for who awaits it.

    >>> Settled(42).value
    42
    """

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Settled({self.value!r})"

    def __await__(self) -> Generator[Any, None, T]:
        yield from ()
        return self.value


def blocking(work: Callable[[], Awaitable[T]]) -> T:
    """Run ``work`` to its end in an event loop of its own: in this thread where none runs in it,
    else in another thread, which has this one's context variables.

    :raises MissingExtraError: where anyio is not installed.

    >>> async def work():
    ...     return 42
    >>> blocking(work)
    42
    """
    try:
        import anyio
    except ImportError as error:
        raise MissingExtraError("sessions", needed_for="running guest code") from error

    async def main() -> T:
        return await work()

    if not _loop_runs():
        return anyio.run(main)
    ended: list[T] = []
    raised: list[BaseException] = []

    def elsewhere() -> None:
        sniffio: Any = sys.modules.get("sniffio")
        if sniffio is not None:
            sniffio.current_async_library_cvar.set(None)  # which says that a loop runs here
        try:
            ended.append(anyio.run(main))
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(elsewhere,))
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
    return ended[0]


def _loop_runs() -> bool:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return True
    return asyncio._get_running_loop() is not None


__all__ = ["Settled", "blocking"]

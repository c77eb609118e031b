"""A coroutine step by step: where it waits, it can be cancelled, or kept waiting longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Literal, TypeAlias

from windtunnel.laws.base import Backend

Ended: TypeAlias = Literal["completed", "cancelled", "hung"]


class Steps:
    """Awaits something, and tells of each place where it waits.

    :param work: what is awaited.
    :param at: called with 1, 2, ... each time it is about to wait.
    :param linger: how many turns of the loop it is kept waiting longer, at each of those places.
    :ivar count: how many times it waited.
    """

    def __init__(
        self,
        work: Awaitable[Any],
        at: Callable[[int], object] = lambda count: None,
        linger: Sequence[int] = (),
        turn: Callable[[], Generator[Any, Any, Any]] | None = None,
    ) -> None:
        self._work = work
        self._at = at
        self._linger = linger
        self._turn = turn or _turn
        self.count = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner: Any = self._work.__await__()
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                waits_for = inner.send(value) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            self.count += 1
            self._at(self.count)
            value, error = None, None
            try:
                value = yield waits_for
                for _ in range(self._turns()):
                    yield from self._turn()
            except BaseException as thrown:  # a cancellation, as a rule: it is the work's
                error = thrown

    def _turns(self) -> int:
        return self._linger[self.count - 1] if self.count <= len(self._linger) else 0


def _turn() -> Generator[Any, Any, Any]:
    yield


def turn_of(backend: Backend) -> Callable[[], Generator[Any, Any, Any]]:
    """What waits for one turn of that backend's loop, from inside ``__await__``."""
    if backend == "asyncio":
        return _turn
    import trio

    def turn() -> Generator[Any, Any, Any]:
        work: Any = trio.lowlevel.cancel_shielded_checkpoint().__await__()
        return work  # type: ignore[no-any-return]

    return turn


async def cancelled_at(
    step: int, work: Awaitable[Any], backend: Backend, within_s: float
) -> tuple[Ended, int]:
    """Await something and cancel it at its ``step``-th wait.

    :param within_s: seconds that it may take to end.
    :returns: how it ended, and how often it had waited. What it raises itself counts as completed.
    """
    if backend == "trio":
        return await _on_trio(step, work, within_s)
    loop = asyncio.get_running_loop()
    stepped = Steps(work, lambda count: loop.call_soon(task.cancel) if count == step else None)
    task = loop.create_task(as_coroutine(stepped))
    await asyncio.wait({task}, timeout=within_s)
    if not task.done():
        task.cancel()
        return "hung", stepped.count
    if task.cancelled():
        return "cancelled", stepped.count
    task.exception()  # looked at: the loop does not complain of it
    return "completed", stepped.count


async def _on_trio(step: int, work: Awaitable[Any], within_s: float) -> tuple[Ended, int]:
    import trio

    limit, scope = trio.move_on_after(within_s), trio.CancelScope()
    stepped = Steps(work, lambda count: scope.cancel() if count == step else None)
    with limit, scope:
        try:
            await stepped
        except Exception:
            return "completed", stepped.count
    if limit.cancelled_caught:
        return "hung", stepped.count
    return ("cancelled" if scope.cancelled_caught else "completed"), stepped.count


async def within(work: Awaitable[Any], seconds: float, backend: Backend) -> bool:
    """Await something for so many seconds at most; whether it ended by itself.

    What it raises is raised.
    """
    if backend == "trio":
        import trio

        with trio.move_on_after(seconds) as scope:
            await work
        return not scope.cancelled_caught
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=seconds)
        return False
    task.result()
    return True


async def together(works: Sequence[Awaitable[Any]], backend: Backend) -> None:
    """Await several at once."""
    if backend == "trio":
        import trio

        try:
            async with trio.open_nursery() as nursery:
                for work in works:
                    nursery.start_soon(as_coroutine, work)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # as asyncio has it
        return
    await asyncio.gather(*works)


async def as_coroutine(work: Awaitable[Any]) -> Any:
    """An awaitable as a coroutine."""
    return await work


async def pause(seconds: float, backend: Backend | None) -> None:
    """Wait in the loop that runs; without one, in the thread."""
    if backend is None:
        from windtunnel.core.clock import REAL_CLOCK

        REAL_CLOCK.sleep(seconds)
    elif backend == "trio":
        import trio

        await trio.sleep(seconds)
    else:
        await asyncio.sleep(seconds)

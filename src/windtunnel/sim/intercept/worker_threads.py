"""anyio's worker threads: functions that run in one step instead.

``anyio.to_thread.run_sync`` (Starlette's plain endpoints and files go through it) keeps threads of
its own instead of the loop's executor. Inside a world it goes the executor's way: the function
runs in this thread, in one step at a drawn later time.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import sys
from collections.abc import Callable
from threading import get_ident
from typing import Any

from windtunnel.sim import inside

_NAME = "run_sync_in_worker_thread"
_done = False


def put() -> None:
    """From now on they do, where anyio is there and the caller is inside a world."""
    global _done
    if _done or "anyio" not in sys.modules:
        return
    _done = True
    # anyio imports it when it is first used, which must not be in one run only.
    backend: Any = importlib.import_module("anyio._backends._asyncio")
    cls = backend.AsyncIOBackend
    real = getattr(cls, _NAME, None)
    if real is not None:
        setattr(cls, _NAME, classmethod(_going_through_the_loop(backend, real.__func__)))


def _going_through_the_loop(backend: Any, real: Callable[..., Any]) -> Callable[..., Any]:
    async def run_sync_in_worker_thread(
        cls: Any,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        abandon_on_cancel: bool = False,
        limiter: Any = None,
    ) -> Any:
        if inside.world is None or get_ident() != inside.thread:
            return await real(cls, func, args, abandon_on_cancel, limiter)
        await cls.checkpoint()
        async with limiter or cls.current_default_thread_limiter():
            with backend.CancelScope(shield=not abandon_on_cancel):
                context = contextvars.copy_context()
                work = functools.partial(context.run, func, *args)
                return await asyncio.get_running_loop().run_in_executor(None, work)

    return run_sync_in_worker_thread

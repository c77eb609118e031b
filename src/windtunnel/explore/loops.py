"""While a world is armed, a new event loop is the world's, whoever asks asyncio for one.

``asyncio.new_event_loop``, ``asyncio.run``, the policy and every ``loop_factory`` end in the class
``SelectorEventLoop``; what is exchanged is the making of its objects, so that names bound before
us are caught too. Outside of a world all is as before.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.sim import inside
from windtunnel.sim.errors import DeadlockError, StallError
from windtunnel.sim.loop import SimLoop, new_loop


class ForeignLoopError(UsageError):
    """A simulated test is told to run on another loop than the world's."""


_STOCK: tuple[type, ...] = (asyncio.SelectorEventLoop, selector_events.BaseSelectorEventLoop)

before_close: Callable[[SimLoop], None] | None = None
"""Called with the loop of an ``asyncio.Runner`` that is about to cancel what is left on it."""

close_failed: Callable[[DeadlockError | StallError], None] | None = None
"""Called when that could not be done: cleaning up never fails a test."""

_installed = False


def install() -> None:
    """Once in a process, before its first world."""
    global _installed
    if _installed:
        return
    _installed = True
    base: Any = selector_events.BaseSelectorEventLoop
    base.__new__ = _new_selector_loop
    runner: Any = asyncio.Runner
    runner._lazy_init = _checking(runner._lazy_init)
    runner.close = _announcing(runner.close)


def refuse_foreign_loops() -> None:
    """Before a world is armed: what would keep its loop from being used.

    :raises ForeignLoopError: inside a running loop, or under a loop that is not asyncio's own.
    """
    if asyncio._get_running_loop() is not None:
        raise ForeignLoopError(
            "an event loop is already running in this thread",
            fix="run pytest outside of any loop; a simulated test makes its own",
        )
    policy = _policy()
    if policy is not None and _is_foreign(type(policy)):
        raise _foreign(f"the event loop policy {_name(type(policy))}")


def _new_selector_loop(cls: Any, *args: Any, **kwargs: Any) -> Any:
    if inside.armed is None:
        return object.__new__(cls)
    if cls not in _STOCK:
        raise _foreign(f"the event loop class {_name(cls)}")
    return new_loop()


def _checking(lazy_init: Callable[[Any], None]) -> Callable[[Any], None]:
    """``Runner._lazy_init``, which calls the ``loop_factory``, whatever that is."""

    def _lazy_init(self: Any) -> None:
        lazy_init(self)
        loop = self._loop
        if inside.armed is not None and not isinstance(loop, SimLoop):
            loop.close()
            raise _foreign(f"a loop_factory that makes {_name(type(loop))}")

    return _lazy_init


def _announcing(close: Callable[[Any], None]) -> Callable[[Any], None]:
    def announcing(self: Any) -> None:
        loop = getattr(self, "_loop", None)
        if before_close is not None and isinstance(loop, SimLoop) and not loop.is_closed():
            before_close(loop)
        try:
            close(self)
        except (DeadlockError, StallError) as error:
            if close_failed is None:
                raise
            close_failed(error)

    return announcing


def _policy() -> object | None:
    if sys.version_info >= (3, 14):  # deprecated there, and no longer what makes loops
        return None
    return asyncio.get_event_loop_policy()


def _is_foreign(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in ("uvloop", "winloop", "rloop", "tokio")


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _foreign(found: str) -> ForeignLoopError:
    return ForeignLoopError(
        "a simulated test runs on the simulated event loop",
        found=found,
        fix="leave the choice of a loop to asyncio in simulated tests",
    )

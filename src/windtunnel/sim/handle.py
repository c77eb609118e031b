"""Handles: one callback to be run once, on one node."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.sim.node import Node


class Handle:
    """What ``call_soon`` gives back: asyncio's Handle with a node.

    It is not asyncio's class because that one's constructor alone costs a third of a step.
    """

    __slots__ = ("__weakref__", "_args", "_callback", "_context", "node")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        node: Node,
    ) -> None:
        self._callback: Callable[..., object] | None = callback
        self._args = args
        self._context = context
        self.node = node

    def cancel(self) -> None:
        """Do not run it."""
        self._callback = None
        self._args = ()

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._callback is None

    def get_context(self) -> contextvars.Context:
        """The context it runs in."""
        return self._context

    def __repr__(self) -> str:
        what = "cancelled" if self._callback is None else repr(self._callback)
        return f"<{type(self).__name__} on {self.node.name} {what}>"


class Step(Handle):
    """A step of a task."""

    __slots__ = ()


class TimerHandle(Handle):
    """What ``call_later`` and ``call_at`` give back."""

    __slots__ = ("_when", "when_ns")

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
        node: Node,
        when: float,
        when_ns: int,
    ) -> None:
        super().__init__(callback, args, context, node)
        self._when = when
        self.when_ns = when_ns

    def when(self) -> float:
        """The time it was set for, in seconds of its node's monotonic clock."""
        return self._when

    def cancel(self) -> None:
        """Do not run it."""
        if self._callback is not None:
            super().cancel()
            self.node.world.timer_cancelled()


class Lane(deque[Handle]):
    """Plain callbacks of one node, which run in the order in which they were registered.

    Between them, steps of tasks that were registered after them: a step at the head can run at
    any time, so :meth:`release` takes it out.
    """

    __slots__ = ("node",)

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node = node

    def release(self, ready: list[Any]) -> None:
        """Let the steps that are at the head now run when they are chosen."""
        while self and type(self[0]) is Step:
            ready.append(self.popleft())

    def __hash__(self) -> int:  # type: ignore[override]
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

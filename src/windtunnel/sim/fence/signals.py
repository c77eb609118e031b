"""Signals inside a simulated step belong to the node, which is a process of its own.

``signal.signal`` sets what `Node.signal` and `Node.stop` call, as ``loop.add_signal_handler``
does; the process's own handlers stay as they are. What a program sends to itself reaches its own
handler. The default action of a signal (as a rule, to end the process) is only noted: it is what a
server does to itself as its last act.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import TYPE_CHECKING, Any

from windtunnel.sim import inside
from windtunnel.sim.fence.refusal import escape

if TYPE_CHECKING:
    from windtunnel.sim.world import World

Real = Callable[..., Any]
Makes = Callable[[Real], Real]


class Handler:
    """What ``signal.signal`` was given, in the form in which a node keeps it."""

    __slots__ = ("action", "number")

    def __init__(self, number: int, action: Any) -> None:
        self.number = number
        self.action = action

    def __call__(self) -> object:
        if callable(self.action):
            return self.action(self.number, None)
        return None


def _action(world: World, number: int) -> Any:
    """What ``signal.getsignal`` answers on that node."""
    known = world.node.signal_handlers.get(number)
    if isinstance(known, Handler):
        return known.action
    return signal.default_int_handler if number == signal.SIGINT else int(signal.SIG_DFL)


def _signal(real: Real) -> Real:
    def set_signal(number: Any, action: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(number, action)
        if not callable(action) and action not in (signal.SIG_DFL, signal.SIG_IGN):
            return real(number, action)  # which raises
        before = _action(world, number)
        if action == signal.SIG_DFL or action is signal.default_int_handler:
            world.node.signal_handlers.pop(number, None)
        else:
            world.node.signal_handlers[number] = Handler(number, action)
        return before

    return set_signal


def _getsignal(real: Real) -> Real:
    def getsignal(number: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(number)
        return _action(world, number)

    return getsignal


def _raise_signal(real: Real) -> Real:
    def raise_signal(number: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(number)
        return _deliver(world, number)

    return raise_signal


def _kill(real: Real) -> Real:
    def kill(pid: Any, number: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(pid, number)
        if pid == os.getpid():
            return _deliver(world, number) if number else None
        raise escape(world, "a signal to a process", f"os.kill({pid}, {number})", "use node.signal")

    return kill


def _deliver(world: World, number: int) -> None:
    handler = world.node.signal_handlers.get(number)
    if handler is None:
        world.note("signal", number=int(number), action="default, not carried out")
    else:
        handler()


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Builtin functions about signals, and what makes their replacements."""
    import _signal as builtin_signal  # type: ignore[import-not-found]

    yield builtin_signal.signal, _signal
    yield builtin_signal.getsignal, _getsignal
    yield builtin_signal.raise_signal, _raise_signal
    yield os.kill, _kill

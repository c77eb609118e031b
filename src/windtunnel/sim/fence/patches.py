"""First ring: calls that are refused, or answered by the node, before they begin.

The second ring, the audit hook, would see most of these too; they are here where Python reports
nothing, where it reports too late to name the user's own call, or where a simulated answer exists.
"""

from __future__ import annotations

import _thread
import concurrent.futures
import os
import selectors
import signal
import subprocess
import sys
import threading
import types
from asyncio import events
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any, cast

from windtunnel.sim import inside
from windtunnel.sim.fence import signals
from windtunnel.sim.fence.refusal import blocked, escape
from windtunnel.sim.net import polling

Real = Callable[..., Any]
Makes = Callable[[Real], Real]

_PROCESS = "run a simulated node in its place (world.start), or stub the call in the test"
_WAIT = "use asyncio's streams; the loop does the waiting"
_THREAD = "await asyncio.to_thread(...), which the simulated world runs as a step of its own"
_AIO = "use an asyncio primitive (asyncio.Event, asyncio.Queue), or asyncio.to_thread"


def _refused(call: str, what: str, fix: str) -> Makes:
    """Makes a replacement that refuses every call from within a step."""

    def makes(real: Real) -> Real:
        def refused(*arguments: Any, **keywords: Any) -> Any:
            world = inside.world
            if world is None or get_ident() != inside.thread:
                return real(*arguments, **keywords)
            raise escape(world, what, f"{call}()", fix)

        return refused

    return makes


_BUILTINS: tuple[tuple[object, str, str, str], ...] = (
    (os, "_exit", "ending the process", "return from the test; node.crash() ends a node"),
    (os, "abort", "ending the process", "return from the test; node.crash() ends a node"),
    (os, "pipe", "a pipe of the operating system", _WAIT),
    (os, "pipe2", "a pipe of the operating system", _WAIT),
    (os, "eventfd", "a descriptor of the operating system", _WAIT),
    (os, "openpty", "a terminal of the operating system", _PROCESS),
    (os, "waitpid", "waiting for a process", _PROCESS),
    (os, "wait", "waiting for a process", _PROCESS),
    (_thread, "start_new_thread", "a thread", _THREAD),
    (_thread, "start_new", "a thread", _THREAD),
    (_thread, "start_joinable_thread", "a thread", _THREAD),
    (signal, "alarm", "a timer of the operating system", "use loop.call_later"),
    (signal, "setitimer", "a timer of the operating system", "use loop.call_later"),
    (signal, "pause", "waiting for a signal", "use loop.add_signal_handler and node.signal"),
    (signal, "set_wakeup_fd", "signals of the process", "use loop.add_signal_handler"),
    (signal, "sigwait", "waiting for a signal", "use loop.add_signal_handler and node.signal"),
    (signal, "pthread_kill", "a signal to a thread", "use node.signal"),
)


def _builtin(owner: object, name: str) -> Any:
    """The builtin of that name; `signal` wraps some of its own in Python."""
    found = getattr(owner, name, None)
    if isinstance(found, types.FunctionType):
        found = getattr(found, "__wrapped__", None) or getattr(
            sys.modules.get(f"_{owner.__name__}"),  # type: ignore[attr-defined]
            name,
            None,
        )
    return found if type(found) is types.BuiltinFunctionType else None


def replacements() -> Iterator[tuple[Real, Makes]]:
    """Builtin functions of the first ring, and what makes their replacements."""
    for owner, name, what, fix in _BUILTINS:
        function = _builtin(owner, name)
        if function is not None:
            call = f"{owner.__name__}.{name}"  # type: ignore[attr-defined]
            yield function, _refused(call, what, fix)
    yield from signals.replacements()
    yield from polling.replacements()


def _popen(real: Real) -> Real:
    def popen(self: Any, args: Any, *rest: Any, **keywords: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(self, args, *rest, **keywords)
        raise escape(world, "a process", f"subprocess {args!r}", _PROCESS)

    return popen


def _submit(real: Real) -> Real:
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(self, fn, *args, **kwargs)
        raise escape(
            world,
            "a thread or process of an executor",
            f"{type(self).__name__}.submit({fn!r})",
            "await loop.run_in_executor(None, ...), which runs as a step of its own",
        )

    return submit


def _condition_wait(real: Real) -> Real:
    def wait(self: Any, timeout: Any = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(self, timeout)
        raise blocked(world, "threading's wait", _AIO)

    return wait


def _join(real: Real) -> Real:
    def join(self: Any, timeout: Any = None) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread or not self.is_alive():
            return real(self, timeout)
        raise blocked(world, f"{self.name}.join()", _THREAD)

    return join


def _set_policy(real: Real) -> Real:
    def set_event_loop_policy(policy: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread:
            return real(policy)
        raise escape(
            world, "another event loop", f"asyncio.set_event_loop_policy({policy!r})",
            "leave the event loop to the simulated world",
        )  # fmt: skip

    return set_event_loop_policy


def code_replacements() -> Iterator[tuple[types.FunctionType, Makes]]:
    """Python functions of the first ring, and what makes their replacements."""
    yield _function(subprocess.Popen.__init__), _popen
    yield _function(concurrent.futures.ThreadPoolExecutor.submit), _submit
    yield _function(concurrent.futures.ProcessPoolExecutor.submit), _submit
    yield _function(threading.Condition.wait), _condition_wait
    yield _function(threading.Thread.join), _join
    yield _function(events.set_event_loop_policy), _set_policy
    # What waits by epoll or kqueue; select and poll know simulated sockets.
    poll_like = getattr(selectors, "_PollLikeSelector", None)
    if poll_like is not None:
        yield _function(poll_like.__init__), _kernel_selector
    kqueue = getattr(selectors, "KqueueSelector", None)
    if kqueue is not None:
        yield _function(kqueue.__init__), _kernel_selector


def _kernel_selector(real: Real) -> Real:
    def init(self: Any) -> Any:
        world = inside.world
        if world is None or get_ident() != inside.thread or type(self) is _POLL:
            return real(self)
        raise escape(
            world, "waiting for real descriptors", f"selectors.{type(self).__name__}()", _WAIT
        )

    return init


_POLL = getattr(selectors, "PollSelector", None)


def _function(found: Any) -> types.FunctionType:
    return cast("types.FunctionType", found)


# Packages with a native core of their own, refused when they are there.
_NATIVE = {
    "uvloop": ("new_event_loop", "run", "install"),
    "grpc.aio": ("insecure_channel", "secure_channel", "server"),
    "grpc": ("insecure_channel", "secure_channel", "server"),
}


def native_modules() -> frozenset[str]:
    """Names of the modules of which `native_replacements` knows something."""
    return frozenset(_NATIVE)


def native_replacements(module: str) -> Iterator[tuple[types.FunctionType, Makes]]:
    """Functions of one such module, which is imported, and what makes their replacements."""
    for name in _NATIVE[module]:
        function = getattr(sys.modules[module], name, None)
        if isinstance(function, types.FunctionType):
            yield (
                function,
                _refused(
                    f"{module}.{name}",
                    f"{module}, whose own native code does its input and output,",
                    "let the program use asyncio's own loop and sockets in simulated tests",
                ),
            )

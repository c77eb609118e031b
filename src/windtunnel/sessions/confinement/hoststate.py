"""What of the host process a guest must not change, and where its own output goes meanwhile."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_BUILTINS = ("len", "print", "open", "isinstance", "repr", "sorted", "ascii", "PermissionError")
_SIGNALS = (signal.SIGALRM, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class HostState:
    """A look at the host's state, to compare with a later one."""

    def __init__(self) -> None:
        self._builtins = {name: getattr(builtins, name) for name in _BUILTINS}
        self._functions = {name: getattr(json, name) for name in ("dumps", "loads")}
        self._cwd = os.getcwd()
        self._depth = sys.getrecursionlimit()
        self._path = list(sys.path)
        self._umask = _umask()
        self._environment = dict(os.environ)
        self._main = threading.current_thread() is threading.main_thread()
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def put_back(self) -> Iterator[str]:
        """Name every change, undone."""
        for module, kept in ((builtins, self._builtins), (json, self._functions)):
            for name, value in kept.items():
                if getattr(module, name, None) is not value:
                    setattr(module, name, value)
                    yield f"{module.__name__}.{name} was replaced"
        if os.getcwd() != self._cwd:
            os.chdir(self._cwd)
            yield "the working folder was changed"
        if sys.getrecursionlimit() != self._depth:
            sys.setrecursionlimit(self._depth)
            yield "the recursion limit was changed"
        if sys.path != self._path:
            sys.path[:] = self._path
            yield "sys.path was changed"
        if _umask() != self._umask:
            os.umask(self._umask)
            yield "the umask was changed"
        yield from self._put_back_environment()
        yield from self._put_back_signals()

    def _put_back_environment(self) -> Iterator[str]:
        now = dict(os.environ)
        changed = {name for name in {*now, *self._environment} - {"PYTEST_CURRENT_TEST"}
                   if now.get(name) != self._environment.get(name)}  # fmt: skip
        for name in sorted(changed):
            if name in self._environment:
                os.environ[name] = self._environment[name]
            else:
                del os.environ[name]
            yield f"the environment variable {name} was changed"

    def _put_back_signals(self) -> Iterator[str]:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) is not handler:
                if self._main and handler is not None:
                    signal.signal(number, handler)
                yield f"the handler of {number.name} was replaced"


def _umask() -> int:
    """As the kernel tells it (proc(5)): umask(2) tells it by changing it for a moment."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(one.split()[1], 8) for one in lines if one.startswith("Umask:")), 0)


class Streams:
    """How much was written to the process's own standard streams."""

    size = 0


@contextlib.contextmanager
def captured_streams(file: Path) -> Iterator[Streams]:
    """Send file descriptors 1 and 2 into ``file`` for the block: what an executor captures never
    gets there."""
    streams = Streams()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = {number: os.dup(number) for number in (1, 2)}
    target = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        for number in kept:
            os.dup2(target, number)
        yield streams
    finally:
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            if stream is not None and not stream.closed:
                stream.flush()
        streams.size = os.fstat(target).st_size
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(target)


__all__ = ["HostState", "Streams", "captured_streams"]

"""What runs in the cell of a ``process`` session: it executes code and keeps its names.

The cell is sent this file as text, beside :mod:`windtunnel.sessions.values`; it needs the
standard library alone. Code that it runs can do to it whatever it likes: nothing that it says is
believed by the owner. What the owner relies on is the sandbox around it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import io
import itertools
import os
import sys
import threading
import types
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from windtunnel.sandboxes.inside import Channel
    from windtunnel.sessions import values
else:
    try:
        import _windtunnel_values as values
    except ImportError:  # outside a cell, as where its documentation is read
        from windtunnel.sessions import values

_COMMAND = 0
"""The key under which commands are waited for; calls of host functions have others."""

_PROTOCOL_DEPTH = 12

_name_of: Any = type.__dict__["__name__"].__get__  # no property of a metaclass in its place


class OutputLimitError(BaseException):
    """More was printed than one run may print. Not an Exception, so that few handlers catch it."""


class CapabilityDenied(PermissionError):
    """A host function was refused."""


class Mailbox:
    """What came for whom: commands for the main thread, replies for whichever called.

    One of those that wait reads for all, and hands over when its own has come.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._mutex = threading.Lock()
        self._wanted: set[int] = set()
        self._arrived: dict[int, tuple[Any, ...]] = {}
        self._waiting: dict[int, threading.Lock] = {}
        self._somebody_reads = False

    def expect(self, key: int) -> None:
        """Keep what comes for ``key``; what nobody expects is dropped."""
        self._wanted.add(key)

    def fetch(self, key: int) -> tuple[Any, ...]:
        """Wait for what comes for ``key``. The caller holds interrupts; waiting lets them in."""
        try:
            while True:
                with self._mutex:
                    if key in self._arrived:
                        return self._arrived.pop(key)
                    reads = not self._somebody_reads
                    signal = threading.Lock()
                    if reads:
                        self._somebody_reads = True
                    else:
                        signal.acquire()
                        self._waiting[key] = signal
                if reads:
                    self._read_until(key)
                else:
                    self._wait(signal, interruptible=key != _COMMAND)
        finally:
            with self._mutex:
                self._wanted.discard(key)
                self._arrived.pop(key, None)
                self._waiting.pop(key, None)
                self._wake_a_reader()

    def _read_until(self, key: int) -> None:
        interruptible = key != _COMMAND
        try:
            while key not in self._arrived:
                message = values.decode(self._channel.receive(interruptible=interruptible))
                self._deliver(message)
        finally:
            with self._mutex:
                self._somebody_reads = False

    def _deliver(self, message: tuple[Any, ...]) -> None:
        kind, key = message[0], message[1]
        if kind != "reply":
            key = _COMMAND
        with self._mutex:
            if key in self._wanted:
                self._arrived[key] = message
                if (signal := self._waiting.pop(key, None)) is not None:
                    signal.release()

    def _wait(self, signal: threading.Lock, *, interruptible: bool) -> None:
        interrupts = self._channel.interrupts
        if not interruptible:  # between two runs nobody is there to be interrupted
            signal.acquire()
            return
        try:
            interrupts.allow()
            signal.acquire()
        finally:
            interrupts.hold()

    def _wake_a_reader(self) -> None:
        if not self._somebody_reads and self._waiting:
            _key, signal = self._waiting.popitem()
            signal.release()


class Host:
    """Calls the owner's functions, from any thread."""

    def __init__(self, channel: Channel, mailbox: Mailbox) -> None:
        self._channel = channel
        self._mailbox = mailbox
        self._keys = itertools.count(_COMMAND + 1)

    def function(self, name: str) -> Callable[..., Any]:
        """A function that calls the owner's function of that name."""

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._call(name, args, kwargs)

        call.__name__ = call.__qualname__ = name
        call.__doc__ = "A function of the host, guarded there."
        return call

    def _call(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        arguments = values.encode((args, kwargs))
        interrupts = self._channel.interrupts
        was_held = interrupts.hold()
        try:
            key = next(self._keys)
            self._mailbox.expect(key)
            self._channel.send(values.encode(("call", key, name, arguments)))
            _kind, _key, ok, payload = self._mailbox.fetch(key)
        finally:
            interrupts.allow(was_held)
        if ok:
            return values.decode(payload)
        raise _error(*values.decode(payload))


def _error(name: str, message: str) -> Exception:
    """The host's exception as one of the guest: of the same name, built in where there is one."""
    if name == "CapabilityDenied":
        return CapabilityDenied(message)
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            error: Exception = known(message)
            return error
        except TypeError:
            pass  # it wants more than a message
    unknown: Exception = type(name, (Exception,), {})(message)
    return unknown


class _Printed(io.RawIOBase):
    """Standard output and error: written at once, counted together."""

    def __init__(self, room: Room, fd: int) -> None:
        self._room = room
        self._fd = fd

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        return self._fd

    def write(self, data: Any) -> int:
        data = bytes(data)
        fits = self._room.take(len(data))
        rest = memoryview(data)[:fits]
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        if fits < len(data):
            raise OutputLimitError(f"more than {self._room.size} bytes were printed")
        return len(data)


class Room:
    """Bytes that may still be printed."""

    def __init__(self) -> None:
        self.size = self._left = 0
        self._mutex = threading.Lock()

    def reset(self, size: int) -> None:
        """A new run may print ``size`` bytes."""
        self.size = self._left = size

    def take(self, wanted: int) -> int:
        """How many of them may be printed."""
        with self._mutex:
            taken = min(wanted, self._left)
            self._left -= taken
            return taken


def _stream(room: Room, fd: int) -> io.TextIOWrapper:
    raw: Any = _Printed(room, fd)
    return io.TextIOWrapper(
        raw, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True
    )


class Guest:
    """Runs what the owner commands, one command after another."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._mailbox = Mailbox(channel)
        self._host = Host(channel, self._mailbox)
        self._room = Room()
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        self._names = module.__dict__
        self._names.update(CapabilityDenied=CapabilityDenied)
        sys.stdin = io.StringIO()
        sys.stdout = _stream(self._room, 1)
        sys.stderr = _stream(self._room, 2)

    def serve(self) -> None:
        """Obey until the owner is gone."""
        while True:
            self._mailbox.expect(_COMMAND)
            command = self._mailbox.fetch(_COMMAND)
            self._channel.send(values.encode(self._obey(*command)))

    def _obey(
        self, kind: str, key: int, limits: tuple[int | None, int, bool], *rest: Any
    ) -> tuple[Any, ...]:
        if limits[2]:  # one may have come after the last result; else it is meant for this one
            self._channel.interrupts.forget()
        recursion, output, _ = limits
        self._room.reset(output)
        if recursion is not None:
            # What lies below the guest's first frame is not the guest's.
            sys.setrecursionlimit(recursion + _depth() + _PROTOCOL_DEPTH)
        before = set(threading.enumerate())
        commands: dict[str, Callable[..., Any]] = {
            "host": self._define_host,
            "run": self._run,
            "call": self._call,
            "assign": self._assign,
        }
        ok, payload, name, message = self._guarded(commands[kind], rest)
        left = len([thread for thread in threading.enumerate() if thread not in before])
        return ("result", key, ok, payload, name, message, left)

    def _guarded(
        self, work: Callable[..., Any], rest: tuple[Any, ...]
    ) -> tuple[bool, bytes, str, str]:
        """What came of it. Interrupts are let in for as long as the guest's own code may run."""
        interrupts = self._channel.interrupts
        try:
            try:
                try:
                    interrupts.allow()
                    return True, values.encode(work(*rest)), "", ""
                except BaseException as error:
                    name = _exact(_name_of(type(error)))
                    try:
                        return False, b"", name, _exact(str(error))
                    except Exception:  # its __str__ is the guest's own
                        return False, b"", name, ""
            finally:
                interrupts.forget()  # and one may come in here
        except BaseException as late:
            return False, b"", _exact(_name_of(type(late))), ""

    def _define_host(self, functions: Sequence[str]) -> None:
        self._names.update((name, self._host.function(name)) for name in functions)

    def _run(self, code: str, inputs: bytes) -> Any:
        self._names.update(values.decode(inputs))
        tree = ast.parse(code, "<session>")
        has_value = bool(tree.body) and isinstance(tree.body[-1], ast.Expr)
        if has_value:
            last: Any = tree.body[-1]
            target = ast.copy_location(ast.Name(_VALUE, ast.Store()), last)
            tree.body[-1] = ast.copy_location(ast.Assign([target], last.value), last)
        compiled = compile(tree, "<session>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        try:
            outcome = eval(compiled, self._names)
            if inspect.iscoroutine(outcome):
                _awaited(outcome)
            return self._names.get(_VALUE)
        finally:
            self._names.pop(_VALUE, None)

    def _call(self, function: str, arguments: bytes) -> Any:
        if function not in self._names:
            raise NameError(f"name {function!r} is not defined")
        args, kwargs = values.decode(arguments)
        outcome = self._names[function](*args, **kwargs)
        return _awaited(outcome) if inspect.iscoroutine(outcome) else outcome

    def _assign(self, name: str, value: bytes) -> None:
        self._names[name] = values.decode(value)


_VALUE = "__value__"


def _awaited(coroutine: Any) -> Any:
    import asyncio

    return asyncio.run(coroutine)


def _exact(text: object) -> str:
    """A str of that very type: a subclass would not cross."""
    return str.__str__(text) if isinstance(text, str) else ""


def _depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame.f_back is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def serve(channel: Channel) -> None:
    """The entry of the program."""
    Guest(channel).serve()


__all__ = ["serve"]

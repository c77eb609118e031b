"""The engine ``starlark``: starlark-pyo3, in a cell of the process sandbox.

Starlark is a small dialect of Python without classes, exceptions, imports and ``while``. The
library holds the GIL while it evaluates, so in this process nothing could end an endless loop; it
works in a cell, of which the owner's side is that of the process engine.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core.errors import MissingExtraError
from windtunnel.sandboxes import Program
from windtunnel.sessions import values
from windtunnel.sessions.engines import rewriting
from windtunnel.sessions.engines.naming import name_checked
from windtunnel.sessions.engines.outcome import crossable
from windtunnel.sessions.engines.process import ProcessGuest
from windtunnel.sessions.engines.shared import SharedSandbox
from windtunnel.sessions.errors import GuestError
from windtunnel.sessions.protocol import ExecResult, HostCall, Limits

# What Rust says, in two of its ways, before it ends a process that gets no memory.
_NO_MEMORY = re.compile(
    r"(memory allocation of \d+ bytes failed|\n?thread [^\n]* panicked at [^\n]*\nout of memory)"
    r".*\Z",
    re.S,
)
_KEYS = (type(None), bool, int, float, str)


class StarlarkGuest:
    """One session's place in a cell; see :class:`windtunnel.sessions.protocol.Guest`.

    :param functions: names of the host functions.
    """

    def __init__(self, functions: Sequence[str] = ()) -> None:
        for name in functions:
            name_checked(name, "a host function's name")
        self._process = ProcessGuest(functions, sandbox=_SANDBOX.get())

    @property
    def isolation(self) -> str:
        """What keeps its code in, in one sentence that names what does not."""
        return f"a language without files, network or imports, {self._process.isolation}"

    def run(
        self, code: str, *, inputs: Mapping[str, Any], limits: Limits, host: HostCall
    ) -> ExecResult:
        """Run code, keep its names."""
        given = {
            name_checked(name, "an input's name"): holdable(value, name)
            for name, value in inputs.items()
        }
        return _named(self._process.run(code, inputs=given, limits=limits, host=_checked(host)))

    def call(
        self,
        function: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        limits: Limits,
        host: HostCall,
    ) -> ExecResult:
        """Call a function that earlier code defined."""
        name_checked(function, "a function's name")
        holdable(list(args), "args")
        holdable(dict(kwargs), "kwargs")
        result = self._process.call(function, args, kwargs, limits=limits, host=_checked(host))
        return _named(result)

    def assign(self, name: str, value: Any) -> None:
        """Bind a name."""
        try:
            self._process.assign(name_checked(name), holdable(value, name))
        except GuestError as error:
            if error.error_type != "ValueCrossingError":
                raise
            raise values.ValueCrossingError(
                "a value cannot cross to or from a guest", found=error.message
            ) from None

    def reset(self) -> None:
        """Forget every name: the next run has a fresh process."""
        self._process.reset()

    def interrupt(self) -> None:
        """End what runs now, for certain; returns at once."""
        self._process.interrupt()

    def close(self) -> None:
        """End its process. Twice is allowed."""
        self._process.close()


def _checked(host: HostCall) -> HostCall:
    def call(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        return holdable(host(name, args, kwargs), f"the value of {name}")

    return call


def holdable(value: Any, called: str = "value") -> Any:
    """The value itself, where Starlark can hold it: what it has no type for is no key there.

    :raises ValueCrossingError: where it cannot.
    """
    crossable(value, called)
    todo = [value]
    while todo:
        item = todo.pop()
        if type(item) is dict:
            for key in item:
                _refuse_opaque(key, called)
            todo += item.values()
        elif type(item) in (list, tuple):
            todo += [member for member in item if type(member) in (list, tuple, dict)]
    return value


def _refuse_opaque(key: object, called: str) -> None:
    todo = [key]
    while todo:
        part = todo.pop()
        if type(part) is tuple:
            todo += part
        elif type(part) not in _KEYS:
            what = type(part).__name__
            raise values.refused(f"a key in {called}", f"a {what}, which Starlark has no type for")


def _named(result: ExecResult) -> ExecResult:
    if result.error_type != "GuestDiedError":
        return result
    shorter, died_of_memory = _NO_MEMORY.subn("", result.output)
    if not died_of_memory:
        return result
    error = result.error.replace("its process has ended", "it wanted more memory than it may have")
    return dataclasses.replace(result, output=shorter, error_type="MemoryError", error=error)


def program() -> Program:
    """What a cell of this engine runs.

    :raises MissingExtraError: where starlark-pyo3 is not installed.
    """
    found = importlib.util.find_spec("starlark")
    if found is None or found.origin is None:
        raise MissingExtraError("sessions", needed_for="the engine starlark")
    guest = Path(__file__).with_name("starlark_guest.py")
    return Program(
        (
            ("_windtunnel_values", _text(values.__file__)),
            ("_windtunnel_rewriting", _text(rewriting.__file__)),
            ("_windtunnel_starlark_guest", _text(guest)),
        ),
        "_windtunnel_starlark_guest:serve",
        (Path(found.origin).parent,),
    )


def _text(path: str | Path | None) -> str:
    assert path is not None
    return Path(path).read_text(encoding="utf-8")


_SANDBOX = SharedSandbox(program)

__all__ = ["StarlarkGuest", "program"]

"""The ``process`` engine: CPython itself, in a cell of the process sandbox.

The guest is a whole Python with the standard library, in a process that can reach nothing; host
functions are messages to this side, which is where they are guarded. Between runs the cell is
frozen, so that no thread of the guest goes on unasked. A run that is over its time is asked to
stop as by Ctrl-C; where that does not end it at once, the cell is killed and the next run has a
fresh one.
"""

from __future__ import annotations

import codecs
import dataclasses
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.core import REAL_CLOCK
from windtunnel.sandboxes import Cell, CellDiedError, CellLimits, ProcessSandbox, Program
from windtunnel.sessions import values
from windtunnel.sessions.engines.process_calls import HostCalls
from windtunnel.sessions.engines.process_messages import Result, parsed
from windtunnel.sessions.engines.shared import SharedSandbox
from windtunnel.sessions.errors import GuestError, SessionClosedError
from windtunnel.sessions.protocol import ExecResult, HostCall, Limits, Timings

_GRACE_S = 0.25
"""Seconds from the request to stop until the cell is killed."""
_SETTING_UP = Limits(timeout_s=10.0)
_THREADS = 64
_keys = itertools.count(1)
_LOST = "its process was ended and its names are lost"
_HERE = Path(__file__)


def program() -> Program:
    """What a cell of this engine runs."""
    return Program(
        (
            ("_windtunnel_values", Path(values.__file__).read_text(encoding="utf-8")),
            ("_windtunnel_guest", _HERE.with_name("process_guest.py").read_text(encoding="utf-8")),
        ),
        "_windtunnel_guest:serve",
    )


class ProcessGuest:
    """A guest in a process of its own; see :class:`windtunnel.sessions.protocol.Guest`.

    The memory limit is that of the run that starts the process; it holds until :meth:`reset`.

    :param functions: names of the host functions.
    :param sandbox: where its cells come from; the one of this process where not given. It runs
        :func:`program`.

    >>> guest = ProcessGuest(["double"])
    >>> guest.run(
    ...     "n = double(k)\\nprint('doubled')\\nn + 1", inputs={"k": 20}, limits=Limits(),
    ...     host=lambda name, args, kwargs: args[0] * 2,
    ... ).value
    41
    >>> guest.close()
    """

    def __init__(self, functions: Sequence[str] = (), *, sandbox: ProcessSandbox | None = None):
        self._functions = list(functions)
        self._given = sandbox
        self._cell: Cell | None = None
        self._interrupted = False
        self._asked_to_stop = False
        self._active = False
        self._running = threading.Lock()
        self._state = threading.Lock()
        self._closed = False

    @property
    def isolation(self) -> str:
        """What keeps its code in, in one sentence that names what does not."""
        return self._sandbox().isolation

    def run(
        self, code: str, *, inputs: Mapping[str, Any], limits: Limits, host: HostCall
    ) -> ExecResult:
        """Run code, keep its names."""
        return self._carry_out(("run", code, values.encode(dict(inputs))), limits, host)

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
        arguments = values.encode((tuple(args), dict(kwargs)))
        return self._carry_out(("call", function, arguments), limits, host)

    def assign(self, name: str, value: Any) -> None:
        """Bind a name.

        :raises GuestError: where the guest cannot take it, as for want of memory.
        """
        command = ("assign", name, values.encode(value))
        result = self._carry_out(command, _SETTING_UP, _no_host)
        if not result.ok:
            raise GuestError(result.error_type, result.error)

    def reset(self) -> None:
        """Forget every name: the next run has a fresh process."""
        self._end_cell()

    def interrupt(self) -> None:
        """End what runs now, for certain; returns at once."""
        with self._state:
            if not self._active:
                return
            self._interrupted = True
        cell = self._cell
        if cell is not None:  # else it is being started, and looked for an interrupt then
            cell.wake()

    def close(self) -> None:
        """End its process. Twice is allowed."""
        self._closed = True
        self._end_cell()

    def _sandbox(self) -> ProcessSandbox:
        return self._given or _SANDBOX.get()

    def _end_cell(self) -> None:
        cell, self._cell = self._cell, None
        if cell is not None:
            cell.close()

    def _carry_out(self, command: tuple[Any, ...], limits: Limits, host: HostCall) -> ExecResult:
        if self._closed:
            raise SessionClosedError("the guest is closed")
        with self._running:
            self._set_active(True)
            try:
                return self._timed(command, limits, host)
            except BaseException:
                self._end_cell()  # Ctrl-C here: what runs there is nobody's any more
                raise
            finally:
                self._set_active(False)
                if self._closed:  # meanwhile; it may have come before the cell
                    self._end_cell()

    def _set_active(self, active: bool) -> None:
        with self._state:
            self._active, self._interrupted = active, False

    def _timed(self, command: tuple[Any, ...], limits: Limits, host: HostCall) -> ExecResult:
        began = REAL_CLOCK.monotonic()
        if self._cell is None:
            died = self._start(limits)
            if died is not None:
                return died
        cell = self._cell
        if cell is None:
            raise SessionClosedError("the guest was closed")
        started = REAL_CLOCK.monotonic()
        run = _Run(cell, limits, host, lambda: self._interrupted)
        result = run.result(command, after_a_stop=self._asked_to_stop)
        self._asked_to_stop = run.asked_to_stop
        if run.lost:
            self._end_cell()
        ended = REAL_CLOCK.monotonic()
        return dataclasses.replace(
            result, timings=Timings(start_s=started - began, run_s=ended - started)
        )

    def _start(self, limits: Limits) -> ExecResult | None:
        cell = self._sandbox().start(CellLimits(memory_mb=limits.memory_mb, threads=_THREADS))
        run = _Run(cell, _SETTING_UP, _no_host, lambda: False)
        result = run.result(("host", self._functions))
        if not result.ok:
            cell.close()
            return result
        self._cell = cell
        self._asked_to_stop = False
        return None


class _Run:
    """One command, from sending it to its result.

    :ivar lost: whether the cell is of no use any more.
    :ivar asked_to_stop: whether it was asked to, which it may hear of after its result.
    """

    def __init__(
        self, cell: Cell, limits: Limits, host: HostCall, interrupted: Callable[[], bool]
    ) -> None:
        self._cell = cell
        self._key = next(_keys)
        self._limits = limits
        self._interrupted = interrupted
        self._calls = HostCalls(cell, host, most=_THREADS)
        self._printed = bytearray()
        self._stopped_for = ""
        self._until: float | None = None
        self.lost = False
        self.asked_to_stop = False

    def result(self, command: tuple[Any, ...], *, after_a_stop: bool = False) -> ExecResult:
        kind, *rest = command
        limits = (self._limits.recursion, self._limits.output_bytes, after_a_stop)
        if self._limits.timeout_s is not None:
            self._until = REAL_CLOCK.monotonic() + self._limits.timeout_s
        try:
            self._cell.thaw()
            message = values.encode((kind, self._key, limits, *rest))
            self._cell.send(message, timeout_s=self._limits.timeout_s)
            ended = self._converse()
        except TimeoutError:  # it does not even take the command
            self._stopped_for, ended = "TimeoutError", None
        except CellDiedError as error:
            return self._died(error)
        if ended is None:
            self._kill()
            return self._failed(self._stopped_for, self._why(_LOST))
        self._cell.freeze()
        return self._judged(ended)

    def _converse(self) -> Result | None:
        """Serve the guest until its result; None where it had to be stopped and did not."""
        while True:
            left = self._time_left()
            if left is not None and left <= 0:
                if self._stopped_for:
                    return self._said_by_now()
                self._stop("TimeoutError")
                continue
            if self._interrupted() and not self._stopped_for:
                self._stop("InterruptedError")
                continue
            data = self._cell.receive(left)
            self._printed += self._cell.take_output()
            if len(self._printed) > self._limits.output_bytes:
                # It went round the counting within: no use in asking.
                self._stopped_for = "OutputLimitError"
                return None
            if data is None:
                continue
            message = parsed(data)
            if not isinstance(message, Result):
                self._calls.begin(message)
            elif message.key == self._key:  # another is of a run whose result was forged
                return message

    def _said_by_now(self) -> Result | None:
        """The result that came while nobody looked: this process may have been kept waiting too."""
        self._cell.freeze()  # so that what it says has an end
        while (data := self._cell.receive(0)) is not None:
            message = parsed(data)
            if isinstance(message, Result) and message.key == self._key:
                return message
        return None

    def _time_left(self) -> float | None:
        return None if self._until is None else self._until - REAL_CLOCK.monotonic()

    def _stop(self, reason: str) -> None:
        self._stopped_for = reason
        self._until = REAL_CLOCK.monotonic() + _GRACE_S
        self.asked_to_stop = True
        self._cell.interrupt()

    def _judged(self, ended: Result) -> ExecResult:
        self._printed += self._cell.take_output()
        if len(self._printed) > self._limits.output_bytes:
            self._stopped_for = "OutputLimitError"
        if not self._stopped_for:
            return ExecResult(
                ended.ok, ended.value, ended.error, ended.error_type, output=self._output()
            )
        if ended.threads_left:  # what was to stop goes on beside
            self._kill()
            return self._failed(self._stopped_for, self._why(_LOST))
        return self._failed(self._stopped_for, self._why("it stopped when asked, names are kept"))

    def _why(self, then: str) -> str:
        if self._stopped_for == "TimeoutError":
            return f"it ran longer than {self._limits.timeout_s:g} s; {then}"
        if self._stopped_for == "OutputLimitError":
            return f"more than {self._limits.output_bytes} bytes were printed; {then}"
        return f"it was interrupted; {then}"

    def _kill(self) -> None:
        self.lost = True
        self._cell.kill()
        self._printed += self._cell.take_output()

    def _died(self, error: CellDiedError) -> ExecResult:
        self._kill()
        return self._failed("GuestDiedError", f"{error.found}; {_LOST}")

    def _failed(self, error_type: str, error: str) -> ExecResult:
        return ExecResult(False, None, error, error_type, output=self._output())

    def _output(self) -> str:
        most = self._limits.output_bytes
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # Where it was cut, half a character at the end is left out.
        return decoder.decode(bytes(self._printed[:most]), final=len(self._printed) <= most)


def _no_host(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
    raise RuntimeError(f"{name} cannot be called while the guest is set up")


_SANDBOX = SharedSandbox(program)

__all__ = ["ProcessGuest", "program"]

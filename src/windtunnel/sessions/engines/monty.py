"""The engine ``monty``: pydantic-monty, a Python interpreter in Rust, in worker processes.

The library keeps a pool of workers; a guest has one of them from its first run to its reset. What
this module adds is what the pool leaves open: wall-clock limits that hold while the host sleeps
for the guest, output limits, values that cross exactly, host functions that see positional and
keyword arguments as they were, and errors under their own names.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.sessions.deadline import Alarm
from windtunnel.sessions.engines import prelude
from windtunnel.sessions.engines.monty_pool import Worker
from windtunnel.sessions.engines.naming import name_checked
from windtunnel.sessions.engines.outcome import Ended, Output, copied, failed
from windtunnel.sessions.engines.rewriting import last_expression_to
from windtunnel.sessions.protocol import ExecResult, HostCall, Limits, Timings
from windtunnel.sessions.values import ValueCrossingError

ISOLATION = (
    "an interpreter without files, network, processes or environment, in a worker process of its"
    " own; that process has the rights of this user, so a flaw in the interpreter would not be"
    " contained"
)


class MontyGuest:
    """One session's place in a worker of the pool; see :class:`windtunnel.sessions.Guest`.

    The limits of memory and depth are those of the first run since it was made or reset.
    """

    isolation = ISOLATION

    def __init__(self, functions: Sequence[str]) -> None:
        self._functions = tuple(functions)
        self._worker: Worker | None = None
        self._pending: dict[str, Any] = {}
        self._run: _Run | None = None
        self._mutex = threading.Lock()

    def run(
        self, code: str, *, inputs: Mapping[str, Any], limits: Limits, host: HostCall
    ) -> ExecResult:
        """Run code, keep its names."""
        given = {
            name_checked(name, "an input's name"): prelude.holdable(value, name)
            for name, value in inputs.items()
        }
        rewritten = last_expression_to(prelude.OUT, code)
        checked = rewritten is not None
        return self._feed(code if rewritten is None else rewritten, given, limits, host, checked)

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
        name = name_checked(function, "a function's name")
        given = {
            prelude.ARGS: prelude.holdable(list(args), "args"),
            prelude.KWARGS: prelude.holdable(dict(kwargs), "kwargs"),
        }
        code = f"{prelude.OUT}(({name}(*{prelude.ARGS}, **{prelude.KWARGS})))"
        return self._feed(code, given, limits, host, checked=True)

    def assign(self, name: str, value: Any) -> None:
        """Bind a name."""
        # A copy: it is handed over at the next run, and is what it is now.
        self._pending[name_checked(name)] = copied(prelude.holdable(value, name))

    def reset(self) -> None:
        """Forget every name."""
        self._pending.clear()
        self._discard()

    def interrupt(self) -> None:
        """End what runs now by killing its worker; its names are lost."""
        with self._mutex:
            if self._run is not None:
                self._run.end("InterruptedError", "it was interrupted")

    def close(self) -> None:
        """Give the worker back."""
        self.reset()

    def _feed(
        self, code: str, given: dict[str, Any], limits: Limits, host: HostCall, checked: bool
    ) -> ExecResult:
        began = REAL_CLOCK.monotonic()
        try:
            worker = self._ready(limits)
        except _Failed as error:
            return failed(*error.args)
        run = _Run(worker, limits, host, self._functions)
        with self._mutex:
            self._run = run
        ready = REAL_CLOCK.monotonic()
        try:
            with Alarm(limits.timeout_s, run.end_late):
                outcome = self._outcome(run, code, given, checked)
        finally:
            with self._mutex:
                self._run = None
            if not run.usable():
                self._discard(usable=False)
        if run.escaped is not None:
            raise run.escaped
        timings = Timings(start_s=ready - began, run_s=REAL_CLOCK.monotonic() - ready)
        return run.result(outcome, timings)

    def _ready(self, limits: Limits) -> Worker:
        if self._worker is None:
            worker = Worker(limits)
            import pydantic_monty as monty

            try:
                # The function is there, so that it can be bound; nothing calls it yet.
                worker.session.feed_run(
                    prelude.source(self._functions), external_lookup={prelude.HOST: lambda *_: None}
                )
            except Exception as error:  # for want of memory
                worker.give_back()
                inner = error.exception() if isinstance(error, monty.MontyError) else error
                raise _Failed(type(inner).__name__, str(inner)) from None
            self._worker = worker
        return self._worker

    def _outcome(self, run: _Run, code: str, given: dict[str, Any], checked: bool) -> ExecResult:
        try:
            if self._pending:
                # On their own, so that they are bound also where the code does not parse.
                pending, self._pending = self._pending, {}
                run.feed("None", pending)
            value = run.feed(code, given)
            return ExecResult(ok=True, value=prelude.value_of(value, checked))
        except ValueCrossingError as error:
            return failed("ValueCrossingError", error.found)
        except _Failed as error:
            return failed(*error.args)

    def _discard(self, *, usable: bool = True) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.give_back(usable=usable)


class _Failed(Exception):
    """What the guest ended with: the type's name and the message."""


class _Run:
    """One feed of code, and what ends it early."""

    def __init__(
        self, worker: Worker, limits: Limits, host: HostCall, functions: Sequence[str]
    ) -> None:
        self.escaped: BaseException | None = None
        self._worker = worker
        self._limits = limits
        self._host = host
        self._functions = functions
        self._ended = Ended()
        self._output = Output(limits.output_bytes)
        self._raised: list[Exception] = []
        self._dead = False

    # -- ending it, from any thread

    def end(self, error_type: str, message: str) -> None:
        """Kill the worker, for that reason where it is the first."""
        if self._ended.because(error_type, message):
            self._worker.kill()

    def end_late(self) -> None:
        self.end("TimeoutError", f"it ran longer than {self._limits.timeout_s:g} s")

    # -- running it

    def feed(self, code: str, inputs: dict[str, Any]) -> Any:
        import pydantic_monty as monty

        try:
            return self._worker.session.feed_run(
                code,
                inputs=inputs,
                external_lookup={prelude.HOST: self._call_host},
                print_callback=self._print,
                os=self._os,
            )
        except (monty.MontySyntaxError, monty.MontyRuntimeError) as error:
            raise self._failure(error) from None
        except monty.MontyCrashedError as error:
            self._dead = True
            raise _Failed("GuestDiedError", str(error)) from None
        except monty.MontyConversionError as error:
            raise _Failed("ValueCrossingError", str(error)) from None
        except RuntimeError as error:  # the worker had ended before
            self._dead = True
            raise _Failed("GuestDiedError", str(error)) from None
        except UnicodeEncodeError as error:
            raise _Failed("SyntaxError", str(error)) from None

    def usable(self) -> bool:
        """Whether the worker serves on."""
        return not self._dead and not self._ended.reason and self.escaped is None

    def result(self, outcome: ExecResult, timings: Timings) -> ExecResult:
        """What the run comes to, with what it printed."""
        return self._ended.result(outcome, self._output.text, timings, names_lost=self._dead)

    def _failure(self, error: Any) -> _Failed:
        kind, message = type(error.exception()).__name__, error.display("msg")
        if kind == "MemoryError":
            # A full heap fails whatever comes next too, and one too large ended the worker.
            self._dead = not self._worker.serves()
        for raised in reversed(self._raised):
            if message in (str(raised), *map(str, raised.args[:1])):
                return _Failed(type(raised).__name__, str(raised))
        return _Failed(kind, message)

    def _print(self, stream: str, text: str) -> None:
        if not self._output.add(text):
            self.end("OutputLimitError", f"it printed more than {self._output.limit} bytes")

    def _call_host(self, name: object, packed: object) -> object:
        self._ended.refuse_to_go_on()
        try:
            args, kwargs = prelude.arguments_of(name, packed, self._functions)
            assert isinstance(name, str)
            return prelude.holdable(self._host(name, args, kwargs), "the value of " + name)
        except Exception as error:
            self._raised.append(error)
            raise
        except BaseException as error:
            # Cancelled, or told to exit: not for the guest to catch.
            self.escaped = error
            self.end("InterruptedError", "it was interrupted")
            raise

    def _os(self, *, name: str, args: tuple[Any, ...], **_: Any) -> object:
        if name in ("time.sleep", "asyncio.sleep"):
            # Slept here, where the sleeper can be woken; the pool's own sleep could not be.
            self._ended.wait(_seconds(args))
            self._ended.refuse_to_go_on()
            return None
        import pydantic_monty

        return pydantic_monty.NOT_HANDLED


def _seconds(args: tuple[Any, ...]) -> float:
    seconds = args[0] if args and isinstance(args[0], int | float) else 0.0
    return min(max(float(seconds), 0.0), threading.TIMEOUT_MAX)

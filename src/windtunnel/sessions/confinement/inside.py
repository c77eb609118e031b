"""The process of :func:`check_apart`: a zygote with one thread, which forks who makes attempts.

It imports the factory once. A worker makes attempts until one escapes; then nothing in it can be
trusted any more, and the next is forked. One that says nothing for too long is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import fcntl
import gc
import importlib
import importlib.util
import json
import os
import select
import signal
import sys
import traceback
from pathlib import Path
from typing import IO, Any, NoReturn

import anyio

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.sessions.confinement.checking import checked
from windtunnel.sessions.confinement.ground import Ground
from windtunnel.sessions.confinement.library import ATTEMPTS
from windtunnel.sessions.confinement.model import Canary
from windtunnel.sessions.confinement.report import Outcome, Row
from windtunnel.sessions.confinement.terms import Factory

_PR_SET_PDEATHSIG = 1
_ABOVE = 200
# A loop that was not ended has the interpreter as often as whoever looks for it: at the usual five
# milliseconds a turn, looking takes seconds.
_SWITCH_S = 0.0002


@dataclasses.dataclass
class _Order:
    """What is asked of the workers, and what is known of it so far."""

    factory: Factory
    patience_s: float
    ground: Ground
    controlled: set[str] = dataclasses.field(default_factory=set)


def main() -> None:
    """Read the order from standard input, write rows to standard output."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what an executor prints is no row
    given = json.loads(sys.stdin.buffer.read())
    try:
        factory = loaded(sys.argv[1])
    except Exception as error:  # whatever a stranger's module raises is the answer
        out.write(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode() + b"\n")
        return
    _warmed_up()
    with contextlib.closing(Ground()) as ground:  # one for all workers: only secrets are in it
        order = _Order(factory, given["patience_s"], ground)
        left: list[str] = given["attempts"]
        while left:
            left = _worked_off(order, left, out)


def _warmed_up() -> None:
    """Import before the first fork what every worker would import for itself."""
    anyio.run(anyio.sleep, 0)
    for name in ("hosting", "capabilities.context", "capabilities.sealed"):
        importlib.import_module(f"windtunnel.sessions.{name}")
    gc.collect()
    gc.freeze()  # so that collections in workers do not write to the pages that they share


def loaded(target: str) -> Factory:
    """The factory at ``module:name`` or ``file.py:name``."""
    where, colon, name = target.rpartition(":")
    if not colon:
        raise ValueError(f"{target!r} is no module:name")
    if where.endswith(".py"):
        spec = importlib.util.spec_from_file_location(Path(where).stem, where)
        if spec is None or spec.loader is None:
            raise ImportError(f"{where} cannot be loaded")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(where)
    factory: Any = module
    for part in name.split("."):
        factory = getattr(factory, part)
    if not callable(factory):
        raise TypeError(f"{target} is {type(factory).__name__}, which cannot be called")
    return factory  # type: ignore[no-any-return]


def _worked_off(order: _Order, ids: list[str], out: IO[bytes]) -> list[str]:
    """Have a worker make attempts; what is left when it was ended."""
    coming, going = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(coming)
        os.close(out.fileno())
        _work(order, ids, going)
    os.close(going)
    rows = _Rows(coming, ids, pid)
    for row in rows.until_silent(order.patience_s):
        out.write(json.dumps(row.as_json()).encode() + b"\n")
        if row.id.startswith("control "):
            order.controlled.add(row.family)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(coming)
    if rows.left and (rows.silent or not rows.escaped):
        lost = rows.lost(status)
        out.write(json.dumps(lost.as_json()).encode() + b"\n")
        order.controlled.add(lost.family)
        rows.left.pop(0)
    return rows.left


class _Rows:
    """The rows that a worker writes."""

    def __init__(self, file: int, ids: list[str], pid: int) -> None:
        self.file = file
        self.patience = _Patience(pid)
        self.left = list(ids)
        self.silent = False
        self.escaped = False
        self.forged = False

    def until_silent(self, patience_s: float) -> Any:
        """The rows as they come, until there are no more or none for too long."""
        buffer = b""
        while True:
            wait_s = 2 * max(patience_s, 1.0)
            if self.left:
                wait_s += ATTEMPTS[self.left[0]].timeout_s
            self.patience.begin()
            while b"\n" not in buffer:
                while not select.select([self.file], [], [], self.patience.left_s(wait_s))[0]:
                    if not self.patience.left_s(wait_s):
                        self.silent = True
                        return
                read = os.read(self.file, 65536)
                if not read:
                    return
                buffer += read
            line, _, buffer = buffer.partition(b"\n")
            try:
                row = Row.from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):
                self.forged = True
                return
            if not row.id.startswith("control "):
                self.left.pop(0)
                self.escaped = row.outcome is Outcome.ESCAPED
            yield row
            if self.escaped:  # it closes what it has, and is not waited for longer than that
                select.select([self.file], [], [], patience_s)
                return

    def lost(self, status: int) -> Row:
        """The row of the attempt that took the worker with it."""
        attempt = ATTEMPTS[self.left[0]]
        if self.forged:
            canary, seen = Canary.HOST, "something else was written where the rows are"
        elif self.silent:
            canary, seen = Canary.LATE, "the host process hung and had to be killed"
        else:
            code = os.waitstatus_to_exitcode(status)
            how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            canary, seen = Canary.HOST, f"the host process ended with {how}"
        return Row(
            id=attempt.id,
            family=attempt.family,
            outcome=Outcome.ESCAPED,
            variant="python" if attempt.by_guest else "host",
            evidence={canary.name.lower(): seen},
        )


class _Patience:
    """How long a worker has been silent, without what the machine kept it waiting.

    Where others have the processors, a worker that is slow has not hung. What its threads waited
    for a processor does not count; two fifths of the time always do, so that all has an end.
    """

    def __init__(self, pid: int) -> None:
        self._threads = Path(f"/proc/{pid}/task")
        self.begin()

    def begin(self) -> None:
        """From now on."""
        self._began_s, self._delay_s = REAL_CLOCK.monotonic(), self._delayed_s()

    def left_s(self, wait_s: float) -> float:
        """Seconds of that many that are left."""
        gone_s = REAL_CLOCK.monotonic() - self._began_s
        delay_s = max(0.0, self._delayed_s() - self._delay_s)  # ended threads do not tell
        return max(0.0, wait_s - gone_s + min(delay_s, 0.6 * gone_s))

    def _delayed_s(self) -> float:
        """Seconds that the worker's threads have waited for a processor, where that is told.

        Source: proc(5) and the kernel's ``Documentation/scheduler/sched-stats.rst``: the second
        field of ``schedstat``.
        """
        total = 0.0
        for stat in self._threads.glob("*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError):
                total += int(stat.read_text().split()[1]) / 1e9
        return total


def _work(order: _Order, ids: list[str], going: int) -> NoReturn:
    os.setsid()
    low, going = going, fcntl.fcntl(going, fcntl.F_DUPFD_CLOEXEC, _ABOVE)
    os.close(low)  # guests try the low numbers
    with contextlib.suppress(OSError, AttributeError):  # Linux alone has it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    sys.setswitchinterval(_SWITCH_S)
    status = 1
    try:
        anyio.run(_attempts, order, ids, going)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


async def _attempts(order: _Order, ids: list[str], going: int) -> None:
    rows = checked(
        order.factory,
        [ATTEMPTS[id] for id in ids],
        patience_s=order.patience_s,
        controlled=order.controlled,
        ground=order.ground,
    )
    async with contextlib.aclosing(rows):
        async for row in rows:
            os.write(going, json.dumps(row.as_json()).encode() + b"\n")
            if row.outcome is Outcome.ESCAPED:
                break


if __name__ == "__main__":
    main()

__all__ = ["loaded", "main"]

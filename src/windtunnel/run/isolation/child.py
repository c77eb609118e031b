"""A forked child that runs one attempt, what it sends back, and how its end is awaited."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import gc
import os
import pickle
import select
import signal
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any
from warnings import WarningMessage

import pytest
from pluggy import HookImpl, HookimplOpts

from windtunnel.core import REAL_CLOCK
from windtunnel.run.attempt import Attempt, in_process
from windtunnel.run.isolation import linux
from windtunnel.run.isolation.crash import CrashNotes
from windtunnel.run.packing import packed, unpacked

_LENGTH = struct.Struct("=Q")
_GRACE_S = 5.0
_PLAIN: HookimplOpts = {
    "wrapper": False,
    "hookwrapper": False,
    "optionalhook": False,
    "tryfirst": False,
    "trylast": False,
    "specname": None,
}


@dataclasses.dataclass(slots=True)
class Sent:
    """What a child sends its parent. Reports travel packed, each by itself."""

    reports: list[tuple[str, Any]] = dataclasses.field(default_factory=list[tuple[str, Any]])
    logged: list[tuple[str, Any]] = dataclasses.field(default_factory=list[tuple[str, Any]])
    warnings: list[WarningMessage] = dataclasses.field(default_factory=list[WarningMessage])
    coverage: list[tuple[str, Any]] = dataclasses.field(default_factory=list[tuple[str, Any]])
    left: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    shouldstop: bool | str = False
    shouldfail: bool | str = False
    interrupted: bool = False
    exit: tuple[str, int | None] | None = None
    error: str = ""

    def run(
        self, item: pytest.Item, nextitem: pytest.Item | None, attempt: Attempt = in_process
    ) -> None:
        """Run the attempt here and take down all that the parent must know."""
        config, session = item.config, item.session
        self._take_over_logging(config)
        with _recorded_warnings(config, self.warnings):
            try:
                reports = attempt(item, nextitem)
                self.reports = [packed(config, report) for report in reports]
            except pytest.exit.Exception as wish:
                self.exit = (str(wish.msg), wish.returncode)
            except KeyboardInterrupt:
                self.interrupted = True
            if self.exit or self.interrupted:
                with contextlib.suppress(Exception):  # fixtures get to clean up, as they would
                    session._setupstate.teardown_exact(None)
        self.warnings = [_portable(warning) for warning in self.warnings]
        self.shouldstop, self.shouldfail = session.shouldstop, session.shouldfail

    def unpacked(self, config: pytest.Config) -> list[pytest.TestReport]:
        """In the parent: log what the child's plugins logged, and return the attempt's reports.

        :raises RuntimeError: when something other than the test failed in the child.
        """
        if self.error:
            raise RuntimeError(f"running a test in a forked child failed\n{self.error}")
        for kind, payload in self.logged:
            config.hook.pytest_runtest_logreport(report=unpacked(config, kind, payload))
        return [unpacked(config, kind, payload) for kind, payload in self.reports]

    def _take_over_logging(self, config: pytest.Config) -> None:
        """Subtests are logged at once, by a hook whose hearers (terminal, files, pipes to a
        controller) belong to the parent: the child sends them instead."""
        caller: Any = config.hook.pytest_runtest_logreport

        def forward(report: Any) -> None:
            self.logged.append(packed(config, report))

        # Not registered as a plugin, which every other would be told of, at a millisecond a test.
        caller._hookimpls[:] = [HookImpl(self, "windtunnel-fork-forward", forward, _PLAIN)]


@dataclasses.dataclass(slots=True)
class Ended:
    """How a child ended: with what it sent, or with a wait status alone.

    ``stopped`` is what made the parent stop waiting, a timeout as a rule.
    """

    status: int
    sent: Sent | None
    stopped: BaseException | None = None


def run_child(attempt: Callable[[Sent], None], notes: CrashNotes) -> Ended:
    """Fork, let the child run ``attempt``, and wait for its end."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()  # else both processes would write what is still buffered
    # Its thread is not in the child, which would wait for it forever when it cancels the dump.
    faulthandler.cancel_dump_traceback_later()
    notes.clear()
    read, write = os.pipe()
    with warnings.catch_warnings():
        # Since 3.12 a fork beside other threads warns; which ones matter is looked after.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.close(read)
        _be_child(attempt, notes, write)
    os.close(write)
    try:
        return _await_end(pid, read)
    finally:
        os.close(read)


def _be_child(attempt: Callable[[Sent], None], notes: CrashNotes, write: int) -> None:
    """Never returns."""
    pid = os.getpid()
    try:
        gc.freeze()  # a collection would touch, and so copy, all that is shared with the parent
        if linux.available:  # all that a child needs is imported by now: it would import it anew
            linux.die_with_parent(signal.SIGKILL)
        notes.watch()
        sent = Sent()
        try:
            attempt(sent)
        except BaseException:
            sent = Sent(error=traceback.format_exc())
        if os.getpid() == pid:  # not in a process that the test forked and that came back
            message = pickle.dumps(sent, protocol=5)
            _write_all(write, _LENGTH.pack(len(message)) + message)
            if (inventory := sys.modules.get("windtunnel.own.inventory")) is not None:
                inventory.close_if_empty()  # what it keeps warm ends with it
            _stop_daemons()
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(Exception):
                    stream.flush()
    finally:
        os._exit(0 if os.getpid() == pid else 1)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _stop_daemons() -> None:
    """Daemonic processes of multiprocessing end with the process that started them."""
    module = sys.modules.get("multiprocessing")
    if module is not None:
        for process in module.active_children():
            if process.daemon:
                process.terminate()


# -- waiting ------------------------------------------------------------------------------------


def _await_end(pid: int, read: int) -> Ended:
    try:
        message = _receive(pid, read, None)
    except KeyboardInterrupt:
        # The terminal sends it to the child as well, whose fixtures clean up.
        with contextlib.suppress(BaseException):
            _receive(pid, read, _GRACE_S)
        _reap(pid, signal.SIGKILL)
        raise
    except (Exception, pytest.fail.Exception) as stopped:
        # A timeout's alarm: the child tells its stacks while it dies.
        os.kill(pid, signal.SIGABRT)
        with contextlib.suppress(BaseException):
            _receive(pid, read, _GRACE_S)
        if isinstance(stopped, pytest.exit.Exception):
            _reap(pid, signal.SIGKILL)
            raise
        return Ended(_reap(pid, signal.SIGKILL), None, stopped)
    except BaseException:
        _reap(pid, signal.SIGKILL)
        raise
    if message is None:
        return Ended(_reap(pid), None)
    sent: Sent = pickle.loads(message)
    return Ended(_reap(pid), sent)


def _receive(pid: int, read: int, within_s: float | None) -> bytes | None:
    """The child's message; None when it ended without one.

    A process that the test has left behind may keep the pipe open, so its end is not waited
    for: the message says its length, and the child's own end is seen by itself.
    """
    data = bytearray()
    deadline = None if within_s is None else REAL_CLOCK.monotonic() + within_s
    with contextlib.ExitStack() as opened:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        pidfd = -1
        if hasattr(os, "pidfd_open"):
            pidfd = os.pidfd_open(pid)
            opened.callback(os.close, pidfd)
            poll.register(pidfd, select.POLLIN)
        ended = False
        while not _complete(data):
            left = None if deadline is None else max(0.0, deadline - REAL_CLOCK.monotonic()) * 1000
            ready = poll.poll(0 if ended else left)
            if not any(fd == read for fd, _ in ready):
                if ended or not ready:
                    return None
                # It has ended. The pipe was looked at first, and what it wrote may have come
                # before the other look: once more, and the pipe is empty.
                ended = True
                continue
            chunk = os.read(read, 1 << 16)  # what a pipe holds
            if not chunk:
                return None
            data += chunk
    return bytes(data[_LENGTH.size :])


def _complete(data: bytearray) -> bool:
    return len(data) >= _LENGTH.size and (len(data) - _LENGTH.size >= _LENGTH.unpack_from(data)[0])


def _reap(pid: int, kill: int = 0) -> int:
    if kill:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, kill)
    return os.waitpid(pid, 0)[1]


# -- what travels -------------------------------------------------------------------------------


@contextlib.contextmanager
def _recorded_warnings(config: pytest.Config, into: list[WarningMessage]) -> Any:
    if not config.pluginmanager.hasplugin("warnings"):
        yield
        return
    with warnings.catch_warnings(record=True) as log:
        yield
    into.extend(log)


def _portable(warning: WarningMessage) -> WarningMessage:
    try:
        portable = WarningMessage(
            warning.message, warning.category, warning.filename, warning.lineno, line=warning.line
        )
        pickle.dumps(portable, protocol=5)
    except Exception:  # a warning may hold anything; its text always travels
        portable = WarningMessage(
            UserWarning(f"{warning.category.__name__}: {warning.message}"),
            UserWarning,
            warning.filename,
            warning.lineno,
        )
    return portable

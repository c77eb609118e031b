"""A worker: runs the tests it is told to and sends up what pytest reports of them.

A forked worker inherits the controller's session, collected, and runs items of it. A spawned one
(``python -m windtunnel.run.worker``) runs a pytest session of its own whose loop is the same.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
import pickle
import random
import signal
import socket
import sys
import tempfile
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core.clock import REAL_CLOCK
from windtunnel.core.seed import Seed
from windtunnel.run import children, stacks, wire
from windtunnel.run.packing import packed
from windtunnel.run.session import STATE, RunState


class Worker:
    """The loop of a worker, and the pytest plugin that forwards what is reported in it."""

    def __init__(
        self, session: pytest.Session, state: RunState, stream: wire.Stream, queue: socket.socket
    ) -> None:
        self._session = session
        self._state = state
        self._stream = stream
        self._queue = queue
        self._pid = os.getpid()
        self._next: deque[int] = deque()
        self._expected_next: pytest.Item | None = None
        self._stopping = False
        self._reports: list[tuple[str, Any]] = []
        self._finished: list[int] = []
        self._forwarding = False
        self._fixtures_s = 0.0

    def loop(self) -> None:
        """Run tests until told to stop, then tear down what is still up."""
        self._decide_next_late()
        self._forwarding = True
        try:
            self._run_tests()
        except BaseException:
            # Ctrl-C reaches the whole process group, and the controller passes it on as well;
            # once is enough, and the second must not cut the cleaning up short.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            raise
        finally:
            # Also when interrupted: fixtures get to clean up, and nobody is asked what is next.
            self._stopping = True
            self._next.clear()
            self._session._setupstate.teardown_exact(None)
        self._send()

    def _run_tests(self) -> None:
        hook = self._session.config.hook
        items = self._session.items
        while (index := self._take()) is not None:
            self._send(started=index)
            item = items[index]
            # What comes next is decided at teardown; here it is only guessed, and left in the
            # queue where it can still be stolen.
            guess = wire.peek(self._queue)
            upcoming = items[guess] if guess is not None else None
            self._expected_next = upcoming
            hook.pytest_runtest_protocol(item=item, nextitem=upcoming)
            self._finished.append(index)
            self._pass_on_stop()

    def _pass_on_stop(self) -> None:
        session = self._session
        reason = session.shouldfail or session.shouldstop
        if not reason:
            return
        self._send()
        self._stream.send(wire.Stopped(str(reason), bool(session.shouldfail)))
        while not self._stopping:  # the controller ends the run, and with it this worker
            self._receive(block=True)
        self._next.clear()

    # -- from the controller ----------------------------------------------------------------

    def _take(self) -> int | None:
        while not self._next:
            if self._stopping:
                return None
            self._send()
            self._receive(block=True)
        return self._next.popleft()

    def _claim(self) -> None:
        """Decide what comes next: what is queued, else what the controller answers."""
        if self._next or self._stopping:
            return
        self._receive(block=False)
        if not self._next and not self._stopping:
            self._send(wants=True)
            self._receive(block=True)

    def _receive(self, *, block: bool) -> None:
        packet = wire.receive(self._queue, block=block)
        if packet is None:
            if block:  # the controller is gone
                self._stopping = True
        elif packet == wire.STOP:
            self._stopping = True
        elif packet != wire.NOTHING:
            self._next.append(packet)

    def _decide_next_late(self) -> None:
        """Let teardown keep the fixtures of the test that really comes next.

        A queued test may be stolen while the one before it runs, so what pytest was told at
        that one's start is only a guess. Whoever passes some other item (a rerun passes the
        test itself) is not guessing and is left alone.
        """
        setup_state = self._session._setupstate
        teardown_exact = setup_state.teardown_exact

        def late(nextitem: pytest.Item | None) -> None:
            # A test that is isolated in a child of this process does not decide for it.
            if nextitem is self._expected_next and os.getpid() == self._pid:
                self._claim()
                nextitem = self._session.items[self._next[0]] if self._next else None
            # A rerun asks again with the same guess, after its first teardown failed.
            teardown_exact(nextitem)

        setup_state.teardown_exact = late  # type: ignore[method-assign]

    # -- to the controller ------------------------------------------------------------------

    def _send(self, *, started: int | None = None, wants: bool = False) -> None:
        if started is None and not wants and not self._finished and not self._reports:
            return
        message = wire.Progress(
            tuple(self._finished),
            started,
            tuple(self._reports),
            wants,
            math.inf if self._state.stays else self._fixtures_s,
        )
        self._finished.clear()
        self._reports.clear()
        self._stream.send(message)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any]
    ) -> Generator[None, object, object]:
        # What a new process in this one's place would have to set up again.
        if fixturedef.scope not in ("session", "package"):
            return (yield)
        begun_s = REAL_CLOCK.monotonic()
        try:
            return (yield)
        finally:
            self._fixtures_s += REAL_CLOCK.monotonic() - begun_s

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if os.getpid() != self._pid:
            # A test forked and its child came back out of the test. It is no worker: what it
            # says would be taken for the worker's, and it would wait for tests of its own.
            os._exit(1 if report.failed else 0)
        self._reports.append(packed(self._session.config, report))

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: Any,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        if not self._forwarding:  # pytest tells a new plugin of all earlier warnings
            return
        try:
            pickle.dumps(warning_message)
        except Exception:  # a warning may hold anything; its text always travels
            warning_message = warnings.WarningMessage(
                message=UserWarning(str(warning_message.message)),
                category=UserWarning,
                filename=warning_message.filename,
                lineno=warning_message.lineno,
            )
        self._reports.append(("warning", (warning_message, when, nodeid, location)))


def worker_input(worker: str, count: int, run_id: str, seed: int) -> dict[str, Any]:
    """What ``config.workerinput`` holds: pytest-xdist's keys and ours."""
    return {
        "workerid": worker,
        "workercount": count,
        "testrunuid": run_id,
        "mainargv": list(sys.argv),
        "wt_pool": True,
        "wt_run_id": run_id,
        "wt_seed": seed,
    }


def set_environment(worker: str, count: int, run_id: str) -> None:
    """The variables that pytest-xdist sets in its workers, which suites read."""
    os.environ["PYTEST_XDIST_WORKER"] = worker
    os.environ["PYTEST_XDIST_WORKER_COUNT"] = str(count)
    os.environ["PYTEST_XDIST_TESTRUNUID"] = run_id


# -- forked ---------------------------------------------------------------------------------


def run_forked(
    session: pytest.Session,
    worker: str,
    stream: wire.Stream,
    queue: socket.socket,
    basetemp: Path | None,
) -> int:
    """Be a worker, in the child of a fork. Returns the exit code to leave with."""
    config = session.config
    state = config.stash[STATE]
    children.die_with_parent()
    # How the controller stops a worker, also where it was itself started deaf to it (`cmd &`).
    signal.signal(signal.SIGINT, signal.default_int_handler)
    forget_exit_handlers()
    state.role, state.worker = "worker", worker
    set_environment(worker, state.worker_count, state.run_id)
    config.workerinput = worker_input(  # type: ignore[attr-defined]
        worker, state.worker_count, state.run_id, state.seed.value
    )
    config.workeroutput = {}  # type: ignore[attr-defined]
    random.seed(state.seed.child(worker).value)
    drop_controller_plugins(config)
    _own_capture(config)
    if basetemp is not None:
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        factory._basetemp = basetemp / f"popen-{worker}"
        factory._basetemp.mkdir(mode=0o700, exist_ok=True)
    try:
        serve(session, state, stream, queue)
        stream.send(wire.Leaving(dict(config.workeroutput)))  # type: ignore[attr-defined]
    except KeyboardInterrupt:
        return int(pytest.ExitCode.INTERRUPTED)
    except BaseException as error:
        with contextlib.suppress(OSError):
            stream.send(wire.broken(error))
        return int(pytest.ExitCode.INTERNAL_ERROR)
    finally:
        save_coverage()
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
    return 0


def serve(
    session: pytest.Session, state: RunState, stream: wire.Stream, queue: socket.socket
) -> None:
    """Run this process's share of the tests, from the first hook to the last."""
    config = session.config
    stacks.install(stacks.folder(state.state_dir, state.run_id), state.worker)
    worker = Worker(session, state, stream, queue)
    config.pluginmanager.register(worker, "windtunnel-worker")
    config.hook.pytest_windtunnel_process_started(config=config, state=state)
    try:
        worker.loop()
    except BaseException:
        # The controller learns of it from the end of this process, and the others from it.
        state.stays = False
        raise
    finally:
        config.hook.pytest_windtunnel_process_finished(config=config, state=state)
    worker._send()


def drop_controller_plugins(config: pytest.Config) -> None:
    """Who writes the run's files and its terminal does so in the controller alone."""
    from _pytest.junitxml import xml_key

    manager = config.pluginmanager
    xml = config.stash.get(xml_key, None)
    if xml is not None and manager.is_registered(xml):
        manager.unregister(xml)
    reporter: Any = manager.getplugin("terminalreporter")
    if reporter is not None:
        manager.unregister(reporter)
        silent = SilentTerminal(config)
        silent._tw.hasmarkup = reporter._tw.hasmarkup
        manager.register(silent, "terminalreporter")


class SilentTerminal:
    """Stands where pytest and plugins look for the terminal; what they write goes nowhere.

    pytest itself asks it, for one, how to highlight the two sides of a failed comparison. It has
    no hooks, so reports cost nothing here.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._reporter = pytest.TerminalReporter(config, open(os.devnull, "w"))  # noqa: SIM115

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reporter, name)


def _own_capture(config: pytest.Config) -> None:
    """Capture into files of this process: the inherited ones share their offsets.

    The stream objects stay, since modules imported at collection hold ``sys.stdout``.
    """
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None or capture._global_capturing is None:
        return
    for name in ("out", "err"):
        stream: Any = getattr(capture._global_capturing, name, None)
        if hasattr(stream, "targetfd"):
            with tempfile.TemporaryFile(buffering=0) as fresh:
                os.dup2(fresh.fileno(), stream.tmpfile.fileno(), inheritable=False)
    capture.resume_global_capture()
    capture.read_global_capture()  # where it is kept in memory: what the controller printed


def forget_exit_handlers() -> None:
    """Leave the controller's exit handlers to the controller, and run our own when we leave."""
    atexit._clear()
    registry: dict[weakref.finalize[..., Any], Any] = weakref.finalize._registry  # type: ignore[attr-defined]
    for finalizer in list(registry):
        finalizer.atexit = False
    weakref.finalize._registered_with_atexit = False  # type: ignore[attr-defined]
    logging = sys.modules.get("logging")
    if logging is not None:
        atexit.register(logging.shutdown)


def save_coverage() -> None:
    """Write what coverage.py measured in this process, under a name of this process."""
    coverage = sys.modules.get("coverage")
    if coverage is None:
        return
    current = coverage.Coverage.current()
    if current is not None and getattr(current, "_data_suffix_specified", None):
        current.stop()
        current.save()


# -- spawned --------------------------------------------------------------------------------


class SpawnedSession:
    """Makes a pytest session of its own into a worker; passed to ``pytest.main``."""

    def __init__(
        self, stream: wire.Stream, queue: socket.socket, workerinput: dict[str, Any]
    ) -> None:
        self._stream = stream
        self._queue = queue
        self._input = workerinput

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> None:
        config.workerinput = self._input  # type: ignore[attr-defined]
        config.workeroutput = {}  # type: ignore[attr-defined]

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        drop_controller_plugins(config)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        state = session.config.stash[STATE]
        state.worker_count = int(self._input["workercount"])
        self._stream.send(wire.Collected(tuple(item.nodeid for item in session.items)))
        try:
            serve(session, state, self._stream, self._queue)
        except pytest.exit.Exception as error:
            self._stream.send(wire.broken(error))
            raise
        return True

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        output: dict[str, Any] = session.config.workeroutput  # type: ignore[attr-defined]
        self._stream.send(wire.Leaving(dict(output)))
        return result


def main(read: Callable[[], bytes] = sys.stdin.buffer.read) -> int:
    """Entry of ``python -m windtunnel.run.worker``; what to do comes pickled on stdin."""
    given = pickle.loads(read())
    children.die_with_parent()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:] = given["path"]
    sys.argv[:] = given["argv"]
    stream = wire.Stream(socket.socket(fileno=given["stream_fd"]))
    queue = socket.socket(fileno=given["queue_fd"])
    workerinput = given["workerinput"]
    set_environment(workerinput["workerid"], workerinput["workercount"], workerinput["testrunuid"])
    random.seed(Seed(workerinput["wt_seed"]).child(workerinput["workerid"]).value)
    try:
        return int(pytest.main(given["args"], [SpawnedSession(stream, queue, workerinput)]))
    except BaseException as error:
        stream.send(wire.broken(error))
        raise


if __name__ == "__main__":
    sys.exit(main())

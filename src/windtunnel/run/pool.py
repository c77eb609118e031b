"""The controller: forks workers from its collected session and hands them the tests.

This is a pytest session like any other up to its loop: it configures, imports the conftests and
collects once, in one thread. Then the loop forks workers, which therefore start with everything
imported, and replays their reports to the session's own plugins, so that the terminal, JUnit
XML, ``--lf``, ``-x`` and the exit code are pytest's. Since no test ever runs in this process, a
worker that crashed or hung is replaced by forking once more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core import REAL_CLOCK, Outcome, UsageError
from windtunnel.run import children, neighbours, stacks, timeouts, wire, worker
from windtunnel.run.grouping import OrderWatch, job_of
from windtunnel.run.identity import WATCH, IdentityWatch
from windtunnel.run.rerun import may_run_again
from windtunnel.run.schedule import Dispenser, plan
from windtunnel.run.session import RunState

_SOON_S = 0.02
_LEAVE_WITHIN_S = 60.0
_STACKS_WITHIN_S = 2.0
_AHEAD = 2  # the test that runs and the one after it


def attach(config: pytest.Config, state: RunState) -> None:
    """Take over the test loop where workers were asked for."""
    if state.role == "controller" and not state.under_xdist:
        config.pluginmanager.register(Pool(config, state), "windtunnel-pool")


@dataclasses.dataclass(slots=True, eq=False)
class _Worker:
    """What the controller knows of one worker."""

    name: str
    pid: int
    stream: wire.Stream
    queue: wire.Queue
    process: subprocess.Popen[bytes] | None = None
    ready: bool = True
    running: int | None = None
    began_s: float = 0.0
    deadline_s: float | None = None
    sent: list[int] = dataclasses.field(default_factory=list[int])
    waiting: bool = False
    stopping: bool = False
    left: bool = False

    @property
    def outstanding(self) -> int:
        """Tests handed to it and not finished."""
        return len(self.sent)


class Pool:
    """The pytest plugin that is the controller."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._order = OrderWatch(config)
        config.pluginmanager.register(self._order, "windtunnel-order-watch")
        self._selector = wire.new_selector()
        self._workers: dict[str, _Worker] = {}
        self._names = 0
        self._basetemp: Path | None = None
        self._spawn = ""
        self._deadlines: dict[int, float | None] = {}
        self._session: pytest.Session
        self._dispenser: Dispenser
        self._durations: tuple[float, ...] = ()
        # With a limit on failures nobody begins a test before the last one's outcome is known.
        self._ahead = 1 if config.getoption("maxfail") else _AHEAD
        self._finished = 0
        self._crashes: Counter[int] = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        # Registered after the recorder, and so called before it: it records this number.
        self._state.worker_count = min(self._state.settings.workers, len(session.items)) or 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if session.testsfailed and not session.config.option.continue_on_collection_errors:
            errors = session.testsfailed
            raise session.Interrupted(
                f"{errors} error{'s' if errors != 1 else ''} during collection"
            )
        if session.items:
            self._session = session
            with self._own_capture_suspended():
                self._run()
        return True

    # -- the loop ---------------------------------------------------------------------------

    def _run(self) -> None:
        self._prepare()
        try:
            for _ in range(self._state.worker_count):
                self._start_worker()
            self._fill()
            while self._workers:
                self._wait()
                self._check_deadlines()
                self._fill()
                self._raise_if_stopped()
            if self._finished != len(self._session.items):
                raise RuntimeError(f"{self._finished} of {len(self._session.items)} tests were run")
        except BaseException:
            self._abandon()
            raise
        finally:
            gc.unfreeze()

    def _prepare(self) -> None:
        session = self._session
        watch = self._config.stash.get(WATCH, None)
        if watch is not None:
            watch.stop()
        self._spawn = _why_not_fork(watch)
        if self._spawn:
            self._say(f"windtunnel: workers are spawned, not forked: {self._spawn}")
        settings = self._state.settings
        jobs = [job_of(item, settings.dist) for item in session.items]
        planned = plan(
            jobs,
            self._state.worker_count,
            known=known_durations(self._state),
            dist=settings.dist,
            keep_order=self._order.was_given,
        )
        self._durations = planned.durations
        self._dispenser = Dispenser(planned)
        factory = getattr(self._config, "_tmp_path_factory", None)
        if factory is not None:
            self._basetemp = factory.getbasetemp()
        # What exists now is shared by all workers until it dies: no collection should touch it.
        gc.collect()
        gc.freeze()

    def _say(self, line: str) -> None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and reporter.verbosity >= 0:
            reporter.write_line(line)

    def _fill(self) -> None:
        """Keep every worker one test ahead; let the idle have what others have not begun."""
        while not self._session.shouldstop and not self._session.shouldfail:
            hungry = [
                each
                for each in self._workers.values()
                if each.ready
                and not each.stopping
                # Who waits within its test's teardown waits for one more, whatever the limit.
                and each.outstanding < max(self._ahead, 1 + each.waiting)
            ]
            hungry.sort(key=lambda each: each.outstanding)
            given = [each for each in hungry if self._give_next(each)]
            if not given:
                if hungry and not self._dispenser.left:
                    self._finish_off(hungry)
                return

    def _give_next(self, one: _Worker) -> bool:
        index = self._dispenser.take(one.name)
        if index is not None:
            self._give(one, index)
        return index is not None

    def _give(self, one: _Worker, index: int) -> None:
        # A worker that waits is taken to wait until it says otherwise: the answer just put may
        # be stolen before it is read, and then it needs another one.
        one.sent.append(index)
        one.queue.put(index)

    def _finish_off(self, hungry: list[_Worker]) -> None:
        """Nothing is left to hand out: steal for who is idle, and send all home at the end."""
        for each in hungry:
            if each.outstanding > (1 if each.waiting else 0):
                continue
            index = self._steal_for(each)
            if index is not None:
                self._give(each, index)
            elif each.waiting:
                each.waiting = False
                each.queue.put(wire.NOTHING)
        if not any(each.outstanding for each in self._workers.values()):
            self._send_home()

    def _steal_for(self, idle: _Worker) -> int | None:
        victims = [
            each
            for each in self._workers.values()
            if each is not idle and each.outstanding > 1 and self._dispenser.movable(each.sent[-1])
        ]
        victims.sort(key=self._remaining_s, reverse=True)
        for victim in victims:
            index = victim.queue.steal()
            if index is not None and index >= 0:
                victim.sent.remove(index)
                self._dispenser.move(index, victim.name, idle.name)
                return index
        return None

    def _will_be_busy(self, one: _Worker) -> bool:
        """Whether what it has queued would wait there: else it had better run in its order."""
        if one.running is None:
            return False
        elapsed_s = REAL_CLOCK.monotonic() - one.began_s
        return self._remaining_s(one) > _SOON_S or elapsed_s > _SOON_S

    def _remaining_s(self, one: _Worker) -> float:
        if one.running is None:
            return 0.0
        return self._durations[one.running] - (REAL_CLOCK.monotonic() - one.began_s)

    def _send_home(self) -> None:
        for each in self._workers.values():
            if not each.stopping:
                each.stopping = True
                each.queue.put(wire.STOP)

    def _raise_if_stopped(self) -> None:
        session = self._session
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    # -- workers ----------------------------------------------------------------------------

    def _start_worker(self) -> None:
        name = f"gw{self._names}"
        self._names += 1
        stream, theirs = wire.stream_pair()
        queue = wire.Queue()
        if self._spawn:
            one = self._spawned(name, stream, theirs, queue)
        else:
            one = self._forked(name, stream, theirs, queue)
        theirs.close()
        self._workers[name] = one
        self._selector.register(one.stream.sock, selectors.EVENT_READ, one)

    def _forked(
        self, name: str, stream: wire.Stream, theirs: wire.Stream, queue: wire.Queue
    ) -> _Worker:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return _Worker(name, pid, stream, queue)
        code = int(pytest.ExitCode.INTERNAL_ERROR)
        try:
            queue.writer.close()
            stream.close()
            for other in self._workers.values():
                other.stream.close()
                other.queue.close()
            code = worker.run_forked(self._session, name, theirs, queue.reader, self._basetemp)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _spawned(
        self, name: str, stream: wire.Stream, theirs: wire.Stream, queue: wire.Queue
    ) -> _Worker:
        state = self._state
        fds = (theirs.sock.fileno(), queue.reader.fileno())
        workerinput = worker.worker_input(name, state.worker_count, state.run_id, state.seed.value)
        neighbours.worker_begins(self._config, name, workerinput)
        given = {
            "path": sys.path,
            "argv": sys.argv,
            "args": self._spawn_arguments(name),
            "stream_fd": fds[0],
            "queue_fd": fds[1],
            "workerinput": workerinput,
        }
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from windtunnel.run.worker import main; raise SystemExit(main())",
            ],
            stdin=subprocess.PIPE,
            cwd=self._config.invocation_params.dir,
            pass_fds=fds,
        )
        assert process.stdin is not None
        process.stdin.write(pickle.dumps(given))
        process.stdin.close()
        return _Worker(name, process.pid, stream, queue, process, ready=False)

    def _spawn_arguments(self, name: str) -> list[str]:
        """The controller's command line, without what starts workers and with its own tmp."""
        arguments = [*map(str, self._config.invocation_params.args), "--wt-workers=0"]
        if self._basetemp is not None:
            arguments.append(f"--basetemp={self._basetemp / f'popen-{name}'}")
        return arguments

    def _wait(self) -> None:
        for key, _ in self._selector.select(self._next_deadline_in()):
            one: _Worker = key.data
            messages = one.stream.read()
            if messages is None:
                self._gone(one)
                continue
            for message in messages:
                self._handle(one, message)

    def _handle(self, one: _Worker, message: wire.Upward) -> None:
        if isinstance(message, wire.Progress):
            self._handle_progress(one, message)
        elif isinstance(message, wire.Collected):
            self._compare_collections(one, message.nodeids)
            one.ready = True
        elif isinstance(message, wire.Broken):
            if message.exit_code is not None:
                pytest.exit(f"windtunnel: {message.text}", returncode=message.exit_code)
            raise RuntimeError(f"worker {one.name} broke:\n{message.text}")
        else:
            one.left = True
            self._hand_over(one, message.output)

    def _handle_progress(self, one: _Worker, message: wire.Progress) -> None:
        for kind, payload in message.reports:
            self._replay(one, kind, payload)
        for index in message.finished:
            one.sent.remove(index)
            self._finished += 1
            self._dispenser.observe(index, REAL_CLOCK.monotonic() - one.began_s)
            item = self._session.items[index]
            self._config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            one.running = None
        if message.started is not None:
            item = self._session.items[message.started]
            one.running, one.began_s = message.started, REAL_CLOCK.monotonic()
            one.deadline_s = self._deadline(message.started, one.began_s)
            self._config.hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        one.waiting = message.wants

    def _replay(self, one: _Worker, kind: str, payload: Any) -> None:
        hook = self._config.hook
        if kind == "warning":
            message, when, nodeid, location = payload
            hook.pytest_warning_recorded.call_historic(
                kwargs={
                    "warning_message": message,
                    "when": when,
                    "nodeid": nodeid,
                    "location": location,
                }
            )
            return
        report = worker.unpacked(self._config, kind, payload)
        report.__dict__["wt_worker"] = one.name
        hook.pytest_runtest_logreport(report=report)

    def _hand_over(self, one: _Worker, output: dict[str, Any]) -> None:
        neighbours.worker_left(self._config, one.name, output)

    def _compare_collections(self, one: _Worker, nodeids: tuple[str, ...]) -> None:
        expected = tuple(item.nodeid for item in self._session.items)
        if nodeids == expected:
            return
        strange = sorted(set(nodeids) ^ set(expected))[:5]
        error = UsageError(
            f"worker {one.name} collected other tests than the controller",
            found=", ".join(strange) if strange else "the same tests in another order",
            fix="make collection deterministic: sort parameters, and seed what is random in them",
        )
        pytest.exit(f"windtunnel: {error}", returncode=int(error.exit_code))

    # -- ends -------------------------------------------------------------------------------

    def _gone(self, one: _Worker) -> None:
        """A worker's stream has ended: it left, or it died under a test."""
        self._forget(one)
        status = self._reap(one)
        lost = one.sent
        if one.running is not None and one.running in lost:
            lost.remove(one.running)
            directory = stacks.folder(self._state.state_dir, self._state.run_id)
            text = stacks.crash_text(directory, one.name)
            self._report_lost(
                one,
                one.running,
                Outcome.TIMEOUT if stacks.tells_timeout(text) else Outcome.CRASHED,
                f"worker {one.name} (pid {one.pid}) {children.describe_status(status)}",
                text,
            )
        elif not one.left and not one.began_s:
            raise RuntimeError(
                f"worker {one.name} {children.describe_status(status)} before its first test"
            )
        self._dispenser.give_back(one.name, lost)
        session = self._session
        if not one.left and not session.shouldstop and not session.shouldfail:
            self._start_worker()

    def _reap(self, one: _Worker) -> int:
        if one.process is not None:
            code = one.process.wait()
            return code << 8 if code >= 0 else -code
        return os.waitpid(one.pid, 0)[1]

    def _forget(self, one: _Worker) -> None:
        del self._workers[one.name]
        self._selector.unregister(one.stream.sock)
        one.stream.close()
        one.queue.close()

    def _report_lost(
        self, one: _Worker, index: int, outcome: Outcome, what: str, stack_text: str
    ) -> None:
        item = self._session.items[index]
        self._crashes[index] += 1
        again = may_run_again(item, self._state.settings, self._crashes[index])
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords=dict.fromkeys(item.keywords, 1),
            outcome="rerun" if again else "failed",  # type: ignore[arg-type]
            longrepr=f"{what} while it ran {item.nodeid}",
            when="call",
            sections=[(f"Stacks of worker {one.name}", stack_text)] if stack_text else [],
            duration=REAL_CLOCK.monotonic() - one.began_s,
            user_properties=list(item.user_properties),
        )
        report.__dict__.update(
            wt_outcome=outcome,
            wt_worker=one.name,
            wt_worker_died=True,
            wt_attempt=self._crashes[index],
        )
        self._config.hook.pytest_runtest_logreport(report=report)
        self._config.hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        if again:
            self._dispenser.give_back("", [index])
        else:
            self._finished += 1

    # -- hangs ------------------------------------------------------------------------------

    def _deadline(self, index: int, began_s: float) -> float | None:
        if index not in self._deadlines:
            self._deadlines[index] = timeouts.deadline_of(
                self._session.items[index], self._state.settings
            )
        allowed = self._deadlines[index]
        return None if allowed is None else began_s + allowed + self._state.settings.hang_grace

    def _next_deadline_in(self) -> float | None:
        deadlines = [
            each.deadline_s
            for each in self._workers.values()
            if each.running is not None and each.deadline_s is not None
        ]
        outstanding = [each.outstanding for each in self._workers.values()]
        if outstanding and min(outstanding) == 0 and max(outstanding) > 1:
            # Somebody is idle: look again soon whether a test waits behind one that lasts.
            deadlines.append(REAL_CLOCK.monotonic() + _SOON_S)
        return max(0.0, min(deadlines) - REAL_CLOCK.monotonic()) if deadlines else None

    def _check_deadlines(self) -> None:
        now = REAL_CLOCK.monotonic()
        for one in list(self._workers.values()):
            if one.running is None or one.deadline_s is None or now < one.deadline_s:
                continue
            index, one.running = one.running, None
            directory = stacks.folder(self._state.state_dir, self._state.run_id)
            text = stacks.collect(one.pid, directory, one.name, _STACKS_WITHIN_S)
            os.kill(one.pid, signal.SIGKILL)
            one.sent.remove(index)
            self._report_lost(
                one,
                index,
                Outcome.TIMEOUT,
                f"worker {one.name} (pid {one.pid}) hung for {now - one.began_s:.1f} s and was"
                " killed",
                text,
            )

    # -- interruption -----------------------------------------------------------------------

    def _abandon(self) -> None:
        """Stop every worker: ask, then, after a while, kill. Their fixtures get to clean up."""
        for each in self._workers.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGINT)
        until = REAL_CLOCK.monotonic() + _LEAVE_WITHIN_S
        while self._workers:
            left = until - REAL_CLOCK.monotonic()
            if left <= 0:
                for each in self._workers.values():
                    os.kill(each.pid, signal.SIGKILL)
            for key, _ in self._selector.select(max(left, 1.0)):
                one: _Worker = key.data
                with contextlib.suppress(Exception):  # a frame may be cut short by the kill
                    if one.stream.read() is not None:
                        continue
                self._forget(one)
                self._reap(one)

    @contextlib.contextmanager
    def _own_capture_suspended(self) -> Generator[None, None, None]:
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if capture is None:
            yield
            return
        held = capture._global_capturing
        started = held is not None and held.is_started()
        capture.suspend_global_capture(in_=True)
        try:
            yield
        finally:
            capture.resume_global_capture()
            if not started:  # else all that is printed from here on would be swallowed
                capture.suspend_global_capture()


def _why_not_fork(watch: IdentityWatch | None) -> str:
    if sys.platform == "darwin":
        return "the system's frameworks do not survive a fork"
    if watch is not None and watch.asked:
        return watch.asked
    threads = children.thread_count()
    return f"{threads} threads after collection" if threads > 1 else ""


def known_durations(state: RunState) -> Mapping[str, float]:
    """Seconds each test takes, as far as the record knows (75th percentile)."""
    if not state.record_path.exists():
        return {}
    from windtunnel.record import open_record

    with open_record(state.record_path) as record:
        return {row.nodeid: row.p75_s for row in record.durations().values()}

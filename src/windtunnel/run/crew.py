"""The workers of a pool as the controller sees them: started, waited for, and seen off.

A worker is forked from the collected session, or spawned where that is not safe. Either way it
is one :class:`WorkerHandle` with a stream up and a queue down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pickle
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from windtunnel.core import REAL_CLOCK
from windtunnel.run import children, neighbours, wire, worker
from windtunnel.run.identity import IdentityWatch
from windtunnel.run.session import RunState

_LEAVE_WITHIN_S = 60.0


@dataclasses.dataclass(slots=True, eq=False)
class WorkerHandle:
    """What the controller knows of one worker.

    :param ready: whether it has collected what the controller has; a forked one always has.
    :param running: the test it has begun, since ``began_s``; to be killed at ``deadline_s``.
    :param sent: the tests handed to it and not finished, in order.
    :param waiting: whether it is held up in a teardown until it knows what comes next.
    :param stopping: whether it was told to leave; ``left`` whether it has, in order.
    :param renewed: whether a new process is to take its place, and its name.
    :param killed: whether it was killed for a test that took too long, which was reported so.
    :param strayed: whether it was given a test out of the suite's order.
    :param fixtures_s: seconds its fixtures of session and package scope took to set up; infinite
        where a new process could not set them up again.
    """

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
    renewed: bool = False
    killed: bool = False
    strayed: bool = False
    fixtures_s: float = 0.0

    @property
    def outstanding(self) -> int:
        """Tests handed to it and not finished."""
        return len(self.sent)

    @property
    def idle(self) -> bool:
        """Whether it has nothing to run, be it that its last test waits to be torn down."""
        return self.outstanding <= (1 if self.waiting else 0)


class Crew:
    """All workers of a run.

    :param spawn: why workers are to be spawned; empty to fork them.
    """

    def __init__(self, session: pytest.Session, state: RunState, spawn: str) -> None:
        self._session = session
        self._config = session.config
        self._state = state
        self._spawn = spawn
        self._selector = wire.new_selector()
        self._names = 0
        self._workers: dict[str, WorkerHandle] = {}
        factory = getattr(session.config, "_tmp_path_factory", None)
        self._basetemp: Path | None = factory.getbasetemp() if factory is not None else None
        if not spawn:
            children.before_forks()

    def __iter__(self) -> Iterator[WorkerHandle]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    @property
    def forks(self) -> bool:
        """Whether workers are forked: a new one is there at once."""
        return not self._spawn

    def start_worker(self, name: str = "") -> None:
        """Add a worker, under a name of its own or that of one which has left."""
        if not name:
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
    ) -> WorkerHandle:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            return WorkerHandle(name, pid, stream, queue)
        code = int(pytest.ExitCode.INTERNAL_ERROR)
        try:
            queue.writer.close()
            stream.close()
            for other in self:
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
    ) -> WorkerHandle:
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
        return WorkerHandle(name, process.pid, stream, queue, process, ready=False)

    def _spawn_arguments(self, name: str) -> list[str]:
        """The controller's command line, without what starts workers and with its own tmp."""
        arguments = [*map(str, self._config.invocation_params.args), "--wt-workers=0"]
        if self._basetemp is not None:
            arguments.append(f"--basetemp={self._basetemp / f'popen-{name}'}")
        return arguments

    def wait(
        self, within_s: float | None
    ) -> Iterator[tuple[WorkerHandle, list[wire.Upward] | None]]:
        """What arrives within that time: a worker and its messages, None when it has ended."""
        for key, _ in self._selector.select(within_s):
            one: WorkerHandle = key.data
            yield one, one.stream.read()

    def see_off(self, one: WorkerHandle) -> int:
        """Forget a worker whose stream has ended; returns its wait status."""
        del self._workers[one.name]
        self._selector.unregister(one.stream.sock)
        one.stream.close()
        one.queue.close()
        if one.process is not None:
            code = one.process.wait()
            return code << 8 if code >= 0 else -code
        return os.waitpid(one.pid, 0)[1]

    def renew(self, one: WorkerHandle) -> None:
        """Have an idle worker leave, to put a process in its place that has run no test."""
        one.renewed = one.stopping = True
        one.queue.put(wire.STOP)

    def send_home(self) -> None:
        """Tell all workers to leave when they have run what they have."""
        for each in self:
            if not each.stopping:
                each.stopping = True
                each.queue.put(wire.STOP)

    def abandon(self) -> None:
        """Stop every worker: ask, then, after a while, kill. Their fixtures get to clean up."""
        for each in self:
            # A test may swallow the signal; then its worker begins no other. What it had queued
            # is gone before it gets the signal, and it is told to leave after: told before, it
            # might get the signal while its fixtures clean up.
            while each.queue.steal() is not None:
                pass
            with contextlib.suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGINT)
            each.queue.put(wire.STOP)
        until_s = REAL_CLOCK.monotonic() + _LEAVE_WITHIN_S
        while self._workers:
            left_s = until_s - REAL_CLOCK.monotonic()
            if left_s <= 0:
                for each in self:
                    os.kill(each.pid, signal.SIGKILL)
            for key, _ in self._selector.select(max(left_s, 1.0)):
                one: WorkerHandle = key.data
                with contextlib.suppress(Exception):  # a frame may be cut short by the kill
                    if one.stream.read() is not None:
                        continue
                self.see_off(one)


def why_not_fork(watch: IdentityWatch | None) -> str:
    """Why workers cannot be forked from this process; empty when they can."""
    if sys.platform == "darwin":
        return "the system's frameworks do not survive a fork"
    if watch is not None and watch.asked:
        return watch.asked
    threads = children.thread_count()
    return f"{threads} threads after collection" if threads > 1 else ""

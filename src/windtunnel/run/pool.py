"""The controller: forks workers from its collected session and hands them the tests.

This is a pytest session like any other up to its loop: it configures, imports the conftests and
collects once, in one thread. Then the loop forks workers, which therefore start with everything
imported, and replays their reports to the session's own plugins, so that the terminal, JUnit
XML, ``--lf``, ``-x`` and the exit code are pytest's. Since no test ever runs in this process, a
worker that crashed or hung is replaced by forking once more.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

from windtunnel.core import REAL_CLOCK, Outcome, UsageError
from windtunnel.run import children, neighbours, stacks, timeouts, wire
from windtunnel.run.crew import Crew, WorkerHandle, why_not_fork
from windtunnel.run.durations import known_durations
from windtunnel.run.grouping import OrderWatch, job_of
from windtunnel.run.identity import WATCH
from windtunnel.run.packing import unpacked
from windtunnel.run.rerun import may_run_again
from windtunnel.run.schedule import Dispenser, plan
from windtunnel.run.session import RunState

_SOON_S = 0.05
_CHEAP_FIXTURES_S = 0.1
_STACKS_WITHIN_S = 2.0
_AHEAD = 2  # the test that runs and the one after it


def attach(config: pytest.Config, state: RunState) -> None:
    """Take over the test loop where workers were asked for."""
    if state.role == "controller" and not state.under_xdist:
        config.pluginmanager.register(Pool(config, state), "windtunnel-pool")


class Pool:
    """The pytest plugin that is the controller."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._order = OrderWatch(config)
        config.pluginmanager.register(self._order, "windtunnel-order-watch")
        self._crew: Crew
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
                self._crew.start_worker()
            self._fill()
            while self._crew:
                self._wait()
                self._check_deadlines()
                self._fill()
                self._raise_if_stopped()
            if self._finished != len(self._session.items):
                raise RuntimeError(f"{self._finished} of {len(self._session.items)} tests were run")
        except BaseException:
            self._crew.abandon()
            raise
        finally:
            gc.unfreeze()

    def _prepare(self) -> None:
        session = self._session
        watch = self._config.stash.get(WATCH, None)
        if watch is not None:
            watch.stop()
        spawn = why_not_fork(watch)
        if spawn:
            self._say(f"windtunnel: workers are spawned, not forked: {spawn}")
        neighbours.workers_begin(session)
        self._crew = Crew(session, self._state, spawn)
        settings = self._state.settings
        jobs = [job_of(item, settings.dist) for item in session.items]
        planned = plan(
            jobs,
            self._state.worker_count,
            known=known_durations(self._state, self._say),
            dist=settings.dist,
            keep_order=self._order.was_given,
        )
        self._durations = planned.durations
        self._dispenser = Dispenser(planned)
        # What exists now is shared by all workers until it dies: no collection should touch it.
        gc.collect()
        gc.freeze()

    def _say(self, line: str) -> None:
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is not None and reporter.verbosity >= 0:
            reporter.write_line(line)

    def _fill(self) -> None:
        """Keep every worker one test ahead; let the idle have what others have not begun."""
        while not self._session.shouldstop and not self._session.shouldfail:
            hungry = [
                each
                for each in self._crew
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

    def _give_next(self, one: WorkerHandle) -> bool:
        index = self._dispenser.take_own(one.name)
        if index is None and self._share_with(one):
            if one.renewed:
                return True
            index = self._dispenser.take_own(one.name)
        if index is not None:
            self._give(one, index)
        return index is not None

    def _share_with(self, one: WorkerHandle) -> bool:
        """Reserve for a worker some of what another one has, and renew it where order counts."""
        afresh = self._can_begin_afresh(one)
        if afresh and not one.idle:
            return False
        held_up = [each.name for each in self._crew if self._will_be_busy(each)]
        if not self._dispenser.divide_for(one.name, held_up):
            return False
        index = self._dispenser.reserved_next(one.name)
        if afresh and index is not None and self._dispenser.keeps_order(index):
            self._crew.renew(one)
        return True

    def _can_begin_afresh(self, one: WorkerHandle) -> bool:
        """Whether a new process can take that worker's place, and at little cost.

        Suites leave things in memory: a worker that goes on elsewhere in the suite takes them to
        tests that never met them in the order they were written in. A fork from the collected
        session has run nothing. One that began with the longest tests had no such order to keep,
        and where each test runs in a child of its own, none takes anything along.
        """
        wished = self._state.settings.isolation
        cheap = one.fixtures_s <= _CHEAP_FIXTURES_S and "fork" not in wished
        return self._crew.forks and cheap and bool(one.began_s) and not one.strayed

    def _give(self, one: WorkerHandle, index: int) -> None:
        # A worker that waits is taken to wait until it says otherwise: the answer just put may
        # be stolen before it is read, and then it needs another one.
        one.strayed = one.strayed or not self._dispenser.keeps_order(index)
        one.sent.append(index)
        one.queue.put(index)

    def _finish_off(self, hungry: list[WorkerHandle]) -> None:
        """Nothing is left to hand out: steal for who is idle, and send all home at the end."""
        for each in hungry:
            if not each.idle or each.stopping:
                continue
            index = self._steal_for(each)
            if index is not None:
                if self._dispenser.keeps_order(index) and self._can_begin_afresh(each):
                    self._dispenser.reserve(each.name, index)
                    self._crew.renew(each)
                else:
                    self._give(each, index)
            elif each.waiting:
                each.waiting = False
                each.queue.put(wire.NOTHING)
        if not self._dispenser.left and not any(each.outstanding for each in self._crew):
            self._crew.send_home()

    def _steal_for(self, idle: WorkerHandle) -> int | None:
        victims = [
            each
            for each in self._crew
            if each is not idle
            and each.outstanding > 1
            and self._dispenser.movable(each.sent[-1])
            and self._will_be_busy(each)
        ]
        victims.sort(key=self._remaining_s, reverse=True)
        for victim in victims:
            index = victim.queue.steal()
            if index is not None and index >= 0:
                victim.sent.remove(index)
                self._dispenser.move(index, victim.name, idle.name)
                return index
        return None

    def _will_be_busy(self, one: WorkerHandle) -> bool:
        """Whether what it has queued would wait there: else it had better run in its order."""
        if one.running is None:
            return False
        return REAL_CLOCK.monotonic() - one.began_s > _SOON_S

    def _remaining_s(self, one: WorkerHandle) -> float:
        if one.running is None:
            return 0.0
        return self._durations[one.running] - (REAL_CLOCK.monotonic() - one.began_s)

    def _raise_if_stopped(self) -> None:
        session = self._session
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)

    # -- messages ---------------------------------------------------------------------------

    def _wait(self) -> None:
        for one, messages in self._crew.wait(self._next_deadline_in()):
            if messages is None:
                self._gone(one)
                continue
            if one.killed:  # what it still said while it was asked where it hung
                continue
            for message in messages:
                self._handle(one, message)

    def _handle(self, one: WorkerHandle, message: wire.Upward) -> None:
        if isinstance(message, wire.Progress):
            self._handle_progress(one, message)
        elif isinstance(message, wire.Collected):
            self._compare_collections(one, message.nodeids)
            one.ready = True
        elif isinstance(message, wire.Broken):
            if message.exit_code is not None:
                pytest.exit(message.text, returncode=message.exit_code)
            raise RuntimeError(f"worker {one.name} broke:\n{message.text}")
        elif isinstance(message, wire.Stopped):
            if message.failed:
                self._session.shouldfail = message.reason
            else:
                self._session.shouldstop = message.reason
        else:
            one.left = True
            neighbours.worker_left(self._config, one.name, message.output)

    def _handle_progress(self, one: WorkerHandle, message: wire.Progress) -> None:
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
        one.fixtures_s = message.fixtures_s

    def _replay(self, one: WorkerHandle, kind: str, payload: Any) -> None:
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
        report = unpacked(self._config, kind, payload)
        report.__dict__["wt_worker"] = one.name
        hook.pytest_runtest_logreport(report=report)

    def _compare_collections(self, one: WorkerHandle, nodeids: tuple[str, ...]) -> None:
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

    def _gone(self, one: WorkerHandle) -> None:
        """A worker's stream has ended: it left, or it died under a test."""
        status = self._crew.see_off(one)
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
        if not one.renewed:
            self._dispenser.give_back(one.name, lost)
        session = self._session
        if (one.renewed or not one.left) and not session.shouldstop and not session.shouldfail:
            self._crew.start_worker(one.name if one.renewed else "")

    def _report_lost(
        self, one: WorkerHandle, index: int, outcome: Outcome, what: str, stack_text: str
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
            for each in self._crew
            if each.running is not None and each.deadline_s is not None
        ]
        idle = any(each.idle for each in self._crew)
        if idle and (self._dispenser.left or any(each.outstanding > 1 for each in self._crew)):
            # Somebody is idle: look again soon whether a test waits behind one that lasts.
            deadlines.append(REAL_CLOCK.monotonic() + _SOON_S)
        return max(0.0, min(deadlines) - REAL_CLOCK.monotonic()) if deadlines else None

    def _check_deadlines(self) -> None:
        now = REAL_CLOCK.monotonic()
        for one in self._crew:
            if one.running is None or one.deadline_s is None or now < one.deadline_s:
                continue
            index, one.running = one.running, None
            directory = stacks.folder(self._state.state_dir, self._state.run_id)
            text = stacks.collect(one.pid, directory, one.name, _STACKS_WITHIN_S)
            os.kill(one.pid, signal.SIGKILL)
            one.killed = True
            one.sent.remove(index)
            self._report_lost(
                one,
                index,
                Outcome.TIMEOUT,
                f"worker {one.name} (pid {one.pid}) hung for {now - one.began_s:.1f} s and was"
                " killed",
                text,
            )

    @contextlib.contextmanager
    def _own_capture_suspended(self) -> Generator[None, None, None]:
        capture: Any = self._config.pluginmanager.getplugin("capturemanager")
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

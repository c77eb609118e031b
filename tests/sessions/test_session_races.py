"""What happens to a session at the instants that are easy to miss, each made to happen here."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from windtunnel import sessions
from windtunnel.own.waiting import wait_until
from windtunnel.sandboxes.inside import Interrupts
from windtunnel.sessions import ExecResult, Limits
from windtunnel.sessions.deadline import Alarm
from windtunnel.sessions.job import Job


class Guest:
    """Runs what a test has put there under the code's name."""

    isolation = "none"
    made: list[Guest]
    does: Mapping[str, Callable[[], object]]

    def __init__(self, names: object) -> None:
        self.interrupted = self.closed = 0
        self.made.append(self)

    def run(self, code: str, *, inputs: object, limits: Limits, host: object) -> ExecResult:
        self.does[code]()
        return ExecResult(ok=not self.closed, error="closed" if self.closed else "")

    def interrupt(self) -> None:
        self.interrupted += 1
        self.does.get("interrupt", int)()

    def reset(self) -> None:
        self.does.get("reset", int)()

    def close(self) -> None:
        self.closed += 1
        self.does.get("close", int)()


def guests(**does: Callable[[], object]) -> Any:
    return type("Guests", (Guest,), {"made": [], "does": does})


def test_who_is_interrupted_as_it_ends_does_not_let_the_next_begin_before() -> None:
    running, end, released = threading.Event(), threading.Event(), threading.Event()

    def run() -> None:
        running.set()
        assert end.wait(60)

    def interrupt() -> None:
        end.set()  # just now; whose turn comes next would be hit
        seen.append(released.wait(0.2))

    seen: list[bool] = []
    guest = guests(it=run, interrupt=interrupt)(())

    def work(guest: Any, host: Any, limits: Limits) -> ExecResult:
        return guest.run("it", inputs={}, limits=limits, host=host)  # type: ignore[no-any-return]

    job = Job(object(), guest, {}, work, Limits(), released.set)
    thread = threading.Thread(target=job.run)
    thread.start()
    assert running.wait(60)
    job.interrupt()
    thread.join()
    assert seen == [False]
    assert released.is_set()
    job.interrupt()
    assert guest.interrupted == 1


@pytest.mark.parametrize("how", ["async", "sync"])
def test_who_comes_back_late_takes_no_guest_away_from_whoever_was_next(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("windtunnel.sessions.job.GRACE_S", 0.1)
    inside, go, late_told = (threading.Event() for _ in range(3))
    stop = Job.stop

    def stop_and_see_it_come_back(job: Job) -> None:
        stop(job)
        go.set()
        assert job.finished.wait(60)
        # The next one has its turn, and uses the guest while the late one is told.
        assert inside.wait(60)

    def next_one() -> None:
        inside.set()
        assert late_told.wait(60)

    engine = guests(late=lambda: go.wait(60), next=next_one)
    monkeypatch.setattr(Job, "stop", stop_and_see_it_come_back)
    with sessions.open(engine) as session:
        results: list[ExecResult] = []

        def late() -> None:
            if how == "async":
                results.append(asyncio.run(session.run("late", timeout_s=0.1)))
            else:
                results.append(session.run_sync("late", timeout_s=0.1))
            late_told.set()

        first = threading.Thread(target=late)
        first.start()
        assert wait_until(lambda: session._job is not None, 60)
        assert session.run_sync("next", timeout_s=600).ok
        first.join()
        assert [result.error_type for result in results] == ["TimeoutError"]
        assert not engine.made[0].closed


def test_a_session_that_is_collected_is_not_closed_by_whoever_collects() -> None:
    closed_by: list[threading.Thread] = []
    mutex = threading.Lock()  # as those of the pool of workers, which closing takes too

    def close() -> None:
        with mutex:
            closed_by.append(threading.current_thread())

    session = sessions.open(guests(close=close))
    session.itself = session  # type: ignore[attr-defined]
    with mutex:
        del session
        gc.collect()
    assert wait_until(lambda: bool(closed_by), 60)
    assert threading.current_thread() not in closed_by


def test_what_runs_after_a_reset_is_remembered_whoever_is_told_first() -> None:
    inside, go = threading.Event(), threading.Event()

    def reset() -> None:
        inside.set()
        assert go.wait(60)

    async def main() -> None:
        with sessions.open(guests(before=int, after=int, reset=reset)) as session:
            await session.run("before")
            resets = asyncio.create_task(session.reset())
            assert await asyncio.to_thread(inside.wait, 60)
            go.set()
            session.run_sync("after")  # the loop, which is blocked, tells nobody of the reset yet
            await resets
            assert [record.code for record in session.history] == ["after"]

    asyncio.run(main())


def test_closing_ends_also_what_begins_just_now() -> None:
    ended = threading.Event()
    asked: list[int] = []

    def deaf_at_first() -> None:
        asked.append(1)
        if len(asked) > 1:
            ended.set()

    inside = threading.Event()

    def run() -> None:
        inside.set()
        assert ended.wait(60)

    engine = guests(it=run, interrupt=deaf_at_first)
    session = sessions.open(engine)
    thread = threading.Thread(target=lambda: session.run_sync("it", timeout_s=600))
    thread.start()
    assert inside.wait(60)
    session.close_sync()
    assert ended.is_set()
    thread.join()
    assert engine.made[0].closed == 1


def test_an_interrupt_that_comes_as_it_is_let_in_is_not_overlooked() -> None:
    class Just(Interrupts):
        """One arrives right before the line that lets them in."""

        def __setattr__(self, name: str, value: object) -> None:
            if (name, value) == ("held", False):
                self._arrived(2, None)
            super().__setattr__(name, value)

    interrupts = Just()
    with pytest.raises(KeyboardInterrupt):
        interrupts.allow()
    assert interrupts.held


def test_an_alarm_that_fails_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    failed, rang = threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "excepthook", lambda *_: failed.set())

    def fail() -> None:
        raise OSError("too many open files")

    with Alarm(0, fail):
        assert failed.wait(60)
    with Alarm(0, rang.set):
        assert rang.wait(60)

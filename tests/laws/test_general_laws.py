"""Each general law: a subject that breaks it is caught, and a good one passes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed
from windtunnel.laws.leftovers import alive

SEED = Seed(1)


def finding(contract: type[laws.Contract], law: str, subject: str | None = None) -> laws.Finding:
    """What putting the only subject, or that one, to the law came to."""
    names = None if subject is None else [subject]
    (one,) = laws.check(contract, subjects=names, laws=[law], seed=SEED)
    return one


def holds(contract: type[laws.Contract], law: str, subject: str | None = None) -> bool:
    one = finding(contract, law, subject)
    assert one.verdict.value in ("pass", "fail"), one
    return one.verdict.value == "pass"


def called(make: Any, **declared: Any) -> type[laws.Contract]:
    """A contract of one subject that is called with numbers."""
    declared = {"inputs": st.integers(0, 5), "call": lambda one, given: one(given)} | declared
    return laws.contract(subjects={"it": make}, **declared)


# -- same input, same output ----------------------------------------------------------------------


class Forgetful:
    """Gives the same for the same; or, on demand, something that it counts."""

    made = 0

    def __init__(self, *, counts: bool = False, numbered: bool = False) -> None:
        type(self).made += 1
        self.before = type(self).made if numbered else 0
        self.counts = counts

    def __call__(self, given: int) -> int:
        self.before += self.counts
        return given + self.before


def test_the_same_input_must_give_the_same_output_of_another_subject():
    law = "same_input_same_output"
    assert holds(called(Forgetful), law)
    broken = finding(called(lambda: Forgetful(numbered=True)), law)
    assert broken.verdict.value == "fail"
    assert "the same input gave another result: 0" in broken.reason
    assert "another subject" in broken.reason


def test_the_same_input_must_give_the_same_output_of_the_same_subject_unless_it_is_stateful():
    law = "same_input_same_output"
    broken = finding(called(lambda: Forgetful(counts=True)), law)
    assert "the same subject, asked again," in broken.reason
    assert holds(called(lambda: Forgetful(counts=True), stateful=True), law)


def test_a_subject_that_gives_one_and_the_same_for_everything_is_vacuously_the_same():
    one = finding(called(lambda: lambda given: None), "same_input_same_output")
    assert "never seen: two calls with different results" in one.reason


# -- inputs are not mutated -----------------------------------------------------------------------


def test_an_input_must_not_be_changed_however_deep_it_lies():
    law = "input_is_not_mutated"
    nested = st.lists(st.lists(st.integers(), max_size=2), max_size=2).map(tuple)

    def sorts_inside(given: Any) -> None:
        for one in given:
            one.sort()

    assert holds(called(lambda: sorted, inputs=st.lists(st.integers())), law)
    broken = finding(called(lambda: sorts_inside, inputs=nested), law)
    assert "a call changed its input" in broken.reason
    assert "expected: ([0, -1],)\n  found: ([-1, 0],)" in broken.reason  # the smallest there is


def test_inputs_that_cannot_be_changed_leave_nothing_to_test():
    one = finding(called(lambda: str, inputs=st.text()), "input_is_not_mutated")
    assert one.verdict.value == "unknown"
    assert "no input that was drawn can be changed" in one.reason


# -- calls at the same time -----------------------------------------------------------------------

CONCURRENT = "concurrent_calls_equal_a_serial_order"


class Account:
    """Adds to a balance: with a lock, or by reading first and writing later."""

    def __init__(self, *, locks: bool) -> None:
        self.balance = 0
        self._lock: Any = threading.Lock() if locks else None

    def add(self, amount: int) -> int:
        if self._lock is None:
            return self._add(amount)
        with self._lock:
            return self._add(amount)

    def _add(self, amount: int) -> int:
        balance = self.balance
        balance += amount
        self.balance = balance
        return balance


def accounts(**declared: Any) -> type[laws.Contract]:
    return laws.contract(
        subjects={"locked": lambda: Account(locks=True), "racy": lambda: Account(locks=False)},
        inputs=st.integers(1, 9),
        call=lambda account, amount: account.add(amount),
        stateful=True,
        examples=100,
        **declared,
    )


def test_a_lost_update_between_two_lines_is_found_in_threads():
    contract = accounts(state=lambda account: account.balance)
    assert holds(contract, CONCURRENT, "locked")
    broken = finding(contract, CONCURRENT, "racy")
    assert "calls at the same time gave what no order one by one gives: [1, 1]" in broken.reason
    assert "found: [[('returned', 1), ('returned', 1)], 1]" in broken.reason


class AsyncAccount:
    def __init__(self, *, locks: bool) -> None:
        self.balance = 0
        self._lock = asyncio.Lock() if locks else None

    async def add(self, amount: int) -> int:
        if self._lock is None:
            return await self._add(amount)
        async with self._lock:
            return await self._add(amount)

    async def _add(self, amount: int) -> int:
        balance = self.balance
        await asyncio.sleep(0)
        self.balance = balance + amount
        return self.balance


def test_a_lost_update_across_an_await_is_found_in_tasks():
    contract = laws.contract(
        subjects={
            "locked": lambda: AsyncAccount(locks=True),
            "racy": lambda: AsyncAccount(locks=False),
        },
        inputs=st.integers(1, 9),
        call=lambda account, amount: account.add(amount),
        stateful=True,
        examples=100,
    )
    assert holds(contract, CONCURRENT, "locked")
    assert "what no order one by one gives: [1, 1]" in finding(contract, CONCURRENT, "racy").reason


class Crossed:
    """Takes two locks, in the order that the input says."""

    def __init__(self) -> None:
        self.locks = threading.Lock(), threading.Lock()

    def __call__(self, first: int) -> int:
        one, other = self.locks[first], self.locks[1 - first]
        if not one.acquire(timeout=5):
            raise TimeoutError("the first lock")
        try:
            if not other.acquire(timeout=5):
                raise TimeoutError("the second lock")
            other.release()
        finally:
            one.release()
        return first


def test_calls_that_wait_for_each_other_for_ever_are_told_with_their_places():
    contract = called(Crossed, inputs=st.integers(0, 1), tolerance_s=0.15, examples=100)
    broken = finding(contract, CONCURRENT)
    assert "calls at the same time wait for each other: [0, " in broken.reason
    assert "call 2 at test_general_laws.py:" in broken.reason


def test_calls_that_never_wait_leave_no_overlap_to_test():
    async def at_once(one: Any, given: int) -> int:
        return given

    one = finding(called(lambda: None, call=at_once), CONCURRENT)
    assert one.verdict.value == "unknown"
    assert "no call waits for anything" in one.reason


# -- failing --------------------------------------------------------------------------------------

FAILS = "failure_says_so"


def raising(error: BaseException) -> Any:
    def call(given: int) -> int:
        if given > 3:
            raise error
        return given

    return lambda: call


def test_a_failure_must_say_something():
    assert holds(called(raising(ValueError("too large"))), FAILS)
    assert "failed without a word" in finding(called(raising(ValueError())), FAILS).reason


def test_a_failure_must_be_of_the_kinds_that_the_contract_names():
    broken = finding(called(raising(KeyError("x")), errors=(ValueError,)), FAILS)
    assert "expected: ValueError" in broken.reason
    assert "KeyError" in broken.reason


def test_what_is_declared_invalid_must_fail():
    lenient = called(lambda: lambda given: given, invalid_inputs=st.integers(max_value=-1))
    assert "an invalid input did not fail: -1" in finding(lenient, FAILS).reason


def test_a_failure_may_be_a_result_that_holds_an_error():
    def call(one: Any, given: int) -> dict[str, Any]:
        return {"ok": given < 3, "error": "" if given < 3 else one}

    def contract(message: str) -> type[laws.Contract]:
        return called(
            lambda: message,
            call=call,
            error=lambda result: None if result["ok"] else result["error"],
        )

    assert holds(contract("too large"), FAILS)
    assert "failed without a word" in finding(contract(""), FAILS).reason


def test_a_subject_that_never_fails_is_vacuous_there():
    one = finding(called(lambda: lambda given: given), FAILS)
    assert one.verdict.value == "fail"
    assert "never seen: a call that failed" in one.reason


def test_an_invalid_configuration_must_be_refused_when_the_subject_is_made():
    law = "invalid_config_is_refused"

    class Strict:
        def __init__(self, size: int) -> None:
            if size < 1:
                raise ValueError(f"size must be at least 1, not {size}")

    class Lenient:
        def __init__(self, size: int) -> None:
            self.size = size

    contract = laws.contract(
        subjects=[Strict, Lenient],
        configs=st.fixed_dictionaries({"size": st.integers(1, 9)}),
        invalid_configs=st.fixed_dictionaries({"size": st.integers(-9, 0)}),
    )
    assert holds(contract, law, "Strict")
    broken = finding(contract, law, "Lenient")
    assert "an invalid configuration was taken: {'size': 0}" in broken.reason


# -- cancellation ---------------------------------------------------------------------------------

CANCELLED = "cancellation_leaves_it_usable"


class Worker:
    """Works in two steps under a flag; each way to be careless with a cancellation is one."""

    def __init__(self, way: str = "") -> None:
        self.way = way
        self.lock = asyncio.Lock()

    async def __call__(self, given: int) -> int:
        if self.way == "swallows":
            try:
                await asyncio.sleep(0)
            except asyncio.CancelledError:
                return -1
            return given
        await asyncio.sleep(0)
        await self.lock.acquire()
        try:
            await asyncio.sleep(0)
            return given
        except asyncio.CancelledError:
            if self.way == "keeps":
                await self.lock.acquire()  # of itself: never released
            raise
        finally:
            if self.way == "forgets" and given > 1:
                await asyncio.sleep(0)
            self.lock.release()


def workers(way: str, tolerance_s: float = 0.2) -> type[laws.Contract]:
    return called(lambda: Worker(way), tolerance_s=tolerance_s, asynchronous=True)


def test_a_subject_that_cleans_up_may_be_cancelled_at_every_step():
    assert holds(workers("", tolerance_s=20), CANCELLED)


def test_a_cancellation_that_is_swallowed_is_told_with_its_step():
    broken = finding(workers("swallows", tolerance_s=20), CANCELLED)
    assert "cancelled where it waits for the 1st time, swallowed the cancellation" in broken.reason


def test_a_call_that_does_not_end_when_cancelled_is_told():
    broken = finding(workers("keeps"), CANCELLED)
    assert "cancelled where it waits for the 2nd time, does not end" in broken.reason


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_call_that_nothing_can_cancel_is_told_and_does_not_hold_the_run_up():
    class Undying:
        async def __call__(self, given: int) -> int:
            for _ in range(given):
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    continue
            return given

    async def leaves_one(subject: Any, draw: laws.Draw) -> None:
        asyncio.get_running_loop().create_task(subject(100), name="undying")
        await asyncio.sleep(0)

    contract = called(Undying, inputs=st.just(0), more_laws=[leaves_one], tolerance_s=0.1)
    broken = finding(contract, "leaves_one")
    assert "a task does not end when it is cancelled: undying" in broken.reason


class Leaky(Worker):
    """Takes a lock without ``finally``."""

    async def __call__(self, given: int) -> int:
        await self.lock.acquire()
        await asyncio.sleep(0)
        self.lock.release()
        return given


def test_a_lock_that_a_cancelled_call_kept_is_found_by_the_next_call():
    broken = finding(called(Leaky, tolerance_s=0.2), CANCELLED)
    assert "was cancelled at its 1st wait, the next one does not end" in broken.reason


class Halved(Worker):
    """Changes its state in two steps."""

    def __init__(self) -> None:
        self.in_use = 0

    async def __call__(self, given: int) -> int:
        self.in_use += 1
        await asyncio.sleep(0)
        free, self.in_use = self.in_use == 1, self.in_use - 1
        return given if free else -1


def test_state_that_a_cancelled_call_left_half_changed_is_found_by_the_next_call():
    broken = finding(called(Halved), CANCELLED)
    assert "the next one differs\n  expected: returned 0\n  found: returned -1" in broken.reason


def test_calls_that_are_not_asynchronous_cannot_be_cancelled():
    one = finding(called(lambda: lambda given: given), CANCELLED)
    assert one.verdict.value == "unknown"
    assert "not asynchronous" in one.reason


# -- timeouts -------------------------------------------------------------------------------------

TIMEOUT = "timeout_is_honoured"


class Runner:
    """Runs a loop in a thread, and gives it up in different ways."""

    stop = threading.Event()

    def __init__(self, way: str) -> None:
        self.way = way
        self.ticks = 0

    def call_within(self, given: int, timeout_s: float) -> str:
        end = threading.Event()
        thread = threading.Thread(target=self._work, args=(end,), daemon=True)
        thread.start()
        if self.way != "early":
            thread.join(timeout_s)
        if self.way != "goes on":
            end.set()
            thread.join()
        if self.way == "silent":
            return "done"
        raise {"other": ValueError}.get(self.way, TimeoutError)("out of time")

    def _work(self, end: threading.Event) -> None:
        while not (end.wait(0.001) or self.stop.is_set()):
            self.ticks += 1


def runners(way: str, **declared: Any) -> type[laws.Contract]:
    usual = {
        "call_within": lambda runner, given, timeout_s: runner.call_within(given, timeout_s),
        "timeout_s": 0.02,
        "tolerance_s": 0.8,
    }
    return laws.contract(
        subjects={"it": lambda: Runner(way)}, slow_inputs=st.just(1), **usual | declared
    )


def test_a_timeout_must_come_in_time_as_an_error_that_says_so():
    assert holds(runners("", tolerance_s=20), TIMEOUT)
    assert "did not fail" in finding(runners("silent", tolerance_s=20), TIMEOUT).reason
    other = runners("other", tolerance_s=20)
    assert "expected: TimeoutError" in finding(other, TIMEOUT).reason


@pytest.fixture
def stopped() -> Any:
    Runner.stop.clear()
    yield
    Runner.stop.set()


@pytest.mark.usefixtures("stopped")
def test_work_that_goes_on_after_its_timeout_is_told_by_its_thread():
    broken = finding(runners("goes on"), TIMEOUT)
    assert "timed out, and its work goes on" in broken.reason
    assert "(_work) at test_general_laws.py:" in broken.reason


@pytest.mark.usefixtures("stopped")
def test_work_that_nobody_can_see_is_told_by_its_progress():
    contract = runners("goes on", progress=lambda runner: runner.ticks)
    assert "progress went from" in finding(contract, TIMEOUT).reason


def test_a_timeout_that_is_ignored_ends_the_law_all_the_same():
    def spin(one: Any, given: int, timeout_s: float) -> None:
        while True:
            pass

    broken = finding(runners("", call_within=spin, tolerance_s=0.1), TIMEOUT)
    assert "does not end within 0.12 s" in broken.reason


def test_a_subject_must_serve_again_after_a_timeout():
    lock = threading.Lock()

    def call_within(one: Any, given: int, timeout_s: float) -> None:
        lock.acquire(timeout=timeout_s)
        lock.acquire(timeout=timeout_s)
        raise TimeoutError("out of time")

    def spins(one: Any, given: int) -> int:
        while lock.locked():
            pass
        return given

    declared = {"call_within": call_within, "call": spins, "inputs": st.just(0)}
    broken = finding(runners("", **declared), TIMEOUT)
    assert "timed out, the call of 0 does not end" in broken.reason


def test_an_asynchronous_task_that_outlives_its_timeout_is_told_by_name():
    async def call_within(one: Any, given: int, timeout_s: float) -> None:
        task = asyncio.create_task(asyncio.Event().wait(), name="pump")
        vars(one)["task"] = task
        await asyncio.wait_for(asyncio.shield(task), timeout_s)

    async def properly(one: Any, given: int, timeout_s: float) -> None:
        await asyncio.wait_for(asyncio.Event().wait(), timeout_s)

    assert holds(runners("", call_within=properly, tolerance_s=20), TIMEOUT)
    assert "task pump" in finding(runners("", call_within=call_within), TIMEOUT).reason


# -- stats and identifiers ------------------------------------------------------------------------


class Counting:
    def __init__(self, *, forgets_failures: bool) -> None:
        self.calls = self.failed = 0
        self.forgets = forgets_failures

    def __call__(self, given: int) -> int:
        if given > 3:
            self.calls += not self.forgets
            self.failed += 1
            raise ValueError("too large")
        self.calls += 1
        return given


def test_stats_must_agree_with_what_happened():
    def contract(forgets: bool, **declared: Any) -> type[laws.Contract]:
        stats = {"stats": lambda one: {"calls": one.calls, "failed": one.failed}}
        return called(lambda: Counting(forgets_failures=forgets), **stats | declared)

    assert holds(contract(False), "stats_agree")
    broken = finding(contract(True), "stats_agree")
    assert (
        "expected: {'calls': 1, 'failed': 1}\n  found: {'calls': 0, 'failed': 1}" in broken.reason
    )
    wrong = finding(contract(False, stats=lambda one: {"hits": 1}), "stats_agree")
    assert "any of calls, succeeded, failed" in wrong.reason


class Traced:
    def __init__(self, *, shares: bool) -> None:
        self.shares = shares
        self.current = ""

    async def __call__(self, given: int, trace_id: str) -> dict[str, Any]:
        self.current = trace_id
        await asyncio.sleep(0)
        return {"value": given, "trace_id": self.current if self.shares else trace_id}


def test_a_result_must_carry_the_id_of_its_own_call():
    def contract(shares: bool) -> type[laws.Contract]:
        return laws.contract(
            subjects={"it": lambda: Traced(shares=shares)},
            inputs=st.integers(),
            call_as=lambda one, given, name: one(given, name),
            identifiers=lambda result: [result["trace_id"]],
        )

    assert holds(contract(False), "identifiers_are_carried")
    broken = finding(contract(True), "identifiers_are_carried")
    assert "a call does not carry its id" in broken.reason
    assert "called at the same time" in broken.reason


def test_ids_are_not_mixed_up_between_threads_either():
    class Shared:
        current = ""

        def __call__(self, name: str) -> list[str]:
            self.current = name

            return [self.current]

    def contract(call_as: Any) -> type[laws.Contract]:
        return laws.contract(
            subjects={"it": Shared},
            inputs=st.integers(0, 1),
            call_as=call_as,
            identifiers=lambda result: result,
            examples=100,
        )

    assert holds(contract(lambda one, given, name: [name]), "identifiers_are_carried")
    broken = finding(contract(lambda one, given, name: one(name)), "identifiers_are_carried")
    assert "called at the same time" in broken.reason


# -- round trips ----------------------------------------------------------------------------------


class Point:
    def __init__(self, x: float, *, lossy: bool = False) -> None:
        self.x = x
        self.lossy = lossy

    def __repr__(self) -> str:
        return f"Point({self.x:.1f})" if self.lossy else f"Point({self.x!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and (self.x == other.x or self.x != self.x != other.x)

    __hash__ = None  # type: ignore[assignment]


def points(lossy: bool, **declared: Any) -> type[laws.Contract]:
    make = lambda: lambda x: Point(x, lossy=lossy)  # noqa: E731
    return called(make, inputs=st.floats(), **declared)


def test_an_evaluated_repr_must_be_the_value_again():
    law = "repr_round_trips"
    assert holds(points(False, repr_names={"Point": Point}), law)
    broken = finding(points(True, repr_names={"Point": Point}), law)
    assert "evaluated, a repr is another value" in broken.reason
    assert "a repr cannot be evaluated" in finding(points(True, repr_names={}), law).reason


def test_a_dumped_and_loaded_value_must_be_the_same():
    def contract(digits: int) -> type[laws.Contract]:
        return points(
            False,
            dump=lambda point: float(point.x).hex() if digits else f"{point.x:.1f}",
            load=lambda text: Point(float.fromhex(text) if digits else float(text)),
        )

    assert holds(contract(1), "serialisation_round_trips")
    broken = finding(contract(0), "serialisation_round_trips")
    assert "loaded again, a value is another" in broken.reason


# -- closing --------------------------------------------------------------------------------------


class Pool:
    """Owns a file, a thread, a task or a child, and gives them back, or not."""

    known: list[Pool] = []  # noqa: RUF012

    def __init__(self, way: str) -> None:
        self.way = way
        self.files: list[int] = []
        self.closed = False
        if way == "is kept":
            self.known.append(self)

    def __call__(self, given: int) -> int:
        if self.way == "file":
            self.files.append(os.open(os.devnull, os.O_RDONLY))
        return given

    def close(self) -> None:
        if self.way == "once" and self.closed:
            raise RuntimeError("closed already")
        self.closed = True


def pools(way: str, **declared: Any) -> type[laws.Contract]:
    return called(lambda: Pool(way), **{"close": lambda pool: pool.close()} | declared)


def test_a_subject_may_be_closed_twice():
    assert holds(pools(""), "close_is_idempotent")
    broken = finding(pools("once"), "close_is_idempotent")
    assert "closed again, unused, it failed" in broken.reason
    assert "RuntimeError: closed already" in broken.reason


def test_closing_twice_at_the_same_time_must_not_fail():
    async def close(pool: Pool) -> None:
        if pool.closed:
            return
        if pool.files:
            raise RuntimeError("is being closed")
        pool.files.append(0)
        await asyncio.sleep(0)
        pool.closed = True

    broken = finding(pools("", close=close), "close_is_idempotent")
    assert "closed twice at the same time, it failed" in broken.reason


def test_nothing_may_be_left_of_a_closed_subject():
    assert holds(pools("", tolerance_s=20), "nothing_leaks")


@pytest.fixture
def cleared() -> Any:
    before = set(os.listdir("/dev/fd"))
    yield
    Pool.known.clear()
    for name in set(os.listdir("/dev/fd")) - before:
        try:
            if os.readlink(f"/dev/fd/{name}") == os.devnull:
                os.close(int(name))
        except OSError:
            continue


@pytest.mark.usefixtures("cleared")
def test_an_open_file_that_is_left_is_told_by_its_path():
    broken = finding(pools("file", tolerance_s=0.1), "nothing_leaks")
    assert "a file is left after each of 3" in broken.reason
    assert os.devnull in broken.reason


@pytest.mark.usefixtures("cleared")
def test_a_subject_that_somebody_keeps_is_told_with_its_holder():
    broken = finding(pools("is kept"), "nothing_leaks")
    assert "the subject itself is kept" in broken.reason
    assert "held by list" in broken.reason


def test_a_task_that_is_left_is_told_by_its_name():
    async def call(pool: Pool, given: int) -> int:
        vars(pool)["task"] = asyncio.create_task(asyncio.Event().wait(), name="pump")
        return given

    async def close(pool: Pool) -> None:
        pool.closed = True

    broken = finding(pools("", call=call, close=close, tolerance_s=0.1), "nothing_leaks")
    assert "a task is left" in broken.reason
    assert "task pump" in broken.reason


def test_a_task_that_only_a_cancelled_call_leaves_is_found():
    async def call(pool: Pool, given: int) -> int:
        task = asyncio.create_task(asyncio.sleep(30), name="orphan")
        vars(pool)["task"] = task
        await asyncio.sleep(0)
        task.cancel()
        return given

    async def close(pool: Pool) -> None:
        pool.closed = True

    broken = finding(pools("", call=call, close=close, tolerance_s=0.1), "nothing_leaks")
    assert "task orphan" in broken.reason


def test_a_thread_that_is_left_is_told_by_its_name():
    end = threading.Event()

    def call(pool: Pool, given: int) -> int:
        threading.Thread(target=end.wait, name="pump", daemon=True).start()
        return given

    try:
        broken = finding(pools("", call=call, tolerance_s=0.1), "nothing_leaks")
    finally:
        end.set()
    assert "a thread is left" in broken.reason
    assert "thread pump" in broken.reason


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_no_child_process_is_overlooked_where_a_thread_ends_meanwhile(monkeypatch):
    numbers = os.listdir
    looks: list[str] = []

    def one_more(folder: str) -> list[str]:
        looks.append(folder)
        return [*numbers(folder), *(["999999999"] if looks.count(folder) == 1 else [])]

    with subprocess.Popen(["sleep", "600"]) as child:
        try:
            monkeypatch.setattr("windtunnel.laws.leftovers.os.listdir", one_more)
            assert ("process", child.pid) in alive()
        finally:
            child.kill()

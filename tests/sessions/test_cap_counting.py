"""Counts are exact, and revocation is final, whoever works at the same time."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from windtunnel.sessions import CapabilityContext, CapabilityDenied

THREADS = 8


@pytest.fixture(autouse=True)
def _threads_take_turns_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(work):
    """Run ``work(number)`` in all threads at once, started by a barrier; the results."""
    barrier = threading.Barrier(THREADS)

    def begin(number):
        barrier.wait(120)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def admitted(context: CapabilityContext, tries: int, **wish: object) -> int:
    count = 0
    for _ in range(tries):
        try:
            context.use("mail", **wish)  # type: ignore[arg-type]
        except CapabilityDenied:
            continue
        count += 1
    return count


def test_threads_use_a_token_exactly_as_often_as_it_says():
    root = CapabilityContext("root")
    token = root.grant("mail", uses=500)
    assert sum(together(lambda _: admitted(root, 100))) == 500
    assert token.uses == 500
    assert root.violation_count == 100 * THREADS - 500


def test_threads_below_share_what_is_held_above():
    root = CapabilityContext("root")
    token = root.grant("mail", uses=300)
    children = [root.child(f"guest-{number}", [token.narrow(uses=60)]) for number in range(THREADS)]
    counts = together(lambda number: admitted(children[number], 80))
    assert sum(counts) == token.uses == 300
    assert max(counts) <= 60
    assert [child.tokens()[0].uses for child in children] == counts


def test_threads_send_exactly_as_many_bytes_as_it_says():
    root = CapabilityContext("root")
    root.grant("mail", total_bytes=7_001)
    assert sum(together(lambda _: admitted(root, 200, size=7))) == 1_000
    assert admitted(root, 1, size=2) == 0
    assert admitted(root, 1, size=1) == 1


def test_tasks_use_a_token_exactly_as_often_as_it_says():
    root = CapabilityContext("root")
    root.grant("mail", uses=50)

    async def work():
        count = 0
        for _ in range(10):
            await asyncio.sleep(0)
            count += admitted(root, 1)
        return count

    async def main():
        return await asyncio.gather(*(work() for _ in range(20)))

    assert sum(asyncio.run(main())) == 50


def test_once_revoking_has_returned_no_use_succeeds():
    for _ in range(20):
        root = CapabilityContext("root")
        token = root.grant("mail")
        child = root.child("guest", [token.narrow()])
        taken_back = threading.Event()
        late = []

        def work(number, root=root, child=child, token=token, taken_back=taken_back, late=late):
            if number == 0:
                root.revoke(token)
                taken_back.set()
                return
            for _ in range(30):
                was_taken_back = taken_back.is_set()
                if admitted(child, 1) and was_taken_back:
                    late.append(number)

        together(work)
        assert late == []
        assert admitted(child, 1) == 0


def test_once_a_context_is_closed_no_use_of_it_succeeds():
    root = CapabilityContext("root")
    root.grant("mail")
    child = root.child("guest")
    closed = threading.Event()

    def work(number):
        if number == 0:
            child.close()
            closed.set()
            return 0
        late = 0
        for _ in range(100):
            was_closed = closed.is_set()
            late += was_closed and admitted(child, 1)
        return late

    assert sum(together(work)) == 0


def test_of_threads_that_race_for_the_last_use_one_has_it():
    for _ in range(30):
        root = CapabilityContext("root")
        root.grant("mail", uses=1)
        assert sum(together(lambda _, root=root: admitted(root, 1))) == 1


@pytest.fixture
def switching():
    """Threads of the test let others run after each line of the book-keeping: a piece of it that
    must be done in one would be seen half done."""

    def trace(frame, event, arg):
        if not frame.f_code.co_filename.endswith(("ledger.py", "holdings.py")):
            return None
        if event == "line":
            time.sleep(0)
        return trace

    before = threading.gettrace()
    threading.settrace(trace)
    yield
    threading.settrace(before)


def test_a_use_is_counted_in_one_piece(switching):
    for _ in range(15):
        root = CapabilityContext("root")
        token = root.grant("mail", uses=THREADS - 1)
        children = [root.child("guest", [token.narrow(uses=1)]) for _ in range(THREADS)]
        assert sum(together(lambda number, of=children: admitted(of[number], 1))) == THREADS - 1
        assert sum(child.tokens()[0].uses for child in children) == token.uses == THREADS - 1


def test_a_token_is_added_in_one_piece(switching):
    root = CapabilityContext("root")
    token = root.grant("mail")
    child = root.child("guest")
    tokens = [token.narrow() for _ in range(THREADS)]
    together(lambda number: child.add_capability(tokens[number]))
    assert set(child.tokens("mail")) == set(tokens)


def test_a_destructor_that_uses_the_token_in_the_middle_of_a_use_gets_no_more_than_there_is():
    root = CapabilityContext("root")
    token = root.grant("mail", uses=100)
    extra = []

    class Uses:
        def __init__(self):
            self.itself = self  # a cycle, for the collector to find whenever it runs

        def __del__(self):
            extra.append(admitted(root, 1))

    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        count = 0
        for _ in range(150):
            Uses()
            count += admitted(root, 1)
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert count + sum(extra) == token.uses == 100


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_though_a_thread_was_counting_when_it_was_forked():
    root = CapabilityContext("root")
    root.grant("mail")
    stop = threading.Event()

    def count_on():
        while not stop.is_set():
            admitted(root, 10)

    threads = [threading.Thread(target=count_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                # A lock that was held by a thread left behind would be held for ever.
                signal.alarm(30)
                os._exit(0 if admitted(root, 1) == 1 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()

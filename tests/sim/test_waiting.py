"""Deadlock and stall: a run of which nothing more will come ends, and says who waits for what."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import worlds

from windtunnel.sim import DeadlockError, StallError, World


async def hold_one_and_want_the_other(mine: asyncio.Lock, other: asyncio.Lock) -> None:
    async with mine:
        await asyncio.sleep(1)
        async with other:
            pass


async def two_locks(_: World) -> None:
    left, right = asyncio.Lock(), asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        group.create_task(hold_one_and_want_the_other(left, right), name="lefty")
        group.create_task(hold_one_and_want_the_other(right, left), name="righty")


def test_two_locks_taken_crosswise_are_a_deadlock_that_names_tasks_locks_and_lines():
    with pytest.raises(DeadlockError) as caught:
        worlds.run(two_locks)
    said = str(caught.value)
    assert "[test] lefty waits for Lock.acquire()" in said
    assert "[test] righty waits for Lock.acquire()" in said
    assert "in hold_one_and_want_the_other: async with other:" in said
    assert "at 1.0" in said


def test_a_future_that_nobody_completes_is_a_deadlock_at_the_line_that_awaits_it():
    async def main(_: World) -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match="a future that nobody has completed") as caught:
        worlds.run(main)
    assert "await asyncio.get_running_loop().create_future()" in str(caught.value)


def test_a_deadlock_says_what_kind_of_thing_each_task_waits_for():
    async def named(what: object) -> None:
        await what  # type: ignore[misc]

    async def main(_: World) -> None:
        event, queue, condition = asyncio.Event(), asyncio.Queue[int](), asyncio.Condition()
        never = asyncio.ensure_future(event.wait())
        never.set_name("at the event")

        async def notified() -> None:
            async with condition:
                await condition.wait()

        async with asyncio.TaskGroup() as group:
            group.create_task(queue.get(), name="at the queue")
            group.create_task(notified(), name="at the condition")
            group.create_task(named(never), name="behind another")

    with pytest.raises(DeadlockError) as caught:
        worlds.run(main)
    said = str(caught.value)
    assert "at the event waits for Event.wait()" in said
    assert "at the queue waits for Queue.get()" in said
    assert "at the condition waits for Condition.wait()" in said
    assert "behind another waits for task at the event" in said


def test_a_deadlock_names_the_node_of_each_task_and_the_nodes_that_are_paused():
    async def serve() -> None:
        await asyncio.Event().wait()

    async def main(world: World) -> None:
        world.start("idle", serve)
        sleepy = world.start("sleepy", serve)
        await asyncio.sleep(0.01)
        sleepy.pause()
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError) as caught:
        worlds.run(main)
    said = str(caught.value)
    assert "[idle] idle waits for Event.wait()" in said
    assert "paused: sleepy" in said


def test_a_world_of_many_tasks_lists_some_and_counts_the_rest():
    async def main(_: World) -> None:
        event = asyncio.Event()
        await asyncio.gather(*(event.wait() for _ in range(100)))

    with pytest.raises(DeadlockError, match=r"101 tasks wait") as caught:
        worlds.run(main)
    assert "and 61 more" in str(caught.value)
    assert "(main) waits for 100 of 100 gathered" in str(caught.value)
    assert "(Event.wait) waits for Event.wait()" in str(caught.value)


def test_a_deadlock_leaves_a_loop_that_can_be_closed_and_runs_the_finally_blocks():
    left: list[str] = []

    async def main(_: World) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.append("body")

    with pytest.raises(DeadlockError):
        worlds.run(main)
    assert left == ["body"]


async def beat() -> None:
    while True:
        await asyncio.sleep(1)


def test_heartbeats_do_not_hide_that_the_awaited_event_never_comes():
    async def main(world: World) -> None:
        world.start("heart", beat)
        await asyncio.Event().wait()

    world = worlds.make(stall_s=60)
    with pytest.raises(StallError, match="no progress of the test in 60 s") as caught:
        worlds.run(main, world)
    assert 60 <= world.now_ns / 1e9 < 60 * 1.3
    assert "waits for Event.wait()" in str(caught.value)
    assert "[heart] heart sleeps" in str(caught.value) or "(beat) sleeps" in str(caught.value)


def test_heartbeats_of_the_test_itself_do_not_hide_it_either():
    async def main(_: World) -> None:
        heart = asyncio.ensure_future(beat())
        try:
            await asyncio.Event().wait()
        finally:
            heart.cancel()

    with pytest.raises(StallError):
        worlds.run(main, stall_s=60)


def test_a_wait_in_a_task_group_is_seen_through():
    async def main(_: World) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(beat())
            group.create_task(asyncio.Event().wait(), name="forgotten")

    with pytest.raises(StallError, match="forgotten waits for Event"):
        worlds.run(main, stall_s=60)


def test_sleeping_for_a_year_is_no_stall():
    async def main(world: World) -> float:
        world.start("heart", beat)
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(10_000)
        return asyncio.get_running_loop().time() - begin

    assert worlds.run(main, stall_s=60) == pytest.approx(10_000, abs=0.01)


def test_a_wait_that_a_timeout_will_end_is_no_stall():
    async def main(world: World) -> bool:
        world.start("heart", beat)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1_000):
                await asyncio.Event().wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 1_000)
        done, _ = await asyncio.wait([asyncio.ensure_future(beat())], timeout=1_000)
        return not done

    assert worlds.run(main, stall_s=60)


def test_a_test_that_goes_on_slowly_is_no_stall():
    async def main(_: World) -> int:
        queue = asyncio.Queue[int]()

        async def produce() -> None:
            for number in range(20):
                await asyncio.sleep(100)
                queue.put_nowait(number)

        producer = asyncio.ensure_future(produce())
        total = 0
        for _ in range(20):
            total += await queue.get()
        await producer
        return total

    assert worlds.run(main, stall_s=60) == 190

"""Nodes: who runs where, what a crash leaves, what a restart brings back, and their clocks."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import worlds

from windtunnel.core import UsageError
from windtunnel.sim import NodeCrashedError, World, node_of


def here() -> str:
    """The name of the node on which this runs."""
    task = asyncio.current_task()
    assert task is not None
    node = node_of(task)
    assert node is not None
    loop = asyncio.get_running_loop()
    assert loop.world.node is node  # type: ignore[attr-defined]
    return node.name


# Who runs where.


def test_a_program_and_all_its_tasks_and_timers_run_on_its_node():
    seen: list[str] = []

    async def child() -> None:
        seen.append(here())
        await asyncio.sleep(0.1)
        seen.append(here())

    async def program() -> None:
        world = asyncio.get_running_loop().world  # type: ignore[attr-defined]
        await asyncio.gather(child(), child())
        asyncio.get_running_loop().call_later(0.1, lambda: seen.append(world.node.name))
        asyncio.get_running_loop().call_soon(lambda: seen.append(world.node.name))
        await asyncio.sleep(0.2)

    async def main(world: World) -> None:
        world.start("a", program)
        await asyncio.sleep(1)
        seen.append(here())

    worlds.run(main)
    assert seen == ["a"] * 6 + ["test"]


def test_a_task_made_with_a_fresh_context_keeps_its_node():
    seen: list[str] = []

    async def child() -> None:
        await asyncio.sleep(0.01)
        asyncio.get_running_loop().call_soon(lambda: None)
        seen.append(here())

    async def program() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_task(child(), context=contextvars.Context())
        await contextvars.Context().run(asyncio.ensure_future, child())

    async def main(world: World) -> None:
        await world.add_node("a").run(program())

    worlds.run(main)
    assert seen == ["a", "a"]


def test_a_node_runs_what_it_is_given_and_hands_back_results_and_errors():
    async def double(number: int) -> int:
        assert here() == "a"
        await asyncio.sleep(1)
        return number * 2

    async def fail() -> None:
        raise KeyError("lost")

    async def main(world: World) -> int:
        node = world.add_node("a")
        with pytest.raises(KeyError, match="lost"):
            await node.run(fail())
        assert here() == "test"
        return await node.run(double(21))

    assert worlds.run(main) == 42


def test_cancelling_who_waits_cancels_what_runs_on_the_node():
    seen: list[str] = []

    async def long() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            seen.append(here())
            raise

    async def main(world: World) -> None:
        node = world.add_node("a")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(node.run(long()), 1)
        await asyncio.sleep(1)

    worlds.run(main)
    assert seen == ["a"]


def test_a_future_completed_from_another_node_wakes_its_waiter_on_its_own():
    seen: list[str] = []

    async def main(world: World) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            await future
            seen.append(here())

        async def complete() -> None:
            future.add_done_callback(lambda _: seen.append(f"callback on {world.node.name}"))
            await asyncio.sleep(0.1)
            future.set_result(None)

        waiter = asyncio.ensure_future(world.add_node("a").run(wait()))
        await world.add_node("b").run(complete())
        await waiter

    worlds.run(main)
    assert sorted(seen) == ["a", "callback on b"]


def test_each_node_has_an_environment_of_its_own(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FLEET_COLOUR", "red")
    seen: dict[str, str | None] = {}

    async def paint(colour: str) -> None:
        os.environ["FLEET_COLOUR"] = colour
        os.environ[f"ONLY_{colour}"] = "1"
        await asyncio.sleep(1)
        seen[here()] = os.environ["FLEET_COLOUR"]

    async def main(world: World) -> None:
        nodes = [world.start(name, paint, name) for name in ("blue", "green")]
        await asyncio.sleep(2)
        seen["test"] = os.environ["FLEET_COLOUR"]
        nodes[0].environ["FROM_OUTSIDE"] = "yes"
        seen["outside"] = await nodes[0].run(read("FROM_OUTSIDE"))

    async def read(name: str) -> str | None:
        return os.environ.get(name)

    worlds.run(main)
    assert seen == {"blue": "blue", "green": "green", "test": "red", "outside": "yes"}
    assert os.environ["FLEET_COLOUR"] == "red"
    assert "ONLY_blue" not in os.environ


# Crash.


def test_a_crash_runs_no_finally_block_and_no_timer_of_the_node():
    seen: list[str] = []

    async def program() -> None:
        asyncio.get_running_loop().call_later(1, seen.append, "timer")
        try:
            async with asyncio.TaskGroup() as group, contextlib.aclosing(generator()) as numbers:
                group.create_task(child())
                async for _ in numbers:
                    pass
        except BaseException:
            seen.append("except")
            raise
        finally:
            seen.append("finally")

    async def generator() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await asyncio.sleep(0.1)
        finally:
            seen.append("generator")

    async def child() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            seen.append("child")

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(0.55)
        node.crash()
        assert node.state == "crashed"
        await asyncio.sleep(100)

    worlds.run(main)
    assert seen == []


def test_who_waits_for_a_crashed_node_is_told():
    async def main(world: World) -> None:
        node = world.add_node("a")
        waiting = asyncio.ensure_future(node.run(asyncio.sleep(10)))
        await asyncio.sleep(1)
        node.crash()
        with pytest.raises(NodeCrashedError, match="'a' crashed"):
            await waiting

    worlds.run(main)


def test_a_program_that_crashes_its_own_node_goes_no_further_than_its_next_wait():
    seen: list[str] = []

    async def program() -> None:
        seen.append("begun")
        try:
            asyncio.get_running_loop().world.node.crash()  # type: ignore[attr-defined]
            seen.append("to the end of the step")
            await asyncio.sleep(0)
            seen.append("never")
        finally:
            seen.append("finally")

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(1)
        assert node.state == "crashed"

    worlds.run(main)
    assert seen == ["begun", "to the end of the step"]


def test_a_future_of_another_node_wakes_no_task_of_a_crashed_one():
    seen: list[str] = []

    async def main(world: World) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def wait() -> None:
            future.add_done_callback(lambda _: seen.append("callback"))
            await future
            seen.append("woken")

        node = world.start("a", wait)
        await asyncio.sleep(1)
        node.crash()
        node.restart()
        future.set_result(None)
        await asyncio.sleep(1)

    async def wake(world: World) -> None:
        await main(world)

    worlds.run(wake)
    # The life that ended hears nothing; the one that began finds the future done.
    assert sorted(seen) == ["callback", "woken"]


def test_the_node_of_the_test_body_cannot_crash_and_a_crashed_node_runs_nothing():
    async def main(world: World) -> None:
        with pytest.raises(UsageError, match="node of the test body"):
            world.test.crash()
        node = world.add_node("a")
        node.crash()
        with pytest.raises(UsageError, match="it is crashed"):
            node.crash()
        with pytest.raises(UsageError, match="it is crashed"):
            await node.run(asyncio.sleep(1))
        with pytest.raises(UsageError, match="it is crashed"):
            node.pause()

    worlds.run(main)


# Restart.


def test_a_restart_boots_the_program_again_with_the_same_arguments():
    seen: list[tuple[str, int, int]] = []

    async def program(name: str, *, number: int) -> None:
        world: World = asyncio.get_running_loop().world  # type: ignore[attr-defined]
        seen.append((name, number, world.node.incarnation))
        await asyncio.sleep(1000)

    async def main(world: World) -> None:
        node = world.start("a", program, "x", number=7)
        await asyncio.sleep(1)
        node.crash()
        await asyncio.sleep(1)
        node.restart()
        await asyncio.sleep(1)
        node.restart()  # crashes it first
        await asyncio.sleep(1)

    worlds.run(main)
    assert seen == [("x", 7, 1), ("x", 7, 2), ("x", 7, 3)]


def test_a_restart_gives_the_environment_of_the_beginning():
    seen: list[str | None] = []

    async def program() -> None:
        seen.append(os.environ.get("SET_BY_PROGRAM"))
        os.environ["SET_BY_PROGRAM"] = "1"
        await asyncio.sleep(1000)

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(1)
        node.restart()
        await asyncio.sleep(1)

    worlds.run(main)
    assert seen == [None, None]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package whose program counts its visits in a global of a module."""
    package = tmp_path / "wt_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "stock.py").write_text("visits = 0\nnames: list[str] = []\n")
    (package / "main.py").write_text(
        "import asyncio\n"
        "from wt_shop import stock\n"
        "seen = []\n"
        "async def run(out):\n"
        "    stock.visits += 1\n"
        "    stock.names.append('x')\n"
        "    out.append((stock.visits, len(stock.names)))\n"
        "    await asyncio.sleep(1000)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "wt_shop"  # type: ignore[misc]
    for name in [name for name in sys.modules if name.partition(".")[0] == "wt_shop"]:
        del sys.modules[name]


def booted_twice(world: World) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []

    async def main(world: World) -> None:
        from wt_shop.main import run  # type: ignore[import-not-found]

        first, second = world.start("a", run, out), world.start("b", run, out)
        await asyncio.sleep(1)
        first.crash()
        first.restart()
        await asyncio.sleep(1)
        assert second.state == "up"

    worlds.run(main, world)
    return out


def test_fresh_packages_are_imported_anew_by_each_node_at_each_boot(shop: str):
    assert booted_twice(worlds.make(fresh=(shop,))) == [(1, 1)] * 3


def test_globals_that_outlive_a_crash_are_named_where_the_package_is_not_fresh(shop: str):
    world = worlds.make()
    assert booted_twice(world) == [(1, 1), (2, 2), (3, 3)]
    notes = [note for note in world.trace.notes if note.kind == "outlived"]
    assert [note.facts["name"] for note in notes] == ["wt_shop.stock.names", "wt_shop.stock.visits"]
    assert {note.node for note in notes} == {"a"}


# Stop, pause, resume, signals.


def test_stopping_cancels_the_program_and_runs_its_finally_blocks():
    seen: list[str] = []

    async def program() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(1)
            seen.append(here())

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(1)
        await node.stop()
        assert node.state == "stopped"
        assert seen == ["a"]

    worlds.run(main)


def test_stopping_calls_the_handler_of_sigterm_where_there_is_one():
    seen: list[str] = []

    async def program() -> None:
        asked = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
        await asked.wait()
        seen.append("asked")

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(1)
        await node.stop()
        assert node.state == "stopped"

    worlds.run(main)
    assert seen == ["asked"]


def test_what_does_not_end_within_its_grace_is_killed():
    seen: list[str] = []

    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                seen.append("no")

    async def main(world: World) -> None:
        node = world.start("a", stubborn)
        await asyncio.sleep(1)
        before = world.now_ns
        await node.stop(grace_s=3)
        assert node.state == "stopped"
        assert 3 <= (world.now_ns - before) / 1e9 < 10

    worlds.run(main)
    assert set(seen) == {"no"}


def test_a_signal_reaches_the_handler_that_the_program_set():
    seen: list[str] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, lambda: seen.append(here_of(loop)))
        await asyncio.sleep(5)
        assert loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.sleep(1000)

    def here_of(loop: asyncio.AbstractEventLoop) -> str:
        return str(loop.world.node.name)  # type: ignore[attr-defined]

    async def main(world: World) -> None:
        node = world.start("a", program)
        await asyncio.sleep(1)
        node.signal(signal.SIGHUP)
        await asyncio.sleep(6)
        with pytest.raises(UsageError, match="no handler for signal"):
            node.signal(signal.SIGHUP)

    worlds.run(main)
    assert seen == ["a"]


def test_a_paused_node_does_nothing_while_time_goes_on_and_then_catches_up():
    ticks: list[float] = []

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(1)
            ticks.append(loop.time())

    async def main(world: World) -> None:
        node = world.start("a", tick)
        await asyncio.sleep(2.5)
        before = len(ticks)
        node.pause()
        await asyncio.sleep(10)
        assert len(ticks) == before == 2
        node.resume()
        await asyncio.sleep(0.1)
        assert len(ticks) == 3
        assert ticks[2] - ticks[1] > 10
        await asyncio.sleep(2)
        assert len(ticks) == 5

    worlds.run(main)


def test_a_test_that_passes_with_a_node_paused_ends():
    async def main(world: World) -> str:
        node = world.start("a", asyncio.sleep, 1000)
        await asyncio.sleep(1)
        node.pause()
        return node.state

    assert worlds.run(main) == "paused"


def test_a_program_that_ends_in_an_error_is_remembered_with_its_node():
    async def program() -> None:
        await asyncio.sleep(1)
        raise ValueError("broken")

    async def main(world: World) -> None:
        world.start("a", program)
        await asyncio.sleep(2)

    world = worlds.make()
    worlds.run(main, world)
    ((node, error),) = world.failures
    assert node.name == "a"
    assert repr(error) == "ValueError('broken')"
    assert [note.facts["error"] for note in world.trace.notes if note.kind == "exit"] == [
        "ValueError('broken')"
    ]


# Clocks.


def test_a_fast_and_a_slow_node_sleep_by_their_own_clocks():
    woke: dict[str, float] = {}

    async def nap(world: World) -> None:
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(1000)
        assert asyncio.get_running_loop().time() - begin == pytest.approx(1000, abs=0.01)
        woke[here()] = world.now_ns / 1e9

    async def main(world: World) -> None:
        fast = world.add_node("fast", drift_ppm=100_000)
        slow = world.add_node("slow", drift_ppm=-100_000)
        await asyncio.gather(fast.run(nap(world)), slow.run(nap(world)), nap(world))

    worlds.run(main)
    assert woke["fast"] == pytest.approx(1000 / 1.1, abs=0.01)
    assert woke["slow"] == pytest.approx(1000 / 0.9, abs=0.01)
    assert woke["test"] == pytest.approx(1000, abs=0.01)


def test_a_jump_moves_the_wall_clock_and_not_the_monotonic_one():
    async def main(world: World) -> None:
        clock = world.add_node("a", offset_s=5).clock
        assert clock.offset_s == pytest.approx(5)
        wall, monotonic = clock.time_ns(), clock.monotonic_ns()
        clock.jump(-30)
        assert clock.time_ns() - wall == -30 * 10**9
        assert clock.monotonic_ns() == monotonic
        assert clock.offset_s == pytest.approx(-25)

    world = worlds.make()
    worlds.run(main, world)
    (note,) = [note for note in world.trace.notes if note.kind == "clock"]
    assert (note.node, note.facts) == ("a", {"jump_s": -30})


def test_a_change_of_drift_moves_no_clock_at_once_and_keeps_it_monotonic():
    async def main(world: World) -> None:
        clock = world.add_node("a").clock
        await asyncio.sleep(100)
        before = clock.monotonic_ns()
        clock.drift_ppm = -400_000
        assert clock.monotonic_ns() == before
        await asyncio.sleep(100)
        assert (clock.monotonic_ns() - before) / 1e9 == pytest.approx(60, abs=0.01)
        assert clock.true_ns(clock.monotonic_ns()) == pytest.approx(world.now_ns, abs=2)

    worlds.run(main)


def test_a_drift_that_no_clock_has_is_refused():
    async def main(world: World) -> None:
        with pytest.raises(UsageError, match="drift"):
            world.test.clock.drift_ppm = 1_000_000

    worlds.run(main)


def test_generators_of_a_crashed_node_are_not_closed_and_the_others_on_their_own_node() -> None:
    async def main(world: World) -> list[str]:
        told: list[str] = []

        async def numbers(name: str) -> AsyncIterator[int]:
            try:
                for number in range(1000):
                    yield number
                    await asyncio.sleep(1)
            finally:
                told.append(f"{name} closed on {world.node.name}")

        async def walk(name: str) -> None:
            async for number in numbers(name):
                if number == 3 and name == "b":
                    break  # what it began is now nobody's
            await asyncio.Event().wait()

        a, b = world.start("a", walk, "a"), world.start("b", walk, "b")
        await asyncio.sleep(2)
        a.crash()
        await asyncio.sleep(3)
        gc.collect()
        await asyncio.sleep(1)
        assert b.state == "up"
        return told

    for seed in range(5):
        told = worlds.run(main, seed=seed)
        assert told == ["b closed on b"]

"""Simulated tests in a plain pytest run: who runs them, what fails, what is only named."""

from __future__ import annotations

import re
import sqlite3

import pytest

import simulated_suite
from simulated_suite import Ran

SUITE = """
    import asyncio, logging, os, random, time, unittest, uuid
    import pytest
    import pytest_asyncio
    import windtunnel as wt

    def simulated():
        return type(asyncio.get_running_loop()).__name__ == "SimLoop"

    @wt.simulated(seeds=20)
    async def test_virtual_hours(world):
        await asyncio.sleep(10_000)
        assert simulated()

    @pytest.mark.simulated
    async def test_the_marker_without_numbers():
        assert simulated()

    with open("seeds.txt", "w"): pass

    @wt.simulated(seeds=230)
    async def test_each_seed_is_another(world, record_seed):
        pass

    @pytest.fixture
    def record_seed(world):
        with open("seeds.txt", "a") as file:
            print(world.seed.value, wt.seed.value, random.random(), os.getpid(), file=file)

    @pytest_asyncio.fixture
    async def client(world):
        await asyncio.sleep(1)
        loop = asyncio.get_running_loop()
        yield loop
        await asyncio.sleep(1)
        assert loop is asyncio.get_running_loop()

    @wt.simulated(seeds=5)
    async def test_async_fixture_on_the_same_loop(client, world):
        assert client is asyncio.get_running_loop()
        assert 10**9 <= world.now_ns < 2 * 10**9

    @pytest.mark.anyio
    @wt.simulated(seeds=5)
    async def test_anyio(anyio_client):
        import anyio
        with anyio.fail_after(50):
            await anyio.sleep(40)
        assert simulated() and anyio_client == "there"

    @pytest.fixture
    async def anyio_client(anyio_backend):
        import anyio
        await anyio.sleep(5)
        yield "there"
        await anyio.sleep(5)

    class TestOfAClass:
        @pytest.mark.parametrize("n", [1, 2])
        @wt.simulated(seeds=2)
        async def test_parametrized(self, n, world):
            await asyncio.sleep(n)

    class TestOfUnittest(unittest.IsolatedAsyncioTestCase):
        async def asyncSetUp(self):
            await asyncio.sleep(1)
        @pytest.mark.simulated(seeds=3)
        async def test_unittest(self):
            assert simulated()
        @pytest.mark.simulated(seeds=3)
        async def test_unittest_fails(self):
            await asyncio.sleep(3)
            self.fail("here")

    @wt.simulated(seeds=50)
    async def test_lost_update(world):
        value = 0
        async def add():
            nonlocal value
            was = value
            logging.getLogger("till").warning("read %d", was)
            await asyncio.sleep(world.choose("think", 3))
            value = was + 1
        await asyncio.gather(add(), add())
        print("value", value)
        assert value == 2

    @pytest.mark.xfail(strict=True)
    @wt.simulated(seeds=200)
    async def test_expected_to_fail_under_some_seed(world):
        assert world.choose("x", 4)

    @wt.simulated
    async def test_skipped(world):
        pytest.skip("not now")

    # Verdicts.

    async def forever():
        await asyncio.sleep(10**6)

    @wt.simulated(seeds=3)
    async def test_a_node_fails(world):
        async def main():
            await asyncio.sleep(1)
            raise ValueError("boom")
        world.start("a", main)
        await asyncio.sleep(5)

    @wt.simulated(seeds=3)
    async def test_a_node_fails_while_all_is_cleaned_up(world):
        async def main():
            try:
                await forever()
            finally:
                raise ValueError("boom")
        world.start("a", main)
        await asyncio.sleep(5)

    @wt.simulated(seeds=3)
    async def test_a_handler_is_cancelled_at_the_end(world):
        async def serve(reader, writer):
            await reader.readexactly(100)
        server = await asyncio.start_server(serve, "127.0.0.1", 7000)
        reader, writer = await asyncio.open_connection("127.0.0.1", 7000)
        writer.write(b"x")
        await asyncio.sleep(1)

    @wt.simulated(seeds=3)
    async def test_a_task_swallows_its_cancellation(world):
        async def stubborn():
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    pass
        asyncio.create_task(stubborn())
        await asyncio.sleep(1)

    @wt.simulated(seeds=3)
    async def test_leaves_a_task(world):
        asyncio.create_task(forever())
        await asyncio.sleep(1)

    @wt.simulated(seeds=3)
    async def test_an_escape_that_is_swallowed(world):
        try:
            os.system("true")
        except Exception:
            pass

    @wt.simulated(seeds=3)
    async def test_a_blocking_call_whose_error_is_swallowed(world):
        try:
            time.sleep(1)
        except Exception:
            pass

    @wt.simulated(seeds=3)
    async def test_a_process_is_refused(world):
        try:
            await asyncio.create_subprocess_exec("true")
        except Exception:
            pass

    async def forsaken():
        await asyncio.sleep(10**6)

    @wt.simulated(seeds=3)
    async def test_ends_right_after_cancelling(world):
        task = asyncio.create_task(forsaken())
        await asyncio.sleep(1)
        task.cancel()

    @wt.simulated(seeds=3)
    async def test_deadlock(world):
        await asyncio.Event().wait()

    # The environment.

    @pytest.fixture
    def exported(monkeypatch):
        monkeypatch.setenv("WT_X", "of the fixture")
        yield
        assert os.environ["WT_X"] == "of the fixture"

    @wt.simulated(seeds=3)
    async def test_environment(world, exported, monkeypatch):
        assert "WT_Y" not in os.environ
        os.environ["WT_Y"] = "gone with the seed"
        got = []
        async def main():
            got.append(os.environ["WT_X"])
            os.environ["WT_X"] = "of the node"
        world.start("a", main)
        await asyncio.sleep(1)
        assert got == ["of the fixture"] and os.environ["WT_X"] == "of the fixture"

    # What cannot be.

    @pytest_asyncio.fixture(scope="module")
    async def wide():
        raise AssertionError("is never set up")

    @wt.simulated(seeds=3)
    async def test_wide_async_fixture(wide):
        pass

    def test_world_in_a_sync_test(world):
        pass

    def test_sync_runs_as_it_is():
        loop = asyncio.new_event_loop()
        assert type(loop).__name__ == "_UnixSelectorEventLoop"
        loop.close()
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = tmp_path_factory.mktemp("simulated")
    simulated_suite.write(folder, test_a=SUITE)
    return simulated_suite.pytest_run(folder)


@pytest.mark.parametrize(
    "test",
    [
        "test_virtual_hours",
        "test_the_marker_without_numbers",
        "test_each_seed_is_another",
        "test_async_fixture_on_the_same_loop",
        "test_anyio[asyncio]",
        "test_parametrized[1]",
        "test_parametrized[2]",
        "test_unittest",
        "test_environment",
        "test_sync_runs_as_it_is",
    ],
)
def test_is_run_as_it_stands(ran: Ran, test: str) -> None:
    assert ran.outcome(test) == "PASSED"


def test_every_seed_has_a_world_and_randomness_of_its_own(ran: Ran) -> None:
    lines = [line.split() for line in (ran.folder / "seeds.txt").read_text().splitlines()]
    assert len(lines) == 230
    worlds, runs, drawn, processes = map(set, zip(*lines, strict=True))
    assert len(worlds) == len(drawn) == 230
    assert worlds == runs
    assert len(processes) == 2, "a child runs 200 seeds and is renewed"


def test_a_failure_says_seed_step_time_and_token_and_tells_the_story(ran: Ran) -> None:
    assert ran.outcome("test_lost_update") == "FAILED"
    text = ran.of("test_lost_update")
    said = re.search(
        r"seed (\d+) of 50 \(\d+\) failed after \d+ steps, at \d+\.\d{6} s of virtual time;"
        r" (\d+) passed",
        text,
    )
    assert said
    assert int(said[1]) == int(said[2]) + 1
    assert "replay: windtunnel replay wt1_" in text
    assert "story of seed" in text
    assert "violated:" in text
    assert "value 1" in text


def test_captured_logs_say_node_and_virtual_time_and_leave_messages_alone(ran: Ran) -> None:
    assert re.search(r"\[test \d\.\d{6}s\] WARNING  till:.* read 0\n", ran.of("test_lost_update"))


def test_an_expected_failure_under_one_seed_is_as_expected(ran: Ran) -> None:
    assert ran.outcome("test_expected_to_fail_under_some_seed") == "XFAIL"


def test_a_failure_that_unittest_keeps_back_has_a_story_too(ran: Ran) -> None:
    text = ran.of("test_unittest_fails")
    assert "AssertionError: here" in text
    assert "violated:\n  AssertionError: here" in text


def test_a_node_whose_program_fails_fails_the_test(ran: Ran) -> None:
    text = ran.of("test_a_node_fails")
    assert "ValueError: boom" in text
    assert "the program of node 'a' ended with this exception" in text


@pytest.mark.parametrize(
    "test",
    [
        "test_a_node_fails_while_all_is_cleaned_up",
        "test_a_handler_is_cancelled_at_the_end",
        "test_a_task_swallows_its_cancellation",
        "test_leaves_a_task",
    ],
)
def test_what_cleaning_up_brings_is_not_held_against_a_test(ran: Ran, test: str) -> None:
    assert ran.outcome(test) == "PASSED"


def test_what_a_test_leaves_open_is_named(ran: Ran) -> None:
    with sqlite3.connect(ran.folder / ".windtunnel" / "record.db") as record:
        rows = record.execute("SELECT * FROM violations").fetchall()
    leaks = [" ".join(map(str, row)) for row in rows]
    assert any("task forever" in leak and "test_leaves_a_task" in leak for leak in leaks)
    assert "server listening on 127.0.0.1" in " ".join(leaks)
    assert "task forever" in ran.text
    assert "by test_a.py::test_leaves_a_task" in ran.text


def test_a_task_that_was_cancelled_and_waits_for_its_turn_is_no_leak(ran: Ran) -> None:
    assert ran.outcome("test_ends_right_after_cancelling") == "PASSED"
    assert "forsaken" not in ran.text


def test_an_escape_fails_the_test_though_it_was_swallowed(ran: Ran) -> None:
    assert "EscapeError" in ran.of("test_an_escape_that_is_swallowed")


def test_a_blocking_call_fails_the_test_though_its_error_was_swallowed(ran: Ran) -> None:
    assert "BlockingCallError" in ran.of("test_a_blocking_call_whose_error_is_swallowed")


def test_a_refused_process_is_named_with_its_line_and_what_to_do(ran: Ran) -> None:
    text = ran.of("test_a_process_is_refused")
    assert "in test_a_process_is_refused" in text
    assert "run a simulated node in its place" in text


def test_a_deadlock_is_told_without_the_stack_of_the_scheduler(ran: Ran) -> None:
    text = ran.of("test_deadlock")
    assert "Event.wait()" in text
    assert "scheduler.py" not in text


def test_a_wider_async_fixture_is_refused_in_one_error(ran: Ran) -> None:
    text = ran.of("test_wide_async_fixture")
    assert "the async fixture 'wide' is wider than a simulated test" in text
    assert 'scope="module"' in text
    assert "Traceback" not in text


def test_the_fixture_world_is_refused_outside(ran: Ran) -> None:
    assert "the fixture world is there in simulated tests only" in ran.of(
        "test_world_in_a_sync_test"
    )


def test_how_many_seeds_ran_and_which_failed_is_on_record(ran: Ran) -> None:
    with sqlite3.connect(ran.folder / ".windtunnel" / "record.db") as record:
        samples = dict(
            record.execute("SELECT nodeid, value FROM samples WHERE name = 'simulated.seeds'")
        )
        seed, replay = record.execute(
            "SELECT seed, replay FROM outcomes JOIN texts USING (run, test, attempt)"
            " JOIN tests ON tests.id = test WHERE nodeid = 'test_a.py::test_lost_update'"
        ).fetchone()
    assert samples["test_a.py::test_virtual_hours"] == 20
    assert 1 <= samples["test_a.py::test_lost_update"] <= 50
    assert replay == f"windtunnel replay {ran.token('test_lost_update')}"
    assert f"({seed}) failed" in ran.of("test_lost_update")

"""``windtunnel replay``: a failed seed again, in another process, under another hash seed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import simulated_suite
from simulated_suite import Ran, command, pytest_run

pytestmark = pytest.mark.once  # whole runs of a command

SUITE = '''
    import asyncio, os, random, time, uuid
    import hypothesis.strategies as st
    from hypothesis import given, settings
    import windtunnel as wt

    @wt.simulated(seeds=400, policy="pct", stall_s=50)
    async def test_rare(world):
        """Fails where chance, order, clocks, entropy and the hash of strings meet."""
        order = []
        async def visit(name):
            await asyncio.sleep(random.random())
            order.append(name)
        await asyncio.gather(*(visit(name) for name in {"ann", "bob", "cid", "dee"}))
        said = f"{order} {uuid.uuid4()} {time.time()} {os.urandom(4).hex()}"
        assert order != sorted(order), said

    @wt.simulated(seeds=2)
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.integers()))
    async def test_examples(world, numbers):
        await asyncio.sleep(1)
        assert world.now_ns < 2 * 10**9
        assert sum(numbers) < 1000

    @wt.simulated(seeds=3)
    async def test_a_node_fails(world):
        async def main():
            inner = "seen from the debugger"
            await asyncio.sleep(1)
            raise ValueError("boom")
        world.start("a", main)
        await asyncio.sleep(5)
'''


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The suite, run where strings have hashes of their own, but known ones."""
    folder = tmp_path_factory.mktemp("replay")
    simulated_suite.write(folder, test_a=SUITE)
    return pytest_run(folder, "--wt-tape=tapes", "-p", "no:xdist", hash_seed="77")


def said(text: str) -> str:
    """What the test printed of its order, identifiers and clocks."""
    found = re.search(r"AssertionError: (\[.*)", text)
    assert found, text
    return found[1]


def test_a_token_repeats_the_failure_in_a_process_with_another_hash_seed(ran: Ran) -> None:
    again = command(ran.folder, "replay", ran.token("test_rare"), hash_seed="5")
    assert again.code == 1
    assert said(again.text) == said(ran.of("test_rare"))
    assert "reproduced: the same failure, after " in again.text
    assert again.text.count("test session starts") == 1


def test_a_tape_repeats_it_as_well(ran: Ran) -> None:
    (tape,) = ran.folder.glob("tapes/*test-rare*.tape")
    again = command(ran.folder, "replay", str(tape.relative_to(ran.folder)), hash_seed="random")
    assert again.code == 1
    assert said(again.text) == said(ran.of("test_rare"))
    assert "from its tape" in again.text
    assert tape.with_suffix(".svg").read_text().startswith("<svg")


def test_choices_of_hypothesis_are_part_of_the_token(ran: Ran) -> None:
    assert "numbers=[1000]" in ran.of("test_examples")
    again = command(ran.folder, "replay", ran.token("test_examples"), "-rA")
    assert again.code == 1
    assert "numbers=[1000]" in again.text
    assert "reproduced: the same failure" in again.text


def test_it_stops_before_a_step_and_says_who_runs_and_who_waits(ran: Ran) -> None:
    again = command(ran.folder, "replay", ran.token("test_rare"), "--until", "4")
    assert again.code == 0
    assert re.search(r"stopped before step 4, at 0\.\d{6} s of virtual time: Task-\d", again.text)
    assert "on test runs next" in again.text
    assert re.search(r"\[test\] Task-\d.* waits for", again.text), again.text
    assert "scheduler.py" not in again.text


def test_a_debugger_stands_at_the_failing_step(ran: Ran) -> None:
    token = ran.token("test_a_node_fails")
    again = command(ran.folder, "replay", token, "--pdb", stdin="p inner\nc\n")
    assert "'seen from the debugger'" in again.text
    assert again.code == 1


def test_coverage_measures_a_replay(ran: Ran) -> None:
    token = ran.token("test_a_node_fails")
    again = command(
        ran.folder, "replay", token, "--cov=test_a", "--cov-report=term-missing", hash_seed="1"
    )
    assert re.search(r"test_a\.py\s+\d+\s+\d+\s+\d+%", again.text), again.text


def test_a_replay_that_passes_says_what_is_not_as_it_was(tmp_path: Path) -> None:
    body = """
        import asyncio
        import windtunnel as wt

        @wt.simulated(seeds=200)
        async def test_it(world):
            for _ in range(CALLS):
                world.choose("n", 10)
            assert FIXED or world.choose("x", 4)
    """
    simulated_suite.write(tmp_path, test_a=body.replace("FIXED", "False").replace("CALLS", "3"))
    ran = pytest_run(tmp_path)
    token = ran.token("test_it")
    (tape,) = tmp_path.glob(".windtunnel/tapes/*.tape")
    simulated_suite.write(tmp_path, test_a=body.replace("FIXED", "True").replace("CALLS", "3"))
    again = command(tmp_path, "replay", token)
    assert again.code == 17
    assert "not reproduced: the test passed; not as it was: code: " in again.text
    assert re.search(r"not as it was: code: \w{12} then, \w{12} now", again.text)
    other = body.replace("FIXED", "False").replace("CALLS", "0").replace('"x", 4', '"x", 2')
    simulated_suite.write(tmp_path, test_a=other)
    again = command(tmp_path, "replay", str(tape))
    assert again.code == 1
    assert "DivergedError: the replay diverged at choice 0" in again.text
    assert "it failed, though not as it did" in again.text


def test_what_cannot_be_replayed_is_one_clear_error(ran: Ran, tmp_path: Path) -> None:
    token = ran.token("test_rare")
    for words, text in (
        ([token.replace("wt1_", "wt2_")], "the token is of version 2"),
        ([token[:-9]], "the token is damaged"),
        (["no-such.tape"], "neither a token nor a file"),
    ):
        again = command(ran.folder, "replay", *words)
        assert (again.code, again.text.count("\n")) == (4, 3), again.text
        assert text in again.text
    elsewhere = command(tmp_path, "replay", token, hash_seed="77")
    assert elsewhere.code == 4
    assert "the test file test_a.py is not there" in elsewhere.text

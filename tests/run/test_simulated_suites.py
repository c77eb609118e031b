"""Simulated tests under what a project runs its suite with: workers, options, other loops."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import simulated_suite
from simulated_suite import command, pytest_run
from windtunnel.explore.token import Token

SUITE = """
    import asyncio
    import pytest

    def simulated():
        return type(asyncio.get_running_loop()).__name__ == "SimLoop"

    async def test_plain_async():
        await asyncio.sleep(5_000)
        assert simulated()

    @pytest.mark.parametrize("n", [1, 2])
    async def test_parametrized(n):
        assert simulated()

    def test_sync():
        async def main():
            return simulated()
        assert asyncio.run(main()) is False
"""

FAILING = """
    import asyncio
    import windtunnel as wt

    @wt.simulated(seeds=100)
    async def test_order(world):
        order = []
        async def say(name):
            order.append(name)
        await asyncio.gather(say("a"), say("b"))
        assert order == ["a", "b"]

    @wt.simulated(seeds=5)
    async def test_other(world):
        pass
"""


@pytest.mark.parametrize("words", [("-n", "0"), ("-n", "2")])
def test_every_async_test_of_a_suite_is_simulated_on_request(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    simulated_suite.write(tmp_path, test_a=SUITE)
    ran = command(tmp_path, "run", "--world", "simulated", "--seeds", "3", *words)
    assert ran.code == 0, ran.text
    assert "4 passed" in ran.text


def test_a_failing_seed_fails_a_run_of_workers_and_of_xdist(tmp_path: Path) -> None:
    simulated_suite.write(tmp_path, test_a=FAILING)
    for ran in (command(tmp_path, "run", "-n", "2"), pytest_run(tmp_path, "-n", "2")):
        assert ran.code == 1, ran.text
        assert "1 failed, 1 passed" in ran.text
        assert "replay: windtunnel replay wt1_" in ran.text


@pytest.mark.once
def test_the_base_seed_decides_which_seeds_are_run(tmp_path: Path) -> None:
    simulated_suite.write(tmp_path, test_a=FAILING)
    first, same, other = (
        pytest_run(tmp_path, f"--wt-seed={seed}", "-k", "order").token("test_order")
        for seed in (1, 1, 2)
    )
    assert first == same != other


@pytest.mark.once
def test_all_seeds_are_run_on_request_and_the_failures_counted(tmp_path: Path) -> None:
    simulated_suite.write(tmp_path, test_a=FAILING)
    ran = pytest_run(tmp_path, "--wt-all-seeds", "--wt-seeds=60", "--wt-seed=3")
    import re

    said = re.search(r"seed 1?\d of 60 .* (\d+) passed, (\d+) failed", ran.text)
    assert said, ran.text
    assert int(said[1]) + int(said[2]) == 60
    assert int(said[2]) > 10


def test_a_test_whose_process_dies_says_under_which_seed(tmp_path: Path) -> None:
    simulated_suite.write(
        tmp_path,
        test_a="""
            import ctypes
            import windtunnel as wt

            @wt.simulated(seeds=200)
            async def test_dies(world):
                if world.choose("x", 4) == 0:
                    ctypes.string_at(0)
        """,
    )
    ran = pytest_run(tmp_path, "-p", "no:faulthandler")
    assert ran.code == 1
    assert "SIGSEGV" in ran.text
    assert "the process died under seed " in ran.text


@pytest.mark.once
def test_tests_are_measured_by_coverage_in_their_children(tmp_path: Path) -> None:
    simulated_suite.write(
        tmp_path,
        shop="async def buy():\n    return 1\n\nasync def sell():\n    return 2\n",
        test_a="""
            import windtunnel as wt
            import shop

            @wt.simulated(seeds=3)
            async def test_buy(world):
                assert await shop.buy() == 1
        """,
    )
    ran = pytest_run(tmp_path, "--cov=shop", "--cov-report=term-missing")
    assert ran.code == 0, ran.text
    assert "shop.py       4      1    75%   5" in ran.text


BAD_MARKERS = {
    "@wt.simulated\ndef test_x(): pass": "only an async test can be simulated",
    "@wt.simulated(polcy='fifo')\nasync def test_x(): pass": "did you mean policy?",
    "@wt.simulated(policy='lifo')\nasync def test_x(): pass": "random, fifo or pct",
    "@wt.simulated(seeds=0)\nasync def test_x(): pass": "a whole number from 1 up",
    "@pytest.mark.simulated(5)\nasync def test_x(): pass": "write simulated(seeds=100)",
    "@wt.simulated(stall_s='long')\nasync def test_x(): pass": "the world cannot be so",
}


@pytest.mark.once
def test_a_marker_that_cannot_be_meant_is_one_clear_error(tmp_path: Path) -> None:
    modules = {
        f"test_{number}": f"import pytest\nimport windtunnel as wt\n{test}\n"
        for number, test in enumerate(BAD_MARKERS)
    }
    simulated_suite.write(tmp_path, **modules)
    ran = pytest_run(tmp_path)
    parts = ran.text.split("ERROR collecting ")[1:]
    assert len(parts) == len(BAD_MARKERS), ran.text
    for number, (part, said) in enumerate(zip(parts, BAD_MARKERS.values(), strict=True)):
        assert said in part
        assert f"test_{number}.py::test_x" in part
        assert "Traceback" not in part


FOREIGN = {
    "a loop that is running": (
        """
        import asyncio, sys, pytest
        async def main():
            return pytest.main(["-q", "test_a.py"])
        sys.exit(asyncio.run(main()))
        """,
        "",
        "an event loop is already running in this thread",
    ),
    "a policy": (
        "",
        """
        import asyncio
        class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
            __module__ = "uvloop"
        asyncio.set_event_loop_policy(EventLoopPolicy())
        """,
        "the event loop policy uvloop.EventLoopPolicy",
    ),
    "a loop_factory": (
        "",
        """
        import asyncio
        class Loop(asyncio.SelectorEventLoop):
            __module__ = "uvloop"
        def pytest_asyncio_loop_factories(config, item):
            return {"uvloop": Loop}
        """,
        "uvloop.Loop",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_loop_of_another_kind_is_one_clear_error(tmp_path: Path, case: str) -> None:
    script, conftest, said = FOREIGN[case]
    simulated_suite.write(
        tmp_path,
        conftest=conftest,
        test_a="""
            import pytest
            import windtunnel as wt
            @pytest.mark.asyncio
            @wt.simulated(seeds=2)
            async def test_x(): pass
        """,
        script=script,
    )
    ran = simulated_suite.python(tmp_path, "script.py") if script else pytest_run(tmp_path)
    assert ran.code == 1, ran.text
    assert said in ran.text
    assert "site-packages" not in ran.of("test_x")


def test_a_users_fixture_called_world_is_the_users(tmp_path: Path) -> None:
    simulated_suite.write(
        tmp_path,
        conftest="import pytest\n@pytest.fixture\ndef world():\n    return 'mine'\n",
        test_a="""
            import windtunnel as wt
            @wt.simulated(seeds=2)
            async def test_x(world):
                assert world == "mine"
        """,
    )
    assert pytest_run(tmp_path).code == 0


def test_a_suite_without_simulated_tests_imports_nothing_of_the_world(tmp_path: Path) -> None:
    simulated_suite.write(
        tmp_path,
        test_a="""
            import sys
            async def not_a_test(): pass
            def test_x():
                mine = [name for name in sys.modules if name.startswith("windtunnel.")]
                assert "windtunnel.run.simulated" in mine
                assert not [n for n in mine if ".sim." in n or n.endswith((".sim", "_attempts"))]
        """,
    )
    ran = pytest_run(tmp_path)
    assert ran.code == 0, ran.text


@pytest.mark.once
def test_differences_between_two_processes_are_named(tmp_path: Path) -> None:
    simulated_suite.write(
        tmp_path,
        test_a="""
            import asyncio
            import windtunnel as wt

            class Peer:
                pass

            async def greet(number):
                await asyncio.sleep(number)

            @wt.simulated(seeds=2)
            async def test_by_address(world):
                known = {Peer(): number for number in range(40)}
                peers = set(known)
                for peer in peers:
                    asyncio.create_task(greet(known[peer]), name=f"to {known[peer]}")
                await asyncio.sleep(50)

            @wt.simulated(seeds=2)
            async def test_by_seed(world):
                await asyncio.gather(*(greet(world.choose("n", 9)) for _ in range(5)))
        """,
    )
    ran = command(tmp_path, "run", "-n", "0", "-rA", "--check-determinism", hash_seed="random")
    assert ran.outcome("test_by_seed") == "PASSED"
    text = ran.of("test_by_address")
    assert "not deterministic: seed 1 of 2 ran otherwise in a second process" in text
    # At the second step, but where the two happen to begin with the same of the 40.
    assert re.search(r"first difference: step \d+\n +here: +to \d+ on test, at 0.0", text)
    assert re.search(r"just before, in both: (Task-1|to \d+) on test", text)
    assert "the set `peers` in test_by_address" in text
    assert "40 Peer, hashed by address" in text


def test_a_run_without_options_of_simulation_has_a_hash_seed_that_its_tokens_name(
    tmp_path: Path,
) -> None:
    simulated_suite.write(
        tmp_path,
        test_a="""
        import os
        import windtunnel as wt

        @wt.simulated(seeds=1)
        async def test_it(world):
            assert not os.environ["PYTHONHASHSEED"].isdigit()
    """,
    )
    named = set[str]()
    for _ in range(2):
        ran = command(tmp_path, "run", "-n", "0", "-rA", hash_seed="random")
        assert "PYTHONHASHSEED was not set" not in ran.text
        named.add(Token.parse(ran.token("test_it")).hash_seed)
    assert len(named) == 2  # each its own: a suite that needs one order of a set is found out
    assert all(seed.isdigit() for seed in named)


@pytest.mark.once
def test_comparing_processes_needs_a_hash_seed_that_can_be_given_on(tmp_path: Path) -> None:
    simulated_suite.write(tmp_path, test_a=FAILING)
    ran = pytest_run(tmp_path, "--wt-check-determinism", hash_seed="random")
    assert ran.code == 4
    assert "set PYTHONHASHSEED=0" in ran.text


def test_a_suite_chooses_its_policy_where_no_marker_does(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import windtunnel as wt

        async def order(world):
            seen = []
            async def note(n):
                seen.append(n)
            await asyncio.gather(*[note(n) for n in range(8)])
            return world.config.policy, seen

        @wt.simulated(seeds=5)
        async def test_as_the_run_says(world):
            assert await order(world) == ("fifo", list(range(8)))

        @wt.simulated(seeds=5, policy="random")
        async def test_as_the_marker_says(world):
            assert (await order(world))[0] == "random"
        """
    )
    result = pytester.runpytest_subprocess("--wt-policy", "fifo")
    result.assert_outcomes(passed=2)
    result = pytester.runpytest_subprocess("--wt-policy", "lifo")
    result.stderr.fnmatch_lines(["*lifo*"])
    assert result.ret == 4

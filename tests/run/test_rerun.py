"""Reruns in one process, in workers of ours and in pytest-xdist's."""

from __future__ import annotations

import pytest

from windtunnel.core import Outcome
from windtunnel.record import open_record

LEAN = [f"-pno:{name}" for name in ("syrupy", "time-machine", "pytest_cov", "hypothesispytest")]
HERE = ["-p", "windtunnel", *LEAN, "-pno:asyncio", "-pno:anyio"]
WAYS = {
    "in-process": [*HERE],
    "pool": [*HERE, "--wt-workers=2"],
    "xdist": [*HERE, "-n2"],
    "fork": [*HERE, "--wt-isolation=fork"],
}
everywhere = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
two_ways = pytest.mark.parametrize("way", [WAYS["in-process"], WAYS["pool"]], ids=["main", "pool"])

# State outside the process, since an attempt may run in a process of its own.
FLAKY = """
    import pathlib, pytest

    def attempts(name):
        path = pathlib.Path(__file__).with_name(f"{name}.attempts")
        path.write_text(path.read_text() + "x" if path.exists() else "x")
        return len(path.read_text())
"""


def flaky_module(pytester: pytest.Pytester, **files: str) -> None:
    from textwrap import dedent

    for name, text in files.items():
        pytester.makepyfile(**{name: dedent(FLAKY) + dedent(text)})


@everywhere
def test_a_test_that_passes_when_run_again_passes_and_is_counted_as_rerun(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        @pytest.mark.flaky(reruns=3)
        def test_third_time():
            assert attempts("third") == 3
        def test_other():
            pass
        """,
    )
    result = pytester.runpytest_subprocess(*way)
    assert result.parseoutcomes() == {"passed": 2, "rerun": 2}
    assert result.ret == pytest.ExitCode.OK


@two_ways
def test_a_test_that_never_passes_fails_once_after_all_its_reruns(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        def test_never():
            assert attempts("never") == 0
        """,
    )
    result = pytester.runpytest_subprocess(*way, "--reruns", "2")
    assert result.parseoutcomes() == {"failed": 1, "rerun": 2}
    assert (pytester.path / "never.attempts").read_text() == "xxx"


@everywhere
def test_every_attempt_is_recorded_and_only_the_last_is_final(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        def test_second_time():
            assert attempts("second") == 2
        """,
    )
    pytester.runpytest_subprocess(*way, "--reruns", "2").assert_outcomes(passed=1)
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        rows = record.outcomes(record.runs()[0].number)
    found = [(row.attempt, row.outcome, row.final) for row in rows]
    assert found == [(1, Outcome.FAILED, False), (2, Outcome.PASSED, True)]


def test_fixtures_of_the_test_are_set_up_again_and_those_of_wider_scope_are_kept(pytester):
    flaky_module(
        pytester,
        test_it="""
        log = []
        @pytest.fixture(scope="module")
        def module(): log.append("module up"); yield; log.append("module down")
        @pytest.fixture(scope="class")
        def klass(module): log.append("class up"); yield; log.append("class down")
        @pytest.fixture
        def mine(klass): log.append("mine up"); yield; log.append("mine down")
        class TestIt:
            def test_second_time(self, mine):
                assert not hasattr(self, "seen"), "the instance is that of the first attempt"
                self.seen = True
                log.append("test")
                assert attempts("second") == 2
        """,
        test_other="""
        from test_it import log
        def test_log():
            once = ["mine up", "test", "mine down"]
            assert log == ["module up", "class up", *once, *once, "class down", "module down"]
        """,
    )
    result = pytester.runpytest_subprocess(*HERE, "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}


@two_ways
def test_a_fixture_of_wider_scope_that_failed_is_set_up_again(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        @pytest.fixture(scope="session")
        def server():
            assert attempts("server") == 2
            yield "up"
        def test_uses_it(server):
            assert server == "up"
        """,
    )
    result = pytester.runpytest_subprocess(*way, "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}


@two_ways
def test_a_failure_in_teardown_is_rerun(pytester, way):
    for number in range(4):  # in a pool, what comes next may be stolen between the attempts
        flaky_module(
            pytester,
            **{
                f"test_{number}": f"""
                @pytest.fixture(scope="module")
                def module(): yield
                @pytest.fixture
                def leaves_a_mess(request, module):
                    yield
                    assert attempts(f"{{request.node.name}}-{number}") == 2
                @pytest.mark.parametrize("part", "ab")
                def test_it(leaves_a_mess, part): pass
                """
            },
        )
    result = pytester.runpytest_subprocess(*way, "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 8, "rerun": 8}


def test_async_unittest_and_parametrised_tests_are_rerun(pytester):
    flaky_module(
        pytester,
        test_it="""
        import asyncio, unittest

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.mark.asyncio
        async def test_asyncio():
            await asyncio.sleep(0)
            assert attempts("asyncio") == 2

        @pytest.mark.anyio
        async def test_anyio():
            await asyncio.sleep(0)
            assert attempts("anyio") == 2

        class TestCase(unittest.TestCase):
            def setUp(self): self.fresh = True
            def test_case(self):
                self.assertTrue(self.fresh)
                self.assertEqual(attempts("unittest"), 2)

        @pytest.mark.parametrize("letter", "ab")
        def test_letters(letter):
            assert attempts(letter) == 2
        """,
    )
    result = pytester.runpytest_subprocess("-p", "windtunnel", *LEAN, "--reruns", "1")
    assert result.parseoutcomes()["rerun"] == 5
    assert result.parseoutcomes()["passed"] == 5
    assert "failed" not in result.parseoutcomes()


def test_only_failures_that_match_are_rerun(pytester):
    flaky_module(
        pytester,
        test_it="""
        @pytest.mark.flaky(reruns=1, only_on=[ConnectionError])
        def test_type(): attempts("type"); raise ConnectionResetError("gone")
        @pytest.mark.flaky(reruns=1, only_on=[ConnectionError])
        def test_other_type(): attempts("other"); raise ValueError("wrong")
        @pytest.mark.flaky(reruns=1, only_on="Error: try .*again")
        def test_text(): attempts("text"); raise ValueError("try it again")
        @pytest.mark.flaky(reruns=1, only_on=[OSError])
        def test_cause():
            attempts("cause")
            try: raise OSError("disk")
            except OSError as error: raise RuntimeError("cannot save") from error
        @pytest.mark.flaky(reruns=1, only_on=[TimeoutError])
        def test_group():
            attempts("group"); raise ExceptionGroup("tasks", [TimeoutError()])
        @pytest.mark.flaky(reruns=1, rerun_except="gone")
        def test_except(): attempts("except"); raise ConnectionError("gone")
        @pytest.mark.flaky(reruns=1, condition="sys.platform == 'nowhere'")
        def test_condition(): attempts("condition"); assert False
        """,
    )
    pytester.runpytest_subprocess(*HERE)
    counts = {path.stem: len(path.read_text()) for path in pytester.path.glob("*.attempts")}
    assert counts == {
        "type": 2,
        "other": 1,
        "text": 2,
        "cause": 2,
        "group": 2,
        "except": 1,
        "condition": 1,
    }


@everywhere
def test_the_setting_only_rerun_sees_the_exception_wherever_the_test_ran(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        def test_matches(): attempts("matches"); raise OSError("busy")
        def test_does_not(): attempts("does_not"); raise OSError("full")
        """,
    )
    pytester.runpytest_subprocess(*way, "--reruns", "1", "--wt-only-rerun", "busy")
    assert (pytester.path / "matches.attempts").read_text() == "xx"
    assert (pytester.path / "does_not.attempts").read_text() == "x"


def test_skipped_and_expected_failures_are_not_rerun(pytester):
    flaky_module(
        pytester,
        test_it="""
        def test_skip(): attempts("skip"); pytest.skip("no")
        @pytest.mark.xfail
        def test_xfail(): attempts("xfail"); assert False
        @pytest.mark.xfail(strict=True)
        def test_xpass(): attempts("xpass")
        """,
    )
    result = pytester.runpytest_subprocess(*HERE, "--reruns", "3")
    assert result.parseoutcomes() == {"skipped": 1, "xfailed": 1, "failed": 1}
    for path in pytester.path.glob("*.attempts"):
        assert path.read_text() == "x"


@two_ways
def test_exitfirst_counts_only_the_failure_that_is_final(pytester, way):
    flaky_module(
        pytester,
        test_it="""
        def test_a(): assert attempts("a") == 2
        def test_b(): assert attempts("b") == 3
        """,
    )
    result = pytester.runpytest_subprocess(*way, "--reruns", "2", "-x")
    assert result.parseoutcomes() == {"passed": 2, "rerun": 3}


def test_the_delay_grows_by_its_factor(pytester):
    flaky_module(
        pytester,
        test_it="""
        from windtunnel.core import RealClock
        slept = []
        RealClock.sleep = lambda self, seconds: slept.append(seconds)
        @pytest.mark.flaky(3, 0.5, 2)
        def test_fourth_time(): assert attempts("fourth") == 4
        def test_slept(): assert slept == [0.5, 1.0, 2.0]
        """,
    )
    pytester.runpytest_subprocess(*HERE).assert_outcomes(passed=2)


def test_a_bare_marker_is_one_rerun_and_a_marker_wins_over_the_option(pytester):
    flaky_module(
        pytester,
        test_it="""
        @pytest.mark.flaky
        def test_bare(): attempts("bare"); assert False
        @pytest.mark.flaky(reruns=0)
        def test_none(): attempts("none"); assert False
        """,
    )
    pytester.runpytest_subprocess(*HERE, "--reruns", "4")
    assert (pytester.path / "bare.attempts").read_text() == "xx"
    assert (pytester.path / "none.attempts").read_text() == "x"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("reruns=-1", "*reruns is not a whole number from 0 up*"),
        ("rerun=1", "*has no argument 'rerun'*"),
        ("1, reruns=2", "*gives reruns twice*"),
        ("reruns_delay='1'", "*reruns_delay is not a finite number*"),
        ("only_on='('", "*holds no regular expression*"),
        ("only_on=[3]", "*takes exception types and regular expressions*"),
    ],
)
def test_a_marker_that_cannot_be_meant_is_an_error_of_collection(pytester, arguments, complaint):
    pytester.makepyfile(
        test_bad=f"""
        import pytest
        @pytest.mark.flaky({arguments})
        def test_it(): pass
        """
    )
    result = pytester.runpytest_subprocess(*HERE)
    result.stdout.fnmatch_lines(["*ERROR collecting test_bad.py*"])
    result.stdout.fnmatch_lines([f"the flaky marker of test_bad.py::test_it{complaint}"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_bad_marker_is_one_clear_error_under_xdist_too(pytester):
    pytester.makepyfile(
        test_bad="import pytest\n@pytest.mark.flaky(reruns='x')\ndef test_it(): pass"
    )
    result = pytester.runpytest_subprocess(*HERE, "-n2")
    result.stdout.fnmatch_lines(["the flaky marker of test_bad.py::test_it: reruns is not*"])
    result.stdout.fnmatch_lines(["  found: 'x'"])
    assert "INTERNALERROR" not in result.stdout.str()


def test_exit_is_not_rerun(pytester):
    flaky_module(
        pytester,
        test_it="""
        def test_exit(): attempts("exit"); pytest.exit("enough", returncode=77)
        """,
    )
    assert pytester.runpytest_subprocess(*HERE, "--reruns", "3").ret == 77
    assert (pytester.path / "exit.attempts").read_text() == "x"


def test_nothing_is_rerun_while_debugging(pytester):
    flaky_module(
        pytester,
        test_it="""
        def test_fails(): attempts("fails"); assert False
        """,
    )
    child = pytester.spawn_pytest(" ".join([*HERE, "--pdb", "--reruns 3"]), expect_timeout=300)
    child.expect("Pdb")
    child.sendline("q")
    child.expect("1 failed")
    child.wait()
    assert (pytester.path / "fails.attempts").read_text() == "x"


def test_failed_subtests_of_an_attempt_do_not_fail_a_run_that_passes_in_the_end(pytester):
    pytest.importorskip("_pytest.subtests", reason="subtests came with pytest 9")
    flaky_module(
        pytester,
        test_it="""
        def test_parts(subtests):
            attempt = attempts("parts")
            for part in range(2):
                with subtests.test(part=part):
                    assert attempt == 2
        """,
    )
    result = pytester.runpytest_subprocess(*HERE, "--reruns", "1")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["rerun"] == 1


def test_the_output_of_an_earlier_attempt_is_not_shown_with_a_later_one(pytester):
    flaky_module(
        pytester,
        test_it="""
        def test_talks():
            print("this is attempt", attempts("talks"))
            assert False
        """,
    )
    text = pytester.runpytest_subprocess(*HERE, "--reruns", "2").stdout.str()
    assert "this is attempt 1" not in text
    assert "this is attempt 2" not in text
    assert "this is attempt 3" in text


@pytest.mark.parametrize("workers", ["pool", "xdist"])
def test_a_test_under_which_a_worker_died_is_rerun_by_another(pytester, workers):
    flaky_module(
        pytester,
        test_it="""
        import os, signal
        def test_dies_once():
            if attempts("dies") == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        def test_other(): pass
        """,
    )
    result = pytester.runpytest_subprocess(*WAYS[workers], "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 2, "rerun": 1}
    assert result.ret == pytest.ExitCode.OK

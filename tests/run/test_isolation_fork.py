"""Isolation ``fork``: each test in a child of its own, and all else as without it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from windtunnel.core import Outcome
from windtunnel.own import ProcessIdentity
from windtunnel.own.waiting import wait_until
from windtunnel.record import open_record

BASE = """
    import os, signal, subprocess, sys, threading, time, unittest, warnings
    import pytest
    PARENT = os.getpid()
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a suite in a pytest of its own: ``run("-x", test_it="...")``."""
    ours = ("PYTEST_X", "PYTEST_C", "COV_", "CI")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)

    def go(*args: str, isolation: str = "fork", **files: str) -> pytest.RunResult:
        for name, text in files.items():
            pytester.makepyfile(**{name: BASE + text})
        arguments = ["-p", "no:randomly", f"--wt-isolation={isolation}", *args]
        return pytester.runpytest_subprocess(*arguments, timeout=300)

    return go


def test_state_of_one_test_is_not_there_in_the_next(run) -> None:
    result = run(
        "-p",
        "no:asyncio",
        test_it="""
    SEEN = []

    @pytest.mark.parametrize("turn", range(3))
    def test_turn(turn):
        assert os.getpid() != PARENT and os.getppid() == PARENT
        assert SEEN == [] and "LEFT" not in os.environ and "fractions" not in sys.modules
        import fractions
        SEEN.append(turn)
        os.environ["LEFT"] = "1"
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        threading.Thread(target=time.sleep, args=(60,)).start()
    """,
    )
    result.assert_outcomes(passed=3)


def test_wider_fixtures_live_in_the_parent_with_their_parameters_and_order(run) -> None:
    result = run(
        "-s",
        "-p",
        "no:asyncio",
        "-p",
        "no:cacheprovider",
        test_it="""
    def say(*words):
        with open("log", "a") as log:
            print(*words, file=log)

    @pytest.fixture(scope="session", autouse=True)
    def session():
        say("session up", os.getpid() == PARENT); yield; say("session down", os.getpid() == PARENT)

    @pytest.fixture(scope="module", params=["a", "b"])
    def module(request, session):
        say("module up", request.param, os.getpid() == PARENT)
        yield request.param
        say("module down", request.param, os.getpid() == PARENT)

    @pytest.fixture(scope="class")
    def cls():
        say("class up", os.getpid() == PARENT); yield 1; say("class down", os.getpid() == PARENT)

    @pytest.fixture
    def function(module):
        say("function up", os.getpid() == PARENT)
        yield
        say("function down", os.getpid() == PARENT)

    class TestIt:
        def test_one(self, function, cls): say("one")
        def test_two(self, cls): say("two")

    def test_three(request):
        request.getfixturevalue("late")
        say("three")

    @pytest.fixture(scope="module")
    def late():
        say("late up", os.getpid() == PARENT); yield; say("late down", os.getpid() == PARENT)
    """,
    )
    result.assert_outcomes(passed=4)
    log = Path("log").read_text().splitlines()
    assert log[0] == "session up True"
    assert log[-1] == "session down True"
    assert log.count("module up a True") == log.count("module down a True") == 1
    assert log.count("module up b True") == log.count("module down b True") == 1
    assert log.index("module down a True") < log.index("module up b True")
    assert "class up True" in log
    assert "class down True" in log
    assert log.count("function up False") == log.count("function down False") == 2
    assert "late up False" in log
    assert "late down False" in log


def test_a_fixture_that_starts_threads_or_a_loop_is_made_by_each_child(run) -> None:
    result = run(
        test_it="""
    import asyncio, socket

    @pytest.fixture(scope="session")
    def thread():
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait)
        thread.start()
        yield thread
        stop.set(); thread.join()

    @pytest.fixture(scope="session")
    def user(thread):
        return thread

    @pytest.fixture(scope="module")
    def loop():
        loop = asyncio.new_event_loop()
        yield loop, os.getpid()
        loop.close()

    @pytest.fixture(scope="module")
    def connection():
        ours, theirs = socket.socketpair()
        with ours, theirs:
            yield os.getpid()

    @pytest.fixture(scope="module")
    def listening():
        with socket.create_server(("127.0.0.1", 0)) as server:
            yield os.getpid()

    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn, thread, user, loop, connection, listening):
        assert thread.is_alive() and user is thread
        assert loop[1] == os.getpid() and connection == os.getpid()
        assert loop[0].run_until_complete(asyncio.sleep(0, 5)) == 5
        assert listening == PARENT
    """
    )
    result.assert_outcomes(passed=2)


def test_failures_of_wider_fixtures_are_the_ordinary_errors(run) -> None:
    result = run(
        "-p",
        "no:asyncio",
        test_it="""
    @pytest.fixture(scope="module")
    def broken(): print("before it broke"); raise ValueError("set-up broke")

    @pytest.fixture(scope="module")
    def unready(): pytest.skip("not here")

    @pytest.fixture(scope="module")
    def undone(): yield; raise ValueError("teardown broke")

    def test_one(broken): pass
    def test_two(broken): pass
    def test_skips(unready): pass
    def test_last(undone): pass
    """,
    )
    result.assert_outcomes(passed=1, errors=3, skipped=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at setup of test_one*", "*ValueError: set-up broke*", "before it broke"]
    )
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_last*", "*ValueError: teardown broke*"]
    )


def test_a_test_that_kills_its_process_is_reported_with_signal_stacks_and_output(
    run, pytester: pytest.Pytester
) -> None:
    result = run(
        "-p",
        "no:asyncio",
        test_it="""
    def deep(): os.kill(os.getpid(), signal.SIGSEGV)

    def test_segfaults():
        os.write(1, b"last words")
        deep()

    def test_exits(): os._exit(7)

    @pytest.fixture
    def bad(): os.kill(os.getpid(), signal.SIGKILL)

    def test_dies_in_setup(bad): pass

    def test_lives(): pass
    """,
    )
    result.assert_outcomes(passed=1, failed=2, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*killed by SIGSEGV*in call*",
            "*last words*",
            "*Fatal Python error: Segmentation fault*",
            '*File "*test_it.py", line * in deep*',
        ]
    )
    result.stdout.fnmatch_lines(["*exit code 7*in call*"])
    result.stdout.fnmatch_lines(["*killed by SIGKILL*in setup*"])
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        (run_row,) = record.runs()
        outcomes = {
            o.nodeid.rpartition("::")[2]: o.outcome for o in record.outcomes(run_row.number)
        }
    assert outcomes == {
        "test_segfaults": Outcome.CRASHED,
        "test_exits": Outcome.CRASHED,
        "test_dies_in_setup": Outcome.CRASHED,
        "test_lives": Outcome.PASSED,
    }


def test_items_of_every_kind_run_in_a_child(run, pytester: pytest.Pytester) -> None:
    pytester.maketxtfile(
        test_doc=f"""
        >>> import os
        >>> os.getpid() != {os.getpid()}
        True
        >>> 1
        2
        """
    )
    result = run(
        "--doctest-glob=test_doc.txt",
        "-p",
        "no:cacheprovider",
        test_it="""
    import asyncio

    class TestCase(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.up = os.getpid()
        @classmethod
        def tearDownClass(cls): assert cls.up == os.getpid() == PARENT
        def setUp(self): self.mine = os.getpid()
        def test_case(self): assert self.up == PARENT != self.mine
        def test_subtests(self):
            for n in range(3):
                with self.subTest(n=n):
                    assert n != 1
        @unittest.skip("not now")
        def test_skipped(self): pass

    class TestAsyncCase(unittest.IsolatedAsyncioTestCase):
        async def test_async(self): await asyncio.sleep(0)

    @pytest.mark.asyncio
    async def test_asyncio(): await asyncio.sleep(0)

    @pytest.mark.anyio
    @pytest.mark.parametrize("anyio_backend", ["asyncio"])
    async def test_anyio(anyio_backend): await asyncio.sleep(0)

    @pytest.mark.xfail
    def test_xfails(): assert os.getpid() == PARENT

    @pytest.mark.xfail(run=False)
    def test_not_run(): os._exit(1)

    @pytest.mark.skipif(True, reason="because")
    def test_skips(): os._exit(1)
    """,
    )
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 2, outcomes  # one subtest, and the document on purpose
    assert (outcomes["skipped"], outcomes["xfailed"]) == (2, 2)
    result.stdout.fnmatch_lines(["*002 >>> os.getpid*", "Expected:", "*2", "Got:", "*1"])


def test_output_logs_and_warnings_are_captured_as_ever(run) -> None:
    result = run(
        "-p",
        "no:asyncio",
        "-rA",
        test_it="""
    import logging

    @pytest.fixture(scope="module")
    def wide():
        print("printed by the wide one"); logging.warning("logged by the wide one")
        yield
        print("printed in its teardown")

    def test_captures(wide, capsys, caplog):
        print("seen by capsys")
        assert capsys.readouterr().out == "seen by capsys\\n"
        logging.warning("seen by caplog")
        assert "seen by caplog" in caplog.text
        print("left to pytest")

    def test_descriptor(capfd):
        os.write(1, b"bytes")
        assert capfd.readouterr().out == "bytes"

    def test_warns():
        warnings.warn("mind the gap")
        with pytest.warns(UserWarning):
            warnings.warn("expected")

    @pytest.mark.filterwarnings("error")
    def test_warning_is_an_error():
        with pytest.raises(UserWarning):
            warnings.warn("raised")
    """,
    )
    result.assert_outcomes(passed=4, warnings=1)
    result.stdout.fnmatch_lines(["*logged by the wide one*", "*printed by the wide one*"])
    result.stdout.fnmatch_lines(["*left to pytest*"])
    result.stdout.fnmatch_lines(["*UserWarning: mind the gap*"])
    result.stdout.no_fnmatch_line("*seen by capsys*")


def test_options_that_end_or_choose_a_run_keep_their_meaning(run) -> None:
    files = {
        "test_it": """
    def test_a(): pass
    def test_b(): assert 0
    def test_c(): pass
    def test_d(): assert 0
    """
    }
    quiet = ("-p", "no:asyncio")
    run(*quiet, "-x", **files).assert_outcomes(passed=1, failed=1)
    run(*quiet, "--maxfail=2", **files).assert_outcomes(passed=2, failed=2)
    run(*quiet, "--lf").assert_outcomes(failed=2)


def test_exit_and_interrupt_from_a_test_end_the_run(run) -> None:
    quiet = ("-p", "no:asyncio")
    text = """
    @pytest.fixture(scope="module", autouse=True)
    def wide():
        yield
        open("torn-down", "w").close()
    @pytest.fixture
    def own():
        yield
        open("own-torn-down", "w").close()
    def test_a(): pass
    def test_b(own): {}
    def test_c(): pass
    """
    result = run(*quiet, test_it=text.format('pytest.exit("enough", 9)'))
    assert result.ret == 9
    assert os.path.exists("torn-down")
    assert os.path.exists("own-torn-down")
    result = run(*quiet, test_it=text.format("raise KeyboardInterrupt"))
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_a_failed_test_is_run_again_in_another_child(run) -> None:
    result = run(
        "-p",
        "no:asyncio",
        "--reruns=2",
        test_it="""
    from pathlib import Path

    @pytest.fixture(scope="module")
    def wide(): yield os.getpid()

    def test_flaky(wide):
        Path(f"try-{os.getpid()}").touch()
        assert wide == PARENT
        assert len(list(Path().glob("try-*"))) == 3
    """,
    )
    result.stdout.fnmatch_lines(["*1 passed, 2 rerun*"])


def test_coverage_of_the_children_is_counted_with_branches_and_contexts(run, pytester) -> None:
    pytester.makefile(".ini", coveragerc="[run]\nbranch = true\n")
    files = {
        "app": """
    def one(flag):
        if flag:
            return 1
        return 2

    def two():
        return 3
    """,
        "test_it": """
    import app
    @pytest.fixture(scope="module")
    def wide(): return app.two()
    def test_a(wide): assert app.one(True) == 1
    def test_b(wide): assert app.one(False) == 2
    """,
    }
    options = ("-p", "no:asyncio", "--cov=app", "--cov-config=coveragerc.ini", "--cov-context=test")
    for workers in ((), ("--wt-workers=2",)):
        result = run(*options, "--cov-report=term-missing", *workers, **files)
        result.assert_outcomes(passed=2)
        result.stdout.fnmatch_lines(["app.py * 100%*"])
    import coverage

    data = coverage.CoverageData(".coverage")
    data.read()
    assert {"test_it.py::test_a|run", "test_it.py::test_b|run"} <= data.measured_contexts()


def test_under_xdist_and_in_our_workers_with_all_isolations_at_once(run) -> None:
    files = {
        "test_it": """
    GLOBAL = []
    @pytest.mark.parametrize("turn", range(6))
    def test_turn(turn, tmp_path):
        assert GLOBAL == [] and "LEFT" not in os.environ
        GLOBAL.append(turn)
        os.environ["LEFT"] = "1"
        open("in-project", "x").close()
        os.unlink("in-project")
    def test_dies(): os.kill(os.getpid(), signal.SIGKILL)
    """
    }
    for workers in ("-n2", "--wt-workers=2"):
        result = run("-p", "no:asyncio", workers, isolation="env,namespace,net,fork", **files)
        result.assert_outcomes(passed=6, failed=1)
        result.stdout.no_fnmatch_line("*worker*crashed*")


def test_a_timeout_ends_the_test_and_not_the_worker(run) -> None:
    result = run(
        "-p",
        "no:asyncio",
        "--wt-timeout=1",
        test_it="""
    def test_hangs(): threading.Event().wait()
    @pytest.mark.timeout(0)
    def test_lives(): pass
    """,
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Timeout*"])


def test_a_background_process_of_a_test_does_not_hold_up_the_run(run, pytester) -> None:
    result = run(
        "-p",
        "no:asyncio",
        test_it="""
    def test_leaves_a_child():
        pid = os.fork()
        if pid == 0:
            os.closerange(0, 3)
            while not os.path.exists("over"): time.sleep(0.05)
            os._exit(0)
        open("left", "w").write(str(pid))

    def test_a_child_that_comes_back():
        pid = os.fork()
        if pid == 0:
            return
        os.waitpid(pid, 0)

    def test_after(): pass
    """,
    )
    result.assert_outcomes(passed=3)
    left = ProcessIdentity.of(int((pytester.path / "left").read_text()))
    assert left is not None
    assert left.alive  # the run has ended, and this one waits for a word from here
    (pytester.path / "over").touch()
    assert wait_until(lambda: not left.alive, within=60)

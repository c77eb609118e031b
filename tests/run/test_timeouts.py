"""Time limits: tests that hang end, and what is reported says where they hung."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from windtunnel.core import Outcome
from windtunnel.record import open_record
from windtunnel.record.protocol import DurationRow
from windtunnel.run.timeouts import suggest

pytestmark = pytest.mark.once  # whole runs that wait for limits

LEAN = [f"-pno:{name}" for name in ("syrupy", "time-machine", "pytest_cov", "hypothesispytest")]
HERE = ["-p", "windtunnel", *LEAN, "-pno:anyio"]
WITHOUT = [*HERE, "-pno:timeout", "-pno:asyncio"]
WITH = [*HERE, "-pno:asyncio"]  # pytest-timeout is installed, and at work
either = pytest.mark.parametrize("way", [WITHOUT, WITH], ids=["alone", "with pytest-timeout"])


def recorded(pytester: pytest.Pytester) -> dict[str, Outcome]:
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        rows = record.outcomes(record.runs()[0].number)
    return {row.nodeid.partition("::")[2]: row.outcome for row in rows}


@either
def test_a_test_past_its_limit_fails_where_it_hangs_in_every_phase(pytester, way):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.fixture
        def slow_up(): time.sleep(60); yield
        @pytest.fixture
        def slow_down(): yield; time.sleep(60)
        @pytest.mark.timeout(2)
        def test_call(): time.sleep(60)
        @pytest.mark.timeout(2)
        def test_setup(slow_up): pass
        @pytest.mark.timeout(timeout=2, method="signal")
        def test_teardown(slow_down): pass
        def test_unlimited(): pass
        """
    )
    result = pytester.runpytest_subprocess(*way)
    assert result.parseoutcomes() == {"failed": 1, "errors": 2, "passed": 2}
    result.stdout.fnmatch_lines(
        [">*def test_call(): time.sleep(60)", "E*Failed: Timeout (>2s)"], consecutive=False
    )
    assert recorded(pytester) == {
        "test_call": Outcome.TIMEOUT,
        "test_setup": Outcome.TIMEOUT,
        "test_teardown": Outcome.TIMEOUT,
        "test_unlimited": Outcome.PASSED,
    }


def test_the_stacks_of_all_threads_and_all_asyncio_tasks_are_reported(pytester):
    pytester.makepyfile(
        """
        import asyncio, pytest, threading, time

        def in_a_thread(): time.sleep(60)

        async def waits_for_work(queue): await queue.get()

        @pytest.mark.timeout(2)
        @pytest.mark.asyncio
        async def test_hangs():
            threading.Thread(target=in_a_thread, name="poller", daemon=True).start()
            task = asyncio.create_task(waits_for_work(asyncio.Queue()), name="consumer")
            await asyncio.shield(task)
        """
    )
    result = pytester.runpytest_subprocess(*HERE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*Timeout: stacks of all threads and asyncio tasks*",
            "Thread poller (daemon):",
            "    def in_a_thread(): time.sleep(60)",
            "Task consumer:",
            "    async def waits_for_work(queue): await queue.get()",
            "  waits for <Future pending*",
        ]
    )
    sections = result.stdout.str().partition("stacks of all threads")[2]
    assert "/_pytest/" not in sections.partition("= windtunnel =")[0]


@either
def test_a_test_that_swallows_its_timeout_fails_all_the_same(pytester, way):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.mark.timeout(2)
        def test_goes_on():
            try: time.sleep(60)
            except BaseException: pass
        @pytest.mark.timeout(2)
        def test_hangs_again():
            try: time.sleep(60)
            except BaseException: pass
            time.sleep(60)
        """
    )
    result = pytester.runpytest_subprocess(*way, "--wt-hang-grace=2")
    result.assert_outcomes(failed=2)
    assert set(recorded(pytester).values()) == {Outcome.TIMEOUT}


@either
def test_the_option_the_ini_key_and_the_variable_of_pytest_timeout_are_honoured(
    pytester, monkeypatch, way
):
    pytester.makepyfile("import time\ndef test_hangs(): time.sleep(60)\n")
    pytester.runpytest_subprocess(*way, "--timeout=2").assert_outcomes(failed=1)
    pytester.makeini("[pytest]\ntimeout = 2\ntimeout_method = signal\n")
    pytester.runpytest_subprocess(*way).assert_outcomes(failed=1)
    pytester.makeini("[pytest]\n")
    monkeypatch.setenv("PYTEST_TIMEOUT", "2")
    pytester.runpytest_subprocess(*way).assert_outcomes(failed=1)


@either
def test_a_default_for_the_suite_yields_to_the_marker(pytester, way):
    pytester.makepyprojecttoml("[tool.windtunnel]\ntimeout = 2\n")
    pytester.makepyfile(
        """
        import pytest, time
        def test_default(): time.sleep(60)
        @pytest.mark.timeout(300)
        def test_marked(): time.sleep(2.5)
        @pytest.mark.timeout(0)
        def test_unlimited(): time.sleep(2.5)
        """
    )
    pytester.runpytest_subprocess(*way).assert_outcomes(failed=1, passed=2)


def test_func_only_leaves_the_fixtures_their_time(pytester):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.fixture
        def slow(): time.sleep(2.5); yield; time.sleep(2.5)
        @pytest.mark.timeout(2, func_only=True)
        def test_quick(slow): pass
        @pytest.mark.timeout(2, func_only=True)
        def test_slow(): time.sleep(60)
        """
    )
    pytester.runpytest_subprocess(*WITHOUT).assert_outcomes(failed=1, passed=1)


def test_the_limit_holds_for_each_attempt_of_a_rerun(pytester):
    pytester.makepyfile(
        """
        import pathlib, time
        def test_hangs_twice():
            marks = pathlib.Path("marks")
            marks.write_text((marks.read_text() if marks.exists() else "") + "x")
            if len(marks.read_text()) < 3: time.sleep(60)
        """
    )
    result = pytester.runpytest_subprocess(*WITHOUT, "--timeout=2", "--reruns=2")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 2}


@pytest.mark.parametrize("isolation", ["none", "fork"])
def test_a_worker_stuck_in_c_code_is_killed_with_its_stacks_and_replaced(pytester, isolation):
    pytester.makepyfile(
        """
        import itertools, pytest
        @pytest.mark.timeout(2)
        def test_stuck(): all(itertools.repeat(1))
        def test_after(): pass
        def test_later(): pass
        """
    )
    arguments = ["--wt-workers=1", "--wt-hang-grace=0.5", f"--wt-isolation={isolation}"]
    result = pytester.runpytest_subprocess(*WITHOUT, *arguments)
    result.assert_outcomes(failed=1, passed=2)
    result.stdout.fnmatch_lines(["*Stacks of*", '*test_*.py", line 3 in test_stuck'])
    assert recorded(pytester)["test_stuck"] == Outcome.TIMEOUT


def test_a_run_without_workers_stuck_in_c_code_is_ended_with_its_stacks(pytester):
    pytester.makepyfile(
        """
        import itertools, pytest
        @pytest.mark.timeout(2)
        def test_stuck(): all(itertools.repeat(1))
        """
    )
    result = pytester.runpytest_subprocess(*WITHOUT, "--wt-hang-grace=0.3", timeout=300)
    assert result.ret == -9
    result.stderr.fnmatch_lines(
        ["windtunnel: *test_stuck hangs past its timeout*", "*line 3 in test_stuck"]
    )


@pytest.mark.parametrize("workers", [[], ["--wt-workers=1"]], ids=["main", "pool"])
def test_the_method_thread_ends_the_process_and_tells_the_stacks(pytester, workers):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.mark.timeout(2, method="thread")
        def test_stuck():
            print("said before")
            time.sleep(60)
        """
    )
    result = pytester.runpytest_subprocess(*WITHOUT, *workers, timeout=300)
    text = result.stdout.str() + result.stderr.str()
    assert "time.sleep(60)" in text
    assert "in test_stuck" in text
    if workers:
        assert recorded(pytester) == {"test_stuck": Outcome.TIMEOUT}
    else:
        assert result.ret == 1
        assert "said before" in text


def test_a_test_that_crashes_is_reported_with_its_stacks(pytester):
    pytester.makepyfile(
        """
        import ctypes
        def test_crashes(): ctypes.string_at(0)
        def test_after(): pass
        """
    )
    result = pytester.runpytest_subprocess(*WITHOUT, "--wt-workers=1")
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(
        ["Fatal Python error: Segmentation fault", "*line 2 in test_crashes"]
    )
    assert recorded(pytester)["test_crashes"] == Outcome.CRASHED


def test_children_of_a_test_do_not_see_the_sentinel(pytester):
    pytester.makepyfile(
        """
        import os, pytest, warnings
        @pytest.mark.timeout(300)
        def test_waits_for_any_child():
            with pytest.raises(ChildProcessError):
                os.wait()
        @pytest.mark.timeout(300)
        def test_forks():
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pid = os.fork()
                if not pid: os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        """
    )
    pytester.runpytest_subprocess(*WITHOUT).assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("", "*has no arguments*"),
        ("'soon'", "*is not a number of seconds*"),
        ("1, method='magic'", "*the method is none of signal, thread*"),
        ("1, timeout=2", "*gives timeout twice*"),
        ("1, seconds=2", "*has no argument 'seconds'*"),
    ],
)
def test_a_marker_that_cannot_be_meant_is_an_error_of_collection(pytester, arguments, complaint):
    pytester.makepyfile(
        test_bad=f"import pytest\n@pytest.mark.timeout({arguments})\ndef test_it(): pass\n"
    )
    result = pytester.runpytest_subprocess(*WITHOUT)
    result.stdout.fnmatch_lines([f"the timeout marker of test_bad.py::test_it{complaint}"])
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_the_marker_is_known_to_strict_markers_without_pytest_timeout(pytester):
    pytester.makepyfile("import pytest\n@pytest.mark.timeout(9)\ndef test_it(): pass\n")
    pytester.runpytest_subprocess(*WITHOUT, "--strict-markers").assert_outcomes(passed=1)


def test_while_a_debugger_is_at_work_no_limit_holds(pytester):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.timeout(300)
        def test_fails(): assert False
        """
    )
    child = pytester.spawn_pytest(" ".join([*WITHOUT, "--pdb"]), expect_timeout=300)
    child.expect("Pdb")
    # A short limit might end before the debugger begins: none runs, however long it would be.
    child.sendline("import signal; print('left:', *signal.getitimer(signal.ITIMER_REAL))")
    child.expect("left: 0.0 0.0")
    child.sendline("q")
    child.expect("1 failed")
    assert "Timeout" not in child.before.decode()
    child.wait()


def test_a_hang_is_followed_by_the_timeout_that_the_record_suggests(pytester):
    pytester.makepyfile(
        """
        import time
        def test_quick(): time.sleep(0.01)
        def test_hangs(): time.sleep(60)
        """
    )
    result = pytester.runpytest_subprocess(*WITHOUT, "--timeout=2")
    result.stdout.fnmatch_lines(
        ["*= timeouts =*", "*test_hangs did not end*", "*the record suggests --timeout=10 *"]
    )


def test_the_suggestion_follows_the_longest_test():
    def of(*seconds: float) -> float:
        return suggest(DurationRow(str(s), p75_s=s, mean_s=s, results=5) for s in seconds)

    assert of() == 0
    assert of(0.01) == 10
    assert of(0.01, 2.5) == 30
    assert of(6) == 60
    assert of(70) == 1200


def test_stacks_of_a_process_that_runs_no_python_code_are_read_from_outside(tmp_path):
    import subprocess

    from windtunnel.run import stacks

    program = (
        "from functools import partial; from itertools import chain, repeat\n"
        "from pathlib import Path; from windtunnel.run import stacks\n"
        f"stacks.install(Path({str(tmp_path)!r}), 'gw0')\n"
        # From its first word on, this is C code that never returns.
        "any(chain(map(partial(print, flush=True), ['ready']), repeat(0)))\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        text = stacks.collect(child.pid, Path(tmp_path), "gw0", 6.0)
        child.kill()
    assert "no Python code can run in it" in text
    assert 'File "<string>", line 4 in <module>' in text


def test_a_process_that_does_not_listen_survives_being_asked(tmp_path):
    import subprocess

    from windtunnel.run import stacks

    with subprocess.Popen(["sleep", "60"]) as child:
        assert stacks.collect(child.pid, Path(tmp_path), "gw0", 1.0) == ""
        assert child.poll() is None
        child.kill()

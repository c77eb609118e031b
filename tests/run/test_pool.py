"""The worker pool through ``windtunnel run``: what users of pytest may rely on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

Run = pytest.RunResult


def wait_for(predicate, within_s: float = 120.0, what: str = "") -> None:
    deadline = time.monotonic() + within_s
    while not predicate():
        assert time.monotonic() < deadline, f"waited {within_s} s for {what or predicate}"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


MIXED = """
    import pytest, warnings

    @pytest.mark.parametrize("i", range(20))
    def test_ok(i): pass
    def test_fail(): assert 1 == 2, "not equal"
    def test_error(no_such_fixture): pass
    def test_skip(): pytest.skip("not today")
    @pytest.mark.xfail
    def test_xfail(): assert False
    @pytest.mark.xfail
    def test_xpass(): pass
    def test_warns(): warnings.warn("beware")
"""


def test_outcomes_are_those_of_a_serial_run(pytester, windtunnel_run):
    pytester.makepyfile(MIXED)
    serial = pytester.runpytest_subprocess("-p", "no:windtunnel").parseoutcomes()
    pooled = windtunnel_run("-n", "3")
    assert pooled.parseoutcomes() == serial
    assert pooled.ret == pytest.ExitCode.TESTS_FAILED


def test_every_test_runs_exactly_once(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, pytest, time
        @pytest.mark.parametrize("i", range(60))
        def test_it(i):
            time.sleep(0.01)
            with open("ran.txt", "a") as file:
                file.write(f"{i} {os.getpid()}\\n")
        """
    )
    assert windtunnel_run("-n", "4").ret == 0
    lines = Path("ran.txt").read_text().splitlines()
    assert sorted(int(line.split()[0]) for line in lines) == list(range(60))
    assert len({line.split()[1] for line in lines}) > 1


def test_session_fixtures_are_made_in_each_worker_and_torn_down_there(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.fixture(scope="session")
        def tower(worker_id):
            with open("log.txt", "a") as file: file.write(f"up {worker_id} {os.getpid()}\\n")
            yield
            with open("log.txt", "a") as file: file.write(f"down {worker_id} {os.getpid()}\\n")
        @pytest.mark.parametrize("i", range(8))
        def test_it(i, tower): pass
        """
    )
    assert windtunnel_run("-n", "2").ret == 0
    log = [line.split() for line in Path("log.txt").read_text().splitlines()]
    ups = {tuple(rest) for word, *rest in log if word == "up"}
    downs = [tuple(rest) for word, *rest in log if word == "down"]
    assert ups == set(downs) == set(downs)
    assert len(ups) == len(downs)
    assert {name for name, _ in ups} <= {"gw0", "gw1"}


def test_tests_that_share_a_module_fixture_set_it_up_once(pytester, windtunnel_run):
    for name in "abc":
        pytester.makepyfile(
            **{
                f"test_{name}": """
            import pytest, time
            @pytest.fixture(scope="module")
            def costly():
                with open("made.txt", "a") as file: file.write(__name__ + "\\n")
            @pytest.mark.parametrize("i", range(6))
            def test_it(i, costly): time.sleep(0.01)
            """
            }
        )
    assert windtunnel_run("-n", "2").ret == 0
    made = Counter(Path("made.txt").read_text().split())
    assert set(made) == {"test_a", "test_b", "test_c"}
    # One module at most is shared out, at the end of the run, when all others are done: as often
    # as who has it is held up.
    assert sum(times > 1 for times in made.values()) <= 1


def test_workers_say_who_they_are_as_under_xdist(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os
        def test_who(request, worker_id, testrun_uid):
            assert worker_id in ("gw0", "gw1")
            assert os.environ["PYTEST_XDIST_WORKER"] == worker_id
            assert os.environ["PYTEST_XDIST_WORKER_COUNT"] == "2"
            assert os.environ["PYTEST_XDIST_TESTRUNUID"] == testrun_uid
            given = request.config.workerinput
            assert given["workerid"] == worker_id and given["workercount"] == 2
        def test_other(): pass
        """
    )
    result = windtunnel_run("-n", "2")
    result.assert_outcomes(passed=2)


def test_a_crashed_worker_is_replaced_and_its_test_named(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, signal, ctypes, pytest
        @pytest.mark.parametrize("i", range(10))
        def test_ok(i): pass
        def test_exits(): os._exit(7)
        def test_killed(): os.kill(os.getpid(), signal.SIGKILL)
        def test_segfaults(): ctypes.string_at(0)
        """
    )
    result = windtunnel_run("-n", "2")
    result.assert_outcomes(passed=10, failed=3)
    text = result.stdout.str()
    assert "left with exit code 7 while it ran test_a_crashed" in text
    assert "was killed by SIGKILL while it ran" in text
    assert "was killed by SIGSEGV while it ran" in text
    assert "in test_segfaults" in text  # the stack


@pytest.mark.parametrize("how", ["forked", "spawned"])
def test_pytest_exit_in_a_test_ends_the_run_with_its_message_and_code(
    pytester, windtunnel_run, how
):
    if how == "spawned":
        pytester.makeconftest("import os\nos.environ.get('PYTEST_XDIST_WORKER')")
    pytester.makepyfile(
        """
        import pytest
        def test_it(): pytest.exit("the bench is gone", returncode=77)
        """
    )
    result = windtunnel_run("-n", "2")
    result.stdout.fnmatch_lines(["!*Exit: the bench is gone !*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert result.ret == 77


@pytest.mark.parametrize(("name", "code"), [("shouldstop", 2), ("shouldfail", 1)])
def test_a_test_may_stop_the_session(pytester, windtunnel_run, name, code):
    pytester.makepyfile(
        f"""
        import pytest, time
        @pytest.mark.parametrize("i", range(200))
        def test_it(i, request):
            if i == 5: request.session.{name} = "the bench is gone"
            if i > 5: time.sleep(300)  # whoever is here is still here when the run is stopped
        """
    )
    result = windtunnel_run("-n", "2")
    result.stdout.fnmatch_lines(["!*the bench is gone*"])
    assert result.ret == code
    assert result.parseoutcomes()["passed"] == 6


def test_tests_that_swallow_ctrl_c_do_not_keep_the_run_going(pytester):
    pytester.makepyfile(
        """
        import pathlib, time
        import pytest
        @pytest.mark.parametrize("i", range(9))
        def test_it(i):
            pathlib.Path(f"began-{i}").touch()
            try: time.sleep(60)
            except KeyboardInterrupt: pass
        """
    )
    process = pytester.popen(
        [sys.executable, "-m", "windtunnel", "run", "-n", "2"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: len(list(pytester.path.glob("began-*"))) == 2, what="two tests")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == pytest.ExitCode.INTERRUPTED, output
    # A worker may have begun its next one before the controller heard of the signal.
    assert len(list(pytester.path.glob("began-*"))) <= 4


def test_a_child_that_comes_back_out_of_its_test_is_no_second_worker(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os
        import pytest
        def test_forks():
            pid = os.fork()
            if pid:
                assert os.waitpid(pid, 0) == (pid, 0)
        @pytest.mark.parametrize("i", range(3))
        def test_after(i): pass
        """
    )
    result = windtunnel_run("-n", "2")
    result.assert_outcomes(passed=4)


def test_a_hung_worker_is_killed_and_its_stacks_are_shown(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import signal, time, pytest
        def test_hangs():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            deep_in_thought()
        def deep_in_thought():
            while True: time.sleep(0.01)
        @pytest.mark.timeout(0)
        def test_ok(): pass
        """
    )
    result = windtunnel_run(
        "-n", "2", "-p", "no:timeout", "--wt-timeout", "0.5", "--hang-grace", "0.5"
    )
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*hung for * s and was killed while it ran*test_hangs*"])
    assert "in deep_in_thought" in result.stdout.str()


def test_a_test_that_ends_while_its_worker_is_asked_where_it_hangs_is_reported_once(
    pytester, windtunnel_run
):
    pytester.makeconftest(
        """
        import time
        from pathlib import Path
        from windtunnel.run import stacks
        def collect(*_):
            Path("asked").touch()
            while not Path("went-on").exists(): time.sleep(0.01)
            return ""
        stacks.collect = collect
        """
    )
    pytester.makepyfile(
        """
        import signal, time, pytest
        from pathlib import Path
        @pytest.mark.timeout(0.5)
        def test_ends_late():
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            while not Path("asked").exists(): time.sleep(0.01)
        def test_next():
            if not Path("went-on").exists():
                Path("went-on").touch()
                time.sleep(300)
        """
    )
    result = windtunnel_run("-n", "1", "-p", "no:timeout", "--hang-grace", "0.5")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*hung for * s and was killed while it ran*test_ends_late*"])


def test_x_stops_the_run_and_running_tests_clean_up(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import time, pytest
        from pathlib import Path
        @pytest.fixture
        def room():
            yield
            Path("cleaned.txt").write_text("")
        def test_long(room):
            Path("began.txt").write_text("")  # not in the fixture: it might not get to its yield
            time.sleep(300)
        def test_fails():
            while not Path("began.txt").exists(): time.sleep(0.01)
            Path("failed.txt").touch()
            assert False
        @pytest.mark.parametrize("i", range(20))
        def test_other(i):
            if Path("failed.txt").exists(): Path(f"late{i}.txt").touch()
        """
    )
    result = windtunnel_run("-n", "2", "-x")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*stopping after 1 failures*"])
    assert Path("cleaned.txt").exists()
    assert not list(Path().glob("late*.txt"))


def test_maxfail_lets_a_suite_longer_than_its_limit_run_to_its_end(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("i", range(30))
        def test_it(i): assert i != 29
        """
    )
    windtunnel_run("-n", "2", "--maxfail=2").assert_outcomes(passed=29, failed=1)


def test_lf_reruns_what_failed_under_the_pool(pytester, windtunnel_run):
    pytester.makepyfile("def test_good(): pass\ndef test_bad(): assert 0\n")
    windtunnel_run("-n", "2").assert_outcomes(passed=1, failed=1)
    windtunnel_run("-n", "2", "--lf").assert_outcomes(failed=1, deselected=0)


def test_junit_xml_holds_every_test(pytester, windtunnel_run):
    pytester.makepyfile(MIXED)
    windtunnel_run("-n", "2", "--junitxml=junit.xml")
    suite = ElementTree.parse("junit.xml").getroot()[0]
    assert len(suite.findall("testcase")) == 26
    assert suite.get("failures") == "1"


def test_captured_output_belongs_to_its_test(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, pytest
        @pytest.mark.parametrize("i", range(12))
        def test_it(i):
            print(f"python {i}")
            os.system(f"echo child {i}")
            assert False
        """
    )
    windtunnel_run("-n", "3", "--junitxml=junit.xml", "-o", "junit_logging=system-out")
    for case in ElementTree.parse("junit.xml").getroot()[0]:
        number = case.get("name", "")[8:-1]
        output = case.findtext("system-out", "")
        assert f"python {number}\n" in output
        assert f"child {number}\n" in output
        assert output.count("python") == output.count("child") == 1


@pytest.mark.parametrize("how", ["fd", "sys", "tee-sys", "no"])
def test_streams_taken_at_import_are_those_of_the_tests(how, pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import pytest, sys
        from sys import stderr, stdout
        @pytest.mark.parametrize("file", [stdout, stderr], ids=["out", "err"])
        def test_it(file):
            assert stdout is sys.stdout and stderr is sys.stderr
            assert file in (sys.stdout, sys.stderr)
        """
    )
    windtunnel_run("-n", "2", f"--capture={how}").assert_outcomes(passed=2)


def test_tmp_paths_of_workers_are_apart_also_under_a_given_basetemp(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import pytest
        from pathlib import Path
        @pytest.mark.parametrize("i", range(6))
        def test_it(tmp_path, i):
            (tmp_path / "mine").write_text("")
            with open("paths.txt", "a") as file: file.write(f"{tmp_path}\\n")
        """
    )
    windtunnel_run("-n", "3", "--basetemp=base").assert_outcomes(passed=6)
    paths = Path("paths.txt").read_text().split()
    assert len(set(paths)) == 6
    assert all("/base/popen-gw" in path for path in paths)


def test_ctrl_c_ends_the_run_with_code_2_and_leaves_nothing(pytester):
    pytester.makepyfile(
        """
        import os, time, pytest
        from pathlib import Path
        @pytest.fixture
        def room(worker_id):
            yield
            Path(f"{worker_id}.cleaned").write_text("")
        @pytest.mark.parametrize("i", range(4))
        def test_long(room, i):
            Path(f"{os.getpid()}.pid").touch()  # not in the fixture: it might not get to its yield
            time.sleep(300)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "windtunnel", "run", "-n", "2"], start_new_session=True
    )
    wait_for(lambda: len(list(Path().glob("*.pid"))) == 2, what="both workers to run a test")
    pids = [int(path.stem) for path in Path().glob("*.pid")]
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(300) == pytest.ExitCode.INTERRUPTED
    assert len(list(Path().glob("*.cleaned"))) == 2
    assert not any(map(alive, pids))


def test_workers_die_with_a_killed_controller(pytester):
    pytester.makepyfile(
        """
        import os, time, pytest
        from pathlib import Path
        @pytest.mark.parametrize("i", range(2))
        def test_long(i):
            Path(f"{os.getpid()}.pid").write_text("")
            time.sleep(300)
        """
    )
    process = subprocess.Popen([sys.executable, "-m", "windtunnel", "run", "-n", "2"])
    wait_for(lambda: len(list(Path().glob("*.pid"))) == 2, what="both workers to run a test")
    pids = [int(path.stem) for path in Path().glob("*.pid")]
    process.kill()
    process.wait(300)
    wait_for(lambda: not any(map(alive, pids)), what="the workers to die")


def test_a_suite_with_threads_at_import_gets_spawned_workers(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, threading, pytest
        stop = threading.Event()
        thread = threading.Thread(target=stop.wait, daemon=True)
        thread.start()
        @pytest.mark.parametrize("i", range(4))
        def test_thread_is_there(i): assert thread.is_alive()
        """
    )
    windtunnel_run("-n", "2").assert_outcomes(passed=4)


def test_a_conftest_that_asks_for_its_worker_gets_the_answer(pytester, windtunnel_run):
    pytester.makeconftest(
        """
        import os
        NAME = os.environ.get("PYTEST_XDIST_WORKER", "master")
        def pytest_configure(config):
            config.mine = getattr(config, "workerinput", {}).get("workerid", "master")
        """
    )
    pytester.makepyfile(
        """
        from conftest import NAME
        def test_name(worker_id, pytestconfig):
            assert worker_id.startswith("gw")
            assert NAME == worker_id == pytestconfig.mine
        def test_more(): pass
        """
    )
    windtunnel_run("-n", "2").assert_outcomes(passed=2)


def test_collections_that_differ_are_one_clear_error(pytester, windtunnel_run):
    pytester.makepyfile(
        """
        import os, pytest
        who = os.environ.get("PYTEST_XDIST_WORKER", "controller")
        @pytest.mark.parametrize("who", [who])
        def test_it(who): pass
        """
    )
    result = windtunnel_run("-n", "1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "collected other tests than the controller" in text
    assert "INTERNALERROR" not in text


def test_options_of_xdist_in_addopts_do_not_stand_in_the_way(pytester, windtunnel_run):
    pytester.makeini("[pytest]\naddopts = -n 2 --dist loadfile")
    for name in "abc":
        pytester.makepyfile(
            **{
                f"test_{name}": """
            import pytest
            @pytest.mark.parametrize("i", range(4))
            def test_it(i, worker_id):
                with open(f"{__name__}.txt", "a") as file: file.write(worker_id + "\\n")
            """
            }
        )
    windtunnel_run("-n", "3").assert_outcomes(passed=12)
    for name in "abc":
        assert len(set(Path(f"test_{name}.txt").read_text().split())) == 1


@pytest.mark.parametrize(
    ("dist", "key"), [("loadscope", "scope"), ("loadfile", "file"), ("loadgroup", "group")]
)
def test_dist_modes_keep_their_groups_on_one_worker(pytester, windtunnel_run, dist, key):
    for name in "ab":
        pytester.makepyfile(
            **{
                f"test_{name}": """
            import json, pytest
            @pytest.fixture(autouse=True)
            def note(request, worker_id):
                group = request.node.get_closest_marker("xdist_group")
                with open("where.jsonl", "a") as file:
                    print(json.dumps({
                        "file": request.path.name, "scope": request.node.parent.nodeid,
                        "group": group.args[0] if group else request.node.nodeid,
                        "worker": worker_id}), file=file)
            @pytest.mark.parametrize("i", range(3))
            def test_plain(i): pass
            @pytest.mark.xdist_group("together")
            def test_grouped(): pass
            class TestClass:
                @pytest.mark.parametrize("i", range(3))
                def test_it(self, i): pass
            """
            }
        )
    windtunnel_run("-n", "3", "--dist", dist).assert_outcomes(passed=14)
    workers: dict[str, set[str]] = {}
    for line in Path("where.jsonl").read_text().splitlines():
        entry = json.loads(line)
        workers.setdefault(entry[key], set()).add(entry["worker"])
    assert workers
    assert all(len(names) == 1 for names in workers.values())


def test_an_order_that_a_plugin_gave_is_kept_also_where_history_would_change_it(
    pytester, windtunnel_run
):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.mark.parametrize("i", range(5))
        def test_it(i):
            with open("order.txt", "a") as file: file.write(f"{i}\\n")
            time.sleep(0.55 if i == 2 else 0)
        """
    )
    windtunnel_run("-n", "1").assert_outcomes(passed=5)
    Path("order.txt").unlink()
    windtunnel_run("-n", "1").assert_outcomes(passed=5)  # longest first, by the first run
    assert Path("order.txt").read_text().split() == ["2", "0", "1", "3", "4"]
    Path("order.txt").unlink()
    pytester.makeconftest("def pytest_collection_modifyitems(items): items.reverse()")
    windtunnel_run("-n", "1").assert_outcomes(passed=5)
    assert Path("order.txt").read_text().split() == ["4", "3", "2", "1", "0"]


def test_pdb_runs_in_this_process(pytester, windtunnel_run):
    pytester.makepyfile("def test_who(worker_id): assert worker_id == 'master'")
    windtunnel_run("-n", "2", "--pdb").assert_outcomes(passed=1)


def test_no_tests_and_broken_collection_have_pytests_exit_codes(pytester, windtunnel_run):
    assert windtunnel_run("-n", "2").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    pytester.makepyfile("import no_such_module")
    assert windtunnel_run("-n", "2").ret == pytest.ExitCode.INTERRUPTED


def test_an_unknown_setting_and_value_are_one_clear_error(pytester, windtunnel_run):
    pytester.makepyfile("def test_it(): pass")
    result = windtunnel_run("--isolation", "nmespace")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "'nmespace' is none of env, namespace, net, fork" in text
    assert "Traceback" not in text
    pytester.makepyprojecttoml("[tool.windtunnel]\nisolaton = 'env'\n")
    result = windtunnel_run()
    assert "did you mean isolation?" in result.stdout.str() + result.stderr.str()


def test_a_failed_comparison_is_explained_by_a_worker_as_by_a_serial_run(pytester, windtunnel_run):
    pytester.makepyfile("def test_it(): assert 'one' not in {'one': 1}")
    windtunnel_run("-n", "1").stdout.fnmatch_lines(["E * 'one' not in {'one': 1}*"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_project_that_cannot_be_written_is_tested_and_recorded_elsewhere(
    pytester, windtunnel_run, monkeypatch, workers
):
    pytester.makepyfile("def test_it(): pass")
    Path(".windtunnel").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("WINDTUNNEL_HOME", str(pytester.path / "home"))
    result = windtunnel_run("-n", workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*this run is recorded in */home/records/*/record.db"])
    (record,) = Path("home/records").glob("*/record.db")
    from windtunnel.record import open_record

    with open_record(record) as opened:
        assert [row.exit_code for row in opened.runs()] == [0]

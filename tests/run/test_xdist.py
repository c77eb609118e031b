"""Under pytest-xdist, and beside plugins that own the same names."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from foreign import ROOT, alone
from windtunnel.core import Outcome
from windtunnel.record import open_record

pytestmark = pytest.mark.once  # other plugins, in an environment of one interpreter

LEAN = [f"-pno:{name}" for name in ("syrupy", "time-machine", "pytest_cov", "hypothesispytest")]
HERE = ["-p", "windtunnel", *LEAN, "-pno:asyncio", "-pno:anyio"]


def outcomes(pytester: pytest.Pytester) -> list[tuple[str, str, Outcome]]:
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        rows = record.outcomes(record.runs()[0].number)
    return [(row.nodeid.partition("::")[2], row.worker, row.outcome) for row in rows]


def test_every_test_is_recorded_once_with_the_worker_that_ran_it(pytester):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.parametrize("number", range(30))
        def test_it(number): assert number % 10
        """
    )
    result = pytester.runpytest_subprocess(*HERE, "-n2")
    result.assert_outcomes(passed=27, failed=3)
    rows = outcomes(pytester)
    assert Counter(name for name, _, _ in rows) == {f"test_it[{n}]": 1 for n in range(30)}
    assert {worker for _, worker, _ in rows} == {"gw0", "gw1"}
    assert sum(outcome is Outcome.FAILED for _, _, outcome in rows) == 3
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        (run,) = record.runs()
    assert run.workers == 2


def test_all_workers_share_the_seed_of_the_run(pytester):
    pytester.makepyfile(
        """
        import pytest, windtunnel
        @pytest.mark.parametrize("number", range(4))
        def test_seed(number): assert windtunnel.seed.value == 4711
        """
    )
    result = pytester.runpytest_subprocess(*HERE, "-n2", "--wt-seed=4711")
    result.assert_outcomes(passed=4)


def scheduler(pytester: pytest.Pytester, *arguments: str) -> str:
    result = pytester.runpytest_subprocess(*HERE, "-v", *arguments)
    line = next(line for line in result.outlines if line.startswith("scheduling tests via "))
    return line.removeprefix("scheduling tests via ")


def test_our_scheduler_comes_with_a_plain_n_and_xdists_own_with_a_dist(pytester):
    pytester.makepyfile("def test_it(): pass\n")
    assert scheduler(pytester, "-n2") == "DurationScheduling"
    assert scheduler(pytester, "-n2", "--dist=load") == "LoadScheduling"
    assert scheduler(pytester, "-n2", "--dist", "worksteal") == "WorkStealingScheduling"
    assert scheduler(pytester, "-n2", "--dist=loadfile") == "LoadFileScheduling"


def test_the_longest_test_of_the_record_is_begun_first_by_its_worker(pytester):
    pytester.makepyfile(
        """
        import pytest, time
        @pytest.mark.parametrize("number", range(12))
        def test_it(number):
            if number in (10, 11): time.sleep(0.5)
        """
    )
    for _ in range(2):
        pytester.runpytest_subprocess(*HERE, "-n2").assert_outcomes(passed=12)
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        rows = record.outcomes(record.runs()[0].number)
    first = {row.nodeid.partition("::")[2] for row in rows if row.order == 0}
    assert first == {"test_it[10]", "test_it[11]"}
    last = {row.nodeid.partition("::")[2] for row in rows if row.order > 0}
    assert len(last) == 10


def test_tests_that_share_a_fixture_of_their_module_stay_on_one_worker(pytester):
    pytester.makepyfile(
        **{
            f"test_{name}": """
                import pytest
                @pytest.fixture(scope="module")
                def server(worker_id): return worker_id
                @pytest.mark.parametrize("number", range(4))
                def test_it(server, number): pass
            """
            for name in "abcdef"
        }
    )
    pytester.runpytest_subprocess(*HERE, "-n2").assert_outcomes(passed=24)
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        rows = record.outcomes(record.runs()[0].number)
    workers: dict[str, set[str]] = {}
    for row in rows:
        workers.setdefault(row.nodeid.partition("::")[0], set()).add(row.worker)
    divided = [file for file, names in workers.items() if len(names) > 1]
    assert len(divided) <= 1, "at most the last file is divided, for a worker that is idle"
    assert not list((pytester.path / ".windtunnel" / "xdist").glob("*"))


def test_a_worker_that_dies_is_replaced_and_every_other_test_still_runs(pytester):
    pytester.makepyfile(
        """
        import ctypes, pytest
        def test_crashes(): ctypes.string_at(0)
        @pytest.mark.parametrize("number", range(20))
        def test_it(number): pass
        """
    )
    result = pytester.runpytest_subprocess(*HERE, "-n2")
    result.assert_outcomes(passed=20, failed=1)
    result.stdout.fnmatch_lines(
        ["*Stacks of worker gw*", "Fatal Python error: Seg*", "*in test_crashes"]
    )
    assert ("test_crashes", Outcome.CRASHED) in {(row[0], row[2]) for row in outcomes(pytester)}


def test_a_test_stuck_in_c_code_costs_its_worker_and_is_a_timeout(pytester):
    pytester.makepyfile(
        """
        import itertools, pytest
        @pytest.mark.timeout(0.5)
        def test_stuck(): all(itertools.repeat(1))
        @pytest.mark.parametrize("number", range(4))
        def test_it(number): pass
        """
    )
    result = pytester.runpytest_subprocess(*HERE, "-n1", "--wt-hang-grace=0.5")
    result.assert_outcomes(passed=4, failed=1)
    assert ("test_stuck", Outcome.TIMEOUT) in {(row[0], row[2]) for row in outcomes(pytester)}


def test_exitfirst_ends_the_run_under_our_scheduler(pytester):
    pytester.makepyfile(
        """
        import pytest, time
        from pathlib import Path
        @pytest.mark.parametrize("number", range(60))
        def test_it(number):
            while number and not Path("failed").exists(): time.sleep(0.01)
            assert number
        """
    )
    # Who passes goes on only when the controller has heard of the failure.
    pytester.makeconftest(
        """
        import os
        import pytest
        from pathlib import Path
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logreport(report):
            if report.failed and "PYTEST_XDIST_WORKER" not in os.environ: Path("failed").touch()
        """
    )
    result = pytester.runpytest_subprocess(*HERE, "-n2", "-x")
    assert result.parseoutcomes()["failed"] == 1
    assert result.parseoutcomes().get("passed", 0) < 59
    assert result.ret == pytest.ExitCode.INTERRUPTED


IDENTITY = """
    import os
    def test_identity(worker_id, testrun_uid, request):
        given = getattr(request.config, "workerinput", None)
        print("SEEN", worker_id, bool(testrun_uid), os.environ.get("PYTEST_XDIST_WORKER"),
              os.environ.get("PYTEST_XDIST_WORKER_COUNT"), given and given["workerid"],
              testrun_uid == os.environ.get("PYTEST_XDIST_TESTRUNUID", testrun_uid))
"""


@pytest.mark.parametrize(
    ("arguments", "seen"),
    [
        (["-n1"], "SEEN gw0 True gw0 1 gw0 True"),
        (["--wt-workers=1"], "SEEN gw0 True gw0 1 gw0 True"),
        (["--wt-workers=1", "-pno:xdist"], "SEEN gw0 True gw0 1 gw0 True"),
        ([], "SEEN master True None None None True"),
        (["-pno:xdist"], "SEEN master True None None None True"),
    ],
    ids=["xdist", "pool", "pool without xdist", "main", "main without xdist"],
)
def test_a_suite_finds_out_its_worker_the_same_way_everywhere(
    pytester, monkeypatch, arguments, seen
):
    for name in ("WORKER", "WORKER_COUNT", "TESTRUNUID"):
        monkeypatch.delenv(f"PYTEST_XDIST_{name}", raising=False)
    pytester.makepyfile(IDENTITY)
    result = pytester.runpytest_subprocess(*HERE, "-rP", *arguments)
    result.stdout.fnmatch_lines([seen])


def test_a_fixture_of_the_suite_named_worker_id_wins(pytester):
    pytester.makeconftest(
        "import pytest\n@pytest.fixture(scope='session')\ndef worker_id(): return 'mine'\n"
    )
    pytester.makepyfile("def test_it(worker_id): assert worker_id == 'mine'\n")
    pytester.runpytest_subprocess(*HERE, "-pno:xdist").assert_outcomes(passed=1)


# -- beside pytest-rerunfailures, which is installed in an environment of its own ---------------


@pytest.fixture(scope="session")
def neighbour() -> Path:
    """An interpreter with windtunnel, pytest-xdist and pytest-rerunfailures."""
    venv = ROOT / ".cache" / "rerunfailures"
    python = venv / "bin" / "python"
    whole = venv / "whole"
    with alone():
        if not whole.exists():
            subprocess.run([sys.executable, "-m", "venv", "--clear", venv], check=True)
            packages = ["pytest-rerunfailures", "pytest-xdist", "-e", str(ROOT)]
            subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
            whole.touch()
    return python


SECOND_TIME = """
    import pathlib
    def test_second_time():
        path = pathlib.Path("attempts")
        path.write_text((path.read_text() if path.exists() else "") + "x")
        assert path.read_text() == "xx"
"""


@pytest.mark.parametrize(
    ("words", "who"),
    [
        (["-m", "pytest", "--reruns=1"], "theirs"),
        (["-m", "pytest", "-n1", "--reruns=1"], "theirs"),
        (["-m", "pytest", "--wt-reruns=1"], "theirs"),
        (["-m", "pytest", "-pno:rerunfailures", "--reruns=1"], "ours"),
        (["-m", "windtunnel", "run", "-n1", "--reruns=1"], "ours"),
        (["-m", "windtunnel", "run", "-n1", "--reruns=1", "--rerun-except=Nothing"], "ours"),
    ],
)
def test_beside_pytest_rerunfailures_a_test_is_rerun_once_and_no_option_is_in_conflict(
    pytester, neighbour, words, who
):
    pytester.makepyfile(SECOND_TIME)
    pytester.makeconftest(
        """
        def pytest_sessionfinish(session):
            has = session.config.pluginmanager.has_plugin
            print("REGISTERED", has("windtunnel-rerun"), has("rerunfailures"))
        """
    )
    result = pytester.run(neighbour, *words, "-s")
    result.stdout.fnmatch_lines(
        ["*REGISTERED False True" if who == "theirs" else "*REGISTERED True False"]
    )
    assert result.parseoutcomes()["rerun"] == 1
    assert "failed" not in result.parseoutcomes()
    assert (pytester.path / "attempts").read_text() == "xx"


def test_options_of_a_conftest_are_known_when_ours_are_added_late(pytester, neighbour):
    """Where ``--reruns`` may yet be claimed by another plugin, it is added after that plugin had
    its chance; until then ``--reruns 2`` must not hide the test paths of the ini file."""
    pytester.makeini("[pytest]\ntestpaths = suite\n")
    folder = pytester.mkdir("suite")
    folder.joinpath("conftest.py").write_text(
        "def pytest_addoption(parser): parser.addoption('--flavour')\n"
    )
    folder.joinpath("test_it.py").write_text(
        "def test_it(pytestconfig): assert pytestconfig.getoption('flavour') == 'mint'\n"
    )
    words = ["-m", "pytest", "-pno:rerunfailures", "--reruns", "2", "--flavour=mint"]
    pytester.run(neighbour, *words).assert_outcomes(passed=1)

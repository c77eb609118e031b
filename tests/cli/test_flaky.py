"""``windtunnel flaky``, run as a user runs it, on records made by real runs and by hand."""

from __future__ import annotations

import datetime
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from windtunnel.core import REAL_CLOCK, RunStarted, TestFinished
from windtunnel.record import open_record
from windtunnel.run.quarantine_file import read_quarantine

NAMES = {".": "passed", "F": "failed", "s": "skipped"}


def flaky(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windtunnel", "flaky", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Callable[..., Path]:
    """Makes a project whose record holds these histories: a letter a run, all on one tree."""

    def make(*, quarantined: Sequence[str] = (), **histories: str) -> Path:
        (tmp_path / "pyproject.toml").write_text("")
        with open_record(tmp_path / ".windtunnel" / "record.db") as record:
            for number in range(max(map(len, histories.values()))):
                events = [
                    TestFinished(
                        nodeid=f"tests/test_a.py::test_{name}",
                        outcome=NAMES[letters[number]],
                        worker="main",
                        started=REAL_CLOCK.time(),
                        quarantined=name in quarantined,
                    )
                    for name, letters in histories.items()
                    if number < len(letters)
                ]
                record.ingest(
                    RunStarted(
                        run_id=f"r{number:03}",
                        argv="pytest",
                        root=str(tmp_path),
                        tree="tree1",
                        environment="env1",
                    ),
                    events,
                )
        return tmp_path

    return make


def test_the_list_names_flaky_tests_with_rate_recent_results_and_reason(
    project: Callable[..., Path],
):
    folder = project(often="F.F.F.F.", seldom=".....F..", fine="........")
    done = flaky(folder)
    assert done.returncode == 0
    assert done.stdout.startswith("2 of 3 tests, most damaging first")
    often, seldom = (line for line in done.stdout.splitlines() if "::" in line)
    assert often.split()[0] == "50%"
    assert "F.F.F.F." in often
    assert often.endswith("Q  tests/test_a.py::test_often")
    assert seldom.endswith("tests/test_a.py::test_seldom")
    assert "failed 4 and passed 4 of 8 on the same code (tree tree1)" in done.stdout


def test_all_lists_every_judged_test_and_names_choose_among_them(project: Callable[..., Path]):
    folder = project(one="F.F.F.", two="......")
    assert "test_two" not in flaky(folder).stdout
    assert "test_two" in flaky(folder, "--all").stdout
    only = flaky(folder, "--all", "tests/test_a.py::test_two").stdout
    assert "test_two" in only
    assert "test_one" not in only
    (folder / "tests").mkdir()
    assert "test_one" in flaky(folder / "tests", ".").stdout
    assert "none of 0 tests" in flaky(folder, "tests/test_b.py").stdout


def test_the_json_output_has_a_version_and_the_whole_judgement(project: Callable[..., Path]):
    done = flaky(project(one="F.F.F."), "--json")
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    [test] = document["tests"]
    assert test["nodeid"] == "tests/test_a.py::test_one"
    assert test["stability"] == "flaky"
    assert test["failure_rate"] == 0.5
    assert test["quarantine_recommended"] is True
    assert test["p_stable"] + test["p_flaky"] + test["p_broken"] == pytest.approx(1)


def test_thresholds_come_from_options_and_from_pyproject(project: Callable[..., Path]):
    folder = project(one=".......F")
    options = ("--json", "--failure-rate", "0.1", "--quarantine-results", "9")
    [test] = json.loads(flaky(folder, *options).stdout)["tests"]
    assert test["simple_rule"]
    assert not test["quarantine_recommended"]
    (folder / "pyproject.toml").write_text("[tool.windtunnel]\nflaky_failure_rate = 0.1\n")
    [test] = json.loads(flaky(folder, "--json").stdout)["tests"]
    assert test["simple_rule"]
    assert test["quarantine_recommended"]


def test_on_a_terminal_recent_outcomes_are_drawn_as_blocks_in_colour(
    project: Callable[..., Path],
):
    folder = project(one="F.F.F.F.")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-m", "windtunnel", "flaky"],
        cwd=folder,
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
    os.close(ours)
    assert process.returncode == 0
    text = shown.decode()
    assert "\x1b[1;31m█\x1b[0m\x1b[32m▁\x1b[0m" in text


def test_a_missing_record_is_one_clear_error(tmp_path: Path):
    done = flaky(tmp_path)
    assert done.returncode == 10
    assert "there is no record at" in done.stderr
    assert "to fix:" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bad_threshold_is_one_clear_error(project: Callable[..., Path]):
    done = flaky(project(one="F."), "--failure-rate", "30")
    assert done.returncode == 4
    assert "it is not a share from 0 to 1" in done.stderr


def test_a_record_elsewhere_can_be_named(project: Callable[..., Path], tmp_path: Path):
    folder = project(one="F.F.F.")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = flaky(elsewhere, "--record", str(folder / ".windtunnel" / "record.db"))
    assert "test_one" in done.stdout


def test_quarantine_proposes_entries_with_the_owner_from_git(project: Callable[..., Path]):
    folder = project(one="F.F.F.", two="......")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_a.py").write_text("import os\n\n\ndef test_one():\n    pass\n")
    for command in (
        ("init", "-q"),
        ("add", "tests"),
        ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "commit", "-qm", "tests"),
    ):
        subprocess.run(["git", *command], cwd=folder, check=True)
    done = flaky(folder, "quarantine")
    assert done.returncode == 0
    (folder / "windtunnel.quarantine.toml").write_text(done.stdout)  # as pasted
    [entry] = read_quarantine(folder / "windtunnel.quarantine.toml")
    assert entry.test == "tests/test_a.py::test_one"
    assert entry.owner == "ada@example.org"
    assert entry.reason.startswith("flaky: failed 3 and passed 3 of 6 on the same code")
    today = datetime.datetime.fromtimestamp(REAL_CLOCK.time(), datetime.UTC).date()
    assert entry.until is not None
    assert 29 <= (entry.until - today).days <= 30


def test_write_appends_and_keeps_what_is_there(project: Callable[..., Path]):
    folder = project(one="F.F.F.", two="F.F.F.")
    path = folder / "windtunnel.quarantine.toml"
    before = (
        "# our rules: see CONTRIBUTING\n[[quarantine]]  # keep\n"
        'test = "tests/test_a.py::test_two"\nreason = "known"'
    )
    path.write_text(before)
    done = flaky(folder, "quarantine", "--write")
    assert "1 entry appended to windtunnel.quarantine.toml" in done.stdout
    assert path.read_text().startswith(before + "\n\n[[quarantine]]\n")
    assert [entry.test for entry in read_quarantine(path)] == [
        "tests/test_a.py::test_two",
        "tests/test_a.py::test_one",
    ]
    again = flaky(folder, "quarantine", "--write")
    assert "no test is recommended" in again.stdout
    assert path.read_text().count("[[quarantine]]") == 2


def test_release_names_the_entries_whose_tests_have_become_stable(project: Callable[..., Path]):
    # A pass and a fail on one tree never stop being near-proof; on one tree nothing was mended.
    folder = project(quarantined=["one", "two"], one="." * 110, two="." * 100 + "F.F.F.....")
    (folder / "windtunnel.quarantine.toml").write_text(
        '[[quarantine]]\ntest = "tests/test_a.py::test_one"\nreason = "r"\n'
        '[[quarantine]]\ntest = "tests/test_a.py::test_two"\nreason = "r"\n'
    )
    done = flaky(folder, "release")
    assert done.returncode == 0
    assert (
        "RELEASE tests/test_a.py::test_one: remove the entry at windtunnel.quarantine.toml:1"
        in (done.stdout)
    )
    assert "110 results without failure" in done.stdout
    assert "test_two" not in done.stdout


def test_a_bad_quarantine_file_is_one_clear_error(project: Callable[..., Path]):
    folder = project(one="F.F.F.")
    (folder / "windtunnel.quarantine.toml").write_text("[[quarantine]]\ntset = 'a'\n")
    for verb in ("quarantine", "release"):
        done = flaky(folder, verb)
        assert done.returncode == 4
        assert "windtunnel.quarantine.toml:1: entry 1 has an unknown field 'tset'" in done.stderr


def test_from_runs_to_the_list_to_quarantine_to_a_green_run(pytester: pytest.Pytester):
    pytester.makepyfile(
        test_net="""
        from pathlib import Path
        def test_every_other_time():
            count = Path(".count")
            number = len(count.read_text()) if count.exists() else 0
            count.write_text("x" * (number + 1))
            assert number % 2 == 0
        def test_fine(): pass
        """
    )
    codes = [int(pytester.runpytest_subprocess().ret) for _ in range(5)]
    assert codes == [0, 1, 0, 1, 0]
    reported = pytester.runpytest_subprocess("--flaky-report")
    assert reported.ret == 1
    reported.stdout.fnmatch_lines(["*recommended for quarantine*"])
    assert ".F.F.F" in flaky(pytester.path).stdout
    assert flaky(pytester.path, "quarantine", "--write").returncode == 0
    pytester.runpytest_subprocess()
    last = pytester.runpytest_subprocess()
    assert last.ret == 0
    assert last.parseoutcomes() == {"passed": 1, "quarantined": 1}


def test_hunt_is_dispatched_to_the_probe(tmp_path: Path):
    done = flaky(tmp_path, "hunt", "--help")
    assert done.returncode == 0
    assert "usage: windtunnel flaky hunt" in done.stdout


def test_help_tells_of_every_verb(tmp_path: Path):
    done = flaky(tmp_path, "--help")
    assert done.returncode == 0
    for verb in ("list", "quarantine", "release", "hunt"):
        assert verb in done.stdout

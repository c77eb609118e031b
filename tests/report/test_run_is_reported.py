import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from made_runs import finished, made

from windtunnel.cli import main as windtunnel
from windtunnel.record import open_record

pytestmark = pytest.mark.once  # whole runs, and what is written of them

SUITE = """
    import os, pytest

    def test_good():
        pass

    def test_bad():
        assert 1 == 2

    @pytest.mark.quarantine(reason="known")
    def test_apart():
        assert 0

    @pytest.mark.flaky(reruns=2)
    def test_lucky():
        seen = os.environ["SEEN"]
        open(seen, "a").write("x")
        assert len(open(seen).read()) > 1
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI", "NO_COLOR",
                 "FORCE_COLOR", "COLUMNS"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SEEN", str(pytester.path / "seen.txt"))
    # What other runs on this machine left, and these would reap, is not of these tests.
    monkeypatch.setenv("WINDTUNNEL_HOME", str(pytester.path / ".house"))
    # Every second of these tests is the start of a pytest: let it load no plugin but ours.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p windtunnel")
    pytester.makepyfile(test_suite=SUITE)
    return pytester


def page_of(pytester: pytest.Pytester) -> str:
    return (pytester.path / ".windtunnel/report.html").read_text(encoding="utf-8")


def properties_by_test(path: Path) -> dict[str, dict[str, str]]:
    cases = ET.parse(path).getroot().iter("testcase")
    return {
        case.get("name", ""): {
            one.get("name", ""): one.get("value", "") for one in case.iter("property")
        }
        for case in cases
    }


def test_a_run_ends_with_its_summary_and_the_path_of_its_page(suite: pytest.Pytester):
    done = suite.runpytest_subprocess()
    done.stdout.fnmatch_lines(
        ["*= windtunnel =*", "passed only when run again", "*test_lucky", "replay",
         "*windtunnel run test_suite.py::test_bad --seed *", "page  .windtunnel/report.html"]
    )  # fmt: skip
    assert done.ret == 1
    assert "test_suite.py::test_bad" in page_of(suite)


def test_a_green_run_is_told_in_one_line(suite: pytest.Pytester):
    done = suite.runpytest_subprocess("-k", "good")
    done.stdout.fnmatch_lines(["page  .windtunnel/report.html"])
    assert "windtunnel =" not in done.stdout.str()


@pytest.mark.parametrize("option", ["--no-summary", "-pno:terminal"])
def test_who_wants_no_summary_gets_none_but_the_page_is_written(
    suite: pytest.Pytester, option: str
):
    done = suite.runpytest_subprocess(option)
    assert "replay" not in done.stdout.str()
    assert done.ret == 1
    assert "test_suite.py::test_bad" in page_of(suite)


def test_no_page_is_written_where_none_is_wanted(suite: pytest.Pytester):
    suite.runpytest_subprocess("--wt-html=", "-k", "good")
    assert not (suite.path / ".windtunnel/report.html").exists()


def test_the_flaky_report_knows_earlier_runs(suite: pytest.Pytester):
    suite.makepyfile(
        test_suite="""
        import os
        def test_every_other_time():
            seen = os.environ["SEEN"]
            open(seen, "a").write("x")
            assert len(open(seen).read()) % 2 == 0
        """
    )
    for _ in range(2):  # each attempt is a result: one bad, one good in each run
        suite.runpytest_subprocess("-q", "--reruns=1")
    done = suite.runpytest_subprocess("--flaky-report", "--reruns=1")
    done.stdout.fnmatch_lines(
        ["flaky  1 of 1 test*", "*50%  █▁█▁█▁  test_suite.py::test_every_other_time",
         "recommended for quarantine*", "*3 of 6  test_suite.py::test_every_other_time"]
    )  # fmt: skip


def test_github_is_told_where_it_failed_and_only_github(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
):
    assert "::error" not in suite.runpytest_subprocess().stdout.str()
    summary = suite.path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(suite.path))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    lines = suite.runpytest_subprocess("-q", "--no-summary").outlines
    (error,) = [line for line in lines if line.startswith("::error")]
    assert error.startswith("::error file=test_suite.py,line=7,title=failed%3A test_suite.py")
    assert [line for line in lines if line.startswith("::warning") and "test_apart" in line]
    text = summary.read_text(encoding="utf-8")
    assert text.startswith("before\n### Windtunnel: 1 failed, ")


@pytest.mark.parametrize(
    "how", [[], ["-p", "xdist", "-n", "2"], ["--wt-workers", "2"]], ids=["plain", "xdist", "pool"]
)
def test_pytests_junit_xml_gains_the_same_properties_however_tests_are_run(
    suite: pytest.Pytester, how: list[str]
):
    suite.runpytest_subprocess("--junitxml=out.xml", *how)
    found = properties_by_test(suite.path / "out.xml")
    assert len(found) == 4
    worker = "main" if not how else "gw"
    assert all(one["wt_worker"].startswith(worker) for one in found.values())
    assert found["test_good"]["wt_outcome"] == "passed"
    assert found["test_bad"]["wt_outcome"] == "failed"
    assert "windtunnel run test_suite.py::test_bad" in found["test_bad"]["wt_replay"]
    assert found["test_apart"]["wt_quarantined"] == "true"
    assert found["test_apart"]["wt_outcome"] == "failed"
    assert found["test_lucky"]["wt_attempts"] == "2"
    assert found["test_lucky"]["wt_flaky"] == "passed on attempt 2"
    seeds = {one["wt_seed"] for one in found.values()}
    assert len(seeds) == 4


@pytest.mark.parametrize(
    "how", [["-p", "xdist", "-n", "2"], ["--wt-workers", "2"]], ids=["xdist", "pool"]
)
def test_a_test_that_crashed_or_hung_has_its_properties_once(
    suite: pytest.Pytester, how: list[str]
):
    suite.makepyfile(
        test_suite="""
        import os, signal, time, pytest
        @pytest.mark.timeout(0)
        def test_crashes(): os.kill(os.getpid(), signal.SIGSEGV)
        def test_hangs(): time.sleep(60)
        """
    )
    suite.runpytest_subprocess("--junitxml=out.xml", "--wt-timeout=1", *how)
    found = properties_by_test(suite.path / "out.xml")
    assert found["test_crashes"]["wt_outcome"] == "crashed"
    assert found["test_hangs"]["wt_outcome"] == "timeout"
    text = (suite.path / "out.xml").read_text(encoding="utf-8")
    assert text.count('"wt_outcome"') == 2


def test_a_report_that_fails_is_said_in_one_line_and_changes_nothing(suite: pytest.Pytester):
    (suite.path / "taken").mkdir()
    done = suite.runpytest_subprocess("-k", "good", "--wt-html=taken")
    assert done.ret == 0
    (said,) = [line for line in done.outlines if "page cannot be written" in line]
    assert said.startswith("windtunnel: ")


def test_a_report_that_fails_without_a_terminal_is_said_on_stderr(suite: pytest.Pytester):
    (suite.path / "taken").mkdir()
    done = suite.runpytest_subprocess("-k", "good", "--wt-html=taken", "-p", "no:terminal")
    assert done.ret == 0
    assert "page cannot be written" in done.stderr.str()


def test_an_interrupted_run_has_a_page_that_says_so(suite: pytest.Pytester):
    suite.makepyfile(
        test_suite="""
        def test_good(): pass
        def test_stopped(): raise KeyboardInterrupt
        def test_never(): pass
        """
    )
    done = suite.runpytest_subprocess()
    assert done.ret == 2
    text = page_of(suite)
    assert ">interrupted<" in text
    assert "test_suite.py::test_good" in text


def test_names_of_tests_may_hold_anything(suite: pytest.Pytester):
    suite.makepyfile(
        test_suite="""
        import pytest
        @pytest.mark.parametrize("x", ["\\x1b[31m", "<b>", "ü漢", "\\u202e", "a" * 3000])
        def test_odd(x):
            print("\\x1b[2J\\udcff</pre>")
            assert 0, x
        """
    )
    done = suite.runpytest_subprocess()
    assert done.ret == 1
    done.stdout.fnmatch_lines(["page  .windtunnel/report.html"])
    assert "windtunnel: " not in done.stdout.str() + done.stderr.str()


def test_reporting_imports_rich_only_for_a_terminal(suite: pytest.Pytester):
    suite.makeconftest(
        """
        import sys
        def pytest_unconfigure():
            print("rich" in sys.modules, "asyncio" in sys.modules)
        """
    )
    plain = suite.runpytest_subprocess("-k", "good")
    assert plain.outlines[-1].startswith("False")
    seen = suite.runpytest_subprocess("-k", "good", "--color=yes")
    assert "\x1b[1mpage" in seen.stdout.str()


def test_the_command_writes_the_page_of_a_recorded_run(
    suite: pytest.Pytester, capsys: pytest.CaptureFixture[str]
):
    suite.runpytest_subprocess("--wt-html=", "-k", "good")
    suite.runpytest_subprocess("--wt-html=", "-k", "bad")
    capsys.readouterr()
    assert windtunnel(["report", "1", "-o", "first.html"]) == 0
    assert capsys.readouterr().out == "first.html\n"
    assert "test_suite.py::test_good" in Path("first.html").read_text(encoding="utf-8")
    assert windtunnel(["report"]) == 0
    assert "test_suite.py::test_bad" in page_of(suite)
    with open_record(suite.path / ".windtunnel/record.db") as record:
        newest, oldest = record.runs()
    assert windtunnel(["report", oldest.run_id, "--text"]) == 0
    assert "passed: 1 passed" in capsys.readouterr().out
    assert windtunnel(["report", newest.run_id, "--junit", "out.xml"]) == 0
    assert properties_by_test(Path("out.xml"))["test_bad"]["wt_outcome"] == "failed"


def test_the_latest_run_is_the_latest_with_tests(
    suite: pytest.Pytester, capsys: pytest.CaptureFixture[str]
):
    suite.runpytest_subprocess("-k", "good")
    suite.path.joinpath("job.py").write_text("def bench_nothing():\n    pass\n")
    assert windtunnel(["bench", "job.py", "--iterations", "5"]) == 0
    with open_record(suite.path / ".windtunnel/record.db") as record:
        assert [run.collected for run in record.runs()] == [0, 1]
    capsys.readouterr()
    assert windtunnel(["report", "--text"]) == 0
    assert "passed: 1 passed" in capsys.readouterr().out


def test_the_command_prints_where_it_is_told_to(
    suite: pytest.Pytester, capsys: pytest.CaptureFixture[str]
):
    suite.runpytest_subprocess("-k", "good")
    capsys.readouterr()
    assert windtunnel(["report", "-o", "-"]) == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert windtunnel(["report", "--junit", "-"]) == 0
    assert capsys.readouterr().out.startswith("<?xml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["99"], "there is no run '99'"),
        (["20"], "more than one run begins '20'"),
        (["--record", "none.db"], "there is no record"),
        (["-o", "folder"], "cannot write the page"),
        (["--junit", "folder"], "cannot write the JUnit XML"),
    ],
)
def test_a_report_that_cannot_be_is_refused_with_one_clear_error(
    pytester: pytest.Pytester,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
):
    (pytester.path / "folder").mkdir()
    for run_id in ("20250101T000000-aaaa", "20250101T000000-bbbb"):
        made(pytester.path / ".windtunnel/record.db", [finished("t.py::test_a")], run_id=run_id)
    assert windtunnel(["report", *arguments]) != 0
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_damaged_record_is_said_and_the_run_is_still_reported(suite: pytest.Pytester):
    record = suite.path / ".windtunnel/record.db"
    made(record, [finished("t.py::test_a")])
    healthy = record.read_bytes()
    record.write_bytes(healthy[:4096] + b"\xff" * (len(healthy) - 4096))
    done = suite.runpytest_subprocess("-k", "good")
    assert done.ret == 0
    assert "Traceback" not in done.stdout.str() + done.stderr.str()
    assert [line for line in done.outlines if line.startswith("windtunnel: ")]


def test_a_killed_run_can_be_reported_afterwards(suite: pytest.Pytester):
    suite.makepyfile(
        test_suite="""
        import os, signal
        def test_good(): pass
        def test_kills(): os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=suite.path, check=False, capture_output=True
    )
    assert not (suite.path / ".windtunnel/report.html").exists()
    assert windtunnel(["report"]) == 0
    text = page_of(suite)
    assert ">unfinished<" in text
    assert "test_suite.py::test_good" in text
    assert re.search(r"not finished.*test_suite.py::test_kills", text, re.DOTALL)


def test_a_refusal_is_shown_where_its_test_failed_and_not_where_it_was_what_was_tested(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        test_suite="""
        import pytest
        from windtunnel.sessions import CapabilityContext, CapabilityDenied

        def test_refusal_is_tested():
            with pytest.raises(CapabilityDenied):
                CapabilityContext("guest").use("wanted.by.design")

        def test_refusal_is_in_the_way():
            CapabilityContext("guest").use("wanted.in.vain")
        """
    )
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    shown = result.stdout.str().partition("= windtunnel =")[2]
    assert "wanted.in.vain" in shown
    assert "by test_suite.py::test_refusal_is_in_the_way" in shown
    assert "wanted.by.design" not in shown
    with open_record(suite.path / ".windtunnel/record.db") as record:
        rows = record.violations(record.runs()[0].number)
    assert {row.subject: row.nodeid.partition("::")[2] for row in rows} == {
        "wanted.by.design": "test_refusal_is_tested",
        "wanted.in.vain": "test_refusal_is_in_the_way",
    }

"""Quarantined tests run, are recorded and shown, and never fail the run: in every kind of run."""

from __future__ import annotations

import datetime
import json
import xml.etree.ElementTree
from pathlib import Path

import pytest

from windtunnel.record import open_record
from windtunnel.record.protocol import OutcomeRow

pytestmark = pytest.mark.once  # whole runs of files and dates

SUITE = """
import os, signal
import pytest

@pytest.fixture
def bad_setup():
    raise RuntimeError("setup went wrong")

@pytest.fixture
def bad_teardown():
    yield
    raise RuntimeError("teardown went wrong")

@pytest.mark.quarantine
def test_bare():
    assert 0

@pytest.mark.quarantine(reason="the net is slow", until="2999-01-01")
def test_passes():
    pass

@pytest.mark.quarantine("positional")
def test_setup(bad_setup):
    pass

@pytest.mark.quarantine(reason="teardown")
def test_teardown(bad_teardown):
    pass

def test_by_file():
    assert 0

class TestClass:
    @pytest.mark.parametrize("number", [1, 2])
    def test_param(self, number):
        assert number == 1

def test_fine():
    pass
"""

FILE = """
# reviewed
[[quarantine]]
test = "test_suite.py::test_by_file"
reason = "by file"
owner = "ada"

[[quarantine]]
test = "test_suite.py::TestClass::test_param"
reason = "all its parameters"
until = 2999-12-31
"""

RUNS = pytest.mark.parametrize(
    "arguments",
    [(), ("-n2",), ("--wt-workers=2",), ("--wt-isolation=fork",)],
    ids=["plain", "xdist", "pool", "fork"],
)


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with quarantines of every kind."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "GITHUB_ACTIONS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_suite=SUITE)
    (pytester.path / "windtunnel.quarantine.toml").write_text(FILE, encoding="utf-8")
    return pytester


def run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run with xdist and ours alone: what else is installed here has no say in this."""
    return pytester.runpytest_subprocess("-p", "windtunnel.plugin", "-p", "xdist", *arguments)


def recorded(pytester: pytest.Pytester) -> dict[str, OutcomeRow]:
    with open_record(pytester.path / ".windtunnel" / "record.db", create=False) as record:
        [run] = record.runs(limit=1)
        return {row.nodeid.partition("::")[2]: row for row in record.outcomes(run.number)}


@RUNS
def test_failures_of_quarantined_tests_are_shown_apart_and_recorded_and_do_not_fail_the_run(
    suite: pytest.Pytester, arguments: tuple[str, ...]
):
    result = run(suite, "-x", *arguments)
    assert result.ret == pytest.ExitCode.OK
    outcomes = result.parseoutcomes()
    assert outcomes["quarantined"] == 5
    assert "failed" not in outcomes
    assert "errors" not in outcomes
    result.stdout.fnmatch_lines_random(
        [
            "QUARANTINED test_suite.py::test_bare: quarantined",
            "QUARANTINED test_suite.py::test_setup (setup): quarantined: positional",
            "    RuntimeError: setup went wrong",
            "QUARANTINED test_suite.py::test_teardown (teardown): quarantined: teardown",
            "QUARANTINED test_suite.py::test_by_file: quarantined: by file",
            "QUARANTINED *::test_param[[]2]: quarantined: all its parameters (until 2999-12-31)",
        ]
    )
    rows = recorded(suite)
    assert {name: row.outcome.value for name, row in rows.items()} == {
        "test_bare": "failed",
        "test_passes": "passed",
        "test_setup": "error",
        "test_teardown": "error",
        "test_by_file": "failed",
        "TestClass::test_param[1]": "passed",
        "TestClass::test_param[2]": "failed",
        "test_fine": "passed",
    }
    assert {name for name, row in rows.items() if not row.quarantined} == {"test_fine"}
    assert rows["test_setup"].message.endswith("setup went wrong")


def test_an_ordinary_failure_still_fails_the_run_and_counts_for_maxfail(suite: pytest.Pytester):
    suite.makepyfile(test_zz="def test_one(): assert 0\ndef test_two(): assert 0\n")
    result = run(suite, "--maxfail=1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
    assert "test_two" not in recorded(suite)


def test_caches_of_failures_and_junit_know_nothing_of_quarantined_failures(
    suite: pytest.Pytester,
):
    suite.makepyfile(test_zz="def test_one(): assert 0\n")
    run(suite, "--stepwise", "--junitxml=junit.xml")
    cache = suite.path / ".pytest_cache" / "v" / "cache" / "lastfailed"
    assert list(json.loads(cache.read_text())) == ["test_zz.py::test_one"]
    assert "test_one" in recorded(suite)  # --stepwise went past all others
    root = xml.etree.ElementTree.parse(suite.path / "junit.xml").getroot()
    [testsuite] = root
    assert [testsuite.get(name) for name in ("failures", "errors", "skipped")] == ["1", "0", "5"]
    reasons = [skip.get("message") for skip in root.iter("skipped")]
    assert "quarantined: by file" in reasons


def test_letters_tell_quarantined_passes_and_failures_apart(suite: pytest.Pytester):
    run(suite, "-p", "no:randomly").stdout.fnmatch_lines(["test_suite.py QqQqQQqQ.*"])
    run(suite, "-v").stdout.fnmatch_lines(
        ["*::test_bare QUARANTINED (quarantined)*", "*::test_passes PASSED (quarantined)*"]
    )


def test_a_fixture_still_sees_that_its_quarantined_test_failed(suite: pytest.Pytester):
    suite.makeconftest(
        """
        import pytest
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = yield
            setattr(item, "rep_" + report.when, report)
            return report
        @pytest.fixture(autouse=True)
        def screenshot(request):
            yield
            if getattr(request.node, "rep_call", None) and request.node.rep_call.failed:
                print("SCREENSHOT of", request.node.name)
        """
    )
    run(suite, "-s").stdout.fnmatch_lines(["*SCREENSHOT of test_bare*"])


def test_reruns_happen_first_and_only_the_last_failure_is_excused(suite: pytest.Pytester):
    result = run(suite, "--reruns=2", "-k", "test_bare or test_fine")
    assert result.ret == pytest.ExitCode.OK
    assert result.parseoutcomes()["quarantined"] == 1
    assert recorded(suite)["test_bare"].attempt == 3


@pytest.mark.parametrize(
    "arguments",
    [("-n2",), ("-n2", "--reruns=1"), ("--wt-workers=2",)],
    ids=["xdist", "xdist with reruns", "pool"],
)
def test_a_quarantined_test_that_kills_its_worker_does_not_fail_the_run(
    suite: pytest.Pytester, arguments: tuple[str, ...]
):
    suite.makepyfile(
        test_zz="""
        import os, signal, pytest
        @pytest.mark.quarantine(reason="segfaults")
        def test_crash():
            os.kill(os.getpid(), signal.SIGKILL)
        """
    )
    result = run(suite, *arguments)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["QUARANTINED *::test_crash*: quarantined: segfaults"])
    row = recorded(suite)["test_crash"]
    assert (row.outcome.value, row.quarantined) == ("crashed", True)


# Expiry


def expired_suite(pytester: pytest.Pytester, *, passes: bool) -> None:
    pytester.makepyfile(
        test_old=f"""
        import datetime, pytest
        @pytest.mark.quarantine(reason="old", until=datetime.date(2020, 1, 1))
        def test_old(): assert {passes}
        def test_file(): pass
        """
    )


def test_an_expired_quarantine_protects_no_longer(suite: pytest.Pytester):
    expired_suite(suite, passes=False)
    result = run(suite)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert result.parseoutcomes()["failed"] == 1
    assert not recorded(suite)["test_old"].quarantined


@RUNS
def test_an_expired_quarantine_is_loud_and_fails_the_run_even_where_the_test_passes(
    suite: pytest.Pytester, arguments: tuple[str, ...]
):
    expired_suite(suite, passes=True)
    result = run(suite, *arguments)
    assert result.ret == 13
    result.stdout.fnmatch_lines(["EXPIRED test_old.py::test_old: quarantine ended 2020-01-01 *"])
    with open_record(suite.path / ".windtunnel" / "record.db") as record:
        [this_run] = record.runs(limit=1)
        [violation] = [
            one for one in record.violations(this_run.number) if one.rule == "quarantine-expired"
        ]
    assert (violation.subject, violation.fails) == ("test_old.py::test_old", True)
    assert this_run.exit_code == 13
    assert not list((suite.path / ".windtunnel").glob("quarantine-*"))


def test_an_expired_entry_of_a_file_that_was_not_run_is_nobodys_business(suite: pytest.Pytester):
    expired_suite(suite, passes=True)
    result = run(suite, "test_suite.py")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("EXPIRED*")


def test_the_last_day_still_counts_and_the_coming_end_is_told(suite: pytest.Pytester):
    today = datetime.datetime.now(datetime.UTC).date()
    with (suite.path / "windtunnel.quarantine.toml").open("a") as file:
        file.write(f'[[quarantine]]\ntest="test_zz.py"\nreason="r"\nuntil={today.isoformat()}\n')
    suite.makepyfile(test_zz="def test_last_day(): assert 0\n")
    result = run(suite)
    still_today = today == datetime.datetime.now(datetime.UTC).date()
    if still_today:  # else midnight passed in between, and it has expired rightly
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["ENDS today: the quarantine of test_zz.py::test_last_day"])


def test_a_stale_entry_is_told_loudly_and_fails_nothing(suite: pytest.Pytester):
    with (suite.path / "windtunnel.quarantine.toml").open("a") as file:
        file.write('[[quarantine]]\ntest = "test_suite.py::test_gone"\nreason = "r"\n')
    result = run(suite)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["STALE windtunnel.quarantine.toml:12: there is no test test_suite.py::test_gone; *"]
    )
    alone = run(suite, "test_suite.py::test_fine")
    alone.stdout.no_fnmatch_line("STALE*")


# Leaving out, and bad input


@pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["plain", "xdist"])
def test_skip_quarantine_leaves_them_out_and_says_how_many(
    suite: pytest.Pytester, arguments: tuple[str, ...]
):
    result = run(suite, "--skip-quarantine", *arguments)
    assert result.ret == pytest.ExitCode.OK
    assert set(recorded(suite)) == {"test_fine"}
    result.stdout.fnmatch_lines(["7 left out by --skip-quarantine"])


@pytest.mark.parametrize("arguments", [(), ("-n2",)], ids=["plain", "xdist"])
def test_a_bad_file_is_one_clear_error_before_anything_runs(
    suite: pytest.Pytester, arguments: tuple[str, ...]
):
    path: Path = suite.path / "windtunnel.quarantine.toml"
    path.write_text('[[quarantine]]\ntest = "a"\nreson = "r"\n')
    result = run(suite, *arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "windtunnel.quarantine.toml:1: entry 1 has an unknown field 'reson'" in text
    assert "INTERNALERROR" not in text


def test_a_bad_marker_is_an_error_at_its_test(suite: pytest.Pytester):
    suite.makepyfile(
        test_zz="""
        from pytest import mark
        @mark.quarantine(until="tomorow")
        def test_until(): pass
        @mark.quarantine(reson="r")
        def test_field(): pass
        @mark.quarantine(reason=3)
        def test_reason(): pass
        @mark.quarantine("a", "b")
        def test_positional(): pass
        """
    )
    result = run(suite)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    where = "*@pytest.mark.quarantine on test_zz.py::"
    result.stdout.fnmatch_lines(
        [
            f"{where}test_until: 'until' is not a date",
            f"{where}test_field has an unknown field 'reson'",
            f"{where}test_reason: 'reason' is not a string",
            f"{where}test_positional has arguments without a name",
        ]
    )


@pytest.mark.parametrize("arguments", [("-n2",), ("--wt-workers=2",)], ids=["xdist", "pool"])
def test_a_bad_marker_fails_a_parallel_run_too(suite: pytest.Pytester, arguments: tuple[str, ...]):
    suite.makepyfile(
        test_zz='import pytest\n@pytest.mark.quarantine(until="x")\ndef test_x(): pass\n'
    )
    result = run(suite, *arguments)
    assert result.ret in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
    result.stdout.fnmatch_lines(["*'until' is not a date*"])
    result.stdout.no_fnmatch_line("*INTERNALERROR*")

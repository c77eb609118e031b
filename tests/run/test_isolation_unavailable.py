"""An isolation that cannot be had: the run says so, is recorded without it, and fails under CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.core import ExitCode
from windtunnel.record import open_record

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

# In a user namespace that may have none within it, without a single capability: as in a container
# that was started without privileges.
POWERLESS = (
    "echo 0 > /proc/sys/user/max_user_namespaces && "
    'exec setpriv --bounding-set=-all --inh-caps=-all "$@"'
)


@pytest.fixture
def run_powerless(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, require_tool):
    ours = ("PYTEST_X", "PYTEST_C", "COV_", "CI")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)
    unshare, _ = require_tool("unshare"), require_tool("setpriv")
    pytester.makepyfile(test_it="def test_it(): open('made', 'w').close()\n")

    def go(*args: str) -> subprocess.CompletedProcess[str]:
        pytest_command = [sys.executable, "-m", "pytest", "-p", "no:asyncio", *args]
        command = [unshare, "-Ur", "sh", "-c", POWERLESS, "sh", *pytest_command]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    return go


@pytest.mark.parametrize(
    "workers", [(), ("--wt-workers=1",), ("-n1",)], ids=["main", "ours", "xdist"]
)
def test_the_run_goes_on_without_it_and_says_why(
    run_powerless, pytester: pytest.Pytester, workers: tuple[str, ...]
) -> None:
    done = run_powerless("--wt-isolation=env,namespace,net", *workers)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("namespace", "net"):
        assert (
            f"isolation '{name}' cannot be had: no CAP_SYS_ADMIN, and no user namespace"
            in done.stdout
        )
    assert (pytester.path / "made").exists()
    with open_record(pytester.path / ".windtunnel/record.db") as record:
        (run,) = record.runs()
        assert run.isolation == "env"
        assert {outcome.isolation for outcome in record.outcomes(run.number)} == {"env"}
        missing = [v for v in record.violations(run.number) if v.rule == "isolation-unavailable"]
        assert {violation.subject for violation in missing} == {"namespace", "net"}


@pytest.mark.parametrize(
    "workers", [(), ("--wt-workers=1",), ("-n1",)], ids=["main", "ours", "xdist"]
)
def test_under_ci_it_is_an_error_before_any_test_runs(
    run_powerless, pytester: pytest.Pytester, monkeypatch, workers: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CI", "true")
    done = run_powerless("--wt-isolation=env,namespace", *workers)
    assert done.returncode == ExitCode.ISOLATION_UNAVAILABLE, done.stdout + done.stderr
    assert "isolation 'namespace' cannot be had" in done.stdout + done.stderr
    assert "to fix:" in done.stdout + done.stderr
    assert not (pytester.path / "made").exists()


def test_a_record_in_the_projects_root_leaves_no_place_that_stays_real(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CI", raising=False)
    pytester.makepyfile(test_it="def test_it(): pass\n")
    result = pytester.runpytest_subprocess(
        "--wt-isolation=namespace", "--wt-record=record.db", "-p", "no:asyncio"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*'namespace' cannot be had: * must stay real*"])


def test_a_debugger_keeps_the_tests_in_the_process_and_the_run_says_so(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    pytester.makepyfile(test_it="import os\ndef test_it(): print('in', os.getpid())\n")
    result = pytester.runpytest_subprocess("--wt-isolation=fork", "--pdb", "-p", "no:asyncio")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["windtunnel: isolation 'fork' steps back: --pdb *"])
    with open_record(Path(".windtunnel/record.db")) as record:
        (run,) = record.runs()
        assert {outcome.isolation for outcome in record.outcomes(run.number)} == {""}

"""The example as `make run` shows it: everything passes, and what is wrong is named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from windtunnel.core import Outcome
from windtunnel.record import OutcomeRow, ViolationRow, open_record

FLEET = Path(__file__).resolve().parents[2] / "examples" / "fleet"
FLAKY = "tests/test_coordinator.py::test_the_candidate_that_started_first_leads"
POLLUTER = "tests/test_tools.py::test_a_project_registers_a_tool_of_its_own"
VICTIM = "tests/test_tools.py::test_the_catalogue_lists_the_four_built_in_tools"


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns(".windtunnel", "__pycache__", ".pytest_cache")
    return Path(shutil.copytree(FLEET, tmp_path / "fleet", ignore=ignored))


def run(fleet: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windtunnel", *arguments],
        cwd=fleet,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def newest(fleet: Path) -> tuple[list[OutcomeRow], list[ViolationRow]]:
    with open_record(fleet / ".windtunnel" / "record.db") as record:
        number = record.runs(limit=1)[0].number
        return record.outcomes(number), record.violations(number)


def test_the_demonstration_passes_and_names_what_tests_leave_behind(
    fleet: Path, require_tool: Callable[[str], Path]
):
    require_tool("redis-server")
    done = run(fleet, "run", "-n", "2", "--isolation", "env,fork", "--reruns", "2")
    assert done.returncode == 0, done.stdout
    outcomes, violations = newest(fleet)
    deciding = {row.nodeid: row for row in outcomes if row.final}
    assert deciding[FLAKY].quarantined
    assert all(row.outcome is Outcome.PASSED for row in deciding.values() if row.nodeid != FLAKY)
    pollution = {v.subject for v in violations if v.rule == "pollution"}
    assert pollution == {"fleet.tools:REGISTRY['shout']", "os.environ['REDIS_URL']"}


def test_the_pair_is_polluted_in_one_process_and_kept_apart_in_two(fleet: Path):
    assert run(fleet, "run", "-n", "0", VICTIM, POLLUTER).returncode == 0
    assert run(fleet, "run", "-n", "0", POLLUTER, VICTIM).returncode == 1
    apart = run(fleet, "run", "-n", "0", "--isolation", "fork", POLLUTER, VICTIM)
    assert apart.returncode == 0, apart.stdout


def test_hunting_the_victim_names_its_polluter(fleet: Path):
    seen = run(fleet, "flaky", "hunt", VICTIM).stdout
    assert "order-dependent victim" in seen
    assert POLLUTER in seen
    assert "reproduce" in seen

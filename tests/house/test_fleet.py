"""The example as `make run` shows it: everything passes, and what is wrong is named."""

from __future__ import annotations

import os
import re
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


def run(fleet: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windtunnel", *arguments],
        cwd=fleet,
        env=os.environ | environ,
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


def test_a_lease_that_trusts_the_wall_clock_is_found_and_told_as_a_story(fleet: Path):
    """The seeded bug: a leader that reckons by the wall clock believes in its lease for longer
    than the keeper does when its clock is set back."""
    coordinator = fleet / "src" / "fleet" / "coordinator.py"
    sound = coordinator.read_text(encoding="utf-8")
    bug = sound.replace("float] = time.monotonic", "float] = time.time")
    assert bug != sound
    coordinator.write_text(bug, encoding="utf-8")
    test = "tests/test_simulated.py::test_never_two_coordinators_lead_and_in_the_end_one_does"
    command = ("run", "-n", "0", "--seed", "7", "--seeds", "20", test)
    seen = run(fleet, *command, PYTHONPATH=str(fleet / "src"))
    assert seen.returncode == 1, seen.stdout
    story = seen.stdout.partition("story of seed ")[2]
    told = story.partition("violated:")[0]
    first, second = re.findall(r"(\w+) leads under token", told)[-2:]
    assert first != second
    for words in ("its wall clock jumps by -", "partition ", '"POST /renew ', "at the end: "):
        assert words in told
    assert re.search(rf"({first} and {second}|{second} and {first}) lead at the same time", story)
    replayed = run(fleet, *replay_line(seen.stdout), PYTHONPATH=str(fleet / "src"))
    assert replayed.returncode == 1, replayed.stdout
    assert told in replayed.stdout
    coordinator.write_text(sound, encoding="utf-8")
    assert run(fleet, *command, PYTHONPATH=str(fleet / "src")).returncode == 0


def replay_line(output: str) -> list[str]:
    found = re.search(r"^replay: windtunnel (replay \S+)$", output, re.MULTILINE)
    assert found is not None
    return found[1].split()


def test_hunting_the_victim_names_its_polluter(fleet: Path):
    seen = run(fleet, "flaky", "hunt", VICTIM).stdout
    assert "order-dependent victim" in seen
    assert POLLUTER in seen
    assert "reproduce" in seen

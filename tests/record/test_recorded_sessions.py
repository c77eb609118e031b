"""Sessions of pytest as users run them, read back from the record."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.record import Record, open_record

pytestmark = pytest.mark.once  # processes that write to one record

_SUITE = """
import pytest
@pytest.mark.parametrize("n", range({tests}))
def test_it(n): pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "test_it.py").write_text(_SUITE.format(tests=60))
    return folder


def start(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def read(folder: Path) -> Record:
    return open_record(folder / ".windtunnel" / "record.db", create=False)


@pytest.mark.parametrize("how", ["pytest -q -n 2 -p xdist", "windtunnel run -q -n 2"])
@pytest.mark.once
def test_three_sessions_of_600_tests_under_two_workers_at_once_are_1800_outcomes(
    project: Path, how: str
) -> None:
    (project / "test_it.py").write_text(_SUITE.format(tests=600))
    sessions = [start(project, *how.split()) for _ in range(3)]
    for session in sessions:
        output = session.communicate()[0].decode()
        assert session.returncode == 0, output
    with read(project) as record:
        runs = record.runs()
        assert [len(record.outcomes(run.number)) for run in runs] == [600, 600, 600]
        assert all(run.exit_code == 0 and run.workers == 2 for run in runs)
        assert {row.strip for row in record.recent()} == {"..."}
        workers = {row.worker for run in runs for row in record.outcomes(run.number)}
        assert workers == {"gw0", "gw1"}


def test_what_a_session_had_reported_before_kill_nine_of_all_of_it_is_in_the_record(
    project: Path, wait_until
) -> None:
    (project / "test_it.py").write_text(_SUITE.format(tests=5000))
    (project / "conftest.py").write_text(
        "import os\n"
        "def pytest_runtest_logfinish(nodeid):\n"
        "    fd = os.open(f'said-{os.getpid()}', os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "    os.write(fd, (nodeid + '\\n').encode())\n"
        "    os.close(fd)\n"
    )
    session = start(project, "pytest", "-q")

    def said() -> list[str]:
        return [line for path in project.glob("said-*") for line in path.read_text().splitlines()]

    wait_until(lambda: len(said()) > 50, "fifty tests")
    os.killpg(session.pid, signal.SIGKILL)
    session.communicate()
    with read(project) as record:
        assert set(said()[:-1]) <= {row.nodeid for row in record.outcomes(1)}
        assert record.runs()[0].finished is None


def test_a_session_keeps_to_the_settings_of_retention_and_redaction(project: Path) -> None:
    (project / "test_it.py").write_text(
        "def test_secret():\n    print('token=abc123')\n    assert 'token=abc123' == ''\n"
    )
    (project / "pyproject.toml").write_text(
        "[tool.windtunnel]\nkeep_runs = 2\nredact = ['token=(\\w+)']\n"
    )
    for _ in range(3):
        start(project, "pytest", "-q").communicate()
    with read(project) as record:
        assert len(record.runs()) == 2
        (row,) = record.outcomes(record.runs()[0].number)
        assert "token=[redacted]" in row.message
        assert row.output == "token=[redacted]\n"
        assert record.recent()[0].strip == "FF"
    assert b"abc123" not in (project / ".windtunnel" / "record.db").read_bytes()


def test_a_session_beside_a_damaged_record_runs_and_is_recorded(project: Path) -> None:
    (project / ".windtunnel").mkdir()
    (project / ".windtunnel" / "record.db").write_bytes(b"\xff" * 9000)
    session = start(project, "pytest", "-q")
    output = session.communicate()[0].decode()
    assert session.returncode == 0, output
    with read(project) as record:
        assert len(record.outcomes(1)) == 60
    assert len(list((project / ".windtunnel").glob("record.db.corrupt-*"))) == 1


def test_another_name_of_the_record_is_kept_to(project: Path) -> None:
    start(project, "pytest", "-q", "--wt-record", "history/mine.db").communicate()
    with open_record(project / "history" / "mine.db", create=False) as record:
        assert len(record.outcomes(1)) == 60
        line = json.dumps(record.runs()[0].argv)
    assert "mine.db" in line


@pytest.mark.parametrize("how", ["pytest -x", "pytest -x -n 2", "windtunnel run -x -n 2"])
def test_the_failure_that_stopped_the_run_is_recorded(project: Path, how: str) -> None:
    (project / "test_it.py").write_text("def test_fails(): assert 0\ndef test_other(): pass\n")
    session = start(project, *how.split())
    output = session.communicate()[0].decode()
    assert session.returncode in (1, 2), output  # xdist's own is 2
    with read(project) as record:
        outcomes = record.outcomes(record.runs()[0].number)
    assert [row.outcome for row in outcomes if "fails" in row.nodeid] == ["failed"]


def test_replay_lines_work_where_the_command_was_given(project: Path) -> None:
    (project / "test_it.py").write_text("def test_fails(): assert 0\n")
    above = project.parent
    session = start(above, "windtunnel", "run", "project", "-n", "1")
    output = session.communicate()[0].decode()
    with read(project) as record:
        (row,) = record.outcomes(record.runs()[0].number)
    assert row.nodeid == "test_it.py::test_fails"
    assert row.replay in output
    again = start(above, *row.replay.split())
    assert "1 failed" in again.communicate()[0].decode()

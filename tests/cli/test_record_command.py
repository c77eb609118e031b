"""``windtunnel record`` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.core import ExitCode, RunStarted, TestFinished
from windtunnel.record import open_record


def record(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "windtunnel", "record", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a record of three runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    _fill(folder / ".windtunnel" / "record.db", 3)
    return folder


def _fill(path: Path, runs: int) -> None:
    with open_record(path) as record:
        for number in range(runs):
            run_id = f"run-{number}"
            record.ingest(
                RunStarted(time=1000.0 + number, run_id=run_id, argv="pytest", root="/p"),
                [TestFinished(nodeid="t.py::a", outcome="passed", worker="main")],
            )


def test_path_names_the_projects_record(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.windtunnel]\nrecord = "history/r.db"\n')
    assert record(project, "path").stdout == f"{project}/history/r.db\n"
    assert record(project, "path", "--record", "x.db").stdout == f"{project}/x.db\n"


def test_an_export_of_one_machine_is_imported_by_another(project: Path, tmp_path: Path) -> None:
    assert record(project, "export", "-o", "out.jsonl").returncode == ExitCode.OK
    documents = [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]
    assert documents[0] == {"windtunnel_export": 1}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = record(elsewhere, "import", str(project / "out.jsonl"))
    assert done.stdout == f"{project}/out.jsonl: 3 runs and 3 outcomes added\n"
    done = record(elsewhere, "import", str(project / "out.jsonl"))
    assert done.stdout.endswith("0 runs and 0 outcomes added, 3 runs known already\n")


def test_export_of_the_last_runs_and_of_one(project: Path) -> None:
    def runs(*words: str) -> list[str]:
        lines = record(project, "export", *words).stdout.splitlines()[1:]
        return list(dict.fromkeys(json.loads(line)["run_id"] for line in lines))

    assert runs("--last", "2") == ["run-1", "run-2"]
    assert runs("--last", "0") == []
    assert runs("--run", "run-1") == ["run-1"]
    assert runs("--run", "1") == ["run-0"]
    assert runs("--run", "last") == ["run-2"]
    failed = record(project, "export", "--run", "nope")
    assert failed.returncode == ExitCode.USAGE_ERROR
    assert "there is no run 'nope'" in failed.stderr


def test_junit_export_is_read_back_by_import(project: Path, tmp_path: Path) -> None:
    assert record(project, "export", "--format", "junit", "-o", "out.xml").returncode == 0
    other = tmp_path / "other.db"
    done = record(project, "import", "out.xml", "--record", str(other))
    assert done.stdout == "out.xml: 1 run and 1 outcome added\n"


def test_merge_adds_other_records_and_refuses_itself(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "ci" / "record.db"
    _fill(other, 5)
    done = record(project, "merge", str(other))
    assert done.stdout == f"{other}: 2 runs and 2 outcomes added, 3 runs known already\n"
    refused = record(project, "merge", ".windtunnel/record.db")
    assert refused.returncode == ExitCode.USAGE_ERROR
    assert "is the record itself" in refused.stderr
    assert record(project, "merge", "absent.db").returncode == ExitCode.USAGE_ERROR


def test_merging_a_damaged_record_leaves_both_as_they_are(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.write_bytes(b"?" * 5000)
    done = record(project, "merge", str(other))
    assert done.returncode == ExitCode.RECORD_UNUSABLE
    assert "is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert other.read_bytes() == b"?" * 5000


def test_check_says_what_a_sound_record_holds(project: Path) -> None:
    done = record(project, "check")
    assert done.returncode == ExitCode.OK
    assert "sound, format 2" in done.stdout
    assert ["outcomes", "3"] in [line.split() for line in done.stdout.splitlines()]


def test_check_of_a_damaged_record_is_one_error_and_repair_brings_it_back(project: Path) -> None:
    path = project / ".windtunnel" / "record.db"
    with open(path, "r+b") as file:
        file.write(os.urandom(4096))
    done = record(project, "check")
    assert done.returncode == ExitCode.RECORD_UNUSABLE
    assert done.stderr.count("windtunnel: ") == 1
    assert "set aside" in done.stderr
    done = record(project, "repair")
    assert done.returncode == ExitCode.OK
    assert "3 runs and 3 outcomes could be read; 3 runs and 3 outcomes added" in done.stdout
    assert record(project, "check").returncode == ExitCode.OK


def test_trim_uses_the_settings_where_the_command_says_nothing(project: Path) -> None:
    assert record(project, "trim").stdout == "0 runs removed, 3 runs kept\n"
    (project / "pyproject.toml").write_text("[tool.windtunnel]\nkeep_runs = 2\n")
    assert record(project, "trim").stdout == "1 run removed, 2 runs kept\n"
    assert record(project, "trim", "--keep-runs", "1").stdout == "1 run removed, 1 run kept\n"


def test_a_project_without_a_record_is_one_clear_error(tmp_path: Path) -> None:
    for action in ("export", "check", "trim"):
        done = record(tmp_path, action)
        assert done.returncode == ExitCode.RECORD_UNUSABLE
        assert "there is no record at" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_import_of_what_is_no_export_is_one_clear_error(project: Path) -> None:
    (project / "notes.txt").write_text("hello")
    done = record(project, "import", "notes.txt")
    assert done.returncode == ExitCode.USAGE_ERROR
    assert "cannot import notes.txt" in done.stderr
    assert "Traceback" not in done.stderr

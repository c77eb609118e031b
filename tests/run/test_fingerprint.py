"""Which code ran: equal hashes mean equal code, and what tests leave behind does not count."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from windtunnel.run.fingerprint import Fingerprint


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    subprocess.run(
        ["git", *identity, "-C", str(folder), *arguments], check=True, capture_output=True
    )


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    (tmp_path / "code.py").write_text("one = 1\n", encoding="utf-8")
    (tmp_path / "data.bin").write_bytes(b"data")
    if request.param == "git":
        git(tmp_path, "init", "-q")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def tree(folder: Path) -> str:
    return Fingerprint(folder).take().tree


def test_equal_code_has_equal_hashes(project: Path) -> None:
    assert tree(project) == tree(project)


def test_changed_code_has_another_hash_and_undone_the_first_again(project: Path) -> None:
    before = tree(project)
    (project / "code.py").write_text("one = 2\n", encoding="utf-8")
    changed = tree(project)
    (project / "code.py").write_text("one = 1\n", encoding="utf-8")
    assert changed != before
    assert tree(project) == before


def test_new_code_counts_and_what_tests_leave_behind_does_not(project: Path) -> None:
    before = tree(project)
    (project / "output.log").write_text("left", encoding="utf-8")
    (project / ".windtunnel").mkdir()
    (project / ".windtunnel" / "record.db").write_bytes(b"")
    assert tree(project) == before
    (project / "new.py").write_text("", encoding="utf-8")
    assert tree(project) != before


def test_the_same_files_committed_have_a_commit(tmp_path: Path) -> None:
    assert Fingerprint(tmp_path).take().commit == ""
    git(tmp_path, "init", "-q")
    (tmp_path / "code.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    assert len(Fingerprint(tmp_path).take().commit) == 40


def test_the_environment_is_named_and_the_same_twice(tmp_path: Path) -> None:
    first, second = (Fingerprint(tmp_path).take() for _ in range(2))
    assert first.environment == second.environment
    assert first.environment_text.startswith(("CPython 3.", "PyPy 3."))

"""Isolation ``env``: what one test does to variables and folders, the next does not see."""

from __future__ import annotations

import pytest

BASE = """
    import os, subprocess, sys, tempfile
    from pathlib import Path
    import pytest
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a suite under isolation ``env`` in a pytest of its own."""
    monkeypatch.delenv("CI", raising=False)

    def go(*args: str, **files: str) -> pytest.RunResult:
        for name, text in files.items():
            pytester.makepyfile(**{name: BASE + text})
        return pytester.runpytest_inprocess(
            "-p", "no:randomly", "-p", "no:asyncio", "--wt-isolation=env", *args
        )

    return go


def test_variables_folders_and_cwd_are_fresh_for_each_test(run) -> None:
    result = run(
        test_it="""
    TMP, HOME, START = set(), set(), os.getcwd()

    @pytest.mark.parametrize("turn", range(3))
    def test_turn(turn):
        tmp, home = Path(tempfile.gettempdir()), Path.home()
        assert os.environ["TMPDIR"] == str(tmp) and os.environ["HOME"] == str(home)
        assert list(tmp.iterdir()) == [] and list(home.iterdir()) == []
        assert "LEFT_BEHIND" not in os.environ and "PATH" in os.environ
        assert os.getcwd() == START
        code = "import os, tempfile; print(tempfile.gettempdir(), os.environ['HOME'])"
        child = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert child.stdout.split() == [str(tmp), str(home)]
        os.environ["LEFT_BEHIND"] = "1"
        del os.environ["PATH"]
        (tmp / "file").touch()
        (home / ".rc").touch()
        os.chdir("/")
    """
    )
    result.assert_outcomes(passed=3)


def test_a_wider_fixture_keeps_its_files_and_variables_for_the_tests_after_the_first(run) -> None:
    result = run(
        test_it="""
    @pytest.fixture(scope="module")
    def server():
        folder = tempfile.mkdtemp()
        os.environ["SERVER"] = folder
        (Path.home() / ".server-seen").touch()
        yield folder
        assert os.environ.pop("SERVER") == folder and os.path.isdir(folder)
        (Path.home() / ".server-seen").unlink()

    @pytest.mark.parametrize("turn", range(3))
    def test_turn(turn, server, tmp_path):
        assert os.environ["SERVER"] == server and os.path.isdir(server)
        assert not (Path.home() / ".server-seen").exists()
        assert not tmp_path.is_relative_to(tempfile.gettempdir())
        os.environ["SERVER"] = "mine"

    def test_after():
        assert os.environ["SERVER"] != "mine"
    """,
        test_next="""
    def test_it_is_gone_with_its_scope():
        assert "SERVER" not in os.environ
    """,
    )
    result.assert_outcomes(passed=5)


def test_a_fixture_that_is_torn_down_for_a_new_parameter_sees_the_workers_state(run) -> None:
    result = run(
        test_it="""
    @pytest.fixture(scope="module", params=["a", "b"])
    def mode(request):
        os.environ["MODE"] = request.param
        yield request.param
        assert os.environ.pop("MODE") == request.param

    def test_one(mode):
        assert os.environ["MODE"] == mode
        os.environ["MODE"] = "broken"

    def test_two(mode):
        assert os.environ["MODE"] == mode
    """,
        test_next="""
    def test_three():
        assert "MODE" not in os.environ
    """,
    )
    result.assert_outcomes(passed=5)


def test_home_and_tmpdir_that_the_project_sets_are_kept(run) -> None:
    result = run(
        conftest="""
    os.environ["HOME"] = "/the/project/knows"

    @pytest.fixture(scope="session", autouse=True)
    def temporary(tmp_path_factory):
        os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("ours"))
        tempfile.tempdir = None
        yield
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
    """,
        test_it="""
    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn):
        assert os.environ["HOME"] == "/the/project/knows"
        assert "ours" in os.environ["TMPDIR"]
    """,
    )
    result.assert_outcomes(passed=2)


def test_monkeypatch_and_a_fixture_that_changes_directory_keep_working(run) -> None:
    result = run(
        test_it="""
    START = os.getcwd()

    @pytest.fixture(scope="module")
    def elsewhere(tmp_path_factory):
        os.chdir(tmp_path_factory.mktemp("elsewhere"))
        yield os.getcwd()
        os.chdir(START)

    def test_before(monkeypatch, tmp_path):
        monkeypatch.setenv("HOME", "/patched")
        monkeypatch.chdir(tmp_path)
        assert os.path.expanduser("~") == "/patched" and os.getcwd() == str(tmp_path)

    def test_within(elsewhere):
        assert os.getcwd() == elsewhere
        os.chdir("/")

    def test_still_within(elsewhere):
        assert os.getcwd() == elsewhere
    """,
        test_then="""
    def test_after():
        assert not os.getcwd().endswith("elsewhere0")
    """,
    )
    result.assert_outcomes(passed=4)


def test_a_test_that_removes_its_directory_or_clears_the_environment_harms_nobody(run) -> None:
    result = run(
        test_it="""
    import shutil
    START = os.getcwd()

    def test_removes(tmp_path):
        os.chdir(tmp_path)
        shutil.rmtree(tmp_path)

    def test_clears():
        assert os.getcwd() == START
        os.environ.clear()

    def test_replaces():
        assert os.environ["HOME"]
        os.environ = dict(os.environ, NEW="1")

    def test_after():
        assert "NEW" not in os.environ and type(os.environ) is not dict
    """
    )
    result.assert_outcomes(passed=4)


def test_with_cwd_copy_each_test_begins_in_a_fresh_copy_of_the_project(
    run, pytester: pytest.Pytester
) -> None:
    pytester.mkdir("data").joinpath("table.txt").write_text("one")
    pytester.mkdir(".git").joinpath("HEAD").write_text("ref")
    result = run(
        "--wt-cwd=copy",
        test_it="""
    @pytest.mark.parametrize("turn", range(2))
    def test_turn(turn):
        table = Path("data/table.txt")
        assert table.read_text() == "one"
        assert not Path("new.txt").exists() and not Path(".git").exists()
        table.write_text("two")
        Path("new.txt").touch()
    """,
    )
    result.assert_outcomes(passed=2)
    assert (pytester.path / "data/table.txt").read_text() == "one"
    assert not (pytester.path / "new.txt").exists()


def test_each_rerun_of_a_test_begins_fresh(run) -> None:
    result = run(
        "--reruns=2",
        test_it="""
    TRIES = []

    def test_it():
        TRIES.append(1)
        assert "TRIED" not in os.environ and not (Path.home() / "tried").exists()
        os.environ["TRIED"] = "1"
        (Path.home() / "tried").touch()
        assert len(TRIES) == 3
    """,
    )
    result.stdout.fnmatch_lines(["*1 passed, 2 rerun*"])


def test_what_the_process_keeps_from_an_earlier_test_still_works_in_a_later_one(run) -> None:
    result = run(
        test_it="""
    import functools, logging.handlers

    @functools.cache
    def log():
        folder = Path.home() / ".app"
        folder.mkdir()
        return logging.handlers.RotatingFileHandler(folder / "app.log")

    @pytest.mark.parametrize("turn", range(3))
    def test_turn(turn):
        assert not (Path.home() / ".app").exists()
        log().doRollover()
    """
    )
    result.assert_outcomes(passed=3)


def test_nothing_is_left_on_disk(run, pytester: pytest.Pytester) -> None:
    base = pytester.path / "base"
    run(
        f"--basetemp={base}",
        test_it="""
    def test_it():
        locked = Path.home() / "locked"
        locked.mkdir()
        (locked / "file").touch()
        locked.chmod(0)
    """,
    ).assert_outcomes(passed=1)
    assert [path for path in base.iterdir() if path.name.startswith("env-")] == []

"""Isolation ``namespace`` and ``net``: workers with their own project, /tmp, HOME and ports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from windtunnel.own.parts import mount_points

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")

BASE = """
    import os, socket, subprocess, sys, tempfile
    from pathlib import Path
    import pytest
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a suite in a pytest of its own: ``run("namespace", "-n2", test_it="...")``."""
    ours = ("PYTEST_X", "PYTEST_C", "COV_", "CI")
    for name in [name for name in os.environ if name.startswith(ours)]:
        monkeypatch.delenv(name)

    def go(isolation: str, *args: str, **files: str) -> pytest.RunResult:
        for name, text in files.items():
            pytester.makepyfile(**{name: BASE + text})
        arguments = ["-p", "no:randomly", "-p", "no:asyncio", f"--wt-isolation={isolation}", *args]
        return pytester.runpytest_subprocess(*arguments, timeout=300)

    return go


def mounts(here: Path) -> set[Path]:
    """What is mounted on that folder, in it or above it: other tests mount things elsewhere."""
    return {
        point
        for point in mount_points()
        if here.is_relative_to(point) or point.is_relative_to(here)
    }


def test_writes_to_project_tmp_and_home_stay_with_the_worker(run, pytester, tmp_path) -> None:
    (pytester.path / "settings.ini").write_text("original")
    before = mounts(pytester.path)
    result = run(
        "namespace",
        test_it="""
    def test_writes():
        Path("settings.ini").write_text("changed")
        Path("made.txt").write_text("made")
        (Path.home() / ".dotfile").write_text("made")
        Path("/tmp/wt-fixed-name").write_text("made")
        os.mkdir("/tmp/wt-fixed-dir")
        child = "import pathlib; print(pathlib.Path('settings.ini').read_text())"
        seen = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True)
        assert seen.stdout == "changed\\n"
        os.rename("settings.ini", "renamed.ini")
        os.unlink("test_it.py")
    """,
    )
    result.assert_outcomes(passed=1)
    assert (pytester.path / "settings.ini").read_text() == "original"
    assert not (pytester.path / "made.txt").exists()
    assert (pytester.path / "test_it.py").exists()
    assert not (Path.home() / ".dotfile").exists()
    assert not Path("/tmp/wt-fixed-name").exists()
    assert not Path("/tmp/wt-fixed-dir").exists()
    assert mounts(pytester.path) == before
    assert list((pytester.path / ".windtunnel/namespace").iterdir()) == []


def test_tests_that_collide_on_files_and_ports_pass_under_xdist_and_our_workers(run) -> None:
    files = {
        "test_it": """
    import time
    @pytest.mark.parametrize("turn", range(6))
    def test_collides(turn):
        places = [Path("state.txt"), Path.home() / ".state", Path("/tmp/wt-collision")]
        servers = []
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            server = socket.socket(family)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((host, 28117))
            server.listen()
            socket.create_connection((host, 28117)).close()
            servers.append(server)
        for place in places:
            assert not place.exists()
            place.write_text(str(turn))
        subprocess.run([sys.executable, "-c", "import time; time.sleep(0.1)"], check=True)
        for place in places:
            assert place.read_text() == str(turn)
            place.unlink()
        for server in servers:
            server.close()
    """
    }
    run("namespace,net", "-n3", **files).assert_outcomes(passed=6)
    run("namespace,net", "--wt-workers=3").assert_outcomes(passed=6)


def test_what_the_write_through_list_names_reaches_the_disk(run, pytester) -> None:
    snapshots = pytester.path / "tests/__snapshots__"
    snapshots.mkdir(parents=True)
    (snapshots / "old.ambr").write_text("old")
    (snapshots / "unused.ambr").write_text("unused")
    (pytester.path / "results").mkdir()
    result = run(
        "namespace",
        "--wt-write-through=**/__snapshots__,**/.coverage*,golden/*.json",
        test_it="""
    def test_writes():
        Path("tests/__snapshots__/old.ambr").write_text("new")
        os.unlink("tests/__snapshots__/unused.ambr")
        os.makedirs("other/__snapshots__")
        Path("other/__snapshots__/first.ambr").write_text("first")
        Path(".coverage.host.1").write_text("data")
        os.makedirs("golden/deep")
        Path("golden/a.json").write_text("{}")
        Path("golden/deep/b.json").write_text("{}")
        Path("results/not-listed").write_text("")
    """,
    )
    result.assert_outcomes(passed=1)
    root = pytester.path
    assert (snapshots / "old.ambr").read_text() == "new"
    assert not (snapshots / "unused.ambr").exists()
    assert (root / "other/__snapshots__/first.ambr").read_text() == "first"
    assert (root / ".coverage.host.1").read_text() == "data"
    assert (root / "golden/a.json").exists()
    assert not (root / "golden/deep").exists()
    assert list((root / "results").iterdir()) == []


def test_reports_cache_basetemp_and_the_record_keep_their_places(run, pytester) -> None:
    result = run(
        "namespace",
        "--junitxml=out/junit.xml",
        "--basetemp=base",
        "--cov=app",
        "--cov-report=xml:out/cov.xml",
        app="""
    def used(): return 1
    """,
        test_it="""
    import app
    def test_passes(tmp_path):
        (tmp_path / "seen").write_text("")
        assert app.used()

    def test_fails():
        assert 0
    """,
    )
    result.assert_outcomes(passed=1, failed=1)
    root = pytester.path
    assert 'failures="1"' in (root / "out/junit.xml").read_text()
    assert 'line-rate="1"' in (root / "out/cov.xml").read_text()
    assert "test_fails" in (root / ".pytest_cache/v/cache/lastfailed").read_text()
    assert (root / "base/test_passes0/seen").exists()
    assert (root / ".windtunnel/record.db").exists()
    again = run("namespace", "--lf", "--basetemp=base")
    again.assert_outcomes(failed=1)


def test_a_project_below_home_below_tmp_is_seen_as_it_is(
    run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = pytester.path.parent
    monkeypatch.setenv("HOME", str(home))
    (home / ".profile").write_text("here")
    result = run(
        "namespace",
        test_it="""
    def test_all_is_there():
        assert Path.home().joinpath(".profile").read_text() == "here"
        assert Path("test_it.py").exists()
        Path.home().joinpath(".profile").write_text("changed")
        Path("in-project").touch()
        assert Path.home().joinpath(Path.cwd().name, "in-project").exists()
        Path("/tmp/wt-in-tmp").touch()
    """,
    )
    result.assert_outcomes(passed=1)
    assert (home / ".profile").read_text() == "here"
    assert not (pytester.path / "in-project").exists()
    assert not Path("/tmp/wt-in-tmp").exists()


def test_a_server_that_listens_on_a_socket_file_stays_reachable(run, pytester) -> None:
    import socket

    path = Path(f"/tmp/wt-{os.getpid()}.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        try:
            result = run(
                "namespace",
                test_it=f"""
    def test_connects():
        with socket.socket(socket.AF_UNIX) as client:
            client.connect({str(path)!r})
    """,
            )
        finally:
            path.unlink()
    result.assert_outcomes(passed=1)


def test_a_worker_that_is_killed_leaves_nothing_mounted(run, pytester) -> None:
    before = mounts(pytester.path)
    result = run(
        "namespace,net",
        "--wt-workers=2",
        test_it="""
    import signal
    def test_dies():
        Path("made").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def test_lives():
        assert True
    """,
    )
    result.assert_outcomes(passed=1, failed=1)
    assert mounts(pytester.path) == before
    assert not (pytester.path / "made").exists()


def test_a_user_who_is_not_root_has_both_and_stays_who_they_are(
    pytester: pytest.Pytester, require_tool
) -> None:
    """In a folder that everyone may enter, as ``nobody``, by a user namespace."""
    if os.geteuid() != 0:
        pytest.skip("the other tests of this file ran without being root")
    setpriv = require_tool("setpriv")
    project = Path(f"/var/tmp/wt-{os.getpid()}")
    project.mkdir(mode=0o777)
    os.chown(project, 65534, 65534)
    try:
        (project / "test_it.py").write_text(
            "import os, socket\n"
            "from pathlib import Path\n"
            "import pytest\n"
            "def test_it(tmp_path):\n"
            "    assert os.geteuid() == 65534\n"
            "    Path('made').touch(); Path('/tmp/wt-nobody').touch()\n"
            "    server = socket.socket(); server.bind(('127.0.0.1', 1717)); server.listen()\n"
            "    socket.create_connection(('127.0.0.1', 1717)).close()\n"
            "    closed = tmp_path / 'closed'; closed.touch(); closed.chmod(0)\n"
            "    with pytest.raises(PermissionError):\n"
            "        closed.read_text()\n"
        )
        environment = {**os.environ, "HOME": str(project), "PYTHONPATH": os.pathsep.join(sys.path)}
        for name in [n for n in environment if n.startswith(("PYTEST_", "COV_", "CI"))]:
            del environment[name]
        command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable]
        done = subprocess.run(
            [*command, "-m", "pytest", "-p", "no:asyncio", "--wt-isolation=namespace,net", "-v"],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        # The interpreter, its library or its packages may lie where only root may enter.
        unreadable = "Permission denied" in done.stderr and "site-packages" in done.stderr
        if unreadable or "error while loading shared libraries" in done.stderr:
            pytest.skip("nobody may not read this interpreter's packages")
        assert "1 passed" in done.stdout, done.stdout + done.stderr
        assert "cannot be had" not in done.stdout
        assert not (project / "made").exists()
        assert not Path("/tmp/wt-nobody").exists()
        assert (project / ".windtunnel/record.db").exists()
    finally:
        subprocess.run(["rm", "-rf", str(project)], check=True)

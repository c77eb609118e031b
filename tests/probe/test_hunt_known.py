"""The hunt is right on two released projects whose order-dependent tests are known.

The suites are foreign code: they run inside bubblewrap, with a read-only root, a throw-away home
and no network. The source distributions are downloaded once, into ``.cache/sdists``.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.once  # foreign suites, and what is known of them

CACHE = Path(__file__).parents[2] / ".cache" / "sdists"
LOGZERO = "tests/test_logzero.py::"
EVENTS = "test/test_pyeventdispatcher.py::"


def _skip(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _sdist(name, version):
    CACHE.mkdir(parents=True, exist_ok=True)
    archive = CACHE / f"{name}-{version}.tar.gz"
    if not archive.exists():
        # To tell an sdist's version pip runs its code, so that too happens in the sandbox.
        box = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        box += ["--tmpfs", "/tmp", "--bind", str(CACHE), str(CACHE), "--setenv", "HOME", "/tmp"]
        box += ["--unshare-pid", "--die-with-parent", "--"]
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        done = subprocess.run(
            [*box, *pip, "-d", str(CACHE), f"{name}=={version}"], capture_output=True, text=True
        )
        if not archive.exists():
            _skip(f"{name} {version} cannot be downloaded: {done.stderr[-200:]}")
    return archive


@pytest.fixture
def hunt_in(tmp_path):
    if shutil.which("bwrap") is None:
        _skip("bubblewrap is not installed")

    def hunt(name, version, *arguments):
        with tarfile.open(_sdist(name, version)) as archive:
            archive.extractall(tmp_path, filter="data")
        root = tmp_path / f"{name}-{version}"
        # The interpreters may live in the home that is hidden.
        kept = {p for p in (sys.base_prefix, sys.prefix) if p.startswith(os.path.expanduser("~"))}
        box = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
        box += ["--tmpfs", os.path.expanduser("~"), "--tmpfs", "/tmp"]
        for path in sorted(kept):
            box += ["--ro-bind", path, path]
        project = str(Path(__file__).parents[2])
        box += ["--ro-bind", project, project, "--bind", str(root), str(root)]
        box += ["--unshare-net", "--unshare-pid", "--die-with-parent", "--chdir", str(root), "--"]
        command = [sys.executable, "-m", "windtunnel", "flaky", "hunt", "--json", "--quiet"]
        done = subprocess.run(
            [*box, *command, *arguments], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {test["nodeid"]: test for test in json.loads(done.stdout)["tests"]}

    return hunt


def test_logzero_has_a_brittle_test_with_two_state_setters_and_a_victim_of_five(hunt_in):
    brittle = LOGZERO + "test_default_logger_stderr_output"
    victim = LOGZERO + "test_write_to_logfile_and_stderr"
    found = hunt_in("logzero", "1.5.0", brittle, victim)
    assert found[brittle]["cause"] == "order-dependent brittle"
    assert set(found[brittle]["state_setters"]) == {
        LOGZERO + "test_default_logger_logfile_only",
        LOGZERO + "test_default_logger_syslog_only",
    }
    assert found[victim]["cause"] == "order-dependent victim"
    assert set(found[victim]["polluters"]) == {
        LOGZERO + name
        for name in (
            "test_custom_formatter",
            "test_loglevel",
            "test_bytes",
            "test_unicode",
            "test_setup_logger_logfile_custom_loglevel",
        )
    }
    assert found[victim]["confirmed"] == {"failures": 2, "runs": 2}


def test_pyeventdispatcher_has_a_victim_of_three_polluters(hunt_in):
    victim = EVENTS + "TestRegister::test_it_allows_to_register[call_on_event]"
    found = hunt_in("pyeventdispatcher", "0.2.2a0", victim)[victim]
    assert found["cause"] == "order-dependent victim"
    assert set(found["polluters"]) == {
        EVENTS + "TestRegisterGlobal::test_it_allows_to_register_listener_globally",
        EVENTS + "TestRegisterSubscribers::test_register_global_listeners_by_subscriber",
        EVENTS + "TestRegisterThroughDecorator::test_register_global_listener_by_decorator",
    }

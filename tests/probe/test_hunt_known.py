"""The hunt is right on two released projects whose order-dependent tests are known."""

import json
import shutil
import subprocess
import sys

import pytest

from foreign import box, release

pytestmark = pytest.mark.once  # foreign suites, and what is known of them

LOGZERO = "tests/test_logzero.py::"
EVENTS = "test/test_pyeventdispatcher.py::"


@pytest.fixture
def hunt_in(tmp_path):
    def hunt(name, version, *arguments):
        root = shutil.copytree(release(name, version, source=True), tmp_path / name)
        command = [sys.executable, "-m", "windtunnel", "flaky", "hunt", "--json", "--quiet"]
        done = subprocess.run(
            [*box(root), "--chdir", str(root), "--", *command, *arguments],
            capture_output=True,
            text=True,
            timeout=600,
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

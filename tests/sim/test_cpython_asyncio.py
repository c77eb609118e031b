"""CPython's own tests of asyncio, on the simulated loop and on virtual time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("cpython_suite.py")

# What is left out, and why: these call into the loop from a real thread and wait for it, or
# block it with time.sleep, which is an error here.
NOT_HERE = {
    "test_timeouts": ["test_nested_timeouts_concurrent", "test_nested_timeouts_loop_busy"],
    "test_tasks": [
        "test_run_coroutine_threadsafe",
        "test_run_coroutine_threadsafe_task_cancelled",
        "test_run_coroutine_threadsafe_task_factory_exception",
        "test_run_coroutine_threadsafe_with_exception",
        "test_run_coroutine_threadsafe_with_timeout",
    ],
}


@pytest.mark.parametrize(
    ("module", "at_least"),
    [
        ("test_locks", 60),
        ("test_queues", 40),
        ("test_taskgroups", 30),
        ("test_timeouts", 25),
        ("test_waitfor", 10),
        ("test_tasks", 900),
        *([("test_eager_task_factory", 35)] if sys.version_info >= (3, 12) else []),
        *([("test_staggered", 5)] if sys.version_info >= (3, 13) else []),
    ],
)
def test_the_tests_of_cpython_pass_on_the_simulated_loop(module, at_least):
    command = [sys.executable, str(HARNESS), module, *NOT_HERE.get(module, [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["bad"] == {}
    assert found["ran"] >= at_least
    assert found["loops"] * 3 >= found["ran"]  # the rest needs no loop

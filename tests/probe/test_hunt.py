"""`windtunnel flaky hunt` on small suites whose flakiness is known, through the command."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from windtunnel.core import ExitCode

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux namespaces")


@pytest.fixture
def suite(tmp_path):
    """Writes a suite's files and returns the function that hunts in it."""

    def write(**files):
        (tmp_path / "pytest.ini").write_text("[pytest]\n")
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))

        def hunt(*arguments, code=ExitCode.OK, cwd=tmp_path):
            done = subprocess.run(
                [*COMMAND, "--json", "--quiet", "--repeats", "8", "--orders", "1", *arguments],
                cwd=cwd,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == code, done.stdout + done.stderr
            return {test["nodeid"]: test for test in json.loads(done.stdout)["tests"]}

        return hunt

    return write


COMMAND = [sys.executable, "-m", "windtunnel", "flaky", "hunt"]

ORDERS = """
    import os, time
    from pathlib import Path
    import pytest
    import unittest

    seen = set()
    ready = []

    @pytest.mark.parametrize("what", ["a b", "x::y", "[é]", "'q'"])
    def test_sets(what):
        seen.add(what)

    def test_exits():
        os._exit(3)

    def test_slows():
        seen.add("slow")

    class TestVictims:
        def test_of_two(self):
            assert not {"a b", "x::y"} <= seen

        def test_of_one(self):
            assert "[é]" not in seen

        def test_that_hangs(self):
            if "slow" in seen:
                time.sleep(600)

    class TestOld(unittest.TestCase):
        def test_brittle(self):
            self.assertTrue(ready)

        def test_setter(self):
            ready.append(1)

    def test_writes():
        Path("left behind").touch()

    def test_that_wants_no_file():
        assert not Path("left behind").exists()
"""


@pytest.mark.once
def test_order_dependent_tests_are_explained_by_name_whatever_breaks_around_them(suite, tmp_path):
    hunt = suite(test_orders=ORDERS)
    sets = "test_orders.py::test_sets[{}]".format
    found = hunt(
        "test_orders.py::TestVictims",
        "test_orders.py::TestOld::test_brittle",
        "test_orders.py::test_that_wants_no_file",
        "--time-limit=2",
    )
    two = found["test_orders.py::TestVictims::test_of_two"]
    assert two["cause"] == "order-dependent victim"
    assert (two["polluters"], two["together"]) == ([], [sets("a b"), sets("x::y")])
    one = found["test_orders.py::TestVictims::test_of_one"]
    assert one["polluters"] == [sets("\\xe9").replace("\\xe9", "[\\xe9]")]
    assert one["where"].startswith("in the process's memory")
    hang = found["test_orders.py::TestVictims::test_that_hangs"]
    assert hang["polluters"] == ["test_orders.py::test_slows"]
    assert "time limit" in hang["message"]
    assert "test_that_hangs" in hang["stacks"]
    brittle = found["test_orders.py::TestOld::test_brittle"]
    assert brittle["cause"] == "order-dependent brittle"
    assert brittle["state_setters"] == ["test_orders.py::TestOld::test_setter"]
    assert brittle["confirmed"] == {"failures": 0, "runs": 2}
    if sys.platform == "linux":
        wants = found["test_orders.py::test_that_wants_no_file"]
        assert wants["polluters"] == ["test_orders.py::test_writes"]
        assert wants["where"].startswith("outside the process")
        assert not (tmp_path / "left behind").exists()


def test_the_shown_command_reproduces_the_failure(suite, tmp_path):
    hunt = suite(test_orders=ORDERS)
    found = hunt("test_orders.py::TestVictims::test_of_two")
    command = found["test_orders.py::TestVictims::test_of_two"]["command"]
    done = subprocess.run(
        command.replace("python", sys.executable, 1),
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout


@pytest.mark.once
def test_fresh_processes_and_the_command_run_the_order_even_where_the_project_sorts(
    suite, tmp_path
):
    hunt = suite(
        conftest="""
            def pytest_collection_modifyitems(items):
                items.sort(key=lambda item: item.name)
        """,
        test_it="""
            ran = []

            class TestVictim:
                def test_a(self):
                    assert not ran

            def test_z():
                ran.append("z")
        """,
    )
    found = hunt("test_it.py::TestVictim")["test_it.py::TestVictim::test_a"]
    assert found["cause"] == "order-dependent victim"
    assert found["polluters"] == ["test_it.py::test_z"]
    assert found["confirmed"] == {"failures": 2, "runs": 2}
    again = found["command"].replace("python -m", f"{sys.executable} -m")
    done = subprocess.run(again, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert "1 failed, 1 passed" in done.stdout


@pytest.mark.once
def test_importing_another_test_file_can_be_the_polluter(suite, tmp_path):
    hunt = suite(
        shared="registered = []",
        test_a="import shared\nshared.registered.append(1)\ndef test_a(): pass",
        test_b="import shared\ndef test_b(): assert not shared.registered",
        conftest="",
    )
    found = hunt("test_b.py")["test_b.py::test_b"]
    assert found["cause"] == "order-dependent victim"
    assert found["polluters"] == ["import of test_a.py"]
    assert "test_a.py --deselect test_a.py test_b.py::test_b" in found["command"]


@pytest.mark.once
@pytest.mark.parametrize("files", [["test_one"], ["test_one", "test_two"]])
def test_what_differs_from_process_to_process_is_not_blamed_on_what_is_collected(
    suite, tmp_path, files
):
    # The session that is forked fails, the next four processes pass, then every other fails.
    one = """
        import os
        with open({count!r}, "a") as file:
            file.write("x")
        number = os.path.getsize({count!r}) - 1
        def test_by_process(): assert number and (number < 5 or number % 2 == 0)
    """.format(count=str(tmp_path / "count"))
    hunt = suite(**{name: one if name == "test_one" else "def test(): pass" for name in files})
    target = "test_one.py::test_by_process"
    options = ["--suite", ".", "--share-files", "--change=listings", "--repeats", "2"]
    found = hunt(target, *options)[target]
    assert found["cause"] == "unknown", found
    assert "forked sessions end otherwise than fresh ones" in str(found["notes"])
    assert found["polluters"] == found["state_setters"] == []


@pytest.mark.once
def test_without_names_and_record_the_flaky_tests_are_found_by_running_in_orders(suite):
    hunt = suite(
        test_all="""
        state = []
        def test_first(): pass
        def test_victim(): assert not state
        def test_polluter(): state.append(1)
        """
    )
    found = hunt("--change=listings")
    assert list(found) == ["test_all.py::test_victim"]
    assert found["test_all.py::test_victim"]["polluters"] == ["test_all.py::test_polluter"]


@pytest.mark.once
def test_the_suite_may_lie_elsewhere_than_the_working_directory(suite, tmp_path):
    hunt = suite(
        inner__test_x="""
        state = []
        def test_polluter(): state.append(1)
        def test_victim(): assert not state
        """,
        inner__conftest="",
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    found = hunt("../inner/test_x.py::test_victim", cwd=elsewhere)
    assert found["inner/test_x.py::test_victim"]["polluters"] == ["inner/test_x.py::test_polluter"]


KINDS = """
    import datetime, os, random, socket, threading, time

    def test_random():
        assert random.random() > 0.4

    def test_hash_order():
        assert list({"a", "b", "c", "d"})[0] in "ab"

    def test_zone():
        assert datetime.datetime.fromtimestamp(1_700_000_000).hour in (22, 14, 23, 17, 18)

    def test_date():
        assert datetime.date.today().year < 2038

    def test_race():
        total = 0
        def add():
            nonlocal total
            for _ in range(200):
                seen = total
                total = seen + 1
        threads = [threading.Thread(target=add) for _ in range(2)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert total == 400

    def test_wait():
        # A sixth of one core suffices; the hunt's load leaves about a sixtieth. A machine
        # must stand still for 0.25 s before this fails by itself.
        done, late = [], []
        def work():
            end = time.thread_time() + 0.045
            while time.thread_time() < end:
                if late:
                    return
            done.append(1)
        thread = threading.Thread(target=work)
        thread.start()
        time.sleep(0.3)
        ok = bool(done)
        late.append(1)
        thread.join()
        assert ok

    def test_network():
        assert len(socket.if_nameindex()) > 1  # whether there is more than loopback

    def test_files():
        files = [open(os.devnull) for _ in range(100)]
        [file.close() for file in files]
"""


@pytest.mark.once
@pytest.mark.parametrize(
    ("test", "changes", "cause"),
    [
        ("test_random", ["seed", "listings"], "randomness"),
        ("test_hash_order", ["hashes", "zone"], "randomness"),
        pytest.param("test_zone", ["listings", "zone"], "time", marks=LINUX),
        ("test_date", ["zone", "date"], "time"),
        ("test_race", ["seed", "network", "threads"], "concurrency or async wait"),
        pytest.param(
            "test_wait", ["network", "load"], "concurrency or async wait", marks=pytest.mark.quiet
        ),
        pytest.param(
            "test_network",
            ["seed", "network"],
            "network",
            marks=[
                LINUX,
                pytest.mark.skipif(
                    len(socket.if_nameindex()) < 2,
                    reason="this machine has no network to take away",
                ),
            ],
        ),
        ("test_files", ["network", "files"], "resource"),
    ],
)
def test_the_cause_is_told_by_what_changes_the_failure_rate(suite, test, changes, cause):
    hunt = suite(test_kinds=KINDS)
    options = [f"--change={change}" for change in changes]
    found = hunt(f"test_kinds.py::{test}", *options)[f"test_kinds.py::{test}"]
    assert found["cause"] == cause, found
    shown = found["shown_by"]
    assert shown["p_value"] < 0.005
    assert shown["before_failures"] < shown["after_failures"] or shown["before_failures"] > 0
    assert test in found["command"]


@pytest.mark.once
def test_a_test_that_always_passes_is_not_reproduced_and_never_called_flaky(suite):
    hunt = suite(test_kinds="def test_stable(): pass\ndef test_other(): pass")
    found = hunt(
        "test_kinds.py::test_stable",
        "--change=seed",
        "--change=network",
        code=ExitCode.NOT_REPRODUCED,
    )
    assert found["test_kinds.py::test_stable"]["cause"] == "not reproduced"


@pytest.mark.once
def test_an_unexplained_flaky_test_is_honestly_unknown(suite, tmp_path):
    # It fails every other time, whatever is changed: at random it would pass eight times running,
    # or seem to depend on a change, more often than a test may fail.
    hunt = suite(
        test_u="""
        import os
        def test_u():
            with open({count!r}, "a") as file:
                file.write("x")
            assert os.path.getsize({count!r}) % 2
        """.format(count=str(tmp_path / "count"))
    )
    options = ["--share-files", "--change=network", "--change=listings"]
    found = hunt("test_u.py", *options)["test_u.py::test_u"]
    assert found["cause"] == "unknown"
    assert "nothing that was changed explains it" in found["reason"]


def test_a_name_that_no_test_has_is_a_usage_error_with_a_suggestion(suite, tmp_path):
    suite(test_s="def test_stable(): pass")
    done = subprocess.run(
        [*COMMAND, "--quiet", "test_s.py::test_stabel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == ExitCode.USAGE_ERROR
    assert "did you mean test_s.py::test_stable?" in done.stderr


@LINUX
def test_nothing_lives_on_when_the_hunt_is_interrupted(suite, tmp_path):
    suite(
        test_s="""
        import time
        from pathlib import Path
        def test_slow(): time.sleep(600)
        """
    )
    hunting = subprocess.Popen(
        [*COMMAND, "test_s.py"],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert hunting.stderr is not None
    for line in hunting.stderr:
        if "alone" in line:
            break
    lab = _descendants(hunting.pid)
    assert lab
    hunting.send_signal(signal.SIGINT)
    hunting.stderr.read()
    assert hunting.wait(300) == ExitCode.INTERRUPTED
    deadline = time.monotonic() + 120
    while (alive := [pid for pid in lab if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.02)
    assert not alive
    assert not list(tmp_path.glob("windtunnel-hunt-*"))


def _descendants(pid):
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has ended since
            for child in children.read_text().split():
                found += [int(child), *_descendants(int(child))]
    return found

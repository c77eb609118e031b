"""A test a row of docs/coexistence.md: each neighbour does its work beside windtunnel."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from neighbour_project import CACHE, PYTHON, Project


@pytest.fixture
def project() -> Iterator[Project]:
    if not PYTHON.exists():
        pytest.skip("missing tool: .venv-coexist, which `make test` sets up")
    # Not below /tmp, of which isolation by namespace gives each worker one of its own.
    CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="neighbours-", dir=CACHE) as folder:
        project = Project(Path(folder))
        project.write("pytest.ini", "[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        yield project


EITHER_WAY = pytest.mark.parametrize("how", ["pytest", "windtunnel"])


def run(project: Project, how: str, *arguments: str, beside: str, code: int = 0) -> str:
    return str(getattr(project, how)(*arguments, beside=beside, code=code))


@EITHER_WAY
def test_pytest_asyncio_runs_coroutines_and_async_fixtures(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import asyncio, pytest, pytest_asyncio

@pytest_asyncio.fixture
async def number():
    await asyncio.sleep(0)
    yield 7

@pytest.mark.asyncio
@pytest.mark.parametrize("turn", range(4))
async def test_coroutine(number, turn):
    await asyncio.sleep(0)
    assert number == 7

@pytest.mark.asyncio
async def test_that_fails(number):
    assert number == 8
""",
    )
    run(project, how, beside="asyncio", code=1)
    assert project.counts() == {"passed": 4, "failed": 1}


@EITHER_WAY
def test_anyio_runs_coroutines(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import anyio, pytest

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
@pytest.mark.parametrize("turn", range(4))
async def test_coroutine(turn):
    with anyio.fail_after(5):
        await anyio.sleep(0)
""",
    )
    run(project, how, beside="anyio")
    assert project.counts() == {"passed": 4}


def test_under_xdist_every_test_is_recorded_once_with_its_worker(project: Project):
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.parametrize("n", range(40))
def test_one(n, worker_id):
    assert worker_id in ("gw0", "gw1")
""",
    )
    project.pytest("-n", "2", beside="xdist")
    rows = project.recorded()
    assert len({row.nodeid for row in rows}) == len(rows) == 40
    assert {row.worker for row in rows} == {"gw0", "gw1"}


def test_our_workers_take_the_place_of_xdists_and_answer_as_they_do(project: Project):
    project.write("pytest.ini", "[pytest]\naddopts = -n 3\n")
    project.write(
        "test_it.py",
        """
import os, pytest

@pytest.mark.parametrize("n", range(20))
def test_one(n, worker_id, request):
    assert worker_id == os.environ["PYTEST_XDIST_WORKER"]
    assert request.config.workerinput["workerid"] == worker_id
    assert request.config.workerinput["workercount"] == 2
""",
    )
    project.windtunnel(beside="xdist")
    assert project.counts() == {"passed": 20}


RANDOM_SUITE = """
import random, pytest

@pytest.mark.parametrize("n", range(12))
def test_draw(n, record_property):
    with open(f"{n}.drawn", "a") as file:
        file.write(f"{random.random()} ")
"""


def test_randomly_keeps_its_order_and_its_seed_in_every_test(project: Project):
    project.write("test_it.py", RANDOM_SUITE)
    project.pytest("--randomly-seed=7", beside="randomly")
    serial = [row.nodeid for row in project.recorded()]
    assert serial != sorted(serial)
    project.windtunnel("--randomly-seed=7", "-n", "1", "--dist", "load", beside="randomly")
    assert [row.nodeid for row in project.recorded()] == serial
    project.windtunnel("--randomly-seed=7", beside="randomly")
    assert project.counts() == {"passed": 12}
    drawn = [path.read_text().split() for path in project.folder.glob("*.drawn")]
    assert [len(set(numbers)) for numbers in drawn] == [1] * 12
    assert {len(numbers) for numbers in drawn} == {3}


@EITHER_WAY
def test_pytest_timeout_stops_a_test_and_the_rest_goes_on(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import threading, pytest

@pytest.mark.timeout(0.5)
def test_hangs():
    threading.Event().wait(60)

@pytest.mark.parametrize("n", range(3))
def test_goes_on(n):
    pass
""",
    )
    seen = run(project, how, beside="timeout", code=1)
    assert "Timeout" in seen
    assert project.counts() == {"passed": 3, "timeout": 1}


COVERED_SUITE = """
import pytest
from covered import choose

@pytest.mark.parametrize("n", range(8))
def test_choice(n):
    assert choose(n) in ("small", "even", "odd")
"""
COVERED_MODULE = """
def choose(n):
    if n < 2:
        return "small"
    if n % 2 == 0:
        return "even"
    if n > 1000:
        return "huge"
    return "odd"
"""


@pytest.mark.parametrize("isolation", ["none", "env", "fork", "namespace"])
def test_pytest_cov_counts_the_same_lines_as_in_one_process(project: Project, isolation: str):
    project.write("covered.py", COVERED_MODULE)
    project.write("test_it.py", COVERED_SUITE)
    project.write("conftest.py", "import sys, os; sys.path.insert(0, os.path.dirname(__file__))\n")
    options = ("--cov=covered", "--cov-branch", "--cov-report=term-missing")
    serial = covered(project.pytest(*options, beside="pytest_cov"))
    ours = covered(project.windtunnel(*options, "--isolation", isolation, beside="pytest_cov"))
    assert serial == ours
    assert "6" in serial  # the line that no test reaches


def test_pytest_cov_counts_the_same_lines_in_workers_that_were_not_forked(project: Project):
    project.write("covered.py", COVERED_MODULE)
    project.write("test_it.py", COVERED_SUITE)
    project.write(
        "conftest.py",
        "import sys, os; sys.path.insert(0, os.path.dirname(__file__))\n"
        "who = os.environ.get('PYTEST_XDIST_WORKER')\n",
    )
    options = ("--cov=covered", "--cov-report=term-missing")
    serial = covered(project.pytest(*options, beside="pytest_cov"))
    seen = project.windtunnel(*options, beside="pytest_cov")
    assert "workers are spawned" in seen
    assert covered(seen) == serial


def covered(output: str) -> str:
    found = re.search(r"^covered\.py .*$", output, re.MULTILINE)
    assert found, output
    return found.group()


@EITHER_WAY
def test_pytest_socket_blocks_tests_and_not_the_recording(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import socket

def test_that_connects():
    socket.socket()

def test_that_does_not():
    pass
""",
    )
    seen = run(project, how, "--disable-socket", beside="socket", code=1)
    assert "SocketBlockedError" in seen
    assert project.counts() == {"failed": 1, "passed": 1}


RERUN_SUITE = """
import pathlib, pytest

def attempts(name):
    path = pathlib.Path(name)
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    return len(path.read_text())

def test_passes_at_the_third_attempt():
    assert attempts("third") == 3

def test_never_passes():
    assert attempts("never") == 100

def test_passes():
    assert attempts("once") == 1
"""


@EITHER_WAY
def test_rerunfailures_and_ours_rerun_a_test_once_between_them(project: Project, how: str):
    project.write("test_it.py", RERUN_SUITE)
    seen = run(project, how, "--reruns", "2", beside="rerunfailures", code=1)
    assert re.search(r"1 failed, 2 passed,.* 4 rerun", seen)
    assert (project.folder / "never").read_text() == "xxx"
    assert (project.folder / "third").read_text() == "xxx"
    assert (project.folder / "once").read_text() == "x"
    assert project.counts() == {"passed": 2, "failed": 1}


FROZEN_SUITES = {
    "": """
import datetime, freezegun

@freezegun.freeze_time("2001-02-03", tick=False)
def test_in_the_past():
    assert datetime.date.today() == datetime.date(2001, 2, 3)

def test_moved_while_it_runs():
    with freezegun.freeze_time("2001-02-03") as frozen:
        frozen.tick(3600)
        assert datetime.date.today() == datetime.date(2001, 2, 3)
""",
    "time_machine": """
import datetime, time_machine

@time_machine.travel("2001-02-03", tick=False)
def test_in_the_past():
    assert datetime.date.today() == datetime.date(2001, 2, 3)

def test_moved_while_it_runs():
    with time_machine.travel("2001-02-03") as traveller:
        traveller.shift(3600)
        assert datetime.date.today() == datetime.date(2001, 2, 3)
""",
}


@EITHER_WAY
@pytest.mark.parametrize("beside", FROZEN_SUITES, ids=["freezegun", "time-machine"])
def test_a_moved_date_reaches_neither_durations_nor_the_record(
    project: Project, how: str, beside: str
):
    project.write("test_it.py", FROZEN_SUITES[beside])
    began = time.time()
    run(project, how, beside=beside)
    ended = time.time()
    rows = project.recorded()
    assert project.counts() == {"passed": 2}
    assert all(0 <= row.duration_s <= ended - began for row in rows)
    assert all(began - 1 <= row.started <= ended + 1 for row in rows)


@EITHER_WAY
def test_respx_answers_requests_and_its_routes_end_with_the_test(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import httpx, pytest, respx

@pytest.mark.parametrize("n", range(4))
def test_answered(n, respx_mock):
    route = respx_mock.get("https://fleet.example/").respond(204)
    assert httpx.get("https://fleet.example/").status_code == 204
    assert route.called

def test_not_mocked():
    with pytest.raises(httpx.TransportError):
        httpx.get("http://127.0.0.1:1/", timeout=1)
""",
    )
    run(project, how, beside="respx")
    assert project.counts() == {"passed": 5}


SNAPSHOT_SUITE = """
import pytest

@pytest.mark.parametrize("n", range(6))
def test_shape(n, snapshot):
    assert {"n": n, "square": n * n} == snapshot
"""


# In mount namespaces workers share a folder that is there when they begin, and no other.
BEGINS = """
import pytest

@pytest.fixture(autouse=True)
def shared(pytestconfig):
    assert (pytestconfig.rootpath / "__snapshots__").is_dir()
"""


@pytest.mark.parametrize("isolation", ["none", "env", "fork", "namespace"])
def test_syrupy_writes_its_snapshots_through_every_isolation(project: Project, isolation: str):
    project.write("test_it.py", SNAPSHOT_SUITE)
    written = project.folder / "__snapshots__" / "test_it.ambr"
    project.write("conftest.py", BEGINS)
    project.windtunnel("--snapshot-update", "--isolation", isolation, beside="syrupy")
    assert written.read_text().count("# name: test_shape") == 6
    project.windtunnel("--isolation", isolation, beside="syrupy")
    assert project.counts() == {"passed": 6}
    project.pytest(beside="syrupy")
    project.write("test_it.py", SNAPSHOT_SUITE.replace("n * n", "n + n"))
    project.windtunnel("--isolation", isolation, beside="syrupy", code=1)
    assert project.counts() == {"passed": 2, "failed": 4}


@EITHER_WAY
def test_hypothesis_finds_shrinks_and_keeps_its_example(project: Project, how: str):
    project.write(
        "test_it.py",
        """
from hypothesis import given, settings, strategies as st

@settings(deadline=None)
@given(st.integers())
def test_small(n):
    assert n < 1000

@settings(deadline=None)
@given(st.integers())
def test_true(n):
    assert n == n
""",
    )
    seen = run(project, how, beside="hypothesispytest", code=1)
    assert "n=1000" in seen
    assert project.counts() == {"passed": 1, "failed": 1}
    assert any((project.folder / ".hypothesis" / "examples").rglob("*"))


@EITHER_WAY
def test_pytest_mock_patches_end_with_their_test(project: Project, how: str):
    project.write(
        "test_it.py",
        """
import os, pytest

@pytest.mark.parametrize("n", range(3))
def test_patched(n, mocker):
    mocker.patch("os.getcwd", return_value="nowhere")
    assert os.getcwd() == "nowhere"

@pytest.mark.parametrize("n", range(3))
def test_not_patched(n):
    assert os.getcwd() != "nowhere"
""",
    )
    run(project, how, beside="pytest_mock")
    assert project.counts() == {"passed": 6}


def test_pytest_order_decides_the_order_of_one_worker(project: Project):
    project.write(
        "test_it.py",
        """
import pytest

@pytest.mark.order(3)
def test_c(): pass

@pytest.mark.order(1)
def test_a(): pass

@pytest.mark.order(2)
def test_b(): pass
""",
    )
    project.windtunnel("-n", "1", "--dist", "load", beside="pytest_order")
    names = [row.nodeid.partition("::")[2] for row in project.recorded()]
    assert names == ["test_a", "test_b", "test_c"]


@EITHER_WAY
def test_pytest_sugar_shows_the_run_its_way(project: Project, how: str):
    project.write("test_it.py", "def test_one(): pass\ndef test_two(): assert 0\n")
    seen = run(project, how, "--force-sugar", beside="sugar", code=1)
    assert "✓" in seen
    assert project.counts() == {"passed": 1, "failed": 1}


EVERYBODYS_SUITE = """
import asyncio, datetime, random, pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(5))
async def test_async(n):
    await asyncio.sleep(0)

@pytest.mark.parametrize("n", range(5))
def test_plain(n, mocker, snapshot, respx_mock):
    assert random.random() < 1

@pytest.mark.flaky(reruns=1)
@pytest.mark.timeout(30)
def test_marked():
    pass

def test_fails():
    assert datetime.date.today().year == 1
"""


@EITHER_WAY
def test_all_of_them_at_once_agree_on_the_outcomes(project: Project, how: str):
    project.write("test_it.py", EVERYBODYS_SUITE)
    options = ("--cov=.", "--reruns", "1")
    run(project, how, *options, beside="everybody", code=1)
    assert project.counts() == {"passed": 11, "failed": 1}


def test_all_of_them_at_once_under_xdist_agree_on_the_outcomes(project: Project):
    project.write("test_it.py", EVERYBODYS_SUITE)
    project.pytest("-n", "2", "--reruns", "1", beside="everybody", code=1)
    assert project.counts() == {"passed": 11, "failed": 1}

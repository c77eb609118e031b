"""The order that tests meet in one process of a pool, where one worker takes over from another."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

# The first test ends when somebody else has run what was reserved for its own worker.
_SUITE = """
import os, time, pytest
from pathlib import Path

@pytest.mark.parametrize("number", range(40))
def test_one(number):
    log = Path("log")
    with log.open("a") as out:
        out.write(f"{os.getpid()} {os.environ['PYTEST_XDIST_WORKER']} {number}\\n")
    deadline = time.monotonic() + 30
    while number == 0 and " 10\\n" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)
"""
_COSTLY = """
import pytest, time

@pytest.fixture(scope="session", autouse=True)
def costly():
    time.sleep(0.15)
"""


def _run(
    pytester: pytest.Pytester, windtunnel_run, *, isolation: str = "", **files: str
) -> list[tuple[str, str, int]]:
    pytester.makepyfile(**files)
    windtunnel_run("-n", "2", "--isolation", isolation).assert_outcomes(passed=40)
    lines = (line.split() for line in Path("log").read_text().splitlines())
    return [(pid, worker, int(number)) for pid, worker, number in lines]


def _by_process(ran: list[tuple[str, str, int]]) -> dict[str, list[int]]:
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for pid, _, number in ran:
        numbers[pid].append(number)
    return numbers


def test_a_process_runs_one_stretch_of_the_suite_also_where_it_takes_over_from_another(
    pytester: pytest.Pytester, windtunnel_run
) -> None:
    ran = _run(pytester, windtunnel_run, test_it=_SUITE)
    for numbers in _by_process(ran).values():
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_a_process_that_takes_anothers_place_has_its_name(
    pytester: pytest.Pytester, windtunnel_run
) -> None:
    ran = _run(pytester, windtunnel_run, test_it=_SUITE)
    assert len(_by_process(ran)) > 2
    assert {worker for _, worker, _ in ran} == {"gw0", "gw1"}


def test_a_worker_with_costly_session_fixtures_takes_over_as_it_is(
    pytester: pytest.Pytester, windtunnel_run
) -> None:
    ran = _run(pytester, windtunnel_run, test_it=_SUITE, conftest=_COSTLY)
    assert len(_by_process(ran)) == 2


def test_a_worker_whose_tests_run_in_children_of_their_own_takes_over_as_it_is(
    pytester: pytest.Pytester, windtunnel_run
) -> None:
    of_workers = _SUITE.replace("os.getpid()", "os.getppid()")
    ran = _run(pytester, windtunnel_run, isolation="fork", test_it=of_workers)
    assert len(_by_process(ran)) == 2

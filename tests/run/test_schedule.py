"""The schedule, as a pure plan and as the dispenser that follows it."""

from __future__ import annotations

import heapq
import random

from hypothesis import given
from hypothesis import strategies as st

from windtunnel.run.schedule import Dispenser, Job, Plan, expected, plan

DISTS = ("duration", "load", "loadscope", "loadfile", "loadgroup", "worksteal")

jobs_strategy = st.lists(
    st.builds(
        lambda file, name, group: Job(f"test_{file}.py::test_{name}", group=group),
        st.sampled_from("abc"),
        st.integers(0, 10_000),
        st.sampled_from(["", "", "g1", "g2"]),
    ),
    max_size=40,
)


@given(jobs_strategy, st.sampled_from(DISTS), st.integers(1, 6), st.randoms(), st.booleans())
def test_every_test_is_handed_out_exactly_once_whoever_asks_whenever(
    jobs: list[Job], dist: str, workers: int, rng: random.Random, keep_order: bool
) -> None:
    known = {job.nodeid: rng.random() for job in jobs if rng.random() < 0.5}
    dispenser = Dispenser(plan(jobs, workers, known=known, dist=dist, keep_order=keep_order))
    names = [f"gw{number}" for number in range(workers)]
    seen: list[int] = []
    dead = 0
    while dispenser.left:
        name = rng.choice(names)
        index = dispenser.take(name)
        if index is None:
            continue
        if dead < 3 and rng.random() < 0.1:
            dead += 1
            dispenser.give_back(name, [index])
        else:
            seen.append(index)
    assert sorted(seen) == list(range(len(jobs)))


@given(jobs_strategy, st.sampled_from(["loadscope", "loadfile", "loadgroup"]), st.randoms())
def test_grouped_tests_stay_on_one_worker_also_when_stolen(
    jobs: list[Job], dist: str, rng: random.Random
) -> None:
    planned = plan(jobs, 3, known={}, dist=dist)
    dispenser = Dispenser(planned)
    unit_of = {index: unit for unit in planned.units for index in unit}
    owner: dict[int, str] = {}
    names = ["gw0", "gw1", "gw2"]
    while dispenser.left:
        name = rng.choice(names)
        index = dispenser.take(name)
        if index is None:
            continue
        idle = [each for each in names if each != name and each not in busy(unit_of, owner)]
        if idle and dispenser.movable(index) and rng.random() < 0.5:
            dispenser.move(index, name, idle[0])
            name = idle[0]
        owner[index] = name
    for unit in set(unit_of.values()):
        assert len({owner[index] for index in unit}) == 1


def busy(unit_of: dict[int, tuple[int, ...]], owner: dict[int, str]) -> set[str]:
    """Who has begun a unit and not ended it: only others are given what was stolen."""
    return {
        name for index, name in owner.items() if any(each not in owner for each in unit_of[index])
    }


def test_longest_goes_first_and_what_is_short_keeps_its_order_in_blocks() -> None:
    jobs = [Job(f"a.py::t{number}") for number in range(6)]
    durations = [0.02, 5.0, 0.02, 9.0, 0.02, 0.02]
    known = {job.nodeid: duration for job, duration in zip(jobs, durations, strict=True)}
    assert plan(jobs, 2, known=known).units == ((3,), (1,), (0, 2), (4, 5))


def test_a_run_of_seconds_keeps_the_suites_order_but_for_what_makes_it_end_late() -> None:
    """A test of a fifth of a fair share goes first in a long run, and not in one where all that
    could be won is half a second."""

    def first(share_s: float, long_s: float) -> int:
        rest = (share_s * 2 - long_s) / 9
        known = {f"a.py::{number}": rest for number in range(9)} | {"a.py::9": long_s}
        planned = plan([Job(nodeid) for nodeid in known], 2, known=known)
        return planned.units[0][0]

    assert first(share_s=10, long_s=2.4) == 9
    assert first(share_s=4, long_s=0.9) == 0  # less than a quarter of a share
    assert first(share_s=1, long_s=0.4) == 0  # less than half a second
    assert first(share_s=4, long_s=1.6) == 9


def test_without_history_each_worker_gets_a_stretch_of_the_suite() -> None:
    jobs = [Job("a.py::one"), *(Job(f"b.py::t{i}", group="module:b.py") for i in range(3))]
    assert plan(jobs, 1, known={}).units == ((0, 1, 2, 3),)
    assert plan(jobs, 2, known={}).units == ((0,), (1, 2, 3))


def test_an_idle_worker_takes_the_later_half_and_leaves_fixtures_whole() -> None:
    planned = Plan(((0, 1, 2, 3, 4, 5),), (1.0,) * 6, divisible=True, starts=frozenset({0, 4}))
    dispenser = Dispenser(planned)
    assert dispenser.take("gw0") == 0
    assert dispenser.take("gw1") == 4


def test_what_is_reserved_for_a_worker_whose_test_lasts_goes_to_who_is_idle() -> None:
    short = Plan(((0, 1, 2, 3),), (0.001,) * 4, divisible=True, starts=frozenset({0}))
    dispenser = Dispenser(short)
    assert dispenser.take("gw0") == 0
    assert dispenser.take("gw1") is None
    taken = [dispenser.take("gw1", held_up=["gw0"]) for _ in range(3)]
    assert sorted(index for index in taken if index is not None) == [1, 2, 3]
    assert not dispenser.left


def test_an_order_given_by_the_user_is_kept() -> None:
    jobs = [Job("a.py::short"), Job("a.py::long")]
    known = {"a.py::short": 1.0, "a.py::long": 9.0}
    assert plan(jobs, 2, known=known, keep_order=True).units == ((0,), (1,))


def test_unknown_tests_take_as_long_as_their_file_does_on_average() -> None:
    known = {"slow.py::a": 4.0, "slow.py::b": 2.0, "fast.py::a": 1.0}
    nodeids = [*known, "slow.py::new", "fast.py::new", "other.py::new"]
    assert expected(nodeids, known)[3:] == (3.0, 1.0, 2.0)


def test_a_group_longer_than_a_fair_share_is_split() -> None:
    jobs = [Job(f"a.py::t{number}", group="module:a.py") for number in range(8)]
    known = {job.nodeid: 1.0 for job in jobs}
    units = plan(jobs, 4, known=known).units
    assert len(units) == 4
    assert sorted(index for unit in units for index in unit) == list(range(8))
    assert all(list(unit) == list(range(unit[0], unit[0] + 2)) for unit in units)


@given(st.lists(st.floats(0.01, 10.0), min_size=1, max_size=200), st.integers(1, 16))
def test_longest_first_ends_within_grahams_bound(durations: list[float], workers: int) -> None:
    jobs = [Job(f"a.py::t{number}") for number in range(len(durations))]
    known = {job.nodeid: duration for job, duration in zip(jobs, durations, strict=True)}
    planned = plan(jobs, workers, known=known)
    dispenser = Dispenser(planned)
    free = [(0.0, f"gw{number}") for number in range(workers)]
    makespan = 0.0
    while True:
        now, name = heapq.heappop(free)
        index = dispenser.take(name)
        if index is None:
            break
        makespan = max(makespan, now + durations[index])
        heapq.heappush(free, (now + durations[index], name))
    # Against the optimum it is 4/3 - 1/(3m); against the plain lower bound, 2 - 1/m.
    assert makespan <= (2 - 1 / workers) * planned.lower_bound_s(workers) + 1e-6


def test_an_empty_plan_has_nothing_left() -> None:
    dispenser = Dispenser(Plan((), (), divisible=True))
    assert not dispenser.left
    assert dispenser.take("gw0") is None

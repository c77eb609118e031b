"""Comparing: the rule on recorded noise of a shared machine, the design on processes of a fake."""

from __future__ import annotations

import json
import math
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from windtunnel import bench
from windtunnel.core import UsageError, set_sink

NOISE: dict[str, Any] = json.loads((Path(__file__).parent / "noise.json").read_text())
PHASES = [name for name in NOISE if name != "what"]
BEST, WALL, TOOK = 0, 1, 2


class Machine:
    """Runs processes as they were recorded, from some moment on; its clock moves with them."""

    def __init__(self, phase: str, start: int, slowdown: float, column: int = BEST) -> None:
        self.recorded: list[list[int]] = NOISE[phase]
        self.at = start
        self.slowdown = slowdown
        self.column = column
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")

    def run(self, target: Any, order: dict[str, Any], name: str) -> dict[str, Any]:
        row = self.recorded[self.at % len(self.recorded)]
        self.at += 1
        self.now += row[TOOK] / 1e3
        factor = self.slowdown if name == "candidate" else 1.0
        return {
            "times_s": [row[self.column] * factor / 1e6],
            "wall_s": [row[WALL] * factor / 1e6],
            "failures": 0,
            "error": "",
        }


def candidate() -> None: ...


def baseline() -> None: ...


def verdicts(phase: str, slowdown: float, count: int, column: int = BEST) -> list[str]:
    rng = random.Random(f"{phase}/{slowdown}")
    found = []
    for number in range(count):
        machine = Machine(phase, rng.randrange(1000), slowdown, column)
        comparison = bench.compare(
            candidate, baseline, clock=machine, run=machine.run, seed=number, budget_s=60
        )
        assert comparison.elapsed_s <= 62
        found.append(str(comparison.verdict))
    return found


@pytest.mark.parametrize("phase", PHASES)
def test_no_false_alarm_in_300_comparisons_of_the_same_code_on_recorded_noise(phase: str):
    found = verdicts(phase, 1.0, 300)
    assert (found.count("slower"), found.count("faster")) == (0, 0)
    assert found.count("same") >= 290


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(("slowdown", "caught"), [(1.05, 0.90), (1.10, 0.98)])
def test_slowdowns_are_caught_on_recorded_noise(phase: str, slowdown: float, caught: float):
    found = verdicts(phase, slowdown, 100)
    assert found.count("slower") >= 100 * caught
    assert found.count("faster") == found.count("same") == 0


def test_an_improvement_is_called_faster():
    assert set(verdicts(PHASES[0], 0.9, 20)) == {"faster"}


def test_without_the_waits_taken_off_fewer_are_caught():
    busy = PHASES[-1]
    with_waits = verdicts(busy, 1.05, 60, WALL).count("slower")
    assert with_waits < verdicts(busy, 1.05, 60).count("slower") / 2


class Fixed:
    """Each process takes a second and says what it is told to."""

    def __init__(self, said: Callable[[str], list[float]], failures: str = "") -> None:
        self.said = said
        self.failing = failures
        self.names: list[str] = []
        self.now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing sleeps here")

    def run(self, target: Any, order: dict[str, Any], name: str) -> dict[str, Any]:
        self.names.append(name)
        self.now += 1.0
        bad = name == self.failing
        times = [] if bad else self.said(name)
        return {
            "times_s": times,
            "wall_s": times,
            "failures": int(bad),
            "error": "ValueError: no" if bad else "",
        }

    def compare(self, **options: Any) -> bench.Comparison:
        return bench.compare(candidate, baseline, clock=self, run=self.run, **options)


def test_processes_alternate_in_blocks_of_two_and_two_in_an_order_of_the_seed():
    def order(seed: int) -> str:
        return Fixed(lambda name: [1.0]).compare(seed=seed).order

    first = order(1)
    assert order(1) == first
    assert len({order(seed) for seed in range(20)}) > 10
    blocks = [first[i : i + 4] for i in range(0, len(first), 4)]
    assert all(sorted(block) == list("bbcc") for block in blocks)


def test_the_shortest_sample_of_a_process_speaks_for_it():
    def said(name: str) -> list[float]:
        return [9.0, 1.2 if name == "candidate" else 1.0, 5.0]

    seen: list[Any] = []
    before = set_sink(seen.append)
    try:
        found = Fixed(said).compare(seed=1)
    finally:
        set_sink(before)
    assert found.verdict is bench.Change.SLOWER
    assert found.ratio == pytest.approx(1.2)
    assert [(it.name, it.value, it.unit) for it in seen] == [
        ("bench/compared/candidate", pytest.approx(1.2), "baseline")
    ]
    assert (found.candidate.median, found.baseline.median) == (1.2, 1.0)
    assert "SLOWER: candidate beside baseline" in str(found)
    assert "+20.0 %" in str(found)


def test_when_the_budget_is_used_up_the_verdict_is_unknown_and_never_same():
    rng = random.Random(4)
    found = Fixed(lambda name: [rng.lognormvariate(0, 1.0)]).compare(seed=1, budget_s=60)
    assert found.verdict is bench.Change.UNKNOWN
    assert found.processes <= 60
    assert "give a larger budget" in str(found)


def test_less_than_the_first_look_is_unknown():
    found = Fixed(lambda name: [1.0]).compare(seed=1, budget_s=8)
    assert (found.verdict, found.processes) == (bench.Change.UNKNOWN, 8)


def test_a_change_below_the_floor_is_none():
    def said(name: str) -> list[float]:
        return [1.01 if name == "candidate" else 1.0]

    assert Fixed(said).compare(seed=1).verdict is bench.Change.SAME
    assert Fixed(said).compare(seed=1, floor=0.005).verdict is bench.Change.SLOWER


def test_a_side_that_fails_has_no_verdict_and_the_failure_is_shown():
    found = Fixed(lambda name: [1.0], failures="candidate").compare(seed=1)
    assert (found.verdict, found.failures) == (bench.Change.UNKNOWN, 1)
    assert "candidate FAILED: ValueError: no" in str(found)
    assert found.to_json()["candidate"]["failures"] == 1  # type: ignore[index,call-overload]


def test_real_processes_are_compared_and_every_sample_kept(tmp_path: Path):
    (tmp_path / "fast.py").write_text("def f():\n    return sum(range(20_000))\n")
    (tmp_path / "slow.py").write_text("async def f():\n    return sum(range(60_000))\n")
    found = bench.compare(f"{tmp_path}/slow.py:f", f"{tmp_path}/fast.py:f", seed=3, budget_s=300)
    assert found.verdict is bench.Change.SLOWER
    assert found.failures == 0
    assert len(found.candidate.wall_s) + len(found.baseline.wall_s) == found.processes
    assert all(len(samples) == 6 for samples in found.candidate.wall_s)
    # The whole is no shorter than what remains of it without the waits.
    for best, walls in zip(found.baseline.best_s, found.baseline.wall_s, strict=True):
        assert 0 < best <= min(walls)


def test_closures_are_compared_in_forks_that_leave_this_process_alone():
    here: list[int] = []
    found = bench.compare(lambda: here.append(1), lambda: None, budget_s=0.01)
    assert (found.processes, found.failures, here) == (4, 0, [])
    assert len(found.candidate.best_s) == len(found.baseline.best_s) == 2


def test_beside_a_thread_that_is_no_daemon_a_closure_is_refused():
    done = threading.Event()
    thread = threading.Thread(target=done.wait, name="busy", daemon=False)
    thread.start()
    try:
        with pytest.raises(UsageError, match=r"(?s)other threads here: .*busy"):
            bench.compare(lambda: None, lambda: None)
    finally:
        done.set()
        thread.join()


def test_code_that_fails_in_its_process_is_told_with_its_error(tmp_path: Path):
    (tmp_path / "bad.py").write_text("def f():\n    raise RuntimeError('broken')\n")
    (tmp_path / "good.py").write_text("def f():\n    pass\n")
    found = bench.compare(f"{tmp_path}/bad.py:f", f"{tmp_path}/good.py:f")
    assert found.verdict is bench.Change.UNKNOWN
    assert found.candidate.error == "RuntimeError: broken"


def test_a_target_is_read_into_where_it_is_found(tmp_path: Path):
    file = tmp_path / "some.py"
    file.write_text("class A:\n    @staticmethod\n    def f():\n        return 42\n")
    named = bench.parse_target(f"{file}:A.f")
    assert named == bench.Reference(str(file), "", "A.f", (str(tmp_path),))
    assert named.load()() == 42
    whole = bench.parse_target(str(file))
    assert (whole.qualname, whole.load()()) == ("", None)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", "named by its file and function"),
        ("absent.py:f", "there is no file absent.py"),
        ("json:absent", "there is no absent to measure in json"),
        ("no_such_module_at_all:f", "there is no f to measure in no_such_module_at_all"),
    ],
)
def test_a_target_that_is_not_there_is_refused(target: str, message: str):
    with pytest.raises(UsageError, match=message):
        bench.compare(target, target)


@pytest.mark.parametrize("floor", [0.0, 1.0, -0.1])
def test_a_floor_that_is_no_share_is_refused(floor: float):
    with pytest.raises(UsageError, match="effect floor"):
        bench.compare(candidate, baseline, floor=floor)


def test_bounds_narrow_as_blocks_come_in():
    rng = random.Random(8)
    rule = bench.Rule()

    def blocks(count: int) -> list[tuple[list[float], list[float]]]:
        return [
            ([rng.gauss(0.03, 0.05) for _ in range(2)], [rng.gauss(0, 0.05) for _ in range(2)])
            for _ in range(count)
        ]

    few, many = rule.ratio(blocks(8)), rule.ratio(blocks(200))
    assert math.log(many.high / many.low) < math.log(few.high / few.low) / 3
    assert many.low < math.exp(0.03) < many.high

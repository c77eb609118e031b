"""Change points on series whose changes are known, and histories out of a record."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from windtunnel import bench
from windtunnel.bench import changes, machine
from windtunnel.core import RunStarted, Sample, UsageError
from windtunnel.record import Record, open_record


def series(
    rng: random.Random, lengths: Sequence[int], levels: Sequence[float], noise: float = 0.02
) -> list[float]:
    """Levels with log-normal noise; of fifty values one is an outlier."""
    return [
        level * rng.lognormvariate(0, noise) * (1.3 if rng.random() < 0.02 else 1.0)
        for length, level in zip(lengths, levels, strict=True)
        for _ in range(length)
    ]


def energy_by_definition(values: Sequence[float], cut: int) -> float:
    a, b = values[:cut], values[cut:]
    m, n = len(a), len(b)
    between = 2 * sum(abs(x - y) for x in a for y in b) / (m * n)
    within_a = sum(abs(x - y) for x in a for y in a) / (m * (m - 1))
    within_b = sum(abs(x - y) for x in b for y in b) / (n * (n - 1))
    return (between - within_a - within_b) * m * n / (m + n)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_cut_is_the_one_of_the_largest_energy_distance(seed: int):
    rng = random.Random(seed)
    values = [rng.choice([rng.gauss(0, 1), 1.0, 2.0]) for _ in range(30)]
    energies = {cut: energy_by_definition(values, cut) for cut in range(4, 27)}
    best, place = changes._Values(values).best_cut(values)
    assert best == pytest.approx(max(energies.values()))
    assert energies[place] == pytest.approx(best)


def test_known_changes_are_found_and_few_others():
    rng = random.Random(3)
    hits = extra = missed = 0
    for _ in range(10):
        count = rng.choice([0, 1, 2, 3])
        lengths = [rng.randrange(15, 40) for _ in range(count + 1)]
        levels = [1.0]
        for _ in range(count):
            levels.append(levels[-1] * rng.choice([0.8, 0.9, 1.1, 1.2]))
        truth = {sum(lengths[: i + 1]) for i in range(count)}
        found = {point.index for point in bench.change_points(series(rng, lengths, levels))}
        matched = {t for t in truth if any(abs(f - t) <= 2 for f in found)}
        hits += len(matched)
        missed += len(truth - matched)
        extra += len([f for f in found if all(abs(f - t) > 2 for t in truth)])
    assert hits / (hits + missed) >= 0.95  # recall
    assert hits / (hits + extra) >= 0.9  # precision


def test_noise_alone_has_no_change_but_as_rarely_as_it_is_said():
    rng = random.Random(4)
    wrong = sum(bool(bench.change_points(series(rng, [60], [1.0]))) for _ in range(40))
    assert wrong <= 3


def test_a_change_says_its_levels_and_how_rare_it_is():
    rng = random.Random(5)
    [point] = bench.change_points(series(rng, [20, 20], [1.0, 1.5]))
    assert isinstance(point, bench.ChangePoint)
    assert point.index == 20
    assert point.ratio == pytest.approx(1.5, abs=0.05)
    assert point.p <= 0.01


def test_a_change_below_the_floor_is_left_out():
    rng = random.Random(6)
    values = series(rng, [30, 30], [1.0, 1.015], noise=0.002)
    assert len(bench.change_points(values)) >= 1
    assert bench.change_points(values, floor=0.02) == []


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 7, [1.0] * 40])
def test_short_and_constant_series_have_no_change(values: list[float]):
    assert bench.change_points(values) == []


def record_runs(path: Path, medians: Sequence[float], on: str = "") -> Record:
    """A record with a run for each figure, of three samples around it."""
    record = open_record(path)
    for number, value in enumerate(medians):
        samples = [
            Sample(name="bench/job", value=value * factor, unit="s") for factor in (0.9, 1.0, 1.1)
        ]
        record.ingest(
            RunStarted(
                time=1000.0 + number, run_id=f"{on}{number}", argv="", root="", commit=f"c{number}"
            ),
            [
                *samples,
                Sample(name="bench/job", value=9.9, unit="s", failed=True),
                Sample(name="bench/job/failures", value=1, unit="calls"),
                Sample(name="bench/measured", value=4, unit="job"),
                Sample(name="bench/on", value=2, unit=on or machine.fingerprint()),
            ],
        )
    return record


def test_a_history_has_a_figure_a_run_and_its_changes(tmp_path: Path):
    rng = random.Random(7)
    medians = series(rng, [12, 12], [0.010, 0.013], noise=0.01)
    with record_runs(tmp_path / "record.db", medians) as record:
        assert bench.read_names(record) == ["job"]
        history = bench.read_history(record, "job")
        assert history.values == pytest.approx(medians)
        assert [point.index for point in history.changes] == [12]
        assert (history.failures, history.entries[0].n) == (24, 3)
        smallest = bench.read_history(record, "job", figure="min")
        assert smallest.values == pytest.approx([0.9 * x for x in medians])
        with pytest.raises(UsageError, match="no such figure"):
            bench.read_history(record, "job", figure="mode")
    assert isinstance(history, bench.History)
    text = str(history)
    assert "job: median over 24 runs" in text
    assert "runs 1-12: 9.94 ms" in text
    assert "CHANGED by +3" in text
    assert "commit c12" in text
    assert "24 calls FAILED" in text
    assert "+3" in str(history.picture())


def test_runs_of_another_machine_are_no_history(tmp_path: Path):
    record_runs(tmp_path / "record.db", [1.0] * 6, on="CPython 9.9, another, 64 CPUs").close()
    with record_runs(tmp_path / "record.db", [2.0] * 3) as record:
        assert bench.read_history(record, "job").values == [2.0] * 3
        there = bench.read_history(record, "job", on="CPython 9.9, another, 64 CPUs")
        assert there.values == [1.0] * 6


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.0100, "same"), (0.0103, "same"), (0.0120, "slower"), (0.008, "faster")],
)
def test_a_figure_is_judged_by_the_present_level(value: float, verdict: str, tmp_path: Path):
    rng = random.Random(8)
    medians = series(rng, [10, 10], [0.020, 0.010], noise=0.005)
    with record_runs(tmp_path / "record.db", medians) as record:
        assert bench.read_history(record, "job").judge(value) == verdict


def test_few_runs_are_no_baseline(tmp_path: Path):
    with record_runs(tmp_path / "record.db", [1.0] * 4) as record:
        assert bench.read_history(record, "job").judge(50.0) is bench.Change.UNKNOWN


@pytest.mark.once
def test_instructions_of_a_call_are_counted_by_callgrind(
    require_tool: Callable[[str], Path], tmp_path: Path
):
    require_tool("valgrind")
    file = tmp_path / "count.py"
    file.write_text("def some():\n    return sum(range(2000))\n")
    some = bench.count_instructions(f"{file}:some", calls=50, tool="callgrind")
    # A step of `sum` over a range is at least an addition, and no more than some hundreds.
    assert 2_000 * 10 < some.per_call < 2_000 * 400
    assert isinstance(some, bench.Instructions)
    assert "instructions a call (callgrind)" in str(some)


def test_what_cannot_be_imported_has_no_instructions():
    with pytest.raises(UsageError, match="counted in fresh processes"):
        bench.count_instructions(lambda: None, tool="callgrind")


@pytest.mark.once
def test_code_that_fails_is_not_counted(require_tool: Callable[[str], Path], tmp_path: Path):
    require_tool("valgrind")
    (tmp_path / "bad.py").write_text("def f():\n    raise OSError('gone')\n")
    with pytest.raises(UsageError, match=r"(?s)is not counted.*OSError: gone"):
        bench.count_instructions(f"{tmp_path}/bad.py:f", tool="callgrind")


def test_a_machine_without_counters_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(bench.NoCounterError, match="cannot be counted here"):
        bench.count_instructions("json:dumps")

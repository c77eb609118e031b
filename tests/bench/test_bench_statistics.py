"""The statistics, against values worked out elsewhere, by brute force, or known by construction."""

from __future__ import annotations

import itertools
import math
import random
import statistics as stdlib

import pytest

from windtunnel import bench
from windtunnel.bench import bins, ranksum, statistics, steady


def lognormal(seed: int, n: int) -> list[float]:
    rng = random.Random(seed)
    return [rng.lognormvariate(0, 0.5) for _ in range(n)]


def test_quantiles_are_those_of_the_inclusive_method_of_the_standard_library():
    values = sorted(lognormal(1, 57))
    cuts = stdlib.quantiles(values, n=20, method="inclusive")
    assert [statistics.quantile(values, i / 20) for i in range(1, 20)] == pytest.approx(cuts)
    assert math.isnan(statistics.quantile([], 0.5))


def test_std_and_mad_are_the_textbooks():
    values = lognormal(2, 40)
    assert statistics.std(values) == pytest.approx(stdlib.stdev(values))
    middle = stdlib.median(values)
    assert statistics.mad(values) == stdlib.median(abs(x - middle) for x in values)


@pytest.mark.parametrize("figure", ["mean", "median", "p90", "std"])
def test_intervals_hold_the_true_value_about_as_often_as_they_say(figure: str):
    rng = random.Random(7)
    truth = {
        "mean": math.exp(0.125),
        "median": 1.0,
        "p90": math.exp(0.5 * 1.2815515655446004),
        "std": math.sqrt((math.exp(0.25) - 1) * math.exp(0.25)),
    }[figure]
    held = 0
    for _ in range(40):
        times = tuple(rng.lognormvariate(0, 0.5) for _ in range(150))
        low, high = bench.Result(name="x", times_s=times, n=150).interval(figure)
        held += low <= truth <= high
    # 95 in 100 are promised; the percentile bootstrap of a long tail's spread is known to give
    # fewer, and forty trials waver by some 3.
    assert held >= (30 if figure == "std" else 34)


def test_an_interval_of_neighbours_that_resemble_each_other_is_wider():
    rng = random.Random(3)
    level, wandering = 0.0, []
    for _ in range(5000):
        level = 0.95 * level + rng.gauss(0, 1)
        wandering.append(10 + level)
    shuffled = rng.sample(wandering, len(wandering))
    low, high = statistics.bootstrap(wandering)
    shuffled_low, shuffled_high = statistics.bootstrap(shuffled)
    assert high - low > 2 * (shuffled_high - shuffled_low)


def test_outliers_are_counted_and_left_in():
    values = [*([1.0, 1.1, 1.2, 1.3] * 5), 1.7, 50.0]
    found = statistics.outliers(values)
    assert (found.low, found.high, found.far, found.count) == (0, 2, 1, 2)
    result = bench.Result(name="x", times_s=tuple(values), n=22)
    assert (result.max, result.outliers) == (50.0, found)


@pytest.mark.parametrize("shift", [0.0, 0.4, 1.5])
def test_mann_whitney_agrees_with_all_the_ways_to_deal_the_values(shift: float):
    rng = random.Random(int(shift * 10))
    a = [rng.gauss(0, 1) for _ in range(7)]
    b = [rng.gauss(shift, 1) for _ in range(7)]
    found = bench.mann_whitney(a, b)
    assert found.u == sum(x > y for x in a for y in b)
    pooled = a + b
    centre = 7 * 7 / 2
    extreme = total = 0
    for chosen in itertools.combinations(range(14), 7):
        mine = [pooled[i] for i in chosen]
        rest = [pooled[i] for i in range(14) if i not in chosen]
        u = sum(x > y for x in mine for y in rest)
        extreme += abs(u - centre) >= abs(found.u - centre) - 1e-9
        total += 1
    assert found.p == pytest.approx(extreme / total, abs=0.015)


def test_mann_whitney_of_ties_alone_says_nothing():
    assert bench.mann_whitney([1.0] * 5, [1.0] * 5).p == 1.0
    assert bench.mann_whitney([1.0, 2.0, 2.0], [2.0, 2.0, 3.0]).u == 2.0


def test_the_shift_in_blocks_is_not_moved_by_a_machine_that_drifts():
    rng = random.Random(5)
    blocks = []
    for number in range(40):
        mood = number * 0.05  # twice as slow at the end, in logarithms
        a = [mood + 0.1 + rng.gauss(0, 0.02) for _ in range(2)]
        b = [mood + rng.gauss(0, 0.02) for _ in range(2)]
        blocks.append((a, b))
    found = ranksum.shift(blocks, 3.0)
    assert found.low < 0.1 < found.high
    assert found.high - found.low < 0.04
    pooled = ranksum.shift(
        [([x for a, _ in blocks for x in a], [y for _, b in blocks for y in b])], 3.0
    )
    assert pooled.high - pooled.low > 0.5


def test_bounds_of_a_shift_are_exceeded_as_rarely_as_they_say():
    rng = random.Random(11)
    outside = 0
    for _ in range(1000):
        blocks = [
            ([rng.expovariate(1) for _ in range(2)], [rng.expovariate(1) for _ in range(2)])
            for _ in range(12)
        ]
        found = ranksum.shift(blocks, 2.0)
        outside += not found.low <= 0.0 <= found.high
    assert outside <= 60  # 4.6 % by the normal distribution; 46 of 1000, and their wavering


def test_too_few_values_have_no_bounds():
    found = ranksum.shift([([1.0, 2.0], [1.0, 2.0])], 3.0)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert math.isnan(ranksum.shift([], 3.0).middle)


@pytest.mark.parametrize(
    ("series", "settled"),
    [
        ([1.0] * 60, True),
        ([5.0] * 20 + [1.0] * 60, True),
        ([1 + 4 * 0.9**i for i in range(120)], True),
        ([1 + 4 * 0.99**i for i in range(60)], False),
        ([float(x) for x in range(1, 60)], False),
        ([1.0] * 35 + [2.0] * 15, False),
        ([1.0] * 19, False),
    ],
    ids=["flat", "step", "decay", "slow decay", "rising", "late step", "too short"],
)
def test_a_series_is_steady_or_not(series: list[float], settled: bool):
    for seed in range(20):
        rng = random.Random(seed)
        assert steady.is_steady([x * rng.lognormvariate(0, 0.003) for x in series]) is settled


def test_interruptions_do_not_look_like_a_phase():
    rng = random.Random(2)
    found = 0
    for _ in range(100):
        late = [30 if rng.random() < 0.05 else 1 for _ in range(80)]
        found += steady.is_steady([rng.lognormvariate(0, 0.02) * factor for factor in late])
    assert found >= 90


def test_every_value_is_in_one_bin_and_a_long_tail_has_the_last():
    values = [*lognormal(9, 500), 1000.0]
    made = bins.bins(values, 12)
    assert sum(count for _, _, count in made) == 501
    assert made[-1][1] == 1000.0
    assert max(count for _, _, count in made[:-1]) < 300

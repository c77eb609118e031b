"""How well `bench.change_points` finds the changes of series whose changes are known.

    python benchmarks/bench_changes.py [--series 200] [--quick]

Series of 60 to 160 figures with up to three steps of 5 to 20 %, in log-normal noise of 2 %, one
figure in fifty an outlier of 30 %. A change counts as found when it is named within three places.
Beside it a rule in use: a figure that differs by more than 10 % from the median of the ten before
it is a change (the next ten are not looked at).
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Callable

from windtunnel.bench import change_points

NEAR = 3
APART = 12


def series(rng: random.Random) -> tuple[list[float], list[int]]:
    """Figures, and where they changed."""
    count = rng.randrange(60, 160)
    steps = sorted(rng.sample(range(APART, count - APART), rng.choice([0, 0, 1, 2, 3])))
    steps = [step for i, step in enumerate(steps) if not i or step - steps[i - 1] >= APART]
    level, values = 1.0, []
    for index in range(count):
        if index in steps:
            level *= rng.choice([0.8, 0.9, 0.95, 1.05, 1.1, 1.2])
        outlier = 1.3 if rng.random() < 0.02 else 1.0
        values.append(level * rng.lognormvariate(0, 0.02) * outlier)
    return values, steps


def by_energy(values: list[float]) -> list[int]:
    return [point.index for point in change_points(values)]


def by_threshold(values: list[float]) -> list[int]:
    found: list[int] = []
    for index in range(10, len(values)):
        before = statistics.median(values[index - 10 : index])
        late = not found or index - found[-1] >= 10
        if late and abs(values[index] / before - 1) > 0.10:
            found.append(index)
    return found


def score(rule: Callable[[list[float]], list[int]], count: int) -> str:
    rng = random.Random(3)
    hits = extra = missed = quiet = quiet_wrong = 0
    for _ in range(count):
        values, steps = series(rng)
        found, open_steps = rule(values), set(steps)
        quiet += not steps
        quiet_wrong += not steps and bool(found)
        for place in found:
            near = [step for step in open_steps if abs(step - place) <= NEAR]
            open_steps -= set(near[:1])
            hits += bool(near)
            extra += not near
        missed += len(open_steps)
    return (
        f"precision {hits / max(1, hits + extra):.3f}, recall {hits / (hits + missed):.3f} of"
        f" {hits + missed} changes; {quiet_wrong} of {quiet} series without a change have one"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    count = 30 if options.quick else options.series
    print(f"{count} series")
    print(f"  E-divisive: {score(by_energy, count)}")
    print(f"  10 % from the median of ten: {score(by_threshold, count)}")


if __name__ == "__main__":
    main()

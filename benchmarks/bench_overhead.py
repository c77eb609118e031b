"""What measuring adds to a call: `bench.measure` of a no-op beside the bare loop.

    python benchmarks/bench_overhead.py [--quick]

The same number of calls of an empty function is made in a bare `for` loop and by `measure`, in
turn; the difference of the shortest rounds, divided by the calls, is what measuring costs. Beside
it stand calls timed one by one, which several at a time or at a rate need.

"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from itertools import repeat

from windtunnel import bench
from windtunnel.core import REAL_CLOCK

PROMISE_NS = 100.0


def nothing() -> None:
    pass


def bare(calls: int) -> float:
    start = REAL_CLOCK.monotonic()
    for _ in repeat(None, calls):
        nothing()
    return REAL_CLOCK.monotonic() - start


def measured(calls: int) -> float:
    # What `measure` takes for its calls, its own batches and clock readings among it.
    return bench.measure(nothing, iterations=calls, warmup=2000, memory=False).elapsed_s


def single(calls: int) -> float:
    return bench.measure(nothing, iterations=calls, warmup=100, memory=False, single=True).elapsed_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    calls, rounds = (100_000, 5) if options.quick else (1_000_000, 11)
    ways: dict[str, Callable[[int], float]] = {
        "the bare loop": bare,
        "measure": measured,
        "measure, each call by itself": single,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(way(calls) / calls * 1e9)
    base = min(taken["the bare loop"])
    print(f"{calls:,} calls of an empty function, {rounds} rounds in turn, ns a call")
    for name, found in taken.items():
        added = min(found) - base
        print(
            f"  {name}: shortest {min(found):.1f}, median {statistics.median(found):.1f};"
            f" beyond the bare loop {added:+.1f}"
        )
    kept = min(taken["measure"]) - base < PROMISE_NS
    print(f"promised: measure adds less than {PROMISE_NS:.0f} ns: {'kept' if kept else 'NOT KEPT'}")


if __name__ == "__main__":
    main()

"""How surely the general laws find a fault, how often they cry wolf, and what an example costs.

Each kind of fault has a subject with it and a twin without. Both are put to the law under many
seeds, with the number of examples that a contract has by default: how often was the fault found,
how often was the twin blamed? Then what an example costs, watched for vacuity and not.

    python benchmarks/laws.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from windtunnel import laws
from windtunnel.core import Seed
from windtunnel.laws.reading import read
from windtunnel.laws.running import Trial


class Counter:
    """Adds between two lines, with a lock or without."""

    def __init__(self, good: bool) -> None:
        self.value = 0
        self.lock: Any = threading.Lock() if good else None

    def __call__(self, given: int) -> int:
        if self.lock is None:
            return self.add(given)
        with self.lock:
            return self.add(given)

    def add(self, given: int) -> int:
        value = self.value
        self.value = value + given
        return self.value


class AsyncCounter:
    """Adds across an await; with a lock, which a careless one keeps when it is cancelled."""

    def __init__(self, locks: bool = True, careful: bool = True) -> None:
        self.value = 0
        self.lock = asyncio.Lock() if locks else None
        self.careful = careful

    async def __call__(self, given: int) -> int:
        if self.lock is None:
            return await self.add(given)
        if self.careful:
            async with self.lock:
                return await self.add(given)
        await self.lock.acquire()
        result = await self.add(given)
        self.lock.release()
        return result

    async def add(self, given: int) -> int:
        value = self.value
        await asyncio.sleep(0)
        self.value = value + given
        return self.value


class Rare:
    """Goes wrong for one input in a hundred."""

    def __init__(self, good: bool) -> None:
        self.good = good
        self.calls = 0

    def __call__(self, given: int) -> int:
        self.calls += 1
        return given if self.good or given != 42 else self.calls


def sorts(given: list[int]) -> list[int]:
    return sorted(given)


def sorts_in_place(given: list[int]) -> list[int]:
    given.sort()
    return given


STATEFUL = {"inputs": st.integers(1, 9), "stateful": True}
LISTS = {"inputs": st.lists(st.integers())}
FAULTS: dict[str, tuple[str, Callable[[], Any], Callable[[], Any], dict[str, Any]]] = {
    "an update lost between two lines": (
        "concurrent_calls_equal_a_serial_order",
        lambda: Counter(False),
        lambda: Counter(True),
        STATEFUL,
    ),
    "an update lost across an await": (
        "concurrent_calls_equal_a_serial_order",
        lambda: AsyncCounter(locks=False),
        AsyncCounter,
        STATEFUL,
    ),
    "a lock kept by a cancelled call": (
        "cancellation_leaves_it_usable",
        lambda: AsyncCounter(careful=False),
        AsyncCounter,
        STATEFUL | {"tolerance_s": 0.05},
    ),
    "an input sorted in place": (
        "input_is_not_mutated",
        lambda: sorts_in_place,
        lambda: sorts,
        LISTS,
    ),
    "another result for 1 input of 100": (
        "same_input_same_output",
        lambda: Rare(False),
        lambda: Rare(True),
        {"inputs": st.integers(0, 99)},
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="20 seeds in place of 200")
    seeds = 20 if parser.parse_args().quick else 200
    settings.register_profile("bench", database=None)
    settings.load_profile("bench")
    print(f"{'fault':<36}{'found':>12}{'twin blamed':>14}   of {seeds} seeds each")
    missed = blamed = 0
    for name, (law, bad, good, declared) in FAULTS.items():
        found = failures(law, bad, declared, seeds)
        # A twin that is slow on a busy machine is not at fault.
        wolf = failures(law, good, declared | {"tolerance_s": 10.0}, seeds)
        missed, blamed = missed + seeds - found, blamed + wolf
        print(f"{name:<36}{found:>12}{wolf:>14}")
    watched, bare = cost(True), cost(False)
    print(
        f"an example of a law with two assertions: {watched:.0f} us of CPU watched, {bare:.0f} not"
    )
    print(f"missed {missed}, blamed {blamed} of {seeds * len(FAULTS)} each")
    return 1 if blamed else 0


def failures(law: str, make: Callable[[], Any], declared: dict[str, Any], seeds: int) -> int:
    """Under how many seeds the subject is found to break the law."""
    contract = laws.contract(
        subjects={"it": make}, call=lambda one, given: one(given), general=[law], **declared
    )
    verdicts = (
        one.verdict.value
        for number in range(1, seeds + 1)
        for one in laws.check(contract, seed=Seed(number))
    )
    return sum(verdict == "fail" for verdict in verdicts)


def cost(watched: bool) -> float:
    """Microseconds of CPU an example takes, the median of 9 times 200."""

    def law(subject: Any, draw: laws.Draw) -> None:
        number = draw(st.integers(0, 2**31))
        assert subject == [] or subject
        for one in (number, -number):
            assert abs(one) == number

    contract = laws.contract(
        subjects=[list], more_laws=[law], waivers={"law": "measured"}, examples=200
    )
    reading = read(contract)
    times = []
    for number in range(9):
        trial = Trial(reading, reading.subjects[0], reading.entries["law"], seed=Seed(number))
        if not watched:
            trial.unwatched()
        started = time.process_time()
        trial.run()
        times.append((time.process_time() - started) / trial.examples * 1e6)
    return statistics.median(times)


if __name__ == "__main__":
    raise SystemExit(main())

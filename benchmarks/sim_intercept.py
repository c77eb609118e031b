"""What a call of a clock or a source of entropy costs: untouched, around a world, and inside one.

    python benchmarks/sim_intercept.py [--quick]

"unpatched" is a process that never imported windtunnel; "outside" one in which a world has run and
ended; "elsewhere" a real thread while a world runs; "inside" a step of it. Each measurement is a
process of its own, on each interpreter found, and the four take turns; shown is the median of the
rounds and, after it, the span from the first to the third quartile, in ns a call. Below that:
putting the interception and the fence in place and taking them out, once a run of the loop.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CALLS = ("time.time", "time.monotonic", "datetime.now", "datetime.now(UTC)", "random.random",
         "random.randint", "uuid.uuid4", "os.urandom")  # fmt: skip
MODES = ("unpatched", "outside", "elsewhere", "inside")

ONE = """
import datetime, json, os, random, sys, time, timeit, uuid
datetime_now, clock = datetime.datetime.now, time.perf_counter
calls = {
    "time.time": time.time, "time.monotonic": time.monotonic, "datetime.now": datetime_now,
    "datetime.now(UTC)": (lambda now=datetime_now, utc=datetime.timezone.utc: now(utc)),
    "random.random": random.random, "random.randint": lambda: random.randint(1, 6),
    "uuid.uuid4": uuid.uuid4, "os.urandom": lambda: os.urandom(16),
}
mode, number = sys.argv[1], int(sys.argv[2])
found = {}

def measure(clock):
    for name, call in calls.items():
        timer = timeit.Timer("call()", globals={"call": call}, timer=clock)
        timer.timeit(number // 10)
        found[name] = min(timer.repeat(3, number)) / number * 1e9

if mode == "unpatched":
    measure(clock)
else:
    import asyncio, ctypes, threading
    from windtunnel.core import Seed
    from windtunnel.sim import World, WorldConfig, fence, intercept, new_loop
    from windtunnel.sim.intercept.pointers import original

    clock = original(clock)
    async def nothing():
        pass
    async def inside():
        measure(clock)
    async def elsewhere():
        # The loop's own thread only waits for the other: a wait of C code, which nothing forbids.
        ready.release()
        ended.acquire()
    world = World(Seed(1), WorldConfig())
    ready, ended = threading.Lock(), threading.Lock()
    ready.acquire(), ended.acquire()
    def other():
        ready.acquire()
        measure(clock)
        ended.release()
    main = {"outside": nothing, "inside": inside, "elsewhere": elsewhere}[mode]
    if mode == "elsewhere":
        threading.Thread(target=other).start()
    with world.armed(), asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
    if mode == "outside":
        measure(clock)
        for name, part in (("intercept", intercept), ("fence", fence)):
            began = clock()
            for _ in range(200):
                part.enter(world)
                part.leave(world)
            found[f"{name}: put in and take out"] = (clock() - began) / 200 * 1e9
print(json.dumps(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 15")
    given = parser.parse_args()
    rounds, number = (3, 20_000) if given.quick else (15, 100_000)
    for python in interpreters():
        show(python, measured(python, rounds, number))
    return 0


def interpreters() -> list[str]:
    """This one, and those of the environments that the tests made."""
    found = [sys.executable]
    found += [str(each) for each in sorted(ROOT.glob(".venv-3.*/bin/python"))]
    return [each for each in found if shutil.which(each)]


def measured(python: str, rounds: int, number: int) -> dict[str, dict[str, list[float]]]:
    """Every figure of every round, by mode and call."""
    results: dict[str, dict[str, list[float]]] = {mode: {} for mode in MODES}
    for turn in range(rounds):
        for mode in MODES[turn % 4 :] + MODES[: turn % 4]:
            done = subprocess.run(
                [python, "-c", ONE, mode, str(number)],
                capture_output=True, text=True, check=True,
                env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            )  # fmt: skip
            for name, figure in json.loads(done.stdout).items():
                results[mode].setdefault(name, []).append(figure)
    return results


def show(python: str, results: dict[str, dict[str, list[float]]]) -> None:
    version = subprocess.run([python, "-V"], capture_output=True, text=True).stdout.strip()
    travels = ", with time-machine" if importlib.util.find_spec("_time_machine") else ""
    rounds = len(results["inside"]["time.time"])
    print(f"\n{version}{travels}, ns a call, median of {rounds} rounds (quartiles)")
    print(f"{'':22}" + "".join(f"{mode:>18}" for mode in MODES))
    for name in CALLS:
        print(f"{name:22}" + "".join(f"{said(results[mode][name]):>18}" for mode in MODES))
    for name in ("intercept", "fence"):
        figures = results["outside"][f"{name}: put in and take out"]
        micros = [each / 1000 for each in figures]
        print(f"{name}: in place and out again {said(micros)} us a run of the loop")


def said(figures: list[float]) -> str:
    low, middle, high = statistics.quantiles(figures, n=4)
    return f"{middle:.0f} ({low:.0f}-{high:.0f})"


if __name__ == "__main__":
    sys.exit(main())

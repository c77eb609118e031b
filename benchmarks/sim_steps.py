"""Scheduling steps per second of CPU: the simulated loop, stock asyncio and the peers.

    python benchmarks/sim_steps.py [--quick]

Each measurement is a process of its own: so many callbacks (or tasks) that are always ready,
each of which makes itself ready again. Ours picks at random among them, writes each pick to
the tape and counts steps by node; with "trace" it also keeps each step's time, node and name.
Callbacks of one node keep the order that asyncio documents, so the random picks are among tasks.
Rounds are interleaved; the ratio is the median of the rounds' ratios to stock asyncio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import sim_peers

READY = (10, 1_000)
STEPS = 200_000
SLOW_STEPS = 10_000  # for a peer of a few thousand a second
OURS = {"windtunnel": 0.9, "windtunnel, trace": 0.6}
ENGINES = ["asyncio", *OURS, "simloop", "simloom", "seedloop"]
KINDS = ("callbacks", "tasks")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="3 rounds in place of 15")
    parser.add_argument("--one", nargs=3, metavar=("ENGINE", "KIND", "READY"))
    given = parser.parse_args()
    if given.one:
        engine, kind, ready = given.one
        print(one(engine, kind, int(ready)))
        return 0
    python = sim_peers.python() or sys.executable
    kept = True
    print(f"{'':<22}{'ready':>6}{'engine':>20}{'1000 steps/s':>14}{'of asyncio':>12}{'range':>14}")
    for kind in KINDS:
        for ready in READY:
            kept &= show(kind, ready, measure(str(python), kind, ready, 3 if given.quick else 15))
    return 0 if kept else 1


def measure(python: str, kind: str, ready: int, rounds: int) -> dict[str, list[float]]:
    """Steps a second of each engine, one figure a round; an engine that fails has none."""
    figures: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for _ in range(rounds):
        for engine in ENGINES:
            command = [python, __file__, "--one", engine, kind, str(ready)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                figures[engine].append(float(done.stdout))
    return figures


def show(kind: str, ready: int, figures: dict[str, list[float]]) -> bool:
    """Print the rows of one scenario; whether the promises are kept."""
    kept = True
    for engine, rates in figures.items():
        if not rates:
            print(f"{kind:<22}{ready:>6}{engine:>20}{'not there':>14}")
            continue
        ratios = [rate / stock for rate, stock in zip(rates, figures["asyncio"], strict=False)]
        ratio = statistics.median(ratios)
        promise = OURS.get(engine)
        words = ""
        if promise is not None:
            words = f"  promised {promise}: {'kept' if ratio >= promise else 'broken'}"
            kept &= ratio >= promise
        spread = f"{min(ratios):.2f}..{max(ratios):.2f}"
        rate = statistics.median(rates) / 1000
        print(f"{kind:<22}{ready:>6}{engine:>20}{rate:>14.0f}{ratio:>12.2f}{spread:>14}{words}")
    return kept


# One measurement, in a process of its own.


def one(engine: str, kind: str, ready: int) -> float:
    """Steps a second of CPU."""
    if engine == "simloom":
        return in_simloom(kind, ready)
    with loop_of(engine) as loop:
        if kind == "callbacks":
            return timed(STEPS, lambda: callbacks(loop, ready))
        return timed(STEPS, lambda: loop.run_until_complete(many_tasks(STEPS, ready)))


@contextlib.contextmanager
def loop_of(engine: str):
    """A loop of that engine, as a test would have it."""
    if engine == "asyncio":
        yield asyncio.new_event_loop()
    elif engine == "simloop":
        import simloop

        yield simloop.SimLoop(1)
    elif engine == "seedloop":
        from seedloop._loop import DeterministicLoop

        yield DeterministicLoop()
    else:
        from windtunnel import sim
        from windtunnel.core import Seed

        world = sim.World(Seed(1), sim.WorldConfig(trace=engine.endswith("trace")))
        with world.armed():
            yield sim.new_loop()


def callbacks(loop: asyncio.AbstractEventLoop, ready: int) -> None:
    left = [STEPS]

    def again() -> None:
        left[0] -= 1
        if not left[0]:
            loop.stop()
        loop.call_soon(again)

    for _ in range(ready):
        loop.call_soon(again)
    loop.run_forever()


async def many_tasks(steps: int, ready: int) -> None:
    left = [steps]

    async def work() -> None:
        while left[0] > 0:
            left[0] -= 1
            await asyncio.sleep(0)

    await asyncio.gather(*[work() for _ in range(ready)])


def in_simloom(kind: str, ready: int) -> float:
    import simloom

    async def many_callbacks() -> None:
        loop = asyncio.get_running_loop()
        left = [SLOW_STEPS]
        done = loop.create_future()

        def again() -> None:
            left[0] -= 1
            if left[0] > 0:
                loop.call_soon(again)
            elif not done.done():
                done.set_result(None)

        for _ in range(ready):
            loop.call_soon(again)
        await done

    async def main() -> None:
        await (many_callbacks() if kind == "callbacks" else many_tasks(SLOW_STEPS, ready))

    return timed(SLOW_STEPS, lambda: simloom.run(main, seed=1))


def timed(steps: int, run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return steps / (time.process_time() - began)


if __name__ == "__main__":
    sys.exit(main())

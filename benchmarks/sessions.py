"""What a session costs, next to what its engine costs without us.

    python benchmarks/sessions.py [--quick]

For each engine: a session opened, used once and closed; one run; one call of a callback; one call
of a host function from within the guest (a loop of them, divided). All blocking, and one run also
awaited on asyncio. The floor is the library alone: a checkout and a feed of pydantic-monty, a parse
and an evaluation of starlark-pyo3 in this very process, where nothing could end it.

Medians, with the tenth and the ninetieth percentile. The first session of an engine, which starts
its processes, is timed by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections.abc import Callable
from time import perf_counter

import pydantic_monty
import starlark

from windtunnel import sessions

CALLS = 100


@sessions.host_function(needs="bench")
def nothing() -> int:
    return 1


def timed(work: Callable[[], object], rounds: int) -> str:
    work()
    took = []
    for _ in range(rounds):
        began = perf_counter()
        work()
        took.append(perf_counter() - began)
    tenths = statistics.quantiles(took, n=10)
    return f"{micros(statistics.median(took))}  ({micros(tenths[0])} to {micros(tenths[-1])})"


def micros(seconds: float) -> str:
    return f"{seconds * 1e6:8.0f} us" if seconds < 0.01 else f"{seconds * 1e3:8.1f} ms"


def of_engine(engine: str, rounds: int) -> None:
    held = [sessions.CapabilityToken("bench")]

    def open_run_close() -> None:
        with sessions.open(engine) as session:
            assert session.run_sync("1 + 1").value == 2

    began = perf_counter()
    open_run_close()
    print(f"  first session               {micros(perf_counter() - began)}")
    print(f"  open, run, close            {timed(open_run_close, max(10, rounds // 10))}")
    with sessions.open(engine, functions=[nothing], capabilities=held) as session:
        session.run_sync("def one(n): return n")
        loop = f"[nothing() for _ in range({CALLS})]"
        callback = session.callback("one")
        print(f"  one run                     {timed(lambda: session.run_sync('1 + 1'), rounds)}")
        print(f"  one call of a callback      {timed(lambda: callback(1), rounds)}")
        few = max(10, rounds // 20)
        print(f"  {CALLS} calls of a host function {timed(lambda: session.run_sync(loop), few)}")
    print(f"  one run, awaited            {asyncio.run(awaited(engine, rounds))}")


async def awaited(engine: str, rounds: int) -> str:
    async with sessions.open(engine) as session:
        await session.run("1 + 1")
        took = []
        for _ in range(rounds):
            began = perf_counter()
            await session.run("1 + 1")
            took.append(perf_counter() - began)
    tenths = statistics.quantiles(took, n=10)
    return f"{micros(statistics.median(took))}  ({micros(tenths[0])} to {micros(tenths[-1])})"


def floor_of_monty(rounds: int) -> None:
    with pydantic_monty.Monty() as pool:

        def checkout_feed() -> None:
            with pool.checkout() as session:
                session.feed_run("1 + 1")

        print(f"  checkout, feed, return      {timed(checkout_feed, rounds)}")
        with pool.checkout(limits={"max_suspensions": 2**31 - 1}) as session:
            print(
                f"  one feed                    {timed(lambda: session.feed_run('1 + 1'), rounds)}"
            )
            loop = f"[nothing() for _ in range({CALLS})]"
            lookup = {"nothing": lambda: 1}
            work = timed(lambda: session.feed_run(loop, external_lookup=lookup), rounds // 10)
            print(f"  {CALLS} calls of the host      {work}")


def floor_of_starlark(rounds: int) -> None:
    known, module = starlark.Globals.standard(), starlark.Module()
    dialect = starlark.Dialect.standard()

    def once() -> None:
        starlark.eval(module, starlark.parse("x", "1 + 1", dialect), known)

    print(f"  parse and evaluate          {timed(once, rounds)}")


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true", help="a short look")
    rounds = 100 if options.parse_args().quick else 500
    for engine in ("monty", "starlark", "process"):
        print(f"{engine}")
        of_engine(engine, rounds)
    print("pydantic-monty alone")
    floor_of_monty(rounds)
    print("starlark-pyo3 alone, in this process")
    floor_of_starlark(rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

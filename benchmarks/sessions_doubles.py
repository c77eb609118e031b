"""The doubles of sessions, beside the embedded engine: what one call of each costs.

    python benchmarks/sessions_doubles.py               # 7 rounds of 2,000 calls
    python benchmarks/sessions_doubles.py --quick       # 3 rounds of 300 calls

Rounds take turns, so that a busy machine slows all down alike. A figure is the time of a call in
a round: the median round, and the fastest and slowest. CPU is of the whole process.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from windtunnel.sessions import (
    CapabilityToken,
    HostFunction,
    IntegrationTestHelper,
    MockAsyncExecutor,
    MockCapabilityManager,
    MockREPLSession,
)
from windtunnel.sessions import open as open_session

PROMISED_MS = 1.0
Call = Callable[[], Awaitable[Any]]


def main() -> int:
    """Measure, print, and fail where a double's call takes a millisecond or more."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short look")
    quick = parser.parse_args().quick
    rounds, calls = (3, 300) if quick else (7, 2000)
    return asyncio.run(measure(rounds, calls))


async def measure(rounds: int, calls: int) -> int:
    """Print a line a kind of call; 1 where one of a double is too slow."""
    read = HostFunction("read", lambda path: path, needs="fs.read", resource="path")
    token = CapabilityToken("fs.read")
    executor = MockAsyncExecutor({f"code {number}": number for number in range(50)})
    executor.on(contains="read").needs("fs.read", "/data/a").returns({"rows": [1, 2, 3]})
    session = MockREPLSession(functions=[read], capabilities=[token])
    session.mock_function("double", lambda x: x * 2)
    manager = MockCapabilityManager()
    manager.grant("fs.read", resources="/data/**")
    helper = IntegrationTestHelper("double")

    async def use() -> None:
        manager.use("fs.read", "/data/a")

    async def blocking() -> None:
        executor.execute_sync("code 7")

    with open_session("monty") as engine:
        kinds: dict[str, Call] = {
            "executor, of 50 scripts": lambda: executor.execute("code 7"),
            "executor, blocking": blocking,
            "executor, with a capability": lambda: executor.execute("read()", grants=[token]),
            "session, code that is read": lambda: session.run("x = double(20) + 2\nx"),
            "session, guarded host function": lambda: session.run("read('/data/a')"),
            "session, call": lambda: session.call("double", 21),
            "manager, use": use,
            "helper, assertion on a double": lambda: helper.assert_async_execution("6 * 7", 42),
            "(monty, the same code)": lambda: engine.run("x = 20 * 2 + 2\nx"),
        }
        found = await in_turn(kinds, rounds, calls)
    print(f"{'one call':34} {'median':>9} {'fastest':>9} {'slowest':>9}   {'CPU':>9}   (us)")
    late = []
    for name, (walls, cpus) in found.items():
        wall, cpu = statistics.median(walls), statistics.median(cpus)
        print(
            f"{name:34} {wall * 1e6:9.1f} {min(walls) * 1e6:9.1f} {max(walls) * 1e6:9.1f}"
            f"   {cpu * 1e6:9.1f}"
        )
        if wall * 1e3 >= PROMISED_MS and not name.startswith("("):
            late.append(name)
    print(
        f"{rounds} rounds of {calls} calls; promised: under {PROMISED_MS:g} ms a call of a double"
    )
    for name in late:
        print(f"too slow: {name}", file=sys.stderr)
    return 1 if late else 0


async def in_turn(
    kinds: dict[str, Call], rounds: int, calls: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds a call, by the wall and of CPU, of each round of each kind."""
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in kinds}
    for number in range(rounds + 1):
        for name, call in kinds.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for _ in range(calls):
                await call()
            if number:  # the first round warms up
                found[name][0].append((time.perf_counter() - wall) / calls)
                found[name][1].append((time.process_time() - cpu) / calls)
    return found


if __name__ == "__main__":
    sys.exit(main())

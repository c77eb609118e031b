"""Run one module of CPython's own asyncio tests on the simulated loop.

    python cpython_suite.py MODULE [EXCLUDED TEST NAME...]

Prints a JSON object: how many ran, how many loops were the simulated one, and what failed.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import sys
import unittest
from collections.abc import Iterator

from windtunnel import sim
from windtunnel.core import Seed

loops = 0


def main(module: str, excluded: list[str]) -> None:
    loaded = importlib.import_module(f"test.test_asyncio.{module}")
    suite = unittest.defaultTestLoader.loadTestsFromModule(loaded)
    chosen = unittest.TestSuite(
        case for case in cases(suite) if case.id().rpartition(".")[2] not in excluded
    )
    for case in chosen:
        simulate(case)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(chosen)
    bad = {case.id(): text[-1500:] for case, text in result.failures + result.errors}
    print(json.dumps({"ran": result.testsRun, "loops": loops, "bad": bad}))
    sys.stdout.flush()
    os._exit(0)  # some of these tests leave tasks behind on purpose


def cases(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def simulate(case: unittest.TestCase) -> None:
    """Make the case run in a world of its own, whose loops it gets whenever it makes one."""
    run = case.run

    def in_a_world(result: unittest.TestResult | None = None) -> unittest.TestResult | None:
        before = asyncio.events.new_event_loop
        with sim.World(Seed(1), sim.WorldConfig(policy="fifo")).armed():
            asyncio.events.new_event_loop = asyncio.new_event_loop = new_loop
            try:
                return run(result)
            finally:
                asyncio.events.new_event_loop = asyncio.new_event_loop = before

    case.run = in_a_world  # type: ignore[method-assign]


def new_loop() -> asyncio.AbstractEventLoop:
    global loops
    loops += 1
    return sim.new_loop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])

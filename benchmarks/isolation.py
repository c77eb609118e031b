"""What each isolation and the state guards cost, per test and per worker.

    python benchmarks/isolation.py [--quick]

Empty tests run in pytest processes, all ways interleaved, several rounds; what is timed is the
test loop alone, from inside: by the clock, and in processor time of the process and its children,
which other work on the machine disturbs less. The cost of a way is its processor time over that of
the same run without it, per test. Beside isolation by fork stand two floors, taken in the same
process: a bare ``os.fork``, ended and awaited at once, and one whose child runs pytest's protocol
for the test and sends nothing, so that its pages are copied as they are written (pytest-forked
1.7.5 fails every test under pytest 9.2 and is no peer). The cost per worker is that of the start of
a process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_CONFTEST = """
import json, os, time
import pytest
from _pytest.runner import runtestprotocol

TIMES = {}

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop(session):
    begun, cpu = time.perf_counter(), sum(os.times()[:4])
    result = yield
    TIMES["loop"] = time.perf_counter() - begun - TIMES.get("started", 0)
    TIMES["cpu"] = sum(os.times()[:4]) - cpu - TIMES.get("started cpu", 0)
    def nothing():
        pass
    def protocol():
        runtestprotocol(session.items[-1], log=False, nextitem=None)
    for name, work in ("bare fork", nothing), ("protocol in a fork", protocol):
        clock, cpu = time.perf_counter(), sum(os.times()[:4])
        for _ in range(100):
            child = os.fork()
            if child == 0:
                work()
                os._exit(0)
            os.waitpid(child, 0)
        TIMES[name] = (sum(os.times()[:4]) - cpu) / 100
        TIMES[name + " clock"] = (time.perf_counter() - clock) / 100
    with open(os.environ["BENCH_OUT"], "w") as out:
        json.dump(TIMES, out)
    return result

if os.environ["BENCH_WINDTUNNEL"]:
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_windtunnel_process_started(config, state):
        begun, cpu = time.perf_counter(), sum(os.times()[:4])
        result = yield
        TIMES["started"] = time.perf_counter() - begun
        TIMES["started cpu"] = sum(os.times()[:4]) - cpu
        return result
"""
_TESTS = """
import logging
import pytest

for number in range({loggers}):
    logging.getLogger(f"library{{number}}.module")

@pytest.mark.parametrize("number", range({tests}))
def test_nothing(number):
    pass
"""
_WAYS: dict[str, tuple[str, ...]] = {
    "pytest alone": ("-p", "no:windtunnel"),
    "nothing": ("--wt-guards=none",),
    "guards": (),
    "env": ("--wt-guards=none", "--wt-isolation=env"),
    "namespace": ("--wt-guards=none", "--wt-isolation=namespace"),
    "net": ("--wt-guards=none", "--wt-isolation=net"),
    "fork": ("--wt-guards=none", "--wt-isolation=fork"),
}
_PLUGINS = ("time-machine", "asyncio", "anyio", "timeout", "cov", "hypothesispytest", "syrupy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="fewer tests and rounds")
    parser.add_argument("--loggers", type=int, default=200, help="loggers that the suite has")
    options = parser.parse_args()
    tests, rounds = (200, 3) if options.quick else (1000, 7)
    times: dict[str, list[dict[str, float]]] = {way: [] for way in _WAYS}
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        (project / "conftest.py").write_text(_CONFTEST)
        (project / "test_bench.py").write_text(_TESTS.format(tests=tests, loggers=options.loggers))
        (project / "pytest.ini").write_text("[pytest]\n")
        for _ in range(rounds):
            for way, arguments in _WAYS.items():
                times[way].append(_run(project, arguments))
    _show(times, tests, rounds, options.loggers)


def _run(project: Path, arguments: tuple[str, ...]) -> dict[str, float]:
    out = project / "out.json"
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "CI"))},
        "BENCH_OUT": str(out),
        "BENCH_WINDTUNNEL": "" if "no:windtunnel" in arguments else "1",
    }
    plain = [word for name in _PLUGINS for word in ("-p", f"no:{name}")]
    # Written in the namespace, the file would stay there.
    through = ["--wt-write-through=out.json"] if "no:windtunnel" not in arguments else []
    command = [sys.executable, "-m", "pytest", "-q", *plain, *through, *arguments]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr}")
    result: dict[str, float] = json.loads(out.read_text())
    out.unlink()
    return result


def _show(times: dict[str, list[dict[str, float]]], tests: int, rounds: int, loggers: int) -> None:
    print(f"{tests} empty tests, {loggers} loggers, {rounds} interleaved rounds; median (min..max)")
    print(f"{'':<13}{'clock':>24} {'processor':>24} {'over its base':>22} {'a worker':>20}")
    for way, runs in times.items():
        clock, cpu = ([run[kind] / tests * 1e6 for run in runs] for kind in ("loop", "cpu"))
        base = times["pytest alone" if way == "nothing" else "nothing"]
        over = [
            (one["cpu"] - other["cpu"]) / tests * 1e6 for one, other in zip(runs, base, strict=True)
        ]
        started = [run["started cpu"] * 1e3 for run in runs if "started cpu" in run]
        print(
            f"{way:<13}{_spread(clock, 'µs'):>24} {_spread(cpu, 'µs'):>24}"
            f" {'' if way == 'pytest alone' else _spread(over, 'µs'):>22}"
            f" {_spread(started, 'ms') if started else '':>20}"
        )
    for label, name in (("a bare fork", "bare fork"), ("the same, +", "protocol in a fork")):
        both = [[run[n] * 1e6 for run in times["nothing"]] for n in (f"{name} clock", name)]
        print(f"{label:<13}{_spread(both[0], 'µs'):>24} {_spread(both[1], 'µs'):>24}")
    print("+ with pytest's protocol for the test run in it, and nothing sent back")


def _spread(values: list[float], unit: str) -> str:
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.0f} {unit} ({low:.0f}..{high:.0f})"


if __name__ == "__main__":
    main()

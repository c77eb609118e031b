"""How well, and how fast, flaky tests are told from regressions: a synthetic ground truth.

Peers, on the same histories: the simple rule (at least 3 results, both outcomes, failure rate of
30 % or more) and "failed, then passed when run again" (what rerun plugins and most dashboards call
flaky: a failure and a pass in one run). Not our own model generates the histories: rates of flaky
tests come from a log-uniform law, breaks have a geometric length, a quarter of the failing first
attempts is rerun, and one result in 20,000 is noise.

    python benchmarks/judge_flaky.py [--quick]
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
from collections.abc import Callable, Sequence

from windtunnel.core import Outcome, Settings, Stability
from windtunnel.judge.explain import _explain
from windtunnel.judge.flaky import judge
from windtunnel.record.protocol import OutcomeRow

RUNS = 100
FLAKY_SHARE = 0.1
BREAK_A_CHANGE = 0.003
NOISE = 1 / 20_000
KINDS = ("steady", "regressed", "broke and was mended", "flaky", "became flaky", "was flaky")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="fewer tests, fewer rounds")
    quick = parser.parse_args().quick
    accuracy(tests=500 if quick else 4000, rounds=3 if quick else 7)
    speed(tests=1000 if quick else 10_000, rounds=2 if quick else 5)


def accuracy(tests: int, rounds: int) -> None:
    print(f"accuracy: {rounds} suites of {tests} tests, {RUNS} runs each; median (lowest-highest)")
    scores: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(rounds):
        dice = random.Random(seed)
        truth, history = suite(dice, tests)
        for name, call in PEERS.items():  # interleaved: every peer sees every suite
            scores.setdefault(name, []).append(score(truth, shown(history), call(history)))
    print(f"  {'':34}{'precision':>20}{'recall':>20}{'regressions called flaky':>28}")
    for name, values in scores.items():
        columns = [spread([value[i] for value in values]) for i in range(3)]
        print(f"  {name:34}{columns[0]:>20}{columns[1]:>20}{columns[2]:>28}")
    print("  recall is over tests that are flaky now and failed at least once\n")


def speed(tests: int, rounds: int) -> None:
    _, history = suite(random.Random(1), tests)
    results = sum(map(len, history.values()))
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, call in PEERS.items():
            _explain.cache_clear()
            begun = time.process_time()
            call(history)
            taken.setdefault(name, []).append(time.process_time() - begun)
    print(
        f"speed: {tests} tests, {results} results, cold cache;"
        f" CPU time, median of {rounds} (lowest-highest)"
    )
    for name, values in taken.items():
        print(f"  {name:34}{spread(values):>20} s")


def suite(dice: random.Random, tests: int) -> tuple[dict[str, str], dict[str, list[OutcomeRow]]]:
    """The kind of each test, and what was recorded of it."""
    # Code changes between three runs in four; all tests of a suite share the states of its code.
    trees, tree = [], 0
    for _ in range(RUNS):
        tree += dice.random() < 0.75
        trees.append(tree)
    truth, history = {}, {}
    for number in range(tests):
        nodeid = f"test_{number}"
        kind, rates = rates_of(dice, trees)
        truth[nodeid] = kind
        history[nodeid] = results(dice, nodeid, trees, rates)
    return truth, history


def rates_of(dice: random.Random, trees: Sequence[int]) -> tuple[str, list[float]]:
    """A kind, and the probability of failure in each run."""
    if dice.random() >= FLAKY_SHARE:
        return steady(dice, trees)
    rate = 10 ** dice.uniform(-2, -0.3)  # 1 % to 50 %, as many below 7 % as above
    turn = dice.random()
    if turn > 0.3:
        return "flaky", [rate] * RUNS
    at = dice.randrange(20, 80)
    if turn > 0.15:
        return "became flaky", [rate if run >= at else 0.0 for run in range(RUNS)]
    return "was flaky", [0.0 if run >= at else rate for run in range(RUNS)]


def steady(dice: random.Random, trees: Sequence[int]) -> tuple[str, list[float]]:
    broken, ever, last = False, False, trees[0]
    rates = []
    for tree in trees:
        if tree != last:
            broken = dice.random() > 0.25 if broken else dice.random() < BREAK_A_CHANGE
        ever, last = ever or broken, tree
        rates.append(1.0 if broken else 0.0)
    kind = "regressed" if broken else "broke and was mended" if ever else "steady"
    return kind, rates


def results(
    dice: random.Random, nodeid: str, trees: Sequence[int], rates: Sequence[float]
) -> list[OutcomeRow]:
    rows = []
    for run, (tree, rate) in enumerate(zip(trees, rates, strict=True)):
        failed = fails(dice, rate)
        rows.append(row(nodeid, run, tree, failed, attempt=1))
        if failed and dice.random() < 0.25:
            rows.append(row(nodeid, run, tree, fails(dice, rate), attempt=2))
    return rows


def fails(dice: random.Random, rate: float) -> bool:
    return (dice.random() < rate) != (dice.random() < NOISE)


def row(nodeid: str, run: int, tree: int, failed: bool, attempt: int) -> OutcomeRow:
    return OutcomeRow(
        run=run,
        nodeid=nodeid,
        outcome=Outcome.FAILED if failed else Outcome.PASSED,
        attempt=attempt,
        final=True,
        phase="",
        setup_s=0.0,
        call_s=0.1,
        teardown_s=0.0,
        started=run * 3600.0,
        worker="main",
        order=0,
        isolation="",
        message="",
        output="",
        quarantined=False,
        replay="",
        seed=0,
        commit="",
        tree=f"tree{tree}",
        environment="e",
    )


History = dict[str, list[OutcomeRow]]


def ours(history: History) -> set[str]:
    return {it.nodeid for it in judge(history) if it.stability is Stability.FLAKY}


def simple_rule(history: History) -> set[str]:
    settings = Settings()
    called = set()
    for nodeid, rows in history.items():
        bad = sum(row.outcome.bad for row in rows)
        enough = len(rows) >= settings.flaky_min_results and 0 < bad < len(rows)
        if enough and bad / len(rows) >= settings.flaky_failure_rate:
            called.add(nodeid)
    return called


def passed_when_run_again(history: History) -> set[str]:
    called = set()
    for nodeid, rows in history.items():
        for first, second in itertools.pairwise(rows):
            if first.run == second.run and first.outcome.bad and second.outcome.good:
                called.add(nodeid)
    return called


PEERS: dict[str, Callable[[History], set[str]]] = {
    "windtunnel (posterior >= 0.8)": ours,
    "simple rule (3 results, 30 %)": simple_rule,
    "failed, then passed when run again": passed_when_run_again,
}


def shown(history: History) -> set[str]:
    """Tests that failed at least once: of the others nobody can know."""
    return {nodeid for nodeid, rows in history.items() if any(row.outcome.bad for row in rows)}


def score(truth: dict[str, str], failed: set[str], called: set[str]) -> tuple[float, float, float]:
    """Precision, recall, and the share of regressions and mended breaks called flaky."""
    flaky = {nodeid for nodeid, kind in truth.items() if kind in ("flaky", "became flaky")}
    # A test that was flaky is right to be called so or not: its history is not yet settled.
    was = {nodeid for nodeid, kind in truth.items() if kind == "was flaky"}
    breaks = {
        nodeid for nodeid, kind in truth.items() if kind in ("regressed", "broke and was mended")
    }
    right = len(called & flaky)
    judged = len(called - was)
    return (
        right / judged if judged else 1.0,
        right / len(flaky & failed) if flaky & failed else 1.0,
        len(called & breaks) / len(breaks) if breaks else 0.0,
    )


def spread(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.3f} ({min(values):.3f}-{max(values):.3f})"


if __name__ == "__main__":
    main()

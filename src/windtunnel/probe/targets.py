"""Which tests to hunt for: those named, those mixed in the record, those that orders show."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from windtunnel.core import Outcome, Seed, UsageError
from windtunnel.probe.bench import Budget, OutOfBudget
from windtunnel.probe.experiment import Item
from windtunnel.probe.lab import Fresh, Lab

_RECORD_RUNS = 50


def named(tests: Sequence[str], items: Sequence[Item], cwd: Path) -> list[str]:
    """The node ids of the tests that a user means, given as on pytest's command line.

    A file means all its tests, a class all of its, a function all its parameter sets.

    :raises UsageError: for a name that no collected test answers to.
    """
    found: list[str] = []
    for test in tests:
        matching = [item.nodeid for item in items if _means(test, item, cwd)]
        if not matching:
            raise UsageError(
                f"no collected test is {test}",
                found=f"{len(items)} tests collected",
                fix=_suggestion(test, items),
            )
        found += [nodeid for nodeid in matching if nodeid not in found]
    return found


def _means(test: str, item: Item, cwd: Path) -> bool:
    if test == item.nodeid:
        return True
    path, _, inner = test.partition("::")
    place, file = os.path.realpath(cwd / path), os.path.realpath(item.path)
    holds = place == file or (not inner and file.startswith(place + "/"))
    # Or as pytest writes it: relative to the root, from wherever it is called.
    if not holds and path != item.nodeid.partition("::")[0]:
        return False
    return not inner or item.inner == inner or item.inner.startswith((f"{inner}::", f"{inner}["))


def _suggestion(test: str, items: Sequence[Item]) -> str:
    import difflib

    close = difflib.get_close_matches(test, [item.nodeid for item in items], n=1, cutoff=0.3)
    return f"did you mean {close[0]}?" if close else "see `python -m pytest --collect-only -q`"


def suite_of(tests: Sequence[str], cwd: Path) -> list[str]:
    """What to collect so that the tests' whole suite is there, as arguments for pytest.

    Empty, which is pytest's own choice, when the tests lie below ``cwd``; else the root of the
    project that each lies in.
    """
    roots: list[str] = []
    for test in tests:
        path = Path(os.path.abspath(cwd / test.partition("::")[0]))
        if not path.exists():
            continue
        if cwd in path.parents or path == cwd:
            return []
        root = _root(path)
        if root not in roots:
            roots.append(root)
    return roots


_MARKS = ("pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg", "setup.py", ".git")


def _root(path: Path) -> str:
    start = path if path.is_dir() else path.parent
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return str(folder)
    return str(start)


def recorded(record: Path, items: Sequence[Item]) -> list[str]:
    """The tests that both passed and failed in the record's last runs; empty without a record."""
    if not record.exists():
        return []
    from windtunnel.record import open_record

    collected = {item.nodeid for item in items}
    with open_record(record, create=False) as opened:
        history = opened.history(last=_RECORD_RUNS)
    mixed: list[tuple[int, str]] = []
    for nodeid, rows in history.items():
        bad = sum(row.outcome.bad for row in rows)
        good = sum(row.outcome.good for row in rows)
        if bad and good and nodeid in collected:
            mixed.append((-bad, nodeid))
    return [nodeid for _, nodeid in sorted(mixed)]


def discovered(lab: Lab | None, fresh: Fresh, items: Sequence[Item], budget: Budget) -> list[str]:
    """The tests that end differently alone, in the suite's order, reversed or shuffled.

    Uses at most a third of the budget.
    """
    suite = [item.nodeid for item in items]
    seen: dict[str, set[bool]] = {nodeid: set() for nodeid in suite}
    bench_s = budget.left_s * 2 / 3
    stream = Seed(0).stream("hunt/discovery")
    shuffled = list(suite)
    stream.shuffle(shuffled)
    orders = [suite, suite, suite[::-1], shuffled]
    if lab is not None:
        orders += [[nodeid] for nodeid in suite]
        orders += [[nodeid] for nodeid in suite]
    try:
        for number, order in enumerate(orders):
            if budget.left_s <= bench_s:
                break
            if len(order) > 1 or number % 25 == 0:
                budget.tell(f"looking for flaky tests: round {number + 1} of {len(orders)}")
            for result in _all_results(lab or fresh, order, budget):
                if result[1] is not None:
                    seen[result[0]].add(result[1])
    except OutOfBudget:
        pass
    return [nodeid for nodeid, outcomes in seen.items() if len(outcomes) > 1]


def _all_results(
    runner: Lab | Fresh, order: Sequence[str], budget: Budget
) -> list[tuple[str, bool | None]]:
    """Run them all; where one ends the process, go on after it in another."""
    results: list[tuple[str, bool | None]] = []
    rest = list(order)
    while rest:
        budget.check()
        trial = runner.run(rest)
        if not trial.results:
            break
        results += [(r.nodeid, r.failed if r.counts else None) for r in trial.results]
        last = trial.results[-1]
        if last.outcome not in (Outcome.CRASHED, Outcome.TIMEOUT):
            break
        rest = rest[rest.index(last.nodeid) + 1 :]
    return results

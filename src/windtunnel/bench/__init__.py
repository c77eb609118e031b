"""Measuring: how long, how often, how much; compared honestly on noisy machines.

:func:`measure` is the one function under all others. A :class:`Result` has every sample, the
failures too, and the figures with the intervals they may really lie in.

>>> from windtunnel import bench
>>> result = bench.measure(sorted, [3, 1, 2], iterations=1000)
>>> result.n, result.failures
(1000, 0)

The names are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.bench.budgets import Budget as Budget
    from windtunnel.bench.budgets import BudgetExceededError as BudgetExceededError
    from windtunnel.bench.budgets import BudgetUnknownError as BudgetUnknownError
    from windtunnel.bench.budgets import budget as budget
    from windtunnel.bench.budgets import budget_of as budget_of
    from windtunnel.bench.changes import ChangePoint as ChangePoint
    from windtunnel.bench.changes import change_points as change_points
    from windtunnel.bench.comparing import Comparison as Comparison
    from windtunnel.bench.comparing import compare as compare
    from windtunnel.bench.decision import Change as Change
    from windtunnel.bench.decision import Rule as Rule
    from windtunnel.bench.fixtures import CallsFailedError as CallsFailedError
    from windtunnel.bench.growth import Growth as Growth
    from windtunnel.bench.growth import Point as Point
    from windtunnel.bench.growth import fit_growth as fit_growth
    from windtunnel.bench.growth import scaling as scaling
    from windtunnel.bench.history import History as History
    from windtunnel.bench.history import read_history as read_history
    from windtunnel.bench.history import read_names as read_names
    from windtunnel.bench.instructions import Instructions as Instructions
    from windtunnel.bench.instructions import NoCounterError as NoCounterError
    from windtunnel.bench.instructions import count_instructions as count_instructions
    from windtunnel.bench.measuring import FailedResultError as FailedResultError
    from windtunnel.bench.measuring import measure as measure
    from windtunnel.bench.measuring import measure_async as measure_async
    from windtunnel.bench.memory import Memory as Memory
    from windtunnel.bench.plan import Plan as Plan
    from windtunnel.bench.processes import ProcessFailedError as ProcessFailedError
    from windtunnel.bench.ranksum import mann_whitney as mann_whitney
    from windtunnel.bench.result import Result as Result
    from windtunnel.bench.target import Reference as Reference
    from windtunnel.bench.target import parse_target as parse_target
    from windtunnel.bench.tester import Overhead as Overhead
    from windtunnel.bench.tester import PerformanceTester as PerformanceTester
    from windtunnel.bench.tester import quick_benchmark as quick_benchmark

_HOMES = {
    "Budget": "budgets",
    "BudgetExceededError": "budgets",
    "BudgetUnknownError": "budgets",
    "CallsFailedError": "fixtures",
    "Change": "decision",
    "ChangePoint": "changes",
    "Comparison": "comparing",
    "FailedResultError": "measuring",
    "Growth": "growth",
    "History": "history",
    "Instructions": "instructions",
    "Memory": "memory",
    "NoCounterError": "instructions",
    "Overhead": "tester",
    "PerformanceTester": "tester",
    "Plan": "plan",
    "Point": "growth",
    "ProcessFailedError": "processes",
    "Reference": "target",
    "Result": "result",
    "Rule": "decision",
    "budget": "budgets",
    "budget_of": "budgets",
    "change_points": "changes",
    "compare": "comparing",
    "count_instructions": "instructions",
    "fit_growth": "growth",
    "mann_whitney": "ranksum",
    "measure": "measuring",
    "measure_async": "measuring",
    "parse_target": "target",
    "quick_benchmark": "tester",
    "read_history": "history",
    "read_names": "history",
    "scaling": "growth",
}

__all__ = [
    "Budget",
    "BudgetExceededError",
    "BudgetUnknownError",
    "CallsFailedError",
    "Change",
    "ChangePoint",
    "Comparison",
    "FailedResultError",
    "Growth",
    "History",
    "Instructions",
    "Memory",
    "NoCounterError",
    "Overhead",
    "PerformanceTester",
    "Plan",
    "Point",
    "ProcessFailedError",
    "Reference",
    "Result",
    "Rule",
    "budget",
    "budget_of",
    "change_points",
    "compare",
    "count_instructions",
    "fit_growth",
    "mann_whitney",
    "measure",
    "measure_async",
    "parse_target",
    "quick_benchmark",
    "read_history",
    "read_names",
    "scaling",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value

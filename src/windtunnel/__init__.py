"""Windtunnel: a pytest-native test bench for asynchronous, agentic and distributed programs.

A wind tunnel puts the real aircraft in controlled air. Windtunnel puts the real program in a
controlled world and keeps a record of every run, from which flaky tests, regressions and broken
promises are read.

Nothing is imported here until it is asked for, and no assertion here is for pytest to rewrite
(PYTEST_DONT_REWRITE), since ``windtunnel run`` imports this package before pytest does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.core import Seed
    from windtunnel.explore.marker import simulated as simulated

    seed: Seed

__version__ = "0.1.0"

__all__ = ["__version__", "seed", "simulated"]


def __getattr__(name: str) -> object:
    if name == "seed":
        from windtunnel.core.seed import run_seed

        return run_seed()
    if name == "simulated":
        from windtunnel.explore.marker import simulated

        return simulated
    raise AttributeError(f"module 'windtunnel' has no attribute {name!r}")

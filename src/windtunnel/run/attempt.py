"""One attempt at one test: what reruns repeat and what isolation by fork replaces.

pytest runs an item's three phases in its own process. Where something else must run them (a
forked child), it puts a function of the same shape into ``config.stash[ATTEMPT]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from _pytest.runner import runtestprotocol

Attempt: TypeAlias = Callable[[pytest.Item, pytest.Item | None], list[pytest.TestReport]]
"""Runs set-up, call and teardown of an item, logs nothing, and returns their reports."""

ATTEMPT = pytest.StashKey[Attempt]()


def run_attempt(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Run one attempt at ``item``, in a process of its own where the run is so isolated."""
    attempt = item.config.stash.get(ATTEMPT, in_process)
    return attempt(item, nextitem)


def in_process(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """pytest's own way: the three phases, here and now."""
    return runtestprotocol(item, log=False, nextitem=nextitem)

"""pytest-xdist's scheduler as we would have it: longest first, one test ahead.

The plan is that of our own pool (:mod:`windtunnel.run.schedule`). A worker of pytest-xdist begins
a test only once it knows the next one and does not give that back, so each always has two.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler.load import LoadScheduling  # type: ignore[import-untyped]
from xdist.workermanage import WorkerController  # type: ignore[import-untyped]

from windtunnel.run.durations import known_durations
from windtunnel.run.schedule import Dispenser, Job, Plan, plan
from windtunnel.run.session import RunState

_AHEAD = 2


class DurationScheduling(LoadScheduling):  # type: ignore[misc]  # untyped
    """Hands out tests by their recorded durations.

    Tests that share a fixture of a class, module or package stay together, as in our own pool.
    Where no worker could tell which those are (it runs on another machine), files stay together.

    :param collected: the file in which a worker tells what it found at collection.
    """

    def __init__(self, config: pytest.Config, log: Any, state: RunState, collected: Path) -> None:
        super().__init__(config, log)
        self._state = state
        self._collected = collected
        self._dispenser = Dispenser(Plan((), (), divisible=True))
        self._unsent = 0

    @property
    def tests_finished(self) -> bool:
        """Whether nothing is left but the last test of each worker, which it runs on shutdown."""
        if not self.collection_is_completed or self._unsent:
            return False
        return all(len(pending) < _AHEAD for pending in self.node2pending.values())

    @property
    def has_pending(self) -> bool:
        """Whether a test is not finished."""
        return bool(self._unsent or any(self.node2pending.values()))

    def schedule(self) -> None:
        """Called when all workers have collected, and when one more joins later."""
        if self.collection is None and not self._begin():
            return
        for ahead in range(1, _AHEAD + 1):
            for node in self.nodes:
                self._fill(node, ahead)

    def mark_test_complete(
        self, node: WorkerController, item_index: int, duration: float = 0
    ) -> None:
        """Called when that worker has finished that test."""
        self._dispenser.observe(item_index, duration)
        super().mark_test_complete(node, item_index, duration)

    def check_schedule(self, node: WorkerController, duration: float = 0) -> None:
        """Keep that worker one test ahead."""
        self._fill(node, _AHEAD)

    def mark_test_pending(self, item: str) -> None:
        """Have a test run once more."""
        assert self.collection is not None
        self._put_back("", [self.collection.index(item)])

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker is gone: the test it died under, if any; the others take the rest."""
        pending = self.node2pending.pop(node)
        crashed = pending.pop(0) if pending else None
        self._put_back(node.gateway.id, pending)
        if crashed is None:
            return None
        assert self.collection is not None
        return str(self.collection[crashed])

    def _begin(self) -> bool:
        if not self._check_nodes_have_same_collection():
            return False
        self.collection = next(iter(self.node2collection.values()))
        self._unsent = len(self.collection)
        self._dispenser = Dispenser(self._plan(self.collection, len(self.nodes)))
        return True

    def _plan(self, nodeids: Sequence[str], workers: int) -> Plan:
        known = _read(self._collected, len(nodeids))
        groups = known["groups"] if known else [id.partition("::")[0] for id in nodeids]
        return plan(
            [Job(nodeid, group) for nodeid, group in zip(nodeids, groups, strict=True)],
            workers,
            known=known_durations(self._state, say=self.log),
            keep_order=bool(known and known["keep_order"]),
        )

    def _fill(self, node: WorkerController, ahead: int) -> None:
        while not node.shutting_down and len(self.node2pending[node]) < ahead:
            # A node that gets nothing is sent home for good, so nobody's reserve is spared.
            others = [other.gateway.id for other in self.nodes if other is not node]
            index = self._dispenser.take(node.gateway.id, held_up=others)
            if index is None:
                node.shutdown()  # what tells it to run its last test
                return
            self._unsent -= 1
            self.node2pending[node].append(index)
            node.send_runtest_some([index])

    def _put_back(self, worker: str, indices: list[int]) -> None:
        self._unsent += len(indices)
        self._dispenser.give_back(worker, indices)
        for node in self.nodes:
            self._fill(node, _AHEAD)


def _read(path: Path, count: int) -> dict[str, Any] | None:
    try:
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return known if len(known["groups"]) == count else None

"""Extra properties in pytest's own JUnit XML: what pytest does not know of a test.

The file stays pytest's. While reports pass through the process that writes it, each test's last
report is given ``user_properties``, and pytest turns those into ``<property>`` elements: that is
the same under a plain run, under our workers and under pytest-xdist's. The JUnit XML of a
recorded run (``windtunnel report --junit``) is written by :mod:`windtunnel.record`.
"""

from __future__ import annotations

import dataclasses

import pytest
from _pytest.junitxml import xml_key

from windtunnel.core import Flakiness, Outcome, Stability
from windtunnel.report.data import FLAKY_JUDGE
from windtunnel.run.recording import outcome_of, replay_command
from windtunnel.run.session import RunState

_DEAD = (Outcome.CRASHED, Outcome.TIMEOUT)


@dataclasses.dataclass(slots=True)
class _Seen:
    """What the reports of one test have said so far."""

    outcome: Outcome = Outcome.PASSED
    attempt: int = 1
    rerun: bool = False
    quarantined: bool = False
    last_words: pytest.TestReport | None = None


class JUnitProperties:
    """Adds properties to the last report of each test. Registered where the XML is written."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._judged: dict[str, Flakiness] | None = None
        self._seen: dict[tuple[str, str], _Seen] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._state.role == "worker" or not isinstance(report, pytest.TestReport):
            return  # a forked worker has inherited us; its reports pass by in the controller
        ended: str = report.outcome  # pytest's type knows nothing of "rerun"
        worker = worker_of(report, self._state)
        seen = self._seen.setdefault((report.nodeid, worker), _Seen())
        outcome = _true_outcome(report)
        if report.when == "setup" and seen.rerun:
            seen.outcome = Outcome.PASSED  # a new attempt; the old one no longer decides
        if outcome is not Outcome.PASSED and not seen.outcome.bad:
            seen.outcome = outcome
        seen.rerun = seen.rerun or ended == "rerun"
        seen.attempt = max(seen.attempt, getattr(report, "wt_attempt", 1))
        seen.quarantined = seen.quarantined or getattr(report, "wt_quarantined", False)
        if outcome in _DEAD:
            seen.last_words = report
        if report.when == "teardown" and ended != "rerun":
            del self._seen[report.nodeid, worker]
            report.user_properties += self._properties(report.nodeid, worker, seen)

    @pytest.hookimpl(tryfirst=True)  # before the file is written
    def pytest_sessionfinish(self) -> None:
        xml = self._config.stash.get(xml_key, None)
        for (nodeid, worker), seen in self._seen.items():
            if xml is not None and seen.last_words is not None:
                # It died without a teardown, at which pytest would take the properties over.
                node = xml.node_reporter(seen.last_words)
                for name, value in self._properties(nodeid, worker, seen):
                    node.add_property(name, str(value))

    def _properties(self, nodeid: str, worker: str, seen: _Seen) -> list[tuple[str, object]]:
        return properties(nodeid, worker, seen, self._state) + self._known_of(nodeid)

    def _known_of(self, nodeid: str) -> list[tuple[str, object]]:
        """What the record of earlier runs says of a test, where it is not steady."""
        if self._judged is None:
            try:
                self._judged = self._judge()
            except Exception:  # the summary meets the same record, and says what is wrong with it
                self._judged = {}
        judged = self._judged.get(nodeid)
        if judged is None:
            return []
        return [
            ("wt_stability", judged.stability.value),
            ("wt_failure_rate", f"{judged.failure_rate:.3f}"),
        ]

    def _judge(self) -> dict[str, Flakiness]:
        from windtunnel.record import open_record

        judge = self._config.stash.get(FLAKY_JUDGE, None)
        if judge is None:
            return {}
        with open_record(self._state.record_path) as record:
            mixed = {row.nodeid for row in record.recent() if 0 < row.failures < row.results}
            mixed |= record.rerun()
            found = judge(record, self._state.settings, sorted(mixed)) if mixed else []
        unsteady = (Stability.FLAKY, Stability.REGRESSED, Stability.BROKEN)
        return {one.nodeid: one for one in reversed(found) if one.stability in unsteady}


def _true_outcome(report: pytest.TestReport) -> Outcome:
    """What really happened: a failure excused by quarantine is on its way as an expected one."""
    if getattr(report, "wt_excused", False) and not hasattr(report, "wt_outcome"):
        return Outcome.FAILED if report.when == "call" else Outcome.ERROR
    return outcome_of(report)


def worker_of(report: pytest.TestReport, state: RunState) -> str:
    """The name of the worker that ``report`` comes from."""
    for name in ("wt_worker", "worker_id"):
        given = getattr(report, name, None)
        if given:
            return str(given)
    gateway = getattr(getattr(report, "node", None), "gateway", None)
    return str(getattr(gateway, "id", state.worker))


def properties(nodeid: str, worker: str, seen: _Seen, state: RunState) -> list[tuple[str, object]]:
    """The properties of one test, in the order they are written."""
    found: list[tuple[str, object]] = [
        ("wt_nodeid", nodeid),
        ("wt_outcome", seen.outcome.value),
        ("wt_attempts", seen.attempt),
        ("wt_worker", worker),
        ("wt_seed", state.seed.child(nodeid).value),
    ]
    isolation = ",".join(sorted(state.isolation or state.settings.isolation))
    if isolation:
        found.append(("wt_isolation", isolation))
    if seen.quarantined:
        found.append(("wt_quarantined", "true"))
    if seen.attempt > 1 and seen.outcome.good:
        found.append(("wt_flaky", f"passed on attempt {seen.attempt}"))
    if seen.outcome.bad:
        found.append(("wt_replay", replay_command(nodeid, state)))
    return found

"""Says at the end of a run which timeout the record suggests, where a test hung."""

from __future__ import annotations

from typing import Any

import pytest

from windtunnel.core import Outcome
from windtunnel.run.limits import Limit, suggest
from windtunnel.run.session import RunState


class Advice:
    """Speaks when a test timed out, or when a run without a default limit was interrupted."""

    def __init__(self, state: RunState, default: Limit) -> None:
        self._state = state
        self._default = default
        self._interrupted = False
        self._running: dict[str, None] = {}
        self._timed_out: dict[str, None] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._running[nodeid] = None

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._running.pop(nodeid, None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if getattr(report, "wt_outcome", None) == Outcome.TIMEOUT:
            self._timed_out[report.nodeid] = None

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self._interrupted = isinstance(excinfo.value, KeyboardInterrupt)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        lines = self._lines()
        if lines:
            terminalreporter.write_sep("=", "timeouts")
            for line in lines:
                terminalreporter.write_line(line)

    def _lines(self) -> list[str]:
        unlimited = not self._default.seconds
        if self._interrupted and self._running and unlimited:
            lines = [f"interrupted in {nodeid}; no timeout is set" for nodeid in self._running]
        elif self._timed_out:
            lines = [f"{nodeid} did not end within its time" for nodeid in self._timed_out]
        else:
            return []
        seconds, longest, count = self._suggestion()
        if seconds and seconds != self._default.seconds:
            lines.append(
                f"the record suggests --timeout={seconds:g} for the suite: the longest of its"
                f" {count} tests takes {longest:.2g} s (75th percentile)"
            )
        return lines

    def _suggestion(self) -> tuple[float, float, int]:
        if not self._state.record_path.exists():
            return 0.0, 0.0, 0
        from windtunnel.record import open_record

        with open_record(self._state.record_path) as record:
            rows = record.durations()
        # What hung just now says nothing about how long tests take.
        known = [row for nodeid, row in rows.items() if nodeid not in self._timed_out]
        return suggest(known), max((row.p75_s for row in known), default=0.0), len(known)

"""The part of a pytest run that laws have: the exit code of a vacuous one, and what is not asked.

Attached to every run; it imports nothing of this room before a contract is collected.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from windtunnel.core.errors import ExitCode


def attach(config: pytest.Config, state: object) -> None:
    """Watch for vacuous laws."""
    config.pluginmanager.register(LawsPart(), "windtunnel-laws")


class LawsPart:
    """Marks the reports of vacuous laws, and ends a run that failed of nothing else by its code."""

    def __init__(self) -> None:
        self._vacuous = 0
        self._otherwise = 0
        self._outcomes: dict[tuple[str, ...], str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Say on the report that the law was vacuous: it crosses to the process that decides."""
        report = yield
        if (told := vars(item).get("wt_law")) is not None:
            vars(report)["wt_law"] = told
        error = call.excinfo.value if call.excinfo is not None else None
        if getattr(error, "exit_code", None) == ExitCode.VACUOUS:
            vars(report)["wt_vacuous"] = True
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count."""
        if report.failed:
            self._vacuous += 1 if getattr(report, "wt_vacuous", False) else 0
            self._otherwise += 0 if getattr(report, "wt_vacuous", False) else 1
        told = getattr(report, "wt_law", None)
        if told is not None and (report.when == "call" or not report.passed):
            self._outcomes[tuple(told)] = report.outcome

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A run whose tests all held, and some in vain, ends with a code of its own."""
        only = self._vacuous and not self._otherwise
        if only and session.exitstatus == pytest.ExitCode.TESTS_FAILED:
            session.exitstatus = int(ExitCode.VACUOUS)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Where a double keeps to a law that the real one breaks, or the other way round."""
        lines = list(self._differences())
        if lines:
            terminalreporter.section("doubles that differ")
            for line in lines:
                terminalreporter.line(line, yellow=True)

    def _differences(self) -> Iterator[str]:
        for (contract, law, name, role, real), fake_s in self._outcomes.items():
            real_s = self._outcomes.get((contract, law, real, "real", ""))
            if role == "fake" and real_s is not None and fake_s != real_s:
                yield f"{contract}: {law}: {name} {fake_s}, {real} {real_s}"

    def pytest_report_collectionfinish(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> list[str]:
        """One line a contract: who is put to what, and what is not asked of them."""
        if "windtunnel.laws.collect" not in sys.modules or config.option.verbose < 0:
            return []
        from windtunnel.laws.collect import summary

        return summary(items, config.option.verbose > 0)

"""Keeping tests apart: ``env`` within a process, ``namespace`` and ``net`` by worker, ``fork`` by
test.

:func:`attach` is a part of the run. What is asked for and cannot be had is found out before the
first test where that is possible, said in the terminal and on record, and an error under CI.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from windtunnel.core import IsolationError, Violation, emit
from windtunnel.run.session import RunState

if TYPE_CHECKING:
    from windtunnel.run.isolation.apply import Applied

_ORDER = ("namespace", "net", "env", "fork")


def attach(config: pytest.Config, state: RunState) -> None:
    """Register what isolates this process's tests.

    :raises IsolationError: under CI, when an isolation that was asked for cannot be had.
    """
    if not state.settings.isolation:
        return
    plugin = Isolation(config, state)
    config.pluginmanager.register(plugin, "windtunnel-isolation")
    if state.role != "worker":
        plugin.find_out()


class Isolation:
    """The pytest plugin that applies the isolations and says which cannot be had."""

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._config = config
        self._state = state
        self._missing: dict[str, str] = {}
        self._notes: list[str] = []
        self._applied: Applied | None = None
        self._started = False

    def find_out(self) -> None:
        """In the process that starts the run: try in a child what the workers will do."""
        from windtunnel.run.isolation.probe import probe

        wanted = self._state.settings.isolation
        found = probe(self._config, self._state) if wanted & {"namespace", "net"} else {}
        if "fork" in wanted and not hasattr(os, "fork"):
            found["fork"] = "this system has no fork"
        self._state.isolation |= wanted - found.keys()
        for name, reason in sorted(found.items()):
            self._cannot_have(name, reason)

    # -- in processes that run tests ------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_windtunnel_process_started(self, config: pytest.Config, state: RunState) -> None:
        from windtunnel.run.isolation.apply import Applied

        self._started = True
        wanted = state.settings.isolation - self._missing.keys()
        applied = self._applied = Applied(config, state)
        for name in _ORDER:
            if name not in wanted:
                continue
            try:
                note = applied.apply(name)
            except IsolationError as error:
                self._cannot_have(name, error.found)
            else:
                state.isolation.add(name)
                if note:
                    state.isolation.discard(name)
                    self._notes.append(note)
        applied.settle()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        try:
            return (yield)
        finally:
            # Innermost: plugins that wrap the loop write their reports after this.
            if self._applied is not None:
                self._applied.after_last_test()

    @pytest.hookimpl(trylast=True)
    def pytest_windtunnel_process_finished(self) -> None:
        if self._applied is not None:
            self._applied.finish()

    # -- saying so --------------------------------------------------------------------------------

    def _cannot_have(self, name: str, reason: str) -> None:
        self._missing[name] = reason
        self._state.isolation.discard(name)
        emit(
            Violation(
                rule="isolation-unavailable",
                subject=name,
                detail=reason,
                worker=self._state.worker,
                fails=_under_ci(),
            )
        )
        if _under_ci():
            error = IsolationError(
                f"isolation {name!r} cannot be had",
                found=reason,
                fix=f"run where it can, or take {name} out of `isolation` "
                "(outside CI the run goes on without it)",
            )
            if not self._started:
                raise error
            pytest.exit(f"windtunnel: {error}", returncode=int(error.exit_code))

    def pytest_report_header(self) -> list[str]:
        return [f"windtunnel: {line}" for line in self._lines()]

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._lines():
            terminalreporter.write_line(f"windtunnel: {line}", yellow=True)

    def _lines(self) -> list[str]:
        lines = [f"isolation {n!r} cannot be had: {r}" for n, r in sorted(self._missing.items())]
        return lines + self._notes


def _under_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true", "yes")

"""The end of a run: the page is written, the terminal and GitHub are told.

Attached in the one process that has the terminal. Whatever goes wrong in here is said in one
line and changes nothing: a run is judged by its tests, not by the state of its report.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from windtunnel.core import REAL_CLOCK
from windtunnel.report.data import FLAKY_JUDGE, RunView, view_of
from windtunnel.run.session import RunState

if TYPE_CHECKING:
    from windtunnel.report.github import Places


def attach(config: pytest.Config, state: RunState) -> None:
    """Report this run when it ends."""
    if state.role == "worker":
        return
    places: Places | None = None
    if os.environ.get("GITHUB_ACTIONS") == "true":
        from windtunnel.report import github

        workspace = os.environ.get("GITHUB_WORKSPACE")
        places = github.Places(state.root, Path(workspace) if workspace else state.root)
        config.pluginmanager.register(places, "windtunnel-places")
    config.pluginmanager.register(Summary(config, state, places), "windtunnel-summary")
    if getattr(config.option, "xmlpath", None):
        from windtunnel.report.junit import JUnitProperties

        config.pluginmanager.register(JUnitProperties(config, state), "windtunnel-junit-properties")


class Summary:
    """Collects what is shown when the tests are done, and shows it in pytest's summary."""

    def __init__(self, config: pytest.Config, state: RunState, places: Places | None) -> None:
        self._config = config
        self._state = state
        self._places = places
        self._step_summary = os.environ.get("GITHUB_STEP_SUMMARY", "")
        self._begun_s = REAL_CLOCK.monotonic()
        self._view: RunView | None = None
        self._annotations: list[str] = []
        self._trouble: list[str] = []

    # The innermost wrapper: the recorder has recorded the end of the run before us, and the
    # terminal, itself a wrapper, prints its summary after us.
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None, object, object]:
        result = yield
        if self._state.role != "worker":
            self._collect(int(exitstatus))
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        options = self._config.option
        if not getattr(options, "no_summary", False) and self._view is not None:
            try:
                _print(terminalreporter, self._view, self._state)
            except Exception as error:  # a report may not change a verdict
                self._trouble.append(_said("the summary could not be printed", error))
        for line in self._annotations:
            terminalreporter.write_line(line)
        for line in self._trouble:
            terminalreporter.write_line(line, yellow=True)
        self._annotations, self._trouble = [], []

    def pytest_unconfigure(self) -> None:
        # Left over where there is no terminal, or it gives no summary of such an end.
        for line in self._annotations:
            print(line)
        for line in self._trouble:
            print(line, file=sys.stderr)
        self._annotations, self._trouble = [], []

    def _collect(self, exitstatus: int) -> None:
        try:
            view = self._read(exitstatus)
        except Exception as error:  # a report may not change a verdict
            self._trouble.append(_said("the run cannot be reported", error))
            return
        if view is None:
            return
        self._view = view
        try:
            self._write_page(view)
        except Exception as error:
            self._trouble.append(_said("the page cannot be written", error))
        if self._places is not None:
            try:
                self._tell_github(view, self._places)
            except Exception as error:
                self._trouble.append(_said("GitHub cannot be told", error))

    def _read(self, exitstatus: int) -> RunView | None:
        from windtunnel.record import open_record

        state = self._state
        with open_record(state.record_path) as record:
            self._trouble += [f"windtunnel: {notice}" for notice in record.notices]
            run = record.run(state.run_id)
            if run is None:
                return None
            if run.exit_code is None:
                taken = REAL_CLOCK.monotonic() - self._begun_s
                run = dataclasses.replace(run, exit_code=exitstatus, duration_s=taken)
            return view_of(
                record,
                run,
                settings=state.settings,
                judge=self._config.stash.get(FLAKY_JUDGE, None),
            )

    def _write_page(self, view: RunView) -> None:
        state = self._state
        if not state.settings.html or not view.attempts:
            return
        from windtunnel.report.page import write_page

        path = state.root / state.settings.html
        write_page(view, path)
        shown = os.path.relpath(path, self._config.invocation_params.dir)
        near = str(path) if shown.startswith(os.pardir) else shown
        self._view = dataclasses.replace(view, page=near)

    def _tell_github(self, view: RunView, places: Places) -> None:
        from windtunnel.report import github

        self._annotations = github.annotation_lines(view, places.found)
        if self._step_summary:
            with open(self._step_summary, "a", encoding="utf-8") as file:
                file.write(github.job_summary(view))


def _said(what: str, error: Exception) -> str:
    first = str(error).split("\n", 1)[0]
    return f"windtunnel: {what}: {type(error).__name__}: {first}"


def _print(terminal: pytest.TerminalReporter, view: RunView, state: RunState) -> None:
    from windtunnel.report.sections import closing, sections
    from windtunnel.report.terminal import can_print, show

    verbosity = terminal.config.get_verbosity()
    found = sections(
        view,
        flaky_report=state.settings.flaky_report,
        verbosity=verbosity,
        quarantine=not terminal.config.pluginmanager.has_plugin("windtunnel-quarantine"),
    )
    words = closing(view, verbosity=verbosity)
    if not found and not words:
        return
    writer = terminal.config.get_terminal_writer()
    if found:
        terminal.section("windtunnel")
    else:
        terminal.ensure_newline()
    text = show(
        found,
        words,
        width=writer.fullwidth,
        on_screen=bool(terminal.isatty or writer.hasmarkup),
        colour=writer.hasmarkup,
        ascii_only=not can_print(getattr(writer._file, "encoding", None)),
    )
    terminal.write(text)

"""State guards: what a test leaves otherwise than it found it, by name.

Each guard takes a snapshot before a test's own set-up and compares after its last function-scoped
finalizer; what wider-scoped fixtures do in between is not the test's. A difference is emitted as a
violation of the rule ``pollution`` and, on request, put back.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import pytest

from windtunnel.core import UsageError, Violation, emit
from windtunnel.run.guards.base import Change, Guard, show
from windtunnel.run.guards.registries import Registries
from windtunnel.run.session import RunState

RULE = "pollution"


def attach(config: pytest.Config, state: RunState) -> None:
    """Register the guards that the settings ask for.

    :raises UsageError: for a registry that is not written ``module:attribute``.
    """
    wanted = state.settings.guards
    registries = Registries(state.settings.registries if "registries" in wanted else ())
    if wanted:
        config.pluginmanager.register(Guarding(state, registries), "windtunnel-guards")


class Guarding:
    """The pytest plugin, and the part of the boundary, that asks the guards."""

    def __init__(self, state: RunState, registries: Registries) -> None:
        self._state = state
        self._registries = registries
        self._guards: list[tuple[str, Guard[Any]]] = []
        self._base: list[Any] = []
        self._paused: list[Any] = []
        self._pid = os.getpid()
        self._warnings_undone = False

    # -- hooks ----------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_finish(self) -> Generator[None, object, object]:
        try:
            self._registries.find()
        except UsageError as error:
            raise pytest.UsageError(f"windtunnel: {error}") from error
        return (yield)

    def pytest_windtunnel_process_started(self, config: pytest.Config, state: RunState) -> None:
        from windtunnel.run.isolation.boundary import boundary

        self._pid = os.getpid()
        self._warnings_undone = config.pluginmanager.hasplugin("warnings")
        self._guards = _guards(config, state, self._registries)
        boundary(config).add(self)

    @pytest.hookimpl(trylast=True)
    def pytest_windtunnel_process_finished(self) -> None:
        for _, guard in self._guards:
            close = getattr(guard, "close", None)
            if close is not None:
                close()

    # -- a part of the boundary -------------------------------------------------------------------

    def enter(self, item: pytest.Item) -> None:
        self._base = [guard.take() for _, guard in self._guards]

    def pause(self) -> None:
        self._paused = [guard.take() for _, guard in self._guards]

    def resume(self) -> None:
        self._base = [
            guard.rebased(base, before, guard.take())
            for (_, guard), base, before in zip(self._guards, self._base, self._paused, strict=True)
        ]

    def leave(self, item: pytest.Item) -> None:
        for (name, guard), before in zip(self._guards, self._base, strict=True):
            if not guard.same(before):
                self._report(item, name, guard, before)
        self._base = []

    def _report(self, item: pytest.Item, name: str, guard: Guard[Any], before: Any) -> None:
        path, line, _ = item.location
        for change in list(guard.changes(before)):
            emit(
                Violation(
                    rule=RULE,
                    subject=change.subject,
                    detail=change.detail + self._afterwards(name, change),
                    nodeid=item.nodeid,
                    worker=self._state.worker,
                    location=path if line is None else f"{path}:{line + 1}",
                )
            )

    def _afterwards(self, name: str, change: Change) -> str:
        """What becomes of the change, for whoever reads of it."""
        if os.getpid() != self._pid:
            return " (gone with the test's own process)"
        if name in ("environ", "cwd") and "env" in self._state.isolation:
            return " (undone by env isolation)"
        if self._state.settings.restore:
            try:
                change.undo()
            except Exception as error:
                return f" (not restored: {show(error)})"
            return " (restored)"
        if name == "warnings" and self._warnings_undone:
            return " (undone by pytest)"
        return ""


def _guards(
    config: pytest.Config, state: RunState, registries: Registries
) -> list[tuple[str, Guard[Any]]]:
    from windtunnel.run.guards import logs, process, randomness

    wanted = state.settings.guards
    guards: list[tuple[str, Guard[Any]]] = [
        ("modules", process.Modules()),
        ("environ", process.Environ()),
        ("cwd", process.Cwd()),
        ("locale", process.Locale()),
        ("logging", logs.Logging()),
        ("warnings", process.Warnings()),
    ]
    guards = [(name, guard) for name, guard in guards if name in wanted]
    # pytest-randomly seeds before each test, so that no seed outlives one.
    if "random" in wanted and not config.pluginmanager.hasplugin("randomly"):
        guards.append(("random", randomness.Randomness()))
    if state.settings.registries and "registries" in wanted:
        guards.append(("registries", registries))
    return guards

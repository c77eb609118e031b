"""A run that repeats one seed of one test, from a token or a tape file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from windtunnel.core import ExitCode
from windtunnel.core.seed import Seed
from windtunnel.explore import Plan, TapeFile, Token
from windtunnel.explore.one_seed import Request
from windtunnel.explore.plain import from_plain
from windtunnel.run.session import RunState
from windtunnel.run.simulated import hash_seed
from windtunnel.run.simulated_report import pinned
from windtunnel.run.simulated_seeds import Summary


class Replay:
    """What is repeated, and what came of it.

    :raises UsageError: when the setting ``replay`` is neither a token nor such a file.
    """

    def __init__(self, config: pytest.Config, state: RunState) -> None:
        self._tape = TapeFile.read(state.settings.replay)
        self._state = state
        self._found = False
        self._summary: Summary | None = None
        self._until = state.settings.until

    @property
    def token(self) -> Token:
        """The token that was given, or that the tape file holds."""
        return self._tape.token

    def plan_of(self, item: pytest.Item, plan: Plan | None) -> Plan | None:
        """The plan of an item in this run: none but the token's test is simulated."""
        if item.nodeid != self.token.nodeid:
            return None
        self._found = True
        return Plan(1, from_plain(self.token.world) if self.token.world else _default())

    def must_have_found(self, session: pytest.Session) -> None:
        """:raises pytest.UsageError: when the token's test was not collected."""
        if not self._found and not session.testsfailed:
            raise pytest.UsageError(f"windtunnel: the test {self.token.nodeid} is not there")

    def requests(self, plan: Plan) -> Sequence[Request]:
        """The one run to make."""
        token = self.token
        return [
            Request(
                Seed(token.seed),
                plan.config,
                replay=self._tape.choices,
                until=self._until,
                choices=token.choices,
            )
        ]

    def ended(self, summary: Summary) -> None:
        """The run is over."""
        self._summary = summary

    def differences(self) -> list[str]:
        """What of the pinned things is another here."""
        code, interpreter, packages = pinned(self._state.root)
        here = Token(
            self.token.nodeid,
            self.token.seed,
            code=code,
            interpreter=interpreter,
            packages=packages,
            hash_seed=hash_seed(),
        )
        return self.token.differences(here)

    def pytest_report_header(self) -> list[str]:
        token = self.token
        what = "tape" if self._tape.choices is not None else "token"
        lines = [f"windtunnel: replay of {token.nodeid} under seed {token.seed}, from its {what}"]
        return lines + [f"windtunnel: not as it was: {line}" for line in self.differences()]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A replay that passes has not done what it is for; one that was stopped has."""
        summary = self._summary
        if summary is None:
            return
        if summary.failure is None and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = ExitCode.NOT_REPRODUCED
        elif summary.failure is not None and summary.failure.error == "StepReached":
            session.exitstatus = ExitCode.OK

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        said = self._said()
        if said:
            terminalreporter.write_line(f"windtunnel: {said}", yellow=True)

    def _said(self) -> str:
        summary, token = self._summary, self.token
        if summary is None or self._until:
            return ""
        failure = summary.failure
        if failure is None:
            differing = self.differences()
            reason = f"; not as it was: {', '.join(differing)}" if differing else ""
            return f"not reproduced: the test passed{reason}"
        same = (failure.steps, failure.error) == (token.steps, token.error)
        if same:
            return f"reproduced: the same failure, after {failure.steps} steps"
        return (
            f"it failed, though not as it did: {failure.error or 'an error'} after"
            f" {failure.steps} steps, and then {token.error or 'an error'} after {token.steps}"
        )


def _default() -> Any:
    from windtunnel.sim import WorldConfig

    return WorldConfig()

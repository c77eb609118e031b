"""Running the real command on a suite written for the test."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

RunCommand = Callable[..., pytest.RunResult]


@pytest.fixture
def windtunnel_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """``windtunnel_run("-n", "2", ...)`` runs the command in the test's folder."""
    for name in [name for name in os.environ if name.startswith(("PYTEST_", "COV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CI", raising=False)
    # syrupy asks for its worker while it is configured, and so has every pool spawn.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:syrupy -p no:hypothesispytest")

    def run(*arguments: str, timeout: float = 300) -> pytest.RunResult:
        command = [sys.executable, "-m", "windtunnel", "run", *arguments]
        return pytester.run(*command, timeout=timeout)

    return run

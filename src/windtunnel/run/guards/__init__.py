"""State guards."""

from __future__ import annotations

import pytest

from windtunnel.run.session import RunState


def attach(config: pytest.Config, state: RunState) -> None:
    """Register the guards that the settings ask for."""

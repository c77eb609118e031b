from __future__ import annotations
import pytest
from windtunnel.run.session import RunState


def start(config: pytest.Config, state: RunState) -> str:
    return ""

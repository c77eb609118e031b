"""The fixtures that pytest-xdist gives to suites, for runs in which it is not at work.

Registered as a pytest plugin by :mod:`windtunnel.run.xdist`.
"""

from __future__ import annotations

import os
import uuid
from typing import Any

import pytest


@pytest.fixture(scope="session")
def worker_id(request: pytest.FixtureRequest) -> str:
    """The name of this worker (``gw0`` and so on); ``master`` in a run without workers."""
    given: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    return str(given["workerid"]) if given else "master"


@pytest.fixture(scope="session")
def testrun_uid(request: pytest.FixtureRequest) -> str:
    """A name of this run that is the same in all its workers, and in no other run."""
    given: dict[str, Any] | None = getattr(request.config, "workerinput", None)
    if given:
        return str(given["testrunuid"])
    return os.environ.get("PYTEST_XDIST_TESTRUNUID") or uuid.uuid4().hex


testrun_uid.__test__ = False  # type: ignore[attr-defined]  # its name begins with "test"

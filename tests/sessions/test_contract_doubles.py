"""The doubles keep to the contracts of the real things."""

from __future__ import annotations

from windtunnel.sessions import Capabilities, MockCapabilityManager
from windtunnel.sessions import laws as contracts


class TestExecutors(contracts.ExecutorContract):
    subjects = {"double": contracts.scripted_executor}


class TestSessions(contracts.SessionContract):
    subjects = {"double": contracts.scripted_session}


class TestCheckers(contracts.CheckerContract):
    subjects = {"real": Capabilities, "double": MockCapabilityManager}
    doubles = {"double": "real"}

"""The contracts of executors, sessions and capability checkers: real, double, and the user's own.

Subclass one in a test module, say who the subjects are, and pytest collects a test per subject and
law::

    from windtunnel.sessions import laws

    class TestMine(laws.ExecutorContract):
        subjects = {"mine": lambda: MyExecutor(functions=[laws.READ])}

The host function ``READ`` is the one that the laws about capabilities have the guest call.
"""

from __future__ import annotations

from windtunnel.sessions.laws.asked import Asked
from windtunnel.sessions.laws.checkers import CheckerContract
from windtunnel.sessions.laws.executors import ExecutorContract
from windtunnel.sessions.laws.phrases import PYTHON, READ, STARLARK, Language, Phrase
from windtunnel.sessions.laws.scripted import scripted_executor, scripted_session
from windtunnel.sessions.laws.sessions import SessionContract

__all__ = [
    "PYTHON",
    "READ",
    "STARLARK",
    "Asked",
    "CheckerContract",
    "ExecutorContract",
    "Language",
    "Phrase",
    "SessionContract",
    "scripted_executor",
    "scripted_session",
]

"""Attempts to escape from an executor, each proved by what it does and not by what it says.

An executor is put to them by a factory: a function that takes the :class:`Terms` (host functions,
limits) and returns an executor. Each attempt is *withstood*, has *escaped*, or is *not applicable*
where the executor never came to make it. What proves an escape is an effect that the host sees: a
secret that came out, a function that ran, a file, a connection, a process, a use too many.

>>> import anyio
>>> from windtunnel import sessions
>>> from windtunnel.sessions import confinement
>>> def factory(terms):
...     return sessions.executor("monty", functions=terms.functions, limits=terms.limits)
>>> async def main():
...     return await confinement.check(factory, families=["formatting"])
>>> print(anyio.run(main).summary())
pass: 12 attempts, 0 escaped, 12 withstood, 0 not applicable
"""

from __future__ import annotations

from windtunnel.core.errors import MissingExtraError

try:
    import anyio as _anyio  # noqa: F401
except ModuleNotFoundError as _missing:
    raise MissingExtraError("sessions", needed_for="the confinement laws") from _missing

from windtunnel.sessions.confinement.apart import check_apart
from windtunnel.sessions.confinement.checking import check
from windtunnel.sessions.confinement.contract import ConfinementContract
from windtunnel.sessions.confinement.library import ATTEMPTS, FAMILIES
from windtunnel.sessions.confinement.machinery import Machinery
from windtunnel.sessions.confinement.model import Attempt, Canary, Family
from windtunnel.sessions.confinement.report import Outcome, Report, Row
from windtunnel.sessions.confinement.terms import Factory, Terms

__all__ = [
    "ATTEMPTS",
    "FAMILIES",
    "Attempt",
    "Canary",
    "ConfinementContract",
    "Factory",
    "Family",
    "Machinery",
    "Outcome",
    "Report",
    "Row",
    "Terms",
    "check",
    "check_apart",
]

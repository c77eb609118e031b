"""Attempts to escape from an executor, each proved by what it does and not by what it says."""

from __future__ import annotations

from windtunnel.sessions.confinement.apart import check_apart
from windtunnel.sessions.confinement.checking import check
from windtunnel.sessions.confinement.library import ATTEMPTS, FAMILIES
from windtunnel.sessions.confinement.machinery import Machinery
from windtunnel.sessions.confinement.model import Attempt, Canary, Family
from windtunnel.sessions.confinement.report import Outcome, Report, Row
from windtunnel.sessions.confinement.terms import Factory, Terms

__all__ = ["ATTEMPTS", "FAMILIES", "Attempt", "Canary", "Factory", "Family", "Machinery",
           "Outcome", "Report", "Row", "Terms", "check", "check_apart"]  # fmt: skip

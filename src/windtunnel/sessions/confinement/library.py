"""All attempts, by their families."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from windtunnel.sessions.confinement import (
    aliasing,
    attributes,
    contexts,
    exhaustion,
    expiry,
    floods,
    formatting,
    importing,
    injection,
    smuggling,
    timeouts,
    tokens,
    traversal,
    uses,
)
from windtunnel.sessions.confinement.model import Attempt, Family

_IN_ORDER = (
    aliasing, importing, attributes, formatting, traversal, injection, tokens, uses, expiry,
    contexts, smuggling, exhaustion, timeouts, floods,
)  # fmt: skip

FAMILIES: Mapping[str, Family] = MappingProxyType(
    {module.FAMILY.name: module.FAMILY for module in _IN_ORDER}
)
"""The families by name, in the order in which they are tried."""

ATTEMPTS: Mapping[str, Attempt] = MappingProxyType(
    {attempt.id: attempt for family in FAMILIES.values() for attempt in family.attempts}
)
"""All attempts by id."""

__all__ = ["ATTEMPTS", "FAMILIES"]

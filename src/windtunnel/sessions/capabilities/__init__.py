"""Capabilities: who may do what, on which resources, how often and how long.

A :class:`CapabilityToken` is the right to one type of thing within :class:`CapabilityConstraint`
bounds; a :class:`CapabilityContext` is what a piece of work holds. Contexts form a tree in which
below only less is held. Which one is current follows the work through tasks and threads.
"""

from __future__ import annotations

from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.token import CapabilityToken

from windtunnel.sessions.capabilities.context import (  # isort: skip  (it settles `current`)
    EXECUTE,
    CapabilityContext,
)
from windtunnel.sessions.capabilities.current import (
    Capabilities,
    CarryingThreadPool,
    carry,
    current_context,
)
from windtunnel.sessions.capabilities.held import CapabilityUse
from windtunnel.sessions.capabilities.sealed import SealLedger, seal, unseal
from windtunnel.sessions.capabilities.violation import CapabilityViolation

__all__ = [
    "EXECUTE",
    "Capabilities",
    "CapabilityConstraint",
    "CapabilityContext",
    "CapabilityToken",
    "CapabilityUse",
    "CapabilityViolation",
    "CarryingThreadPool",
    "SealLedger",
    "carry",
    "current_context",
    "seal",
    "unseal",
]

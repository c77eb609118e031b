"""Whether an integration is whole: imports, engines, extensions, adapters, capabilities.

Each check yields findings as it goes. ``windtunnel validate`` prints them.
"""

from __future__ import annotations

from windtunnel.sessions.validation.adapters import adapters
from windtunnel.sessions.validation.declared import declarations
from windtunnel.sessions.validation.engines import engines, extensions
from windtunnel.sessions.validation.finding import Finding
from windtunnel.sessions.validation.imports import Loaded, libraries, load
from windtunnel.sessions.validation.running import ran

__all__ = [
    "Finding",
    "Loaded",
    "adapters",
    "declarations",
    "engines",
    "extensions",
    "libraries",
    "load",
    "ran",
]

"""Model servers: every model API, by script, on the wire and in process.

A *server* answers as the providers' own servers do, in their bytes; what it answers is said by
*scripts*. It is asked over a socket, or in process, or over the simulated network; the program
under test is not changed for it.

    with models.serve() as server:
        server.on(contains="weather").reply("Sunny.")
        client = openai.OpenAI(base_url=server.url + "/v1", api_key="any")
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from windtunnel.models.answers import error, shaped
    from windtunnel.models.core import ModelCore
    from windtunnel.models.faults import fault
    from windtunnel.models.journal import Recorded
    from windtunnel.models.pace import (
        Pace,
        empirical,
        exponential,
        lognormal,
        normal,
        uniform,
    )
    from windtunnel.models.protocol import (
        Message,
        ModelCall,
        Reply,
        ReplyError,
        Tool,
        ToolCall,
        ToolResult,
        Usage,
    )
    from windtunnel.models.script import Script
    from windtunnel.models.server import MockOllamaServer, ModelServer, serve

_HOMES = {
    "Message": "protocol",
    "MockOllamaServer": "server",
    "ModelCall": "protocol",
    "ModelCore": "core",
    "ModelServer": "server",
    "Pace": "pace",
    "Recorded": "journal",
    "Reply": "protocol",
    "ReplyError": "protocol",
    "Script": "script",
    "Tool": "protocol",
    "ToolCall": "protocol",
    "ToolResult": "protocol",
    "Usage": "protocol",
    "empirical": "pace",
    "error": "answers",
    "exponential": "pace",
    "fault": "faults",
    "lognormal": "pace",
    "normal": "pace",
    "serve": "server",
    "shaped": "answers",
    "uniform": "pace",
}

__all__ = [
    "Message",
    "MockOllamaServer",
    "ModelCall",
    "ModelCore",
    "ModelServer",
    "Pace",
    "Recorded",
    "Reply",
    "ReplyError",
    "Script",
    "Tool",
    "ToolCall",
    "ToolResult",
    "Usage",
    "empirical",
    "error",
    "exponential",
    "fault",
    "lognormal",
    "normal",
    "serve",
    "shaped",
    "uniform",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value  # asked for once
    return value

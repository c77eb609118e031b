"""Sessions and executors by the name of their engine."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
from collections.abc import Iterable
from typing import TypeAlias

from windtunnel.core.clock import REAL_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.context import CapabilityContext
from windtunnel.sessions.capabilities.token import CapabilityToken
from windtunnel.sessions.executing import EngineExecutor
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Engine, Limits
from windtunnel.sessions.session import EngineSession

ENTRY_POINTS = "windtunnel.engines"
"""The group of entry points by which a package brings an engine under its name."""

_OURS = {
    "monty": "windtunnel.sessions.engines.monty:MontyGuest",
    "process": "windtunnel.sessions.engines.process:ProcessGuest",
    "starlark": "windtunnel.sessions.engines.starlark:StarlarkGuest",
}

Held: TypeAlias = CapabilityContext | Iterable[CapabilityToken] | None


def known_engines() -> dict[str, str]:
    """Where each engine is, by its name: ours, and those that installed packages bring.

    >>> sorted(known_engines())[:3]
    ['monty', 'process', 'starlark']
    """
    found = importlib.metadata.entry_points(group=ENTRY_POINTS)
    return {**{point.name: point.value for point in found}, **_OURS}


def open(
    engine: str | Engine = "monty",
    *,
    functions: Iterable[HostFunction] = (),
    capabilities: Held = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    name: str = "",
    clock: Clock = REAL_CLOCK,
) -> EngineSession:
    """A session: a context manager, async or not, or closed with ``close``.

    :param engine: the name of one of :func:`known_engines`, or what makes a guest.
    :param functions: the host functions that its code may call.
    :param capabilities: what its code may use: a context; or tokens, of which those that go beyond
        the current context are refused, where one is current; None for what the current context
        holds, which is nothing where none is.
    :param limits: what one execution may take.
    :param name: its name in reports.
    :param clock: the clock of its records.
    :raises UsageError: for an engine that is not there or a host function that is none.

    >>> with open("monty") as session:
    ...     session.run_sync("x = 20").ok
    ...     session.run_sync("x + 1").value
    True
    21
    """
    return EngineSession(
        _engine(engine),
        functions=functions,
        capabilities=capabilities,
        limits=limits,
        name=name or _name(engine),
        clock=clock,
    )


def executor(
    engine: str | Engine = "monty",
    *,
    functions: Iterable[HostFunction] = (),
    capabilities: Held = (),
    limits: Limits = Limits(),  # noqa: B008 - frozen
    name: str = "",
    clock: Clock = REAL_CLOCK,
) -> EngineExecutor:
    """An executor: runs each piece of code from nothing. The parameters are those of :func:`open`.

    :param capabilities: what code has where ``execute`` is given no grants; nothing by default.

    >>> with executor("monty") as run:
    ...     run.execute_sync("n * 2", inputs={"n": 21}).value
    42
    """
    return EngineExecutor(
        _engine(engine),
        functions=functions,
        capabilities=capabilities,
        limits=limits,
        name=name or _name(engine),
        clock=clock,
    )


def _name(engine: str | Engine) -> str:
    return engine if isinstance(engine, str) else getattr(engine, "__name__", "engine")


def _engine(engine: str | Engine) -> Engine:
    return _found(engine) if isinstance(engine, str) else engine


@functools.cache
def _found(name: str) -> Engine:
    known = known_engines()
    if name not in known:
        raise UsageError(
            "there is no such engine",
            found=repr(name),
            fix=f"use one of {', '.join(sorted(known))}, or install a package that brings it",
        )
    module, _, attribute = known[name].partition(":")
    made: Engine = getattr(importlib.import_module(module), attribute)
    return made

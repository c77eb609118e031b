"""Whether each engine that is found works: runs code, asks its host functions' guards, stops."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection, Iterator
from typing import Any

from windtunnel.core.errors import MissingExtraError, UsageError
from windtunnel.core.verdict import Verdict
from windtunnel.sessions.capabilities import CapabilityToken
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.opening import ENTRY_POINTS, known_engines
from windtunnel.sessions.opening import open as open_session
from windtunnel.sessions.session import EngineSession
from windtunnel.sessions.validation.finding import Finding

_PROBE = HostFunction("probe", lambda: 42, needs="windtunnel.probe")
# In words that Python and Starlark have in common.
_FOREVER = """
def spin():
    for a in range(1000000000):
        for b in range(1000000000):
            pass

spin()
"""


def engines(names: Collection[str] = ()) -> Iterator[Finding]:
    """Try each engine, ours and those of installed packages.

    :param names: which; all that are found by default.
    :raises UsageError: for an engine that is not there.

    >>> [(one.name, one.verdict.value) for one in engines(["monty"])]
    [('monty', 'pass')]
    """
    known = known_engines()
    for name in names or sorted(known):
        if name not in known:
            raise UsageError(
                "there is no such engine",
                found=repr(name),
                fix=f"one of {', '.join(sorted(known))}",
            )
        yield _engine(name)


def _engine(name: str) -> Finding:
    try:
        with open_session(
            name, functions=[_PROBE], capabilities=[CapabilityToken(_PROBE.needs)]
        ) as session:
            wrong = _wrong(session)
            detail = wrong or session.isolation
    except MissingExtraError as missing:
        return Finding("engines", name, Verdict.UNKNOWN, missing.what, fix=missing.fix)
    except Exception as error:  # of the engine, whoever's it is
        return Finding("engines", name, Verdict.FAIL, f"{type(error).__name__}: {error}")
    return Finding("engines", name, Verdict.FAIL if wrong else Verdict.PASS, detail)


def _wrong(session: EngineSession) -> str:
    """The first thing that it does not do; empty where it does all."""
    for does, code, value, error_type, options in _PROBES:
        result = session.run_sync(code, **options)
        if (result.value, result.error_type) != (value, error_type):
            return f"{does}: {' '.join(repr(result).split())[:300]}"
    return ""


# What it does where it is right, the code, the value and error that it then gives, and how it runs.
_PROBES: tuple[tuple[str, str, object, str, dict[str, Any]], ...] = (
    ("it does not compute 40 + 2", "40 + 2", 42, "", {}),
    ("a host function cannot be called", "probe()", 42, "", {}),
    (
        "a host function can be called without its capability",
        "probe()",
        None,
        "CapabilityDenied",
        {"grants": ()},
    ),
    ("a loop without end is not ended", _FOREVER, None, "TimeoutError", {"timeout_s": 0.1}),
    ("after a loop was ended it does not serve", "40 + 2", 42, "", {}),
)


def extensions() -> Iterator[Finding]:
    """The entry points of installed packages that are for windtunnel."""
    for group in sorted(importlib.metadata.entry_points().groups):
        if group.partition(".")[0] == "windtunnel":
            for point in importlib.metadata.entry_points(group=group):
                yield _extension(point)


def _extension(point: importlib.metadata.EntryPoint) -> Finding:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
    name = f"{point.group}: {point.name}"
    found = f"{point.value} of {package}"
    if point.group != ENTRY_POINTS:
        return Finding(
            "extensions",
            name,
            Verdict.FAIL,
            f"nobody reads this group: {found}",
            fix=f"the group of engines is {ENTRY_POINTS}",
        )
    try:
        loaded = point.load()
    except Exception as error:
        return Finding("extensions", name, Verdict.FAIL, f"{type(error).__name__}: {error}")
    if not callable(loaded):
        return Finding("extensions", name, Verdict.FAIL, f"{found} is not callable")
    return Finding("extensions", name, Verdict.PASS, found)


__all__ = ["engines", "extensions"]

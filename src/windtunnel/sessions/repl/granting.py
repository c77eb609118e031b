"""``.grant``: from what is typed to a token, and what it opens, in words."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import CapabilityConstraint, CapabilityToken
from windtunnel.sessions.hosting import HostFunction

USAGE = ".grant CAP [PATTERN] [uses=N] [seconds=S] [bytes=N] [operations=read,list] [ports=443]"
_BOUNDS = ("uses", "seconds", "bytes", "operations", "ports")


def parse_grant(text: str, now: float) -> CapabilityToken:
    """The token that was asked for.

    :param text: what follows ``.grant``.
    :param now: seconds since the epoch on the session's clock, from which ``seconds`` count.
    :raises UsageError: where it cannot be meant.

    >>> print(parse_grant("fs.read /data/** uses=3", 0.0))
    fs.read(resources=/data/**, uses=3, resolve_symlinks=True)
    >>> print(parse_grant("net.connect *.example.com", 0.0))
    net.connect(hosts=*.example.com)
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"cannot read the grant: {error}", found=text, fix=USAGE) from None
    if not words:
        raise UsageError("a grant names a capability", fix=USAGE)
    capability, *rest = words
    patterns: list[str] = []
    bounds: dict[str, Any] = {}
    for word in rest:
        name, equals, value = word.partition("=")
        if equals and name in _BOUNDS:
            bounds |= _bound(name, value, now)
        elif equals and name.isidentifier():
            raise UsageError(f"a grant has no bound {name!r}", found=word, fix=USAGE)
        else:
            patterns.append(word)
    if patterns:
        bounds["hosts" if capability.startswith("net.") else "resources"] = tuple(patterns)
    if capability.startswith("fs."):
        bounds["resolve_symlinks"] = True
    return CapabilityToken(capability, CapabilityConstraint(**bounds))


def _bound(name: str, value: str, now: float) -> dict[str, Any]:
    try:
        if name == "uses":
            return {"uses": int(value)}
        if name == "bytes":
            return {"total_bytes": int(value)}
        if name == "seconds":
            return {"expires_at": now + float(value)}
    except ValueError:
        raise UsageError(f"{name} of a grant is a number", found=repr(value), fix=USAGE) from None
    return {name: tuple(value.split(","))}


def opens(token: CapabilityToken, functions: Iterable[HostFunction]) -> list[str]:
    """Names of the host functions that need such a token."""
    return [function.name for function in functions if function.needs == token.type]

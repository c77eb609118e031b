"""What a job has its guest do, one function a kind of execution."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from windtunnel.sessions.errors import CapabilityDenied
from windtunnel.sessions.job import Work
from windtunnel.sessions.protocol import ExecResult, Guest, HostCall, Limits


def refused(denied: CapabilityDenied) -> Work:
    """To have been refused, which the guest never hears of."""
    result = ExecResult(ok=False, error=str(denied), error_type="CapabilityDenied")
    return lambda guest, host, limits: result


def too_roomy(limits: Limits) -> Work:
    """To be held to less memory than the guest was started with."""
    result = ExecResult(
        ok=False,
        error=f"it may take {limits.memory_mb} MiB, and earlier code of the session more, which its"
        " engine cannot take back; reset the session, or open it with less",
        error_type="MemoryError",
    )
    return lambda guest, host, limits: result


def running(code: str, inputs: Mapping[str, Any] | None) -> Work:
    """To run code."""
    given, text = dict(inputs or {}), without_margin(code)
    return lambda guest, host, limits: guest.run(text, inputs=given, limits=limits, host=host)


def without_margin(code: str) -> str:
    """Code as it stands in an indented literal of a test, which no engine would take."""
    return textwrap.dedent(code) if code.lstrip("\n")[:1] in (" ", "\t") else code


def calling(function: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Work:
    """To call a function of the guest's."""
    return lambda guest, host, limits: guest.call(function, args, kwargs, limits=limits, host=host)


def defining(name: str, value: Any) -> Work:
    """To bind a name."""

    def work(guest: Guest, host: HostCall, limits: Limits) -> ExecResult:
        guest.assign(name, value)
        return ExecResult(ok=True)

    return work


def resetting(guest: Guest, host: HostCall, limits: Limits) -> ExecResult:
    """To forget every name."""
    guest.reset()
    return ExecResult(ok=True)

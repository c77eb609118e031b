"""What an assertion says when it fails: what was expected, and what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from windtunnel.sessions.capabilities import CapabilityViolation
from windtunnel.sessions.fake.answers import plain
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import ExecResult

ANYTHING: Final = object()
"""Said of an expected value that may be any."""


def must_be(result: ExecResult, code: str, expected: Any, output: str | None) -> ExecResult:
    """The result, where it is what was expected.

    :raises AssertionError: where it is not.
    """
    __tracebackhide__ = True
    wanted = "it ends well" if expected is ANYTHING else repr(expected)
    if not result.ok:
        raise failure("the code failed", code=code, expected=wanted, happened=told(result))
    if expected is not ANYTHING and not same(result.value, expected):
        raise failure(
            "the code gave another value", code=code, expected=wanted, happened=told(result)
        )
    if output is not None and result.output != output:
        raise failure(
            "the code printed something else",
            code=code,
            expected=repr(output),
            happened=repr(result.output),
        )
    return result


def same(value: Any, expected: Any) -> bool:
    """Equal, and no bool for a number: ``1 == True`` would hide a mistake."""
    if isinstance(value, bool) is not isinstance(expected, bool) and isinstance(
        expected, (bool, int, float)
    ):
        return False
    return bool(value == expected) or (value != value and expected != expected)


def failure(what: str, *, expected: str, happened: str, code: str = "") -> AssertionError:
    """An assertion's error, in lines."""
    lines = [what]
    if code:
        lines += ["  code:", *(f"    {line}" for line in plain(code).splitlines())]
    lines += [f"  expected: {expected}", f"  happened: {happened}"]
    return AssertionError("\n".join(lines))


def told(result: ExecResult) -> str:
    """A result in words."""
    printed = f", and printed {result.output!r}" if result.output else ""
    if result.ok:
        return f"it ended well with {result.value!r}{printed}"
    return f"it failed with {result.error_type}: {' '.join(result.error.split())}{printed}"


def wanted_text(capability: str, resource: str | None, operation: str | None) -> str:
    """A capability in words."""
    text = capability if operation is None else f"{capability} {operation}"
    return text if resource is None else f"{text} on {resource!r}"


def not_refused(
    result: ExecResult, violations: Sequence[CapabilityViolation], functions: Sequence[HostFunction]
) -> str:
    """What happened in place of a refusal."""
    if violations:
        others = ", ".join(f"{one.wanted} ({one.reason})" for one in violations)
        return f"it was refused something else: {others}; {told(result)}"
    words = f"nothing was refused; {told(result)}"
    if result.error_type == "NameError":
        known = ", ".join(one.name for one in functions) or "none"
        words += f" (host functions of the helper: {known})"
    return words


def arguments(args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> str:
    """Arguments as they are written."""
    shown = [*map(repr, args), *(f"{name}={value!r}" for name, value in (kwargs or {}).items())]
    return f"({', '.join(shown)})"


__all__ = [
    "ANYTHING",
    "arguments",
    "failure",
    "must_be",
    "not_refused",
    "same",
    "told",
    "wanted_text",
]

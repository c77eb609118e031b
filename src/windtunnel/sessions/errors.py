"""Errors of the sessions: what callers did wrong, what guests did, and what was refused."""

from __future__ import annotations

from typing import Any

from windtunnel.core.errors import UsageError, WindtunnelError


class SessionClosedError(UsageError):
    """A session or an executor was used after it had been closed."""

    def __init__(self, what: str = "the session is closed", *, name: str = "") -> None:
        super().__init__(what, found=name, fix="open another, or close it after its last use")


class GuestError(WindtunnelError):
    """A guest's function failed, where the caller asked for its value.

    :param error_type: the name of the guest's exception, as the guest has it.
    :param message: its message.

    >>> error = GuestError("ZeroDivisionError", "division by zero")
    >>> print(error)
    the guest's code failed
      found: ZeroDivisionError: division by zero
    >>> error.error_type
    'ZeroDivisionError'
    """

    def __init__(self, error_type: str, message: str) -> None:
        self.error_type = error_type
        self.message = message
        super().__init__(
            "the guest's code failed",
            found=f"{error_type}: {message}" if message else error_type,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.error_type, self.message)


class CapabilityDenied(WindtunnelError, PermissionError):
    """Something may not be done. Also a :class:`PermissionError`, which guests know.

    :param capability: the type of capability that was wanted.
    :param resource: on what, as it was asked for.
    :param operation: which operation, empty where none was said.
    :param reason: why not, one clause.
    :param location: ``file:line`` of the code that asked, empty where unknown.
    :param held: what was held of that type, one text a token.

    >>> error = CapabilityDenied("fs.read", "/etc/passwd", reason="no token of this type is held")
    >>> print(error)
    not allowed: fs.read on '/etc/passwd'
      found: no token of this type is held
      to fix: grant a token of fs.read that covers it, or do not ask for it
    >>> isinstance(error, PermissionError)
    True
    """

    def __init__(
        self,
        capability: str,
        resource: str = "",
        operation: str = "",
        reason: str = "",
        *,
        location: str = "",
        held: tuple[str, ...] = (),
    ) -> None:
        self.capability = capability
        self.resource = resource
        self.operation = operation
        self.reason = reason
        self.location = location
        self.held = held
        what = f"not allowed: {capability}"
        if operation:
            what += f" {operation}"
        if resource:
            what += f" on {shortened(resource)}"
        found = reason
        if held:
            found += f"; held: {', '.join(held)}"
        if location:
            found += f" (asked for at {location})"
        super().__init__(
            what,
            found=found,
            fix=f"grant a token of {capability} that covers it, or do not ask for it",
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # PermissionError's own would hand the message to the constructor as the capability.
        positional = (self.capability, self.resource, self.operation, self.reason)
        return _denied, (positional, self.location, self.held)


def _denied(positional: tuple[str, ...], location: str, held: tuple[str, ...]) -> CapabilityDenied:
    return CapabilityDenied(*positional, location=location, held=held)


_SHOWN = 200


def shortened(text: str) -> str:
    """The text quoted, with its middle left out where it is long.

    >>> shortened("/etc/passwd")
    "'/etc/passwd'"
    """
    if len(text) <= _SHOWN:
        return ascii(text) if not text.isprintable() else repr(text)
    half = _SHOWN // 2
    return f"{text[:half]!a}...{text[-half:]!a} ({len(text)} characters)"


__all__ = ["CapabilityDenied", "GuestError", "SessionClosedError", "shortened"]

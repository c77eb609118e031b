"""What can go wrong with laws, besides a law that does not hold."""

from __future__ import annotations

from windtunnel.core.errors import ExitCode, UsageError, WindtunnelError


class ContractError(UsageError):
    """A contract says something that cannot be meant, found out when it is read."""


class RunningLoopError(UsageError):
    """Asynchronous subjects cannot be put to laws inside a running event loop."""


class LawBrokenError(AssertionError):
    """A law of the house does not hold: what was expected, and what was found instead."""


class VacuousError(WindtunnelError):
    """A law held without having tested anything."""

    exit_code = ExitCode.VACUOUS


class NothingToTest(BaseException):
    """Raised by a law that holds by construction for what it was given: why.

    A BaseException, so that no subject and no example runner takes it for a failure.
    """


class NeedsLoopError(BaseException):
    """A contract that looked synchronous returned an awaitable: it is run in a loop instead."""

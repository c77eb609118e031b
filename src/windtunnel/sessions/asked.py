"""One execution that was asked of a session, from the asking to the result."""

from __future__ import annotations

import dataclasses

from windtunnel.sessions.capabilities.context import CapabilityContext
from windtunnel.sessions.capabilities.held import CapabilityUse
from windtunnel.sessions.errors import CapabilityDenied
from windtunnel.sessions.protocol import Limits

BOUNDED = ("run", "call")
"""What an execution is that a token of the type ``execute`` bounds."""


@dataclasses.dataclass(slots=True)
class Asked:
    """What was asked, and what it has.

    :param kind: ``run``, ``call``, ``define`` or ``reset``.
    :param code: the code, or a name.
    :param context: what it may use.
    :param started: seconds since the epoch, for the record.
    :param at: seconds of the monotonic clock when it was asked; ``began`` when its turn came.
    :param use: the use of a token that bounds it, to be charged with what it took.
    :param refused: why such a token does not allow it.
    """

    kind: str
    code: str
    context: CapabilityContext
    limits: Limits
    started: float
    at: float
    began: float = 0.0
    use: CapabilityUse | None = None
    refused: CapabilityDenied | None = None

    def bound(self) -> None:
        """Use a token that bounds executions, where one does."""
        try:
            self.limits, self.use = self.context.execution(self.limits)
        except CapabilityDenied as denied:
            self.refused = denied  # as it would be, had the code itself asked

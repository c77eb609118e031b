"""What can go wrong in the simulated world, one class a cause."""

from __future__ import annotations

from windtunnel.core.errors import ExitCode, WindtunnelError


class SimulationError(WindtunnelError):
    """Base of the errors of the simulated world."""

    exit_code = ExitCode.TESTS_FAILED


class EscapeError(SimulationError):
    """Code tried to leave the simulated world: a real socket, thread, process or file."""


class DeadlockError(SimulationError):
    """Nothing can run, no timer is set, and what was awaited has not happened."""


class StallError(SimulationError):
    """Virtual time passed and things happened, but not what was awaited."""


class BlockingCallError(SimulationError):
    """A call would block the one thread in which the whole world runs."""


class DivergedError(SimulationError):
    """A replay asked for a choice that its tape does not have."""


class NodeCrashedError(SimulationError):
    """The node on which something was awaited crashed before it was done."""

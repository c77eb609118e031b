"""The errors of the fence: made here, raised where the call was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from windtunnel.sim.errors import BlockingCallError, EscapeError
from windtunnel.sim.fence.sites import caller

if TYPE_CHECKING:
    from windtunnel.sim.world import World


def escape(world: World, what: str, call: str, fix: str) -> EscapeError:
    """The error to raise for a call that leads out of the world, which remembers it.

    :param what: what kind of leaving this is, as the subject of a sentence.
    :param call: the call with its telling arguments.
    :param fix: what to do instead.
    """
    error = EscapeError(
        f"{what} would leave the simulated world", found=f"{call} at {caller()}", fix=fix
    )
    world.escape(error)
    return error


def blocked(world: World, call: str, fix: str) -> BlockingCallError:
    """The error to raise for a call that waits for another thread, which the world remembers:
    none could end it."""
    error = BlockingCallError(
        "waiting here blocks the one thread of the simulated world for ever",
        found=f"{call} at {caller()}",
        fix=fix,
    )
    world.escape(error)
    return error

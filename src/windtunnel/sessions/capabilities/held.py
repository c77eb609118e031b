"""A token as a context holds it, and a use that was admitted."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from windtunnel.sessions.capabilities import ledger
from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.token import CapabilityToken
from windtunnel.sessions.capabilities.wish import Wish
from windtunnel.sessions.protocol import Limits

if TYPE_CHECKING:
    from windtunnel.sessions.capabilities.holdings import Holdings


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A token as one context holds it: with all whose bounds it is under.

    :param home: of the context that was given it.
    """

    home: Holdings
    token: CapabilityToken
    constraints: tuple[CapabilityConstraint, ...]
    bounds: tuple[ledger.Bound, ...]

    def refusal(self, wish: Wish) -> str:
        """Why the wish is out of its bounds, whatever was used before; empty when it is not."""
        wish.begin()
        for constraint in self.constraints:
            reason = constraint.refusal_of(wish)
            if reason:
                return reason
        return ""

    def covers(self, token: CapabilityToken) -> bool:
        """Whether a token of the same type certainly allows nothing that this does not."""
        theirs = token.all_constraints
        return all(
            any(mine.covers(one) for one in theirs) for mine in self.constraints if mine.given()
        )

    def limits(self, limits: Limits) -> Limits:
        """Limits of code that runs under it: those given, or less."""
        memory = [one.memory_mb for one in self.constraints if one.memory_mb is not None]
        left = ledger.cpu_left(self.bounds)
        return dataclasses.replace(
            limits,
            memory_mb=_least(limits.memory_mb, [max(1, int(one)) for one in memory]),
            timeout_s=_least(limits.timeout_s, [] if left is None else [left]),
        )


def _least(limit: Any, others: list[Any]) -> Any:
    return min([one for one in (limit, *others) if one is not None], default=None)


class CapabilityUse:
    """One use that was admitted.

    :param resource: the resource in the form that was judged: a path normalised, with symbolic
        links followed where a constraint asks for that; anything else as it was asked for.
    """

    __slots__ = ("_held", "resource")

    def __init__(self, held: Held, resource: str = "") -> None:
        self.resource = resource
        self._held = held

    @property
    def token(self) -> CapabilityToken:
        """The token that admitted it."""
        return self._held.token

    def limits(self, limits: Limits) -> Limits:
        """Limits of code that runs by this use: those given, or less."""
        return self._held.limits(limits)

    @property
    def meters_cpu(self) -> bool:
        """Whether some bound counts the CPU that the use takes."""
        return any(bound.cpu_s is not None for bound in self._held.bounds)

    def charge(self, *, cpu_s: float) -> None:
        """Count CPU seconds that the use took. It was begun and may end; the next is refused
        when they were too many."""
        ledger.charge(self._held.bounds, cpu_s)


__all__ = ["CapabilityUse", "Held"]

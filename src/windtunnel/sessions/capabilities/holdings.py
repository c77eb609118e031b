"""The tree of what is held: which tokens are in force where, what they are bound to, letting go.

One :class:`Holdings` a context. It knows neither uses nor refusals, only who holds what from whom.
"""

from __future__ import annotations

from collections.abc import Iterator

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import ledger
from windtunnel.sessions.capabilities.held import Held
from windtunnel.sessions.capabilities.token import CapabilityToken, known


class Holdings:
    """What one context holds.

    :param path: the context's name, with those above it, for messages.
    :param above: the holdings of the context above; None for a root.
    :param inherit: whether a type that it never had a token of is that of above.
    :ivar gates: what dies when this context or one above it is closed.
    """

    __slots__ = ("_above", "_hands", "_inherit", "_own", "_path", "gates")

    def __init__(self, path: str, above: Holdings | None, *, inherit: bool) -> None:
        self._path = path
        self._above = above
        self._inherit = inherit
        self._own: dict[str, tuple[Held, ...]] = {}
        self._hands: dict[Held, ledger.Bound] = {}
        gate = ledger.Bound(f"the context {path}", ledger.Account())
        self.gates: tuple[ledger.Bound, ...] = (gate, *(above.gates if above else ()))

    # -- looking

    def in_force(self, type: str) -> tuple[Held, ...]:
        """What is in force for a type: its own, or from above where it never had its own."""
        holdings: Holdings | None = self
        while holdings is not None:
            own = holdings._own.get(type)
            if own is not None:
                return own
            holdings = holdings._above if holdings._inherit else None
        return ()

    def nearest(self, type: str) -> tuple[Held, ...] | None:
        """What the nearest context upwards that ever had tokens of the type holds of it, also
        where nothing is inherited; None where none had any."""
        for holdings in self._upward():
            if type in holdings._own:
                return holdings._own[type]
        return None

    def types(self) -> tuple[str, ...]:
        """The types of which something is in force, sorted."""
        found: set[str] = set()
        holdings: Holdings | None = self
        while holdings is not None:
            found.update(holdings._own)
            holdings = holdings._above if holdings._inherit else None
        return tuple(sorted(one for one in found if self.in_force(one)))

    def everything(self) -> Iterator[Held]:
        """All that is in force."""
        for type in self.types():
            yield from self.in_force(type)

    def _upward(self) -> Iterator[Holdings]:
        holdings: Holdings | None = self
        while holdings is not None:
            yield holdings
            holdings = holdings._above

    # -- adding

    def add(self, token: CapabilityToken, now: float) -> bool:
        """Hold a token; False where it goes beyond what is held above."""
        # In one piece, so that nobody above lets go of it while it is bound to what is held there.
        with ledger.exclusive():
            held = self._bound(token, now)
            own = self._own.get(token.type, ())
            if held is not None and all(one.token is not token for one in own):
                self._own[token.type] = (*own, held)
        return held is not None

    def _bound(self, token: CapabilityToken, now: float) -> Held | None:
        """The token with all that it is bound to here; None where it goes beyond that."""
        constraints = token.all_constraints
        bounds = tuple(one.bound for one in token.chain)
        if self._above is None:
            return Held(self, token, constraints, bounds)
        source = _source(token, self._above.in_force(token.type), now)
        if source is None:
            return None
        bounds += source.bounds + self._above._handed(source)
        return Held(
            self,
            token,
            tuple(dict.fromkeys(constraints + source.constraints)),
            tuple(dict.fromkeys(bounds)),
        )

    def _handed(self, held: Held) -> tuple[ledger.Bound, ...]:
        """What makes a token below die when a context on its way down to there lets go of it."""
        bounds = []
        for holdings in self._upward():
            if holdings is held.home:
                break
            if held not in holdings._hands:
                who = f"what {holdings._path} hands on of {held.token.bound.who}"
                holdings._hands[held] = ledger.Bound(who, ledger.Account())
            bounds.append(holdings._hands[held])
        return tuple(bounds)

    # -- letting go

    def revoke(self, token: CapabilityToken | str) -> None:
        """Let go of a token, of the one with that id, or of all of a type.

        :raises UsageError: where no such token is held, nor was handed on from here.
        """
        with ledger.exclusive():
            matching = self._matching(token)
            for held in matching:
                self._drop(held)
        if not matching:
            self._revoke_handed_on(token)

    def close(self) -> None:
        """Let go of everything, here and below."""
        ledger.revoke(self.gates[0].account, "closed")

    def _matching(self, token: CapabilityToken | str) -> list[Held]:
        if isinstance(token, CapabilityToken):
            return [one for one in self.in_force(token.type) if one.token is token]
        of_type = list(self.in_force(token))
        return of_type or [one for one in self.everything() if one.token.id == token]

    def _drop(self, held: Held) -> None:
        """For good where it is held here, else here and below."""
        if held.home is self:
            ledger.revoke(held.token.account, "revoked")
            return
        type = held.token.type
        self._own[type] = tuple(one for one in self.in_force(type) if one is not held)
        if held in self._hands:
            ledger.revoke(self._hands[held].account, "revoked")

    def _revoke_handed_on(self, token: CapabilityToken | str) -> None:
        """Revoke what is not held here and comes from what is."""
        given = known(token) if isinstance(token, str) else token
        mine = {held.token.account for held in self.everything()}
        if given is None or not any(one.account in mine for one in given.chain):
            held = ", ".join(str(one.token) for one in self.everything()) or "nothing"
            raise UsageError(
                f"the context {self._path} neither holds such a token nor handed it on",
                found=str(token),
                fix=f"revoke one of {held}",
            )
        ledger.revoke(given.account, "revoked")


def _source(token: CapabilityToken, above: tuple[Held, ...], now: float) -> Held | None:
    """What of the held above the token is, comes from, or is covered by; a live one first."""
    for one in above:
        if one.token in token.chain:
            return one
    covering = [one for one in above if one.covers(token)]
    alive = [one for one in covering if not ledger.refusal(one.bounds, now, 0)]
    return next(iter(alive or covering), None)


__all__ = ["Holdings"]

"""A token: the right to one type of thing, within bounds. Who holds it may hand on less of it."""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Iterable
from typing import Any, NoReturn

from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.ledger import Account, Bound
from windtunnel.sessions.errors import CapabilityDenied


class CapabilityToken:
    """The right to use one type of capability, within bounds.

    A token never changes; what was used of it is counted elsewhere, once for all who hold it.
    Neither pickle nor JSON takes it along: what leaves the process is sealed with a key
    (:func:`~windtunnel.sessions.seal`).

    :param type: the type, such as ``"fs.read"``. Types are compared exactly.
    :param constraints: its bounds; of several, all hold.
    :param id: its name in reports and for revoking; random where not given.
    :raises UsageError: for a type that is no text, or bounds that cannot be meant.

    >>> token = CapabilityToken("fs.read", CapabilityConstraint(resources="/data/**", uses=3))
    >>> once = token.narrow(resources="/data/a.csv", uses=1)
    >>> once.parent is token
    True
    >>> token.narrow(resources="/etc/**")
    Traceback (most recent call last):
        ...
    windtunnel.sessions.errors.CapabilityDenied: not allowed: fs.read
      found: narrowing goes beyond the token in resources; held: fs.read(resources=/data/**, uses=3)
      to fix: grant a token of fs.read that covers it, or do not ask for it
    """

    __slots__ = ("__weakref__", "account", "bound", "chain", "constraints", "id", "parent", "type")

    type: str
    constraints: tuple[CapabilityConstraint, ...]
    id: str
    parent: CapabilityToken | None
    chain: tuple[CapabilityToken, ...]
    account: Account
    bound: Bound

    def __init__(
        self,
        type: str,
        constraints: CapabilityConstraint | Iterable[CapabilityConstraint] = (),
        *,
        id: str = "",
    ) -> None:
        _make(self, type, constraints, id=id or secrets.token_hex(8))

    def narrow(
        self, constraint: CapabilityConstraint | None = None, *, id: str = "", **bounds: Any
    ) -> CapabilityToken:
        """A token that allows less, and whose uses count against this one too.

        :param constraint: the bounds to add; or name them: ``narrow(uses=1)``. Those of this
            token that are not named go on to hold.
        :raises CapabilityDenied: where a bound goes beyond this token's.
        """
        if constraint is None:
            constraint = CapabilityConstraint(**bounds)
        elif bounds:
            raise UsageError("narrow takes a constraint or bounds by name, not both")
        # With its own bounds for those not named, so that only those named can go beyond.
        less = [merged(mine, constraint) for mine in self.constraints] or [constraint]
        for mine, its in zip(self.constraints, less, strict=False):
            beyond = mine.broader_in(its)
            if beyond:
                raise CapabilityDenied(
                    self.type,
                    reason=f"narrowing goes beyond the token in {beyond}",
                    held=(str(self),),
                )
        child: CapabilityToken = object.__new__(CapabilityToken)
        _make(child, self.type, less, id=id or secrets.token_hex(8), parent=self)
        return child

    @property
    def all_constraints(self) -> tuple[CapabilityConstraint, ...]:
        """Its own bounds and those of all that it was narrowed from."""
        return tuple(one for token in self.chain for one in token.constraints)

    @property
    def uses(self) -> int:
        """How often it was used, itself or narrowed."""
        return self.account.uses

    @property
    def revoked(self) -> bool:
        """Whether it, or what it was narrowed from, was taken back."""
        return any(token.account.revoked for token in self.chain)

    def __str__(self) -> str:
        bounds = [
            f"{name}={_shown(value)}"
            for constraint in self.constraints
            for name, value in constraint.given().items()
        ]
        return f"{self.type}({', '.join(bounds)})" if bounds else self.type

    def __repr__(self) -> str:
        return f"<CapabilityToken {self} id={self.id}>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a token does not change: {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a token does not change: {name}")

    def __copy__(self) -> CapabilityToken:
        return self

    def __deepcopy__(self, memo: object) -> CapabilityToken:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a CapabilityToken is not pickled: seal it with a key (sessions.seal)")


# Tokens by id, for whoever revokes by id what was handed on. Weak: who keeps no token needs none
# revoked; those that were sealed are kept by the ledger of seals.
_KNOWN: weakref.WeakValueDictionary[str, CapabilityToken] = weakref.WeakValueDictionary()


def known(id: str) -> CapabilityToken | None:
    """The latest token with that id that is still about."""
    return _KNOWN.get(id)


def merged(base: CapabilityConstraint, over: CapabilityConstraint) -> CapabilityConstraint:
    """``base`` with the bounds that ``over`` sets in place of its own."""
    return CapabilityConstraint(**{**base.given(), **over.given()})


def _make(
    token: CapabilityToken,
    type: str,
    constraints: CapabilityConstraint | Iterable[CapabilityConstraint],
    *,
    id: str,
    parent: CapabilityToken | None = None,
    account: Account | None = None,
) -> None:
    if not isinstance(type, str) or not type or not type.isprintable():
        raise UsageError("the type of a capability is a text such as fs.read", found=repr(type))
    several = (
        (constraints,) if isinstance(constraints, CapabilityConstraint) else tuple(constraints)
    )
    for one in several:
        if not isinstance(one, CapabilityConstraint):
            raise UsageError("a token is bounded by CapabilityConstraint objects", found=repr(one))
    settle = object.__setattr__
    settle(token, "type", type)
    settle(token, "constraints", several)
    settle(token, "id", id)
    settle(token, "parent", parent)
    settle(token, "chain", (token, *(parent.chain if parent else ())))
    settle(token, "account", account or Account())
    settle(token, "bound", _bound(token))
    _KNOWN[id] = token


def restored(
    type: str,
    constraints: Iterable[CapabilityConstraint],
    *,
    id: str,
    parent: CapabilityToken | None,
    account: Account,
) -> CapabilityToken:
    """A token that was unsealed, with the account that it has already."""
    token: CapabilityToken = object.__new__(CapabilityToken)
    _make(token, type, constraints, id=id, parent=parent, account=account)
    return token


def _bound(token: CapabilityToken) -> Bound:
    def least(name: str) -> Any:
        return min(
            (value for one in token.constraints if (value := getattr(one, name)) is not None),
            default=None,
        )

    return Bound(
        f"the token {token.id} ({token.type})",
        token.account,
        uses=least("uses"),
        total_bytes=least("total_bytes"),
        cpu_s=least("cpu_s"),
        expires_at=least("expires_at"),
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return "|".join(
            "-".join(map(str, sorted(set(one)))) if isinstance(one, tuple) else str(one)
            for one in value
        )
    return f"{value:g}" if isinstance(value, float) else str(value)


__all__ = ["CapabilityToken", "known", "merged", "restored"]

"""A context: what a piece of work holds. Contexts form a tree, and below only less is held."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from windtunnel.core.clock import Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import current, ledger, watching
from windtunnel.sessions.capabilities.clock import WORLD_CLOCK
from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.held import CapabilityUse, Held
from windtunnel.sessions.capabilities.token import CapabilityToken, known
from windtunnel.sessions.capabilities.violation import (
    KEPT,
    CapabilityViolation,
    Ration,
    location_text,
    wanted_text,
)
from windtunnel.sessions.capabilities.wish import Wish
from windtunnel.sessions.protocol import Limits

EXECUTE = "execute"
"""The type whose tokens bound what code may take: :meth:`CapabilityContext.execution`."""


class CapabilityContext:
    """What a piece of work may use.

    A context without tokens of a type has those of the context above it; one that ever had its own
    has these alone, also when they are used up, expired or revoked.

    :param name: its name in reports.
    :param parent_context: the context above; None for a root, which is given its tokens freely.
    :param tokens: what it holds.
    :param clock: of a root, which clock expiry is read from; by default that of the world it is
        used in, real or simulated. Below it is the root's, since by another one what has expired
        above would come back.
    :param inherit: whether types that it has no token of are those of the context above.
    :raises CapabilityDenied: for a token that goes beyond what is held above.

    >>> root = CapabilityContext("root", tokens=[CapabilityToken("mail.send")])
    >>> root.use("mail.send")
    >>> root.allowed("fs.read", "/etc/passwd")
    False
    >>> guest = root.child("guest", [root.tokens("mail.send")[0].narrow(uses=1)])
    >>> guest.use("mail.send")
    >>> guest.has_capability("mail.send"), root.has_capability("mail.send")
    (False, True)
    """

    __slots__ = (
        "__weakref__",
        "_entries",
        "_frozen",
        "_gates",
        "_hands",
        "_inherit",
        "_ration",
        "_violations",
        "clock",
        "name",
        "parent_context",
        "violation_count",
    )

    name: Final[str]
    parent_context: Final[CapabilityContext | None]
    clock: Final[Clock]

    def __init__(
        self,
        name: str,
        parent_context: CapabilityContext | None = None,
        tokens: Iterable[CapabilityToken] = (),
        *,
        clock: Clock | None = None,
        inherit: bool = True,
    ) -> None:
        if parent_context is not None and not isinstance(parent_context, CapabilityContext):
            raise UsageError("parent_context is a CapabilityContext", found=repr(parent_context))
        self.name = name
        self.parent_context = parent_context
        above = parent_context.clock if parent_context else None
        if above is not None and clock not in (None, above):
            raise UsageError(
                "a context has the clock of the one above it",
                found=repr(clock),
                fix="give the clock to the root",
            )
        self.clock = above or clock or WORLD_CLOCK
        self._inherit = inherit
        self._frozen = False
        self._entries: dict[str, tuple[Held, ...]] = {}
        self._hands: dict[Held, ledger.Bound] = {}
        gate = ledger.Bound(f"the context {self.path}", ledger.Account())
        self._gates: tuple[ledger.Bound, ...] = (
            gate,
            *(parent_context._gates if parent_context else ()),
        )
        self._violations: collections.deque[CapabilityViolation] = collections.deque(maxlen=KEPT)
        self.violation_count = 0
        self._ration = Ration()
        for token in tokens:
            self.add_capability(token)

    # -- what is held

    @property
    def path(self) -> str:
        """The names from the root down to this one: ``root/child``."""
        above = self.parent_context
        return f"{above.path}/{self.name}" if above is not None else self.name

    def add_capability(self, token: CapabilityToken) -> CapabilityToken:
        """Hold a token. Below a root it is one of the tokens held above, narrowed or as it is, or
        one whose bounds one of them covers; then its uses count against that one too.

        :raises CapabilityDenied: where it goes beyond what is held above.
        """
        if not isinstance(token, CapabilityToken):
            raise UsageError("a context holds CapabilityToken objects", found=repr(token))
        if self._frozen:
            raise UsageError(
                "no capability context is current, and what holds nothing is given nothing",
                fix="make a CapabilityContext and enter its scope()",
            )
        # In one piece, so that nobody above lets go of it while it is bound to what is held there.
        with ledger.exclusive():
            held = self._bind(token)
            own = self._entries.get(token.type, ())
            if held is not None and all(one.token is not token for one in own):
                self._entries[token.type] = (*own, held)
        if held is None:
            beyond = f"{token} goes beyond what the context above holds"
            raise self.refuse(token.type, reason=beyond).error()
        return token

    def grant(
        self, type: str, *, expires_in_s: float | None = None, **bounds: Any
    ) -> CapabilityToken:
        """Make a token and hold it.

        :param type: the type of capability.
        :param expires_in_s: seconds from now on the context's clock.
        :param bounds: those of :class:`CapabilityConstraint`.

        >>> context = CapabilityContext("root")
        >>> print(context.grant("fs.read", resources="/data/**", uses=2))
        fs.read(resources=/data/**, uses=2)
        """
        if expires_in_s is not None:
            if "expires_at" in bounds:
                raise UsageError("expires_in_s and expires_at say the same thing: give one")
            bounds["expires_at"] = self.clock.time() + expires_in_s
        return self.add_capability(CapabilityToken(type, CapabilityConstraint(**bounds)))

    def child(
        self, name: str, tokens: Iterable[CapabilityToken] = (), *, inherit: bool = True
    ) -> CapabilityContext:
        """A context below this one, which may only narrow it.

        :param inherit: False for one that holds nothing but these tokens.
        """
        return CapabilityContext(name, self, tokens, inherit=inherit)

    def tokens(self, type: str | None = None) -> tuple[CapabilityToken, ...]:
        """The tokens in force here, of a type or of all, dead ones too."""
        types = self.types() if type is None else (type,)
        return tuple(held.token for one in types for held in self._held(one))

    def types(self) -> tuple[str, ...]:
        """The types of which tokens are in force here, sorted."""
        found: set[str] = set()
        context: CapabilityContext | None = self
        while context is not None:
            found.update(context._entries)
            context = context.parent_context if context._inherit else None
        return tuple(sorted(one for one in found if self._held(one)))

    def has_capability(self, type: str) -> bool:
        """Whether a token of that type is held that is neither used up, expired nor revoked."""
        now = self.clock.time()
        return any(
            not ledger.refusal(self._gates + held.bounds, now, 0) for held in self._held(type)
        )

    # -- using it

    def allowed(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        *,
        operation: str = "",
        size: int = 0,
        memory_mb: float = 0.0,
    ) -> bool:
        """Whether that could be used now. Uses nothing up and records nothing."""
        wish = Wish(capability, resource, operation, size, memory_mb)
        now = self.clock.time()
        return not wish.malformed and any(
            not (held.refusal(wish) or ledger.refusal(self._gates + held.bounds, now, wish.size))
            for held in self._held(wish.capability)
        )

    def use(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        *,
        operation: str = "",
        size: int = 0,
        memory_mb: float = 0.0,
    ) -> None:
        """Use it once.

        :param resource: on what: a path, a URL, ``host:port``, a name.
        :param size: how many bytes.
        :param memory_mb: how many mebibytes it asks for.
        :raises CapabilityDenied: where it may not be used; the refusal is on record.
        """
        self.take(capability, resource, operation=operation, size=size, memory_mb=memory_mb)

    def take(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        *,
        operation: str = "",
        size: int = 0,
        memory_mb: float = 0.0,
    ) -> CapabilityUse:
        """:meth:`use`, for who has more to count when the use is over."""
        wish = Wish(capability, resource, operation, size, memory_mb)
        return self._taken(wish, self._held(wish.capability))

    def execution(
        self, limits: Limits, capability: str = EXECUTE
    ) -> tuple[Limits, CapabilityUse | None]:
        """Begin to run code here: the limits it has, and the use of a token that bounds it, if any.

        Tokens of the type ``execute`` bound what code may take: their ``memory_mb``, and what is
        left of their ``cpu_s``, to which the time on the wall is held, since code on one core takes
        no more CPU than that. Each execution is a use. They are no permission, and hold below a
        context that has them also where nothing is inherited.

        :param limits: the limits without them.
        :raises CapabilityDenied: where they are used up, expired or revoked.

        >>> context = CapabilityContext("root")
        >>> token = context.grant("execute", memory_mb=64, cpu_s=2)
        >>> limits, use = context.execution(Limits(timeout_s=10, memory_mb=256))
        >>> limits
        Limits(timeout_s=2.0, memory_mb=64, recursion=1000, output_bytes=1000000)
        >>> use.charge(cpu_s=1.5)
        >>> context.execution(Limits())[0].timeout_s
        0.5
        """
        for context in self._upward():
            if capability in context._entries:
                use = self._taken(Wish(capability), context._entries[capability])
                return use.limits(limits), use
        return limits, None

    # -- taking it back

    def revoke(self, token: CapabilityToken | str) -> None:
        """Take a token, or every token of a type, back, wherever it was handed on to.

        What this context holds itself is dead from now on: in the contexts below it, narrowed,
        sealed, whoever has it. What it has from the context above is gone here and below, and
        stays with the one above.

        :param token: the token, its id, or a type.
        """
        if self._frozen:
            raise UsageError("no capability context is current, and nothing is held to revoke")
        with ledger.exclusive():
            matching = self._matching(token)
            for held in matching:
                self._drop(held)
        if not matching:
            self._revoke_handed_on(token)

    def close(self) -> None:
        """End the context: nothing is allowed any more here and in the contexts below, whoever
        still holds them. Twice is allowed."""
        if not self._frozen:
            ledger.revoke(self._gates[0].account, "closed")

    # -- the current context

    def scope(
        self, context: CapabilityContext | None = None
    ) -> AbstractContextManager[CapabilityContext]:
        """Make this context (or ``context``) the current one for the block and the work it starts.

        >>> root = CapabilityContext("root")
        >>> with root.scope():
        ...     current.current_context() is root
        True
        """
        return current.Scope(context or self)

    # -- refusals

    @property
    def violations(self) -> list[CapabilityViolation]:
        """The refusals here and in the contexts below, oldest first; the last ten thousand."""
        return list(self._violations)

    def refuse(
        self, capability: str, resource: str = "", *, operation: str = "", reason: str = ""
    ) -> CapabilityViolation:
        """Put a refusal on record, here and above, and return it; its ``error()`` is for raising.

        For who refuses something by a rule of its own. Uses of tokens do this themselves.
        """
        violation = CapabilityViolation(
            capability=capability,
            resource=resource,
            operation=operation,
            reason=reason,
            context=self.path,
            location=location_text(current.asked_from()),
            wanted=wanted_text(capability, resource, operation),
            held=tuple(str(held.token) for held in self._held(capability)),
            time=self.clock.time(),
        )
        root = self
        with ledger.exclusive():
            for context in self._upward():
                root = context
                context._violations.append(violation)
                context.violation_count += 1
            ration = root._ration.draw(violation.time)
        if ration:
            violation.emit(last=ration == Ration.LAST)
        return violation

    def __repr__(self) -> str:
        return f"<CapabilityContext {self.path}: {', '.join(map(str, self.tokens())) or 'nothing'}>"

    # -- inside

    def _taken(self, wish: Wish, held: Iterable[Held]) -> CapabilityUse:
        """A use of the first of these that admits it."""
        reasons = [wish.malformed] if wish.malformed else []
        if not reasons:
            now = self.clock.time()
            for one in held:
                reason = one.refusal(wish) or ledger.count(self._gates + one.bounds, now, wish.size)
                if not reason:
                    if watching.WATCHERS:
                        watching.tell(wish.capability, wish.operation, True)
                    return CapabilityUse(one, wish.judged())
                reasons.append(reason)
        watching.tell(wish.capability, wish.operation, False)
        raise self.refuse(
            wish.capability,
            wish.resource,
            operation=wish.operation,
            reason="; ".join(dict.fromkeys(reasons)) or "no token of this type is held",
        ).error()

    def _upward(self) -> Iterator[CapabilityContext]:
        context: CapabilityContext | None = self
        while context is not None:
            yield context
            context = context.parent_context

    def _held(self, type: str) -> tuple[Held, ...]:
        """What is in force for a type: its own, or from above where it never had its own."""
        context: CapabilityContext | None = self
        while context is not None:
            own = context._entries.get(type)
            if own is not None:
                return own
            context = context.parent_context if context._inherit else None
        return ()

    def _bind(self, token: CapabilityToken) -> Held | None:
        constraints = token.all_constraints
        bounds = tuple(one.bound for one in token.chain)
        if self.parent_context is None:
            return Held(self, token, constraints, bounds)
        above = self._above(token)
        if above is None:
            return None
        bounds += above.bounds + self.parent_context._hand_on(above)
        return Held(
            self,
            token,
            tuple(dict.fromkeys(constraints + above.constraints)),
            tuple(dict.fromkeys(bounds)),
        )

    def _above(self, token: CapabilityToken) -> Held | None:
        """What is held above that the token is, comes from, or is covered by; a live one first."""
        assert self.parent_context is not None
        held = self.parent_context._held(token.type)
        for one in held:
            if one.token in token.chain:
                return one
        now = self.clock.time()
        covering = [one for one in held if one.covers(token)]
        alive = [one for one in covering if not ledger.refusal(one.bounds, now, 0)]
        return next(iter(alive or covering), None)

    def _matching(self, token: CapabilityToken | str) -> list[Held]:
        """What is in force here by that token, that id or that type."""
        if isinstance(token, CapabilityToken):
            # By account: the same token once more, unsealed, is another object.
            held = self._held(token.type)
            return [one for one in held if one.token.account is token.account]
        of_type = self._held(token)
        return list(of_type) or [
            one for type in self.types() for one in self._held(type) if one.token.id == token
        ]

    def _drop(self, held: Held) -> None:
        """Let go of what is in force here: for good where it is held here, else here and below."""
        type = held.token.type
        if held.home is self:
            ledger.revoke(held.token.account, "revoked")
            return
        self._entries[type] = tuple(one for one in self._held(type) if one is not held)
        if held in self._hands:
            ledger.revoke(self._hands[held].account, "revoked")

    def _hand_on(self, held: Held) -> tuple[ledger.Bound, ...]:
        """What makes a token below die when a context on its way down to there lets go of it."""
        bounds = []
        for context in self._upward():
            if context is held.home:
                break
            if held not in context._hands:
                who = f"what {context.path} hands on of {held.token.bound.who}"
                context._hands[held] = ledger.Bound(who, ledger.Account())
            bounds.append(context._hands[held])
        return tuple(bounds)

    def _revoke_handed_on(self, token: CapabilityToken | str) -> None:
        """Revoke what is not held here and comes from what is."""
        given = known(token) if isinstance(token, str) else token
        mine = {held.token.account for type in self.types() for held in self._held(type)}
        if given is None or not any(one.account in mine for one in given.chain):
            raise UsageError(
                f"the context {self.path} neither holds such a token nor handed it on",
                found=str(token),
                fix=f"revoke one of {', '.join(map(str, self.tokens())) or 'nothing'}",
            )
        ledger.revoke(given.account, "revoked")


NOTHING: Final = CapabilityContext("nothing")
"""What is current where no scope was entered: it allows nothing and is given nothing."""
NOTHING._frozen = True
current.settle(NOTHING)

__all__ = ["EXECUTE", "NOTHING", "CapabilityContext"]

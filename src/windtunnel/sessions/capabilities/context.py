"""A context: what a piece of work holds. Contexts form a tree, and below only less is held."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Final

from windtunnel.core.clock import WORLD_CLOCK, Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities import current, ledger, watching
from windtunnel.sessions.capabilities.constraint import CapabilityConstraint
from windtunnel.sessions.capabilities.held import CapabilityUse, Held
from windtunnel.sessions.capabilities.holdings import Holdings
from windtunnel.sessions.capabilities.token import CapabilityToken
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
        "_frozen",
        "_holds",
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
    _holds: Holdings

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
        self._frozen = False
        above_holds: Holdings | None = parent_context._holds if parent_context else None
        self._holds = Holdings(self.path, above_holds, inherit=inherit)
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
        if not self._holds.add(token, self.clock.time()):
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
        held = self._holds.everything() if type is None else self._holds.in_force(type)
        return tuple(one.token for one in held)

    def types(self) -> tuple[str, ...]:
        """The types of which tokens are in force here, sorted."""
        return self._holds.types()

    def has_capability(self, type: str) -> bool:
        """Whether a token of that type is held that is neither used up, expired nor revoked."""
        now, gates = self.clock.time(), self._holds.gates
        held = self._holds.in_force(type)
        return any(not ledger.refusal(gates + one.bounds, now, 0) for one in held)

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
        now, gates = self.clock.time(), self._holds.gates
        return not wish.malformed and any(
            not (held.refusal(wish) or ledger.refusal(gates + held.bounds, now, wish.size))
            for held in self._holds.in_force(wish.capability)
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
        return self._taken(wish, self._holds.in_force(wish.capability))

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
        bounding = self._holds.nearest(capability)
        if bounding is None:
            return limits, None
        use = self._taken(Wish(capability), bounding)
        return use.limits(limits), use

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
        self._holds.revoke(token)

    def close(self) -> None:
        """End the context: nothing is allowed any more here and in the contexts below, whoever
        still holds them. Twice is allowed."""
        if not self._frozen:
            self._holds.close()

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
            held=tuple(str(held.token) for held in self._holds.in_force(capability)),
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
            now, gates = self.clock.time(), self._holds.gates
            for one in held:
                reason = one.refusal(wish) or ledger.count(gates + one.bounds, now, wish.size)
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


NOTHING: Final = CapabilityContext("nothing")
"""What is current where no scope was entered: it allows nothing and is given nothing."""
NOTHING._frozen = True
current.settle(NOTHING)

__all__ = ["EXECUTE", "NOTHING", "CapabilityContext"]

"""The capability machinery that attempts use and attack, behind one small protocol.

Ours is the default. An executor that has its own (tokens, contexts, sealing) is put to the same
attempts by giving its factory an attribute ``machinery``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from windtunnel.core.clock import REAL_CLOCK, Clock


class Machinery(Protocol):
    """Tokens, contexts and seals. Tokens and contexts are opaque to the attempts but for what is
    named here; whatever it raises counts as a refusal."""

    def token(self, type: str, **constraints: Any) -> Any:
        """A token of that type with these bounds (:class:`CapabilityConstraint` names them)."""
        ...

    def narrow(self, token: Any, **constraints: Any) -> Any:
        """A token narrowed further."""
        ...

    def context(self, name: str, tokens: Iterable[Any] = (), *, clock: Clock = REAL_CLOCK) -> Any:
        """A context of its own with these tokens."""
        ...

    def child(self, context: Any, name: str, tokens: Iterable[Any] = ()) -> Any:
        """A context below another."""
        ...

    def add(self, context: Any, token: Any) -> None:
        """Give a context one more token."""
        ...

    def use(self, context: Any, capability: str, resource: str = "", **how: Any) -> None:
        """Use a capability once, or raise."""
        ...

    def revoke(self, context: Any, token: Any) -> None:
        """Take a token back, or every one of a type."""
        ...

    def scope(self, context: Any) -> AbstractContextManager[Any]:
        """Make a context the current one for the block."""
        ...

    def current(self) -> Any:
        """The current context."""
        ...

    def host_function(self, name: str, call: Callable[..., Any], *, needs: str) -> Any:
        """A declaration of a host function, by a name that a stranger may have chosen."""
        ...

    def seal(self, token: Any, key: bytes) -> str:
        """A token as text that can be handed on."""
        ...

    def unseal(self, text: str, key: bytes) -> Any:
        """The token of a sealed text, or an error."""
        ...


class Ours:
    """The machinery of :mod:`windtunnel.sessions.capabilities`."""

    def token(self, type: str, **constraints: Any) -> Any:
        """A token."""
        from windtunnel.sessions import CapabilityConstraint, CapabilityToken

        return CapabilityToken(type, CapabilityConstraint(**constraints))

    def narrow(self, token: Any, **constraints: Any) -> Any:
        """A token narrowed further."""
        return token.narrow(**constraints)

    def context(self, name: str, tokens: Iterable[Any] = (), *, clock: Clock = REAL_CLOCK) -> Any:
        """A root context."""
        from windtunnel.sessions import CapabilityContext

        return CapabilityContext(name, tokens=tuple(tokens), clock=clock)

    def child(self, context: Any, name: str, tokens: Iterable[Any] = ()) -> Any:
        """A context below another."""
        return context.child(name, tuple(tokens))

    def add(self, context: Any, token: Any) -> None:
        """Give a context one more token."""
        context.add_capability(token)

    def use(self, context: Any, capability: str, resource: str = "", **how: Any) -> None:
        """Use a capability once, or raise."""
        context.use(capability, resource, **how)

    def revoke(self, context: Any, token: Any) -> None:
        """Take a token back, or every one of a type."""
        context.revoke(token)

    def scope(self, context: Any) -> AbstractContextManager[Any]:
        """Make a context the current one for the block."""
        scope: AbstractContextManager[Any] = context.scope()
        return scope

    def current(self) -> Any:
        """The current context."""
        from windtunnel.sessions import current_context

        return current_context()

    def host_function(self, name: str, call: Callable[..., Any], *, needs: str) -> Any:
        """A host function."""
        from windtunnel.sessions import HostFunction

        return HostFunction(name, call, needs=needs)

    def seal(self, token: Any, key: bytes) -> str:
        """A token as text."""
        from windtunnel.sessions import seal

        return seal(token, key)

    def unseal(self, text: str, key: bytes) -> Any:
        """The token of a sealed text, or an error."""
        from windtunnel.sessions import unseal

        return unseal(text, key)


__all__ = ["Machinery", "Ours"]

"""What a session is opened with: its host functions, and the context of what it may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from windtunnel.core.clock import Clock
from windtunnel.core.errors import UsageError
from windtunnel.sessions.capabilities.context import CapabilityContext
from windtunnel.sessions.capabilities.current import current_context, in_scope
from windtunnel.sessions.capabilities.token import CapabilityToken
from windtunnel.sessions.engines.naming import name_checked
from windtunnel.sessions.hosting import HostFunction
from windtunnel.sessions.protocol import Grants


def by_name(functions: Iterable[HostFunction]) -> dict[str, HostFunction]:
    """Host functions by their names.

    :raises UsageError: for what is none, and for two of one name.
    """
    found: dict[str, HostFunction] = {}
    for function in functions:
        if not isinstance(function, HostFunction):
            raise UsageError(
                "a host function says what capability it needs",
                found=repr(function),
                fix='decorate it: @sessions.host_function(needs="fs.read", resource="path")',
            )
        if function.name in found:
            raise UsageError("two host functions have one name", found=function.name)
        found[name_checked(function.name, "a host function's name")] = function
    return found


def held_as(
    capabilities: CapabilityContext | Iterable[CapabilityToken] | None, name: str, clock: Clock
) -> CapabilityContext:
    """The context of what a session is opened with.

    :raises CapabilityDenied: for tokens beyond what the current context holds, where one is.
    """
    if isinstance(capabilities, CapabilityContext):
        return capabilities
    above = current_context() if in_scope() else None
    if capabilities is None:
        return above or CapabilityContext(name, clock=clock)
    above_clock = None if above else clock  # below another context, its clock is the one
    return CapabilityContext(name, above, capabilities, clock=above_clock, inherit=False)


def narrowed(held: CapabilityContext, grants: Grants) -> CapabilityContext:
    """The context of one execution: what is held, or only what of it is granted.

    :raises CapabilityDenied: for grants beyond what is held.
    """
    if grants is None:
        return held
    if isinstance(grants, CapabilityContext):
        above: CapabilityContext | None = grants
        while above is not None:
            if above is held:
                return grants
            above = above.parent_context
        grants = grants.tokens()
    return held.child("grants", grants, inherit=False)


@contextlib.contextmanager
def for_this_alone(context: CapabilityContext, grants: Grants) -> Iterator[None]:
    """What was granted to one execution ends with it, whoever it was handed on to meanwhile.

    :param context: the execution's.
    :param grants: what it was made of; a context that was given is not closed.
    """
    try:
        yield
    finally:
        if grants is not None and context is not grants:
            context.close()

"""What an executor is asked to let the code of attempts have, and the check that it owes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from windtunnel.sessions.protocol import Executor, Limits

if TYPE_CHECKING:
    from windtunnel.sessions.hosting import HostFunction


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The terms on which an executor runs code.

    :param functions: the host functions; each names the capability that a call of it needs.
    :param limits: what one execution may take.
    """

    functions: tuple[HostFunction, ...]
    limits: Limits


Factory: TypeAlias = Callable[[Terms], Executor]
"""Makes the executor that is put to the attempts. It may have an attribute ``machinery``
(:class:`~windtunnel.sessions.confinement.Machinery`) where the executor has its own tokens, and one
``language`` (``"python"``, ``"subset"``, ``"starlark"``) that is found out otherwise."""


def close_of(executor: Any) -> Callable[[], Any] | None:
    """How an executor is closed, where it can be."""
    close = getattr(executor, "aclose", None) or getattr(executor, "close", None)
    return close if callable(close) else None


__all__ = ["Factory", "Terms", "close_of"]

"""What a guard is, and how it shows values without giving secrets away."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol, TypeVar

S = TypeVar("S")

_SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSW|PASSPHRASE|CREDENTIAL|AUTH|COOKIE|PRIVATE", re.I)
_URL_PASSWORD = re.compile(r"(://[^/@\s:]*):[^/@\s]+@")
_SHOWN = 80


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One thing that a test left otherwise than it found it.

    :param subject: what, as one would write it: ``os.environ['X']``.
    :param detail: what was and what is.
    :param undo: puts back what was.
    """

    subject: str
    detail: str
    undo: Callable[[], object]


class Guard(Protocol[S]):
    """Watches one kind of state. A snapshot ``S`` belongs to the guard that took it."""

    def take(self) -> S:
        """The state now."""
        ...

    def same(self, before: S) -> bool:
        """Whether the state is that of ``before``: asked after each test, so it must be quick.
        False may also mean that one has to look closer."""
        ...

    def changes(self, before: S) -> Iterable[Change]:
        """How the state differs from ``before``."""
        ...

    def rebased(self, base: S, before: S, after: S) -> S:
        """``base`` with what changed from ``before`` to ``after`` changed in it as well."""
        ...


def show(value: object) -> str:
    """A short ``repr`` of anything, also of what has none.

    >>> show("x" * 200)[-5:]
    'xxxx…'
    """
    try:
        text = repr(value)
    except Exception as error:
        text = f"<{type(value).__name__} whose repr raises {type(error).__name__}>"
    text = _URL_PASSWORD.sub(r"\1:***@", text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def show_named(name: str, value: object) -> str:
    """As :func:`show`, but of what the name calls a secret nothing is shown.

    >>> show_named("API_TOKEN", "abc"), show_named("HOME", "/home/me")
    ('***', "'/home/me'")
    """
    return "***" if _SECRET.search(name) else show(value)


def equal(one: Any, other: Any) -> bool:
    """Whether two values are the same, for values of any manners: arrays, mocks, raising ``==``."""
    if one is other:
        return True
    try:
        return bool(one == other)
    except Exception:
        return False


def difference(was: str | None, now: str | None) -> str:
    """``was`` and ``now`` in words; None stands for what is not there.

    >>> difference(None, "'1'"), difference("'1'", None), difference("'1'", "'2'")
    ("was not set, now '1'", "was '1', now removed", "was '1', now '2'")
    """
    if was is None:
        return f"was not set, now {now}"
    return f"was {was}, now {'removed' if now is None else now}"

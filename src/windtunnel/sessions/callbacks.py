"""A Python callable of a guest's function."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from windtunnel.sessions.errors import GuestError

if TYPE_CHECKING:
    from windtunnel.sessions.session import EngineSession


class Missing(enum.Enum):
    """Says that no default was given."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING

OnError = Callable[[GuestError], Any]


class Callback:
    """Calls a guest's function by its name: ``callback(*args)``, or ``await callback.call(*args)``.

    The function is looked up at each call, so the guest may define it later or anew. Calls made at
    the same time take turns. Where one fails, ``on_error`` says what it gives; without that it
    gives ``default``; without that it raises :class:`GuestError`. Made by ``session.callback``.

    :param on_error: is given the error; what it returns is what the call gives.
    :param timeout_s: seconds that one call may take; None for the session's own limit.
    """

    def __init__(
        self,
        session: EngineSession,
        name: str,
        *,
        default: Any = MISSING,
        on_error: OnError | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self.name = name
        self._session = session
        self._default = default
        self._on_error = on_error
        self._timeout_s = timeout_s

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and block until it returns.

        :raises GuestError: where it fails and neither ``default`` nor ``on_error`` was given.
        """
        try:
            return self._session.call_sync(self.name, *args, timeout_s=self._timeout_s, **kwargs)
        except GuestError as error:
            return self._instead(error)

    async def call(self, *args: Any, **kwargs: Any) -> Any:
        """Call it, and await what it returns.

        :raises GuestError: as above.
        """
        try:
            return await self._session.call(self.name, *args, timeout_s=self._timeout_s, **kwargs)
        except GuestError as error:
            return self._instead(error)

    def _instead(self, error: GuestError) -> Any:
        if self._on_error is not None:
            return self._on_error(error)
        if self._default is not MISSING:
            return self._default
        raise error

    def __repr__(self) -> str:
        return f"<Callback {self.name} of session {self._session.name}>"


class Callbacks(Mapping[str, Callback]):
    """The callbacks of a session by the name of the function: the last made of each."""

    def __init__(self) -> None:
        self._made: dict[str, Callback] = {}

    def add(self, callback: Callback) -> Callback:
        """Put one in, in place of an earlier one of the name."""
        self._made[callback.name] = callback
        return callback

    def __getitem__(self, name: str) -> Callback:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._made))

    def __len__(self) -> int:
        return len(self._made)

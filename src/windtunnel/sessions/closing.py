"""``with`` and ``async with`` for what is closed at the block's end."""

from __future__ import annotations

import abc
from types import TracebackType
from typing import Self


class Closes(abc.ABC):
    """Closed when its block is left, whichever kind of block that is."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Be done. Twice is allowed."""

    @abc.abstractmethod
    def close_sync(self) -> None:
        """:meth:`close`, blocking."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close_sync()


__all__ = ["Closes"]

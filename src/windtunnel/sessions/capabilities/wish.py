"""What is asked for, read once: every bound that judges it sees the same plain values."""

from __future__ import annotations

import os

from windtunnel.sessions.capabilities.paths import Resource, UnclearResource, normalised


class Wish:
    """One use that is asked for.

    Texts are copied out of subclasses of ``str``, which could answer each look differently, and
    symbolic links are followed once, so that they cannot be turned between two looks.

    :param malformed: why it can be judged by no bound; empty where it can.
    """

    __slots__ = (
        "_real",
        "_settled",
        "capability",
        "malformed",
        "memory_mb",
        "operation",
        "resource",
        "size",
    )

    def __init__(
        self,
        capability: str,
        resource: str | os.PathLike[str] = "",
        operation: str = "",
        size: int = 0,
        memory_mb: float = 0.0,
    ) -> None:
        self.malformed = ""
        self.capability = capability if type(capability) is str else self._plain(capability)
        self.resource = resource if type(resource) is str else self._plain(resource)
        self.operation = operation if type(operation) is str else self._plain(operation)
        if type(size) is not int or size < 0:
            self.malformed = f"the size is no number of bytes: {size!r}"
        if not (type(memory_mb) in (int, float) and memory_mb >= 0):
            self.malformed = f"the memory is no number of mebibytes: {memory_mb!r}"
        self.size = size
        self.memory_mb = memory_mb
        self._real: Resource | None = None
        self._settled: Resource | None = None

    def _plain(self, value: object) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, str):
            return str.__str__(value)
        self.malformed = f"{type(value).__name__} is no text"
        return repr(value)

    def form(self) -> Resource:
        """The resource as a path in normal form.

        :raises UnclearResource: where it has none.
        """
        form = normalised(self.resource)
        if self._settled is None:
            self._settled = form
        return form

    def real(self) -> Resource:
        """Where the path leads, its symbolic links followed.

        :raises UnclearResource: where it is no path of this machine.
        """
        if self._real is None:
            form = normalised(self.resource)
            if form.root not in ("", "/"):
                raise UnclearResource("symbolic links can be followed in paths only")
            self._real = normalised(os.path.realpath(str(form)))
        self._settled = self._real
        return self._real

    def begin(self) -> None:
        """Another token judges it now."""
        self._settled = None

    def judged(self) -> str:
        """The resource in the form in which it was judged: its links followed where some bound
        followed them, normalised where one read it as a path, else as it was asked for."""
        return self.resource if self._settled is None else str(self._settled) or "."


__all__ = ["Wish"]

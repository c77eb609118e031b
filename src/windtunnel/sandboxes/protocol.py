"""What a sandbox is, whatever tier stands behind it: a maker of cells that run one program.

A *tier* is a way to keep code in: a plain process, namespaces under bubblewrap, later a virtual
machine. A *sandbox* belongs to one tier and has one *program* ready; a *cell* is one running copy
of it, with its own memory, files and processes, that sees neither this machine nor another cell.
What passes between a cell and its owner is messages of bytes; what they mean is the program's
business, and the owner must hold them for hostile.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Protocol, runtime_checkable

from windtunnel.core import IsolationError, WindtunnelError


class SandboxError(IsolationError):
    """A sandbox or one of its cells could not be started."""


class CellDiedError(WindtunnelError):
    """A cell is gone, or sent what no honest program sends and was killed."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CellLimits:
    """What one cell may take in its life.

    :param memory_mb: mebibytes of memory beyond what the program takes at its start; None for no
        limit.
    :param scratch_mb: mebibytes that it may write in all, and in one file.
    :param threads: threads, the first one among them.
    :param files: open files.
    :param cpu_s: seconds of processor time, after which the kernel ends it.
    :param message_bytes: bytes of one message from it.
    """

    memory_mb: int | None = 256
    scratch_mb: int = 16
    threads: int = 64
    files: int = 64
    cpu_s: int = 3600
    message_bytes: int = 16 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """What a cell runs: Python modules by name and source, loaded in this order.

    :param modules: pairs of a module's name and its source; nothing else can be imported but the
        standard library.
    :param entry: ``module:function``, called with the cell's channel, whose ``send(bytes)`` and
        ``receive()`` reach the owner.
    :param packages: folders of installed packages that it can import besides; nothing next to them
        is seen.
    """

    modules: tuple[tuple[str, str], ...]
    entry: str
    packages: tuple[Path, ...] = ()


@runtime_checkable
class Cell(Protocol):
    """One running copy of the program.

    ``wake``, ``send`` and ``kill`` may be called from any thread, the others from one at a time.
    """

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        ...

    def send(self, message: bytes, *, timeout_s: float | None = None) -> None:
        """Send it a message.

        :raises CellDiedError: where it is gone.
        :raises TimeoutError: where it does not take it in that time.
        """
        ...

    def receive(self, timeout_s: float | None = None) -> bytes | None:
        """Its next message; None where none came in that time, output came, or :meth:`wake`.

        :raises CellDiedError: where it is gone or its message is over the limit.
        """
        ...

    def take_output(self) -> bytes:
        """What it wrote to standard output and error, as it came, since last asked."""
        ...

    def wake(self) -> None:
        """Have :meth:`receive` return."""
        ...

    def interrupt(self) -> None:
        """Ask what it runs to stop, as Ctrl-C does."""
        ...

    def freeze(self) -> None:
        """Have nothing of it run until :meth:`thaw`."""
        ...

    def thaw(self) -> None:
        """Have it run on."""
        ...

    def kill(self) -> None:
        """End it and all it started, for certain; returns when it is gone."""
        ...

    def close(self) -> None:
        """Kill it and give back what it took here. Twice is allowed."""
        ...


@runtime_checkable
class Sandbox(Protocol):
    """Makes cells of one program."""

    @property
    def isolation(self) -> str:
        """What keeps a cell in, in one sentence that names what does not."""
        ...

    def start(self, limits: CellLimits = ...) -> Cell:
        """A fresh cell.

        :raises SandboxError: where none can be had.
        """
        ...

    def close(self) -> None:
        """End every cell, and what makes them. Twice is allowed."""
        ...


__all__ = ["Cell", "CellDiedError", "CellLimits", "Program", "Sandbox", "SandboxError"]

"""Where the shell writes and asks: what a terminal and a pipe have in common."""

from __future__ import annotations

import sys
from typing import Literal, Protocol, TypeAlias

Style: TypeAlias = Literal["", "value", "error", "dim", "bold"]


class Screen(Protocol):
    """A place to write to, where there may be somebody who answers."""

    def say(self, text: str, style: Style = "") -> None:
        """Write lines."""
        ...

    def output(self, text: str) -> None:
        """Write what the guest printed, as it is."""
        ...

    async def confirm(self, question: str) -> bool:
        """Ask; False where nobody can answer."""
        ...

    def progress(self, text: str) -> None:
        """Show a passing line, or take it away with an empty one."""
        ...


class Pipe:
    """Lines come from a file or a pipe: nobody is there to answer, and nothing is coloured."""

    def say(self, text: str, style: Style = "") -> None:
        print(text, file=sys.stderr if style == "error" else sys.stdout, flush=True)

    def output(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    async def confirm(self, question: str) -> bool:
        self.say(f"{question} no: nobody is there to answer (see --grant)", "error")
        return False

    def progress(self, text: str) -> None:
        pass


def printable(text: str) -> str:
    """What a guest wrote, with what would command the terminal made visible.

    >>> printable("a\\x1b[2Jb\\tc")
    'a\\\\x1b[2Jb\\tc'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)

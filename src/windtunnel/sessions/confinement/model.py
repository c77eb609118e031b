"""What an attempt to escape is, what proves that it succeeded, and the families it comes in."""

from __future__ import annotations

import dataclasses
import enum
import re
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from windtunnel.sessions.confinement.stage import Stage

_NOT_STARLARK = re.compile(
    r"^\s*(import|from|class|while|try|async|match|raise|with)\b|^\s*@|:=|(?<!['\"\w])f['\"]"
    r"|(?<![.'\"\w])(__import__|__builtins__|eval|open|vars|globals)\b|[^\x00-\x7f]",
    re.MULTILINE,
)
"""What Starlark has no form of, and names that it does not have: it looks them up before it runs
anything (Starlark specification, Grammar reference and Built-in constants and functions)."""

Play: TypeAlias = "Callable[[Stage], Awaitable[None]]"
"""Carries an attempt out that is more than one piece of code."""


class Canary(enum.Enum):
    """What proves an escape: something seen to happen on the host's side, whatever the guest says
    about it."""

    SECRET = "a secret of the host came out"
    FORBIDDEN = "a host function ran that was not granted"
    OUTSIDE = "a file was opened outside of what was granted"
    NETWORK = "a server was reached that was not granted"
    PLANTED = "a file appeared outside"
    PROCESS = "a process outlived the execution"
    WORKING = "work went on after the execution"
    LATE = "the execution did not end when its time was over"
    USES = "it was used more often than granted"
    MEMORY = "it took more memory than granted"
    FLOOD = "it put out more than granted"
    HOST = "the host itself was changed or harmed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt to escape.

    :param id: its name, unique in the library.
    :param family: the family it belongs to.
    :param why: why it works where it works.
    :param source: where that is public: an advisory, a manual, a paper.
    :param aims: the canary that it means to kill; another one proves an escape as well.
    :param code: its code by language: ``python``, ``starlark``, or ``subset`` for a Python that
        does not have all of the language. Empty where the host's own machinery is attacked.
    :param play: how it is carried out, where that is more than running the code once.
    :param timeout_s: seconds that each execution is given.
    """

    id: str
    family: str
    why: str
    source: str
    aims: Canary
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    play: Play | None = None
    timeout_s: float = 5.0

    @property
    def by_guest(self) -> bool:
        """Whether the guest's code makes it; otherwise the capability machinery is attacked."""
        return bool(self.code)

    @property
    def python(self) -> str:
        """Its code in Python, empty where it has none."""
        return self.code.get("python", "")

    def variants(self, language: str) -> list[tuple[str, str]]:
        """Its code for an executor of that language: all of it is tried. What is written in Python
        and means the same in Starlark stands for it where there is no other.

        >>> from windtunnel.sessions import confinement
        >>> attempt = confinement.ATTEMPTS["open-io"]
        >>> [name for name, code in attempt.variants("python")]
        ['python', 'subset']
        >>> [name for name, code in attempt.variants("starlark")]
        []
        """
        names: tuple[str, ...] = ("python", "subset")
        if language in ("starlark", "subset"):
            names = (language,) if language in self.code else ("python",)
        if names == ("python",) and language == "starlark" and _NOT_STARLARK.search(self.python):
            return []
        return [(name, self.code[name]) for name in names if name in self.code]


class Family:
    """Attempts that have one thing in common, as they are written down.

    :param name: a word for it.
    :param says: what they have in common.
    :param control: the legal thing that an executor must be able to do, or else its refusal of
        the attempts says nothing: code in every language that ends by calling ``tell("done")``.
    """

    def __init__(self, name: str, says: str, control: Mapping[str, str] | Play) -> None:
        self.name = name
        self.says = says
        self.control = control
        self.attempts: list[Attempt] = []

    def code(
        self,
        id: str,
        why: str,
        source: str,
        python: str = "",
        *,
        aims: Canary,
        subset: str = "",
        starlark: str = "",
        timeout_s: float = 5.0,
    ) -> None:
        """Add an attempt that is one piece of code."""
        given = {"python": python, "subset": subset, "starlark": starlark}
        code = {name: textwrap.dedent(text) for name, text in given.items() if text}
        self._add(Attempt(id=id, family=self.name, why=why, source=source, aims=aims, code=code,
                          timeout_s=timeout_s))  # fmt: skip

    def play(
        self,
        id: str,
        source: str,
        *,
        aims: Canary,
        python: str = "",
        starlark: str = "",
        timeout_s: float = 5.0,
    ) -> Callable[[Play], Play]:
        """Decorator: the function carries the attempt out, its docstring says why it works."""

        def add(play: Play) -> Play:
            why = " ".join((play.__doc__ or "").split())
            given = {"python": python, "starlark": starlark}
            code = {name: textwrap.dedent(text) for name, text in given.items() if text}
            self._add(Attempt(id=id, family=self.name, why=why, source=source, aims=aims,
                              code=code, play=play, timeout_s=timeout_s))  # fmt: skip
            return play

        return add

    def _add(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)


__all__ = ["Attempt", "Canary", "Family", "Play"]

"""What the contract of executors and sessions says to a guest, in the guest's own language.

A :class:`Language` is a table of phrases: code, and what an engine must make of it. Whoever writes
an engine for another language than Python says the same things in it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from windtunnel.sessions.hosting import HostFunction


@dataclasses.dataclass(frozen=True, slots=True)
class Phrase:
    """Some code, and how it must end.

    :param code: the code.
    :param value: what its last expression gives.
    :param error_type: the outcome's ``error_type``; empty where it ends well.
    :param output: what it prints.
    """

    code: str
    value: Any = None
    error_type: str = ""
    output: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """How a language says what the laws need said. None where it cannot say it.

    :param name: the language's name.
    :param rich: whether it has bytes, tuples and datetimes; else values are those of JSON.
    :param answer: an expression.
    :param other: another one, with another value.
    :param statement: binds the name ``kept``, and ends with a statement.
    :param kept: uses the name ``kept``, where nothing has bound it.
    :param fresh: gives a new list.
    :param fails: raises.
    :param broken: is no code of this language.
    :param prints: prints text beyond ASCII.
    :param floods: prints without end, as far as the limit of output.
    :param forever: never ends.
    :param deep: calls itself without end.
    :param echo: gives the input ``it`` back.
    :param changes: changes the input ``it``, a list, and gives it back.
    :param reads: calls the host function ``read`` on ``/data/a``.
    :param reads_outside: calls it on ``/etc/passwd``.
    :param defines: defines ``double(x)``, ``fail(x)``, which fails as ``fails`` does, and
        ``same(x)``, which gives back what it is given.
    :param spins: defines ``spin()``, which never returns.
    :param counts: adds one to the name ``n``.
    :param count: gives the name ``n``.
    """

    name: str
    rich: bool = True
    answer: Phrase
    other: Phrase
    statement: Phrase
    kept: Phrase
    fresh: Phrase
    fails: Phrase
    broken: Phrase
    prints: Phrase
    floods: Phrase | None
    forever: Phrase
    deep: Phrase | None
    echo: Phrase
    changes: Phrase | None
    reads: Phrase
    reads_outside: Phrase
    defines: Phrase
    spins: Phrase
    counts: Phrase
    count: Phrase

    def phrases(self) -> dict[str, Phrase]:
        """Its phrases by name."""
        named = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return {name: phrase for name, phrase in named if isinstance(phrase, Phrase)}


PYTHON = Language(
    name="python",
    answer=Phrase("6 * 7", 42),
    other=Phrase("'a' + 'b'", "ab"),
    statement=Phrase("kept = 1"),
    kept=Phrase("kept", error_type="NameError"),
    fresh=Phrase("[1, [2, 3]]", [1, [2, 3]]),
    fails=Phrase("1 / 0", error_type="ZeroDivisionError"),
    broken=Phrase("1 +", error_type="SyntaxError"),
    prints=Phrase("print('héllo', 7)\n1", 1, output="héllo 7\n"),
    floods=Phrase("while True:\n    print('x' * 1000)", error_type="OutputLimitError"),
    forever=Phrase("while True:\n    pass", error_type="TimeoutError"),
    deep=Phrase("def down(n):\n    return down(n + 1)\ndown(0)", error_type="RecursionError"),
    echo=Phrase("it"),
    changes=Phrase("it.append('more')\nit"),
    reads=Phrase("read('/data/a')", "</data/a>"),
    reads_outside=Phrase("read('/etc/passwd')", error_type="CapabilityDenied"),
    defines=Phrase(
        "def double(x):\n    return x * 2\n"
        "def fail(x):\n    return x / 0\n"
        "def same(x):\n    return x"
    ),
    spins=Phrase("def spin():\n    while True:\n        pass"),
    counts=Phrase("n = n + 1"),
    count=Phrase("n"),
)
"""Python, as ``monty`` and ``process`` run it."""

STARLARK = dataclasses.replace(
    PYTHON,
    name="starlark",
    rich=False,
    kept=Phrase("kept", error_type="StarlarkError"),
    fails=Phrase("1 // 0", error_type="StarlarkError"),
    floods=Phrase("[print('x' * 1000) for n in range(10000000)]", error_type="OutputLimitError"),
    forever=Phrase(
        "[0 for a in range(10000000) for b in range(10000000) if a < 0]",
        error_type="TimeoutError",
    ),
    spins=Phrase(
        "def spin():\n    return [0 for a in range(10000000) for b in range(10000000) if a < 0]"
    ),
)
"""Starlark, which has one type of error for what code does wrong."""

READ = HostFunction(
    "read", lambda path: f"<{path}>", needs="fs.read", operation="read", resource="path"
)
"""The host function that the subjects of the contract are made with."""

__all__ = ["PYTHON", "READ", "STARLARK", "Language", "Phrase"]

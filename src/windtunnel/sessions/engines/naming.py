"""Names that cross to a guest: identifiers, since a name becomes code there."""

from __future__ import annotations

from windtunnel.core.errors import UsageError

RESERVED = "__wt_"
"""Names that begin so belong to the engines."""


def name_checked(name: object, what: str = "a name of the guest's") -> str:
    """The name, where it is an identifier that guests may use.

    :raises UsageError: where it is none: it would be read as code.
    """
    if (
        isinstance(name, str)
        and name.isidentifier()
        and name not in _KEYWORDS
        and not name.startswith(RESERVED)
    ):
        return name
    raise UsageError(
        f"{what} is an identifier that is no keyword and does not start with {RESERVED}",
        found=ascii(name)[:200],
        fix="give a name such as total_2",
    )


_KEYWORDS = frozenset(
    [
        "False",
        "None",
        "True",
        "and",
        "as",
        "assert",
        "async",
        "await",
        "break",
        "class",
        "continue",
        "def",
        "del",
        "elif",
        "else",
        "except",
        "finally",
        "for",
        "from",
        "global",
        "if",
        "import",
        "in",
        "is",
        "lambda",
        "load",
        "nonlocal",
        "not",
        "or",
        "pass",
        "raise",
        "return",
        "try",
        "while",
        "with",
        "yield",
    ]
)

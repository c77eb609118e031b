"""Blanking secrets out of what is recorded, before it is written anywhere."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable

from windtunnel.core import Event, UsageError

BLANK = "[redacted]"
OUTPUT_LIMIT = 65_536
MESSAGE_LIMIT = 4_096

# Fields that hold text out of the program under test or from the command line.
_FIELDS = ("argv", "message", "output", "detail", "subject", "replay")


class Redaction:
    """Replaces what matches in an event's texts, and shortens what is too long to keep.

    :param patterns: regular expressions; each match becomes ``[redacted]``, or where a pattern
        has groups, only the groups do.
    :raises UsageError: for a pattern that is no regular expression.

    >>> Redaction(["token=(\\\\w+)"]).text("GET /?token=abc123 200")
    'GET /?token=[redacted] 200'
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns: list[re.Pattern[str]] = []
        for pattern in patterns:
            try:
                self._patterns.append(re.compile(pattern))
            except re.error as error:
                raise UsageError(
                    f"cannot use the redact pattern {pattern!r}",
                    found=str(error),
                    fix="write it as a regular expression of Python's re module",
                ) from None

    def text(self, text: str) -> str:
        """``text`` with every match blanked."""
        for pattern in self._patterns:
            text = pattern.sub(_blank, text)
        return text

    def __call__(self, event: Event) -> Event:
        """The event with its texts blanked and its message and output kept within limits."""
        changed: dict[str, str] = {}
        for name in _FIELDS:
            before = getattr(event, name, None)
            if isinstance(before, str) and before:
                after = shorten(self.text(before), _limit(name))
                if after != before:
                    changed[name] = after
        return dataclasses.replace(event, **changed) if changed else event  # type: ignore[arg-type]  # names are fields of this event


def shorten(text: str, limit: int) -> str:
    """``text`` cut in its middle to about ``limit`` characters: a failure shows at the ends.

    >>> shorten("abcdefghij", 4)
    'ab\\n[6 characters left out]\\nij'
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters left out]\n{text[-half:]}"


def _limit(field: str) -> int:
    return OUTPUT_LIMIT if field == "output" else MESSAGE_LIMIT


def _blank(match: re.Match[str]) -> str:
    if not match.re.groups:
        return BLANK
    whole, start = match.group(0), match.start(0)
    parts, at = [], 0
    for first, last in sorted(
        {match.span(group) for group in range(1, match.re.groups + 1) if match.span(group)[0] >= 0}
    ):
        if first - start < at:
            continue  # a group within a group that is blanked already
        parts += [whole[at : first - start], BLANK]
        at = last - start
    return "".join([*parts, whole[at:]])

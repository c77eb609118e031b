"""Strings for :mod:`~windtunnel.models.shape`: by format, by pattern, by length."""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Mapping
from typing import Any

from windtunnel.core.errors import UsageError

_WORDS = (
    "amber", "birch", "cobalt", "delta", "ember", "fjord", "garnet", "harbor", "indigo", "juniper",
)  # fmt: skip
_SHORT_CLASSES = {"d": "0123456789", "w": "abcdefghijklmnopqrstuvwxyz0123456789_", "s": " "}
_MANY = 100_000
_ANY = "abcdefghijklmnopqrstuvwxyz"


def text_for(schema: Mapping[str, Any], chance: random.Random) -> str:
    """A string that satisfies the schema's ``pattern``, ``format`` or lengths."""
    low, high = spread(schema, "Length")
    if "pattern" in schema:
        return _matching(str(schema["pattern"]), low, high, chance)
    if "format" in schema:
        text = formatted(str(schema["format"]), chance)
        if text is not None and low <= len(text) and (high is None or len(text) <= high):
            return text
    text = chance.choice(_WORDS)
    while len(text) < low:
        text += " " + chance.choice(_WORDS)
    return text if high is None else text[:high]


def spread(schema: Mapping[str, Any], what: str) -> tuple[int, int | None]:
    """How many items, properties or characters (``Length``) there must be, and may be.

    :raises UsageError: for bounds that nothing keeps, or nobody would want made.

    >>> spread({"minItems": 2}, "Items")
    (2, None)
    """
    low = int(schema.get(f"min{what}") or 0)
    given = schema.get(f"max{what}")
    high = None if given is None else int(given)
    if high is not None and high < low:
        found = f"min{what} {low}, max{what} {high}"
        raise UsageError("the JSON schema has bounds without a value", found=found)
    if low > _MANY:
        raise UsageError(f"the JSON schema wants more than {_MANY}", found=f"min{what} {low}")
    return low, high


def formatted(name: str, chance: random.Random) -> str | None:
    """A string of that JSON schema ``format``, None for one that is not known."""
    day = f"20{chance.randint(10, 29)}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    hour = f"{chance.randint(0, 23):02}:{chance.randint(0, 59):02}:{chance.randint(0, 59):02}"
    word = chance.choice(_WORDS)
    numbers = [chance.randint(1, 254) for _ in range(3)]
    made = {
        "date": day,
        "date-time": f"{day}T{hour}Z",
        "time": f"{hour}Z",
        "duration": f"PT{numbers[0]}M",
        "email": f"{word}@example.com",
        "idn-email": f"{word}@example.com",
        "hostname": f"{word}.example.com",
        "uri": f"https://example.com/{word}",
        "url": f"https://example.com/{word}",
        "iri": f"https://example.com/{word}",
        "uri-reference": f"/{word}",
        "ipv4": f"192.0.2.{numbers[0]}",
        "ipv6": f"2001:db8::{numbers[0]:x}",
        "uuid": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "byte": "d2luZA==",
        "binary": word,
        "regex": "^[a-z]+$",
        "json-pointer": f"/{word}",
    }
    return made.get(name)


def _matching(pattern: str, low: int, high: int | None, chance: random.Random) -> str:
    """A string that matches a pattern made of literals, classes, groups, alternatives and
    repetitions; what came out is tried against the pattern."""
    try:
        search = re.compile(pattern).search
    except re.error as error:
        found = f"{pattern}: {error}"
        raise UsageError("a pattern of the JSON schema cannot be read", found=found) from None
    for _ in range(50):
        text, rest = _Pattern(pattern, chance).alternatives()
        long_enough = len(text) >= low and (high is None or len(text) <= high)
        if not rest and long_enough and search(text):
            return text
    raise UsageError(
        "no string was found for a pattern of the JSON schema",
        found=pattern,
        fix="script an answer for this schema instead of a shaped one",
    )


class _Pattern:
    """Reads a regular expression from left to right and writes a string that it matches."""

    def __init__(self, pattern: str, chance: random.Random) -> None:
        self._left = pattern
        self._chance = chance

    def alternatives(self) -> tuple[str, str]:
        """A string for all that is left, up to a closing bracket; and what is left then."""
        options = [self._sequence()]
        while self._left.startswith("|"):
            self._left = self._left[1:]
            options.append(self._sequence())
        return self._chance.choice(options), self._left

    def _sequence(self) -> str:
        made = ""
        while self._left and self._left[0] not in "|)":
            before = self._left
            atom = self._atom()
            written = before[: len(before) - len(self._left)]
            low, high = self._times()
            count = self._chance.randint(low, min(high, low + 8))
            for _ in range(count):
                # Again from the same source, so that \d{4} has four different digits.
                made += _Pattern(written, self._chance)._atom() if count > 1 else atom
        return made

    def _atom(self) -> str:
        head, self._left = self._left[0], self._left[1:]
        if head in "^$":
            return ""
        if head == ".":
            return self._chance.choice(_ANY)
        if head == "\\":
            return self._escaped()
        if head == "[":
            return self._class()
        if head == "(":
            return self._group()
        return head

    def _escaped(self) -> str:
        letter, self._left = self._left[:1], self._left[1:]
        if letter in _SHORT_CLASSES:
            return self._chance.choice(_SHORT_CLASSES[letter])
        return {"n": "\n", "t": "\t", "b": "", "D": "x", "W": "-", "S": "x"}.get(letter, letter)

    def _group(self) -> str:
        opening = re.match(r"\?(:|P<\w+>|<\w+>)", self._left)
        if opening:
            self._left = self._left[opening.end() :]
        text, self._left = self.alternatives()
        self._left = self._left[1:]
        return text

    def _class(self) -> str:
        negated = self._left.startswith("^")
        self._left = self._left[negated:]
        allowed = ""
        while self._left and (self._left[0] != "]" or not allowed):
            head, self._left = self._left[0], self._left[1:]
            if head == "\\":
                letter, self._left = self._left[:1], self._left[1:]
                allowed += _SHORT_CLASSES.get(letter, letter)
            elif self._left[:1] == "-" and self._left[1:2] not in ("]", ""):
                last, self._left = self._left[1], self._left[2:]
                allowed += "".join(map(chr, range(ord(head), ord(last) + 1)))
            else:
                allowed += head
        self._left = self._left[1:]
        if negated:
            allowed = "".join(letter for letter in _ANY + "0123456789" if letter not in allowed)
        return self._chance.choice(allowed or "x")

    def _times(self) -> tuple[int, int]:
        found = re.match(r"(?:([*+?])|\{(\d*)(,?)(\d*)\})\??", self._left)
        if not found:
            return 1, 1
        self._left = self._left[found.end() :]
        if found[1]:
            return {"*": (0, 4), "+": (1, 4), "?": (0, 1)}[found[1]]
        low = int(found[2] or 0)
        return low, int(found[4]) if found[4] else (low + 4 if found[3] else low)


__all__ = ["formatted", "spread", "text_for"]

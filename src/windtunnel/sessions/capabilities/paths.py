"""Resources as paths: one normal form, and patterns that match it.

A resource is a root and segments. The root is empty (relative), ``/`` or a scheme such as ``s3://``;
none of them ever matches another. Everything that some layer below could read as another path (a
percent form of a separator, a Unicode form of a dot, a backslash, NUL) is refused and not guessed
at: a pattern that allows only what is certain needs no list of what is dangerous.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Sequence

from windtunnel.core.errors import UsageError

LONGEST = 4096
"""Characters of the longest resource that is looked at (PATH_MAX of Linux)."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_NEVER = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DECODED_AT_MOST = 5


class UnclearResource(ValueError):
    """A resource that layers below could take for another. The message is the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """A resource in normal form.

    :param root: ``""`` for relative, ``"/"``, or a scheme with ``://``.
    :param segments: the path's segments, none of them empty, ``.`` or ``..``.
    """

    root: str
    segments: tuple[str, ...]

    def __str__(self) -> str:
        return self.root + "/".join(self.segments)


@functools.lru_cache(maxsize=2048)
def normalised(resource: str) -> Resource:
    """The normal form of a resource.

    :raises UnclearResource: where it has none.

    >>> str(normalised("/data//a/./b/../c"))
    '/data/a/c'
    >>> normalised("a/../../etc")
    Traceback (most recent call last):
        ...
    windtunnel.sessions.capabilities.paths.UnclearResource: it leads above where it starts
    """
    if len(resource) > LONGEST:
        raise UnclearResource(f"it has more than {LONGEST} characters")
    resource = unicodedata.normalize("NFC", resource)
    _refuse_unclear(resource)
    root, rest = _split_root(resource)
    segments: list[str] = []
    for segment in rest.split("/"):
        if segment in ("", "."):
            continue
        if segment == "..":
            if not segments:
                raise UnclearResource("it leads above where it starts")
            segments.pop()
            continue
        segments.append(segment)
    return Resource(root, tuple(segments))


def _split_root(text: str) -> tuple[str, str]:
    if text.startswith("/"):
        return "/", text
    scheme = _SCHEME.match(text)
    if scheme:
        return scheme[0].lower(), text[scheme.end() :]
    if text.startswith("~"):
        raise UnclearResource("a leading ~ may be read as a home folder")
    return "", text


def _refuse_unclear(text: str) -> None:
    _refuse_structure(text)
    if text.isascii() and "%" not in text:
        return
    # What a layer below may decode, fold or leave out must not make a separator or dots.
    shape = _shape(text)
    view = text
    for _ in range(_DECODED_AT_MOST):
        before = view
        try:
            view = urllib.parse.unquote(before, errors="strict")
        except UnicodeDecodeError:
            raise UnclearResource("its percent forms are no UTF-8") from None
        view = _compatible(view)
        if _shape(view) != shape:
            raise UnclearResource("it has a percent or Unicode form of a separator or of dots")
        _refuse_structure(view)
        if view == before:
            return
    raise UnclearResource("its percent forms are nested too deep")


def _compatible(text: str) -> str:
    """The text folded by compatibility, without the characters that show nothing."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(one for one in folded if unicodedata.category(one) != "Cf")


def _refuse_structure(text: str) -> None:
    bad = _NEVER.search(text)
    if bad and bad[0] == "\\":
        raise UnclearResource("a backslash may be read as a separator")
    if bad:
        raise UnclearResource(f"it has the character {bad[0]!a}")
    for segment in text.split("/"):
        if segment not in ("", ".", "..") and not segment.strip(". "):
            raise UnclearResource(f"the segment {segment!r} may be read as . or ..")


def _shape(text: str) -> tuple[bool, ...]:
    """What a path's way depends on: its separators, and which of its segments are dots."""
    return tuple(not segment.strip(". ") for segment in text.split("/"))


@dataclasses.dataclass(frozen=True, slots=True)
class PathPattern:
    """A glob over segments: ``*`` and ``?`` within one, ``**`` for any number of them.

    :param text: as it was written.
    """

    text: str
    root: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> PathPattern:
        """Read a pattern.

        :raises UsageError: where it has no clear meaning.

        >>> PathPattern.parse("/data/**/*.csv").matches(normalised("/data/2024/may/sales.csv"))
        True
        >>> PathPattern.parse("/data/*").matches(normalised("/data/2024/may"))
        False
        """
        try:
            form = normalised(text)
        except UnclearResource as unclear:
            raise UsageError(
                "a resource pattern has no clear meaning", found=f"{text!a}: {unclear}"
            ) from None
        for segment in form.segments:
            if "**" in segment and segment != "**":
                raise UsageError(
                    "** stands for whole segments only",
                    found=repr(text),
                    fix="write **/*.txt in place of **.txt",
                )
        return cls(text, form.root, form.segments)

    def matches(self, resource: Resource, *, fold_case: bool = False) -> bool:
        """Whether it matches, taking upper and lower case for the same where ``fold_case``."""
        if self.root != resource.root:
            return False
        if fold_case:
            return _segments_match(_folded(self.segments), _folded(resource.segments))
        return _segments_match(self.segments, resource.segments)

    def covers(self, other: PathPattern, *, fold_case: bool = False) -> bool:
        """Whether it certainly matches all that ``other`` matches.

        In doubt it says no: of two ways to write the same pattern, one may not cover the other.

        >>> wide, narrow = PathPattern.parse("/data/**"), PathPattern.parse("/data/*/a.csv")
        >>> wide.covers(narrow), narrow.covers(wide)
        (True, False)
        """
        if self.root != other.root:
            return False
        if fold_case:
            return _segments_match(_folded(self.segments), _folded(other.segments), symbols=True)
        return _segments_match(self.segments, other.segments, symbols=True)

    def resolved(self) -> PathPattern:
        """The same pattern with the symbolic links of its part before any wildcard followed."""
        literal: list[str] = []
        for segment in self.segments:
            if "*" in segment or "?" in segment:
                break
            literal.append(segment)
        real = os.path.realpath(self.root + "/".join(literal))
        form = Resource("/", tuple(part for part in real.split("/") if part))
        return PathPattern(self.text, "/", form.segments + self.segments[len(literal) :])


def _folded(segments: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(unicodedata.normalize("NFC", segment.casefold()) for segment in segments)


def _segments_match(
    pattern: tuple[str, ...], segments: tuple[str, ...], *, symbols: bool = False
) -> bool:
    """Whether a pattern matches a path.

    With ``symbols``, the segments are a pattern, and match where all they stand for does.
    """
    return _globbed(pattern, segments, "**", lambda one, other: _segment(one, other, symbols))


def _segment(pattern: str, segment: str, symbols: bool) -> bool:
    if symbols and segment == "**":
        return False  # any number of segments is more than one
    if pattern == segment or pattern == "*":
        return True
    if "*" not in pattern and "?" not in pattern:
        return False
    return _globbed(pattern, segment, "*", lambda one, other: _character(one, other, symbols))


def _globbed(
    pattern: Sequence[str], text: Sequence[str], any_of: str, fits: Callable[[str, str], bool]
) -> bool:
    """Match with one point of return, so that no pattern takes more than the product of lengths.

    :param any_of: what in the pattern stands for any number of the text's elements.
    :param fits: whether another of the pattern's elements fits one of the text's.
    """
    at = seen = 0
    star, retry = -1, 0
    while seen < len(text):
        if at < len(pattern) and pattern[at] == any_of:
            star, retry = at, seen
            at += 1
        elif at < len(pattern) and fits(pattern[at], text[seen]):
            at += 1
            seen += 1
        elif star >= 0:
            retry += 1
            at, seen = star + 1, retry
        else:
            return False
    return all(rest == any_of for rest in pattern[at:])


def _character(pattern: str, character: str, symbols: bool) -> bool:
    if pattern == "?":
        return not (symbols and character == "*")
    return pattern == character


__all__ = ["LONGEST", "PathPattern", "Resource", "UnclearResource", "normalised"]

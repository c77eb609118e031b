"""A strip: the recent outcomes of one test side by side, oldest first, as text and as SVG.

The input is letters, one an outcome (``Outcome.letter``); a letter nobody knows is drawn as a
question mark instead of being refused, since a record may be newer than its reader.
"""

from __future__ import annotations

from collections import defaultdict

from windtunnel.core import Outcome
from windtunnel.draw.svg import Element, tag

_BLOCK = {"good": "▁", "bad": "█", "skip": "·", "": "?"}
_CELL, _GAP, _HEIGHT = 4, 1, 12
_LOW = 5


def kind(letter: str) -> str:
    """``good``, ``bad``, ``skip``, or nothing for a letter that is no outcome's."""
    try:
        outcome = Outcome.from_letter(letter)
    except KeyError:
        return ""
    return "bad" if outcome.bad else "good" if outcome.good else "skip"


def strip_text(letters: str, *, last: int = 20, ascii_only: bool = False) -> str:
    """The last outcomes as blocks: low is good, high is bad, a dot was skipped.

    :param ascii_only: return the letters themselves, for terminals without block characters.

    >>> strip_text("...Fs.")
    '▁▁▁█·▁'
    """
    recent = letters[-last:]
    if ascii_only:
        return recent
    return "".join(_BLOCK[kind(letter)] for letter in recent)


def strip_svg(letters: str, *, last: int = 20) -> Element:
    """The last outcomes as bars, one path a colour, so that a thousand strips stay small."""
    recent = letters[-last:]
    paths: defaultdict[str, list[str]] = defaultdict(list)
    for index, letter in enumerate(recent):
        name = kind(letter) or "skip"
        height = _HEIGHT if name == "bad" else _LOW
        x = index * (_CELL + _GAP)
        paths[name].append(f"M{x} {_HEIGHT - height}h{_CELL}v{height}h-{_CELL}z")
    # Not `drawing`, which lets a drawing shrink: a page may hold thousands of these.
    return tag(
        "svg",
        *[tag("path", class_=f"wt-{name}", d="".join(paths[name])) for name in sorted(paths)],
        width=max(1, len(recent)) * (_CELL + _GAP) - _GAP,
        height=_HEIGHT,
        role="img",
        aria_label=recent,
    )

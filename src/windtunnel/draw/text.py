"""Text made fit to be shown: without control characters, measured in cells, cut to a width.

Test names, messages and output come from programs under test; they may hold escape sequences
that would repaint a terminal, characters that XML forbids, or marks that turn the direction of
the text. Everything the house draws or prints goes through :func:`clean` first.
"""

from __future__ import annotations

import re
import unicodedata

# Escape sequences: CSI (colours, cursor), OSC (title, hyperlinks, ended by BEL or ST), and the
# two-character ones.
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[@-Z\\-_])")
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of text
    "\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]"  # separators, non-characters, surrogates
)
_SPACES = re.compile(r"[\t\n]+")


def clean(text: str, *, lines: bool = False) -> str:
    """``text`` without escape sequences, and with every control character made visible.

    :param lines: keep newlines and tabs; otherwise each run of them becomes one ``⏎`` or space.

    >>> clean("\\x1b[31mred\\x1b[0m\\x00")
    'red␀'
    >>> clean("a\\nb"), clean("a\\nb", lines=True)
    ('a⏎b', 'a\\nb')
    """
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    text = _SUSPECT.sub(_visible, text)
    return text if lines else _SPACES.sub(lambda run: "⏎" if "\n" in run[0] else " ", text)


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else "\ufffd"


def cells(text: str) -> int:
    """How many columns of a terminal ``text`` takes: wide characters two, combining ones none.

    >>> cells("abc"), cells("漢字"), cells("e\\u0301")
    (3, 4, 1)
    """
    if text.isascii():
        return len(text)
    return sum(map(_cell, text))


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns, cut in the middle: the end of a test's name tells
    it from its neighbours, the beginning says where it stands.

    >>> shorten("tests/test_planner.py::test_plans_in_steps", 24)
    'tests/te…_plans_in_steps'
    """
    if cells(text) <= width:
        return text
    if width <= 1:
        return "…"[:width]
    tail = _take(text[::-1], (width - 1) * 2 // 3)[::-1]
    return _take(text, width - 1 - cells(tail)) + "…" + tail


def _take(text: str, width: int) -> str:
    used = 0
    for index, character in enumerate(text):
        used += _cell(character)
        if used > width:
            return text[:index]
    return text


def pad(text: str, width: int, *, right: bool = False) -> str:
    """``text`` filled up with spaces to ``width`` columns; ``right`` puts the text last.

    >>> pad("漢", 4), pad("7", 3, right=True)
    ('漢  ', '  7')
    """
    space = " " * max(0, width - cells(text))
    return space + text if right else text + space


def seconds(value: float) -> str:
    """A duration for people, three digits of it and its unit.

    >>> [seconds(value) for value in (0, 0.000012, 0.0123, 1.5, 83.21, 4000)]
    ['0 s', '12 µs', '12.3 ms', '1.50 s', '83.2 s', '66 min 40 s']
    """
    if value <= 0:
        return "0 s"
    if value < 0.0009995:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{_three(value * 1e3)} ms"
    if value < 599.5:
        return f"{_three(value)} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _three(value: float) -> str:
    return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}"

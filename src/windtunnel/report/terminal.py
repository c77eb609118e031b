"""The terminal's layout of a run's sections: in columns, by rich on a terminal, else as text.

Both come from the same lines of styled spans, so that what is piped into a file reads as what is
seen on a screen. Nothing is wider than the terminal except what is there to be copied: names of
tests and commands.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from windtunnel.draw import cells, pad, shorten, strip_text
from windtunnel.draw.strip import kind
from windtunnel.report.sections import Row, Section

Span: TypeAlias = tuple[str, str]
"""Text and its look: a key of :data:`STYLES`, or empty."""

Line: TypeAlias = tuple[Span, ...]

STYLES = {
    "title": "bold",
    "bad title": "bold red",
    "flaky title": "bold yellow",
    "quarantine title": "bold magenta",
    "bad": "red",
    "good": "green",
    "flaky": "yellow",
    "quarantine": "magenta",
    "dim": "dim",
    "skip": "dim",
    "rule": "dim",
}
"""What rich makes of each look."""

_INDENT = 2
_NARROWEST = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """Where lines are laid out.

    :param width: columns of the terminal.
    :param rules: draw a thin line behind each title.
    :param ascii_only: use no character outside ASCII of our own.
    """

    width: int = 80
    rules: bool = False
    ascii_only: bool = False


def lay_out(sections: Iterable[Section], layout: Layout) -> list[Line]:
    """The lines of ``sections``."""
    return [line for section in sections for line in _section(section, layout)]


def closing_lines(words: Sequence[tuple[str, str]], layout: Layout) -> list[Line]:
    """The last lines: a word in its column, and what it stands for."""
    column = max((cells(word) for word, _ in words), default=0) + 2
    lines: list[Line] = []
    for word, text in words:
        for index, part in enumerate(wrap(text, layout.width - column)):
            head = pad(word if not index else "", column)
            lines.append(((head, "title"), (_own(part, layout), "")))
    return lines


def show(
    sections: Sequence[Section],
    words: Sequence[tuple[str, str]],
    *,
    width: int,
    on_screen: bool,
    colour: bool,
    ascii_only: bool,
) -> str:
    """What is printed of ``sections`` and of the closing ``words``.

    :param width: columns of the terminal.
    :param on_screen: whether someone looks at a terminal; rich prints there.
    :param colour: whether escape sequences may be used on it.
    :param ascii_only: whether what is printed to knows no more than ASCII.
    """
    layout = Layout(width, rules=on_screen and not ascii_only, ascii_only=ascii_only)
    lines = lay_out(sections, layout) + closing_lines(words, layout)
    return coloured(lines, width=width, colour=colour) if on_screen else plain(lines)


def can_print(encoding: str | None) -> bool:
    """Whether a file of that encoding takes the characters that reports are drawn with.

    >>> can_print("utf-8"), can_print("latin-1")
    (True, False)
    """
    try:
        "▁█·…─µ".encode(encoding or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain(lines: Iterable[Line]) -> str:
    """The lines as text, each with its newline."""
    return "".join("".join(text for text, _ in line).rstrip() + "\n" for line in lines)


def coloured(lines: Iterable[Line], *, width: int, colour: bool = True) -> str:
    """The lines as rich prints them on a terminal.

    :param colour: whether escape sequences may be used at all (``NO_COLOR``).
    """
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )
    for line in lines:
        text = Text(no_wrap=True, end="\n", overflow="ignore")
        for part, look in line:
            text.append(part, STYLES.get(look, ""))
        text.rstrip()
        console.print(text, soft_wrap=True, highlight=False, markup=False, emoji=False)
    printed: io.StringIO = console.file  # type: ignore[assignment]  # given above
    return printed.getvalue()


def wrap(text: str, width: int) -> list[str]:
    """``text`` in lines of at most ``width`` columns, broken at spaces where there are any.

    The name of a test is never broken: someone will want to copy it.

    >>> wrap("a tidy sentence", 7), wrap("by a.py::test_long", 7)
    (['a tidy', 'sentenc', 'e'], ['by', 'a.py::test_long'])
    """
    width = max(width, 1)
    lines, line = [], ""
    for word in text.split(" "):
        candidate = f"{line} {word}" if line else word
        if cells(candidate) <= width:
            line = candidate
            continue
        if line:
            lines.append(line)
        while cells(word) > width and "::" not in word:
            head = _head(word, width)
            lines.append(head)
            word = word[len(head) :]
        line = word
    return [*lines, line] if line or not lines else lines


def _head(word: str, width: int) -> str:
    used = 0
    for index, character in enumerate(word):
        used += cells(character)
        if used > width and index:
            return word[:index]
    return word


def _section(section: Section, layout: Layout) -> Iterator[Line]:
    yield from _title(section, layout)
    widths = [
        max((cells(row.cells[index]) for row in section.rows if index < len(row.cells)), default=0)
        for index in range(max((len(row.cells) for row in section.rows), default=0))
    ]
    strip_width = max((len(row.strip) for row in section.rows), default=0)
    if sum(widths) + strip_width + _NARROWEST > layout.width:
        strip_width = 0  # no room beside the text: the strip goes below it
    for row in section.rows:
        yield from _row(row, widths, strip_width, layout)
    if section.hidden:
        yield ((" " * _INDENT + _own(f"… and {section.hidden:,} more", layout), "dim"),)


def _title(section: Section, layout: Layout) -> Iterator[Line]:
    look = f"{section.look} title".strip()
    used = cells(section.title) + (2 if section.note else 1)
    notes = wrap(section.note, layout.width - used) if section.note else []
    if section.note and layout.width - used < _NARROWEST:
        yield ((section.title, look),)
        for note in wrap(section.note, layout.width - _INDENT):
            yield ((" " * _INDENT + note, "dim"),)
        return
    for index, note in enumerate(notes or [""]):
        head: Span = (pad(section.title, used), look) if not index else (" " * used, "")
        rest = layout.width - used - cells(note) - 1
        ruled = layout.rules and not index and rest > 3
        gap = " " if note else ""
        line = gap + "─" * (rest + 1 - len(gap))
        yield (head, (note, "dim"), (line if ruled else "", "rule"))


def _row(row: Row, widths: Sequence[int], strip_width: int, layout: Layout) -> Iterator[Line]:
    head: list[Span] = [(" " * _INDENT, "")]
    for index, width in enumerate(widths):
        cell = row.cells[index] if index < len(row.cells) else ""
        right = cell[:1].isdigit()
        head.append((pad(_own(cell, layout), width, right=right), row.look or "dim"))
        head.append(("  ", ""))
    if strip_width:
        head += _strip(row.strip, layout)
        head.append((" " * (strip_width - len(row.strip) + 2), ""))
    indent = sum(cells(text) for text, _ in head)
    room = layout.width - indent
    text = row.text if row.whole else shorten(row.text, max(room, _NARROWEST))
    yield (*head, (_own(text, layout) if not row.whole else text, ""))
    if row.strip and not strip_width:
        yield ((" " * indent, ""), *_strip(row.strip, layout))
    if not widths:
        indent += _INDENT  # else nothing would tell the text from what is said of it
    for sentence in row.under:
        for part in wrap(sentence, max(layout.width - indent, _NARROWEST)):
            yield ((" " * indent + _own(part, layout), "dim"),)


def _strip(letters: str, layout: Layout) -> Iterator[Span]:
    for letter in letters:
        yield strip_text(letter, ascii_only=layout.ascii_only), kind(letter)


def _own(text: str, layout: Layout) -> str:
    return text.replace("…", "..").replace("µ", "u") if layout.ascii_only else text

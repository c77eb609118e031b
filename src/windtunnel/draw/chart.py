"""Plain charts: bars, an interval on the scale from 0 to 1, and a line over time."""

from __future__ import annotations

from collections.abc import Sequence

from windtunnel.draw.svg import Child, Element, drawing, number, tag
from windtunnel.draw.text import cells, shorten

_ROW = 20
_CHARACTER = 6.2  # pixels of a character of 11 px sans, on the wide side


def bars(
    rows: Sequence[tuple[str, float, str]], *, width: float = 640, label: str = "bars"
) -> Element:
    """Horizontal bars.

    :param rows: for each bar its name, its length in any unit from 0 up, and what is written
        behind it.
    :param width: in pixels.
    """
    longest = max((value for _, value, _ in rows), default=0.0) or 1.0
    behind = max((cells(text) for _, _, text in rows), default=0) * _CHARACTER + 8
    names = min(max((cells(name) for name, _, _ in rows), default=0) * _CHARACTER + 8, width / 2)
    room = max(1.0, width - names - behind)
    children: list[Child] = []
    for index, (name, value, text) in enumerate(rows):
        y = index * _ROW
        length = max(0.0, value) / longest * room
        children += [
            tag("text", shorten(name, int(names / _CHARACTER)), x=0, y=y + 14),
            tag("rect", x=names, y=y + 4, width=length, height=_ROW - 8, class_="wt-good"),
            tag("text", text, x=names + length + 5, y=y + 14, class_="wt-dim"),
        ]
    return drawing(width, max(1, len(rows)) * _ROW, children, label=label)


def interval(low: float, value: float, high: float, *, width: float = 120) -> Element:
    """A share between 0 and 1 with the interval it may really lie in."""
    height = 12
    children = [
        tag("rect", x=0, y=5, width=width, height=2, class_="wt-skip"),
        tag("rect", x=low * width, y=2, width=max(1.0, (high - low) * width), height=8,
            class_="wt-interval", rx=2),
        tag("rect", x=min(max(value * width - 1, 0), width - 2), y=0, width=2, height=height,
            class_="wt-bad"),
    ]  # fmt: skip
    label = f"{value:.0%}, between {low:.0%} and {high:.0%}"
    return drawing(width, height, [tag("title", label), *children], label=label)


def line(
    points: Sequence[tuple[float, float]],
    *,
    width: float = 640,
    height: float = 120,
    unit: str = "",
    label: str = "line",
) -> Element:
    """A line through points (x, y), from 0 up, with the highest value written at its level."""
    top, left, bottom = 14.0, 0.0, height - 4
    if not points:
        return drawing(width, height, [tag("text", "nothing yet", x=0, y=14)], label=label)
    first, last = min(x for x, _ in points), max(x for x, _ in points)
    high = max(y for _, y in points) or 1.0
    path = "".join(
        f"{'L' if index else 'M'}"
        f"{number(left + (x - first) / ((last - first) or 1) * (width - left))} "
        f"{number(bottom - max(0.0, y) / high * (bottom - top))}"
        for index, (x, y) in enumerate(sorted(points))
    )
    children = [
        tag("line", x1=0, x2=width, y1=top, y2=top, class_="wt-tick"),
        tag("line", x1=0, x2=width, y1=bottom, y2=bottom, class_="wt-tick"),
        tag("path", d=path, class_="wt-curve"),
        tag("text", f"{high:.3g} {unit}".strip(), x=0, y=10, class_="wt-dim"),
    ]
    return drawing(width, height, children, label=label)

"""Measurements as drawings: the histogram, and durations over percentiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from windtunnel.bench.bins import bins
from windtunnel.bench.result import Result
from windtunnel.bench.units import duration
from windtunnel.draw import Element, cells, drawing, shorten, tag

_CHARACTER = 6.2  # pixels, of the drawing's 11 px text
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 16.0, 34.0, 26.0
_HEIGHT = 220.0
_COLUMNS = 36
_PLACES = (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999)

Scale: TypeAlias = Callable[[float], float]


def histogram(result: Result, *, width: float = 640) -> Element:
    """How often each duration was seen, with median and 95th percentile marked.

    :param result: with at least one sample; without, the drawing says so.
    :param width: in pixels.
    """
    if not result.times_s:
        return _nothing(result.name, width)
    made = bins(result.times_s, _COLUMNS)
    beyond = len(made) > 1 and _wider(made)
    right, bottom = width - _RIGHT, _HEIGHT - _BOTTOM
    column = (right - _LEFT) / len(made)
    highest = max(count for _, _, count in made)
    low, high = made[0][0], made[-1][0] if beyond else made[-1][1]
    span = right - _LEFT - (column if beyond else 0)

    def x_of(value: float) -> float:
        if high == low:
            return _LEFT + span / 2
        return min(right, _LEFT + (value - low) / (high - low) * span)

    children: list[Element | str] = [
        tag("title", f"histogram of {result.name}"),
        tag("text", shorten(result.name, int(width / _CHARACTER)), x=0, y=12),
        *_level(0, bottom, right, "0"),
        *_level(highest, _TOP, right, f"{highest:,}"),
    ]
    for index, (start, end, count) in enumerate(made):
        if not count:
            continue
        height = max(1.0, count / highest * (bottom - _TOP))
        until = "longer" if beyond and index == len(made) - 1 else duration(end)
        children.append(
            tag(
                "rect",
                tag("title", f"{duration(start)} to {until}: {count:,}"),
                x=_LEFT + index * column,
                y=bottom - height,
                width=max(1.0, column - 1),
                height=height,
                class_="wt-skip" if until == "longer" else "wt-good",
            )
        )
    marks = [("median", result.median), ("p95", result.p95)]
    children += _marks([(name, value, x_of(value)) for name, value in marks], bottom, width)
    ticks = [low + (high - low) * step / 4 for step in range(4 if beyond else 5)]
    ticks = ticks if high > low else [low]
    children += [_under(duration(value), x_of(value), bottom, width) for value in ticks]
    if beyond:
        children.append(_under("longer", right - column / 2, bottom, width))
    return drawing(width, _HEIGHT, children, label=f"histogram of {result.name}")


def percentiles(results: Sequence[Result], *, width: float = 640) -> Element:
    """Durations over percentiles, 90, 99 and 99.9 equally far apart, so that the tail shows.

    :param results: up to four, each a curve named at its end.
    """
    shown = [result for result in results if result.times_s][:4]
    if not shown:
        return _nothing(results[0].name if results else "", width)
    most = max(len(result.times_s) for result in shown)
    last = _stretched(100 * (1 - 1 / max(2, most)))
    highest = max(result.max for result in shown) or 1.0
    names = max(cells(result.name[:24]) for result in shown) * _CHARACTER if len(shown) > 1 else 0
    right, bottom = width - _RIGHT - names, _HEIGHT - _BOTTOM

    def x_of(place: float) -> float:
        return _LEFT + min(1.0, _stretched(place) / last) * (right - _LEFT)

    def y_of(value: float) -> float:
        return bottom - value / highest * (bottom - _TOP)

    label = "percentiles of " + ", ".join(result.name for result in shown)
    title = shorten(label, int(width / _CHARACTER))
    children: list[Element | str] = [tag("title", label), tag("text", title, x=0, y=12)]
    for step in range(5):
        value = highest * step / 4
        children += _level(value, y_of(value), right, duration(value))
    places = [place for place in _PLACES if _stretched(place) <= last]
    children += [
        tag("line", x1=x_of(p), x2=x_of(p), y1=_TOP, y2=bottom, class_="wt-tick") for p in places
    ]
    children += [_under(f"p{place:g}", x_of(place), bottom, width) for place in places]
    ends = _apart([y_of(result.max) for result in shown], 13)
    for index, (result, end) in enumerate(zip(shown, ends, strict=True)):
        children.append(_curve(result, x_of, y_of, last, dashed=bool(index)))
        if len(shown) > 1:
            children.append(tag("text", result.name[:24], x=right + 4, y=end + 4))
    return drawing(width, _HEIGHT, children, label=label)


def _curve(result: Result, x_of: Scale, y_of: Scale, last: float, *, dashed: bool) -> Element:
    points = []
    for step in range(121):
        place = 100 * (1 - 10 ** -(last * step / 120))
        points.append(f"{x_of(place):.1f} {y_of(result.percentile(place)):.1f}")
    path = "M" + "L".join(points)
    return tag("path", d=path, class_="wt-curve", stroke_dasharray="6 3" if dashed else None)


def _stretched(place: float) -> float:
    """Nines: 90 is one, 99 two, 99.9 three."""
    return -math.log10(max(1e-9, 1 - place / 100)) if place < 100 else 9.0


def _wider(made: Sequence[tuple[float, float, int]]) -> bool:
    first, last = made[0][1] - made[0][0], made[-1][1] - made[-1][0]
    return last > first * 1.001


def _level(value: float, y: float, right: float, text: str) -> list[Element]:
    return [
        tag("line", x1=_LEFT, x2=right, y1=y, y2=y, class_="wt-tick"),
        tag("text", text, x=_LEFT - 6, y=y + 4, text_anchor="end", class_="wt-dim"),
    ]


def _marks(marks: Sequence[tuple[str, float, float]], bottom: float, width: float) -> list[Element]:
    """Dashed lines with their names above, none over another."""
    made: list[Element] = []
    free = 0.0
    for name, value, x in marks:
        text = f"{name} {duration(value)}"
        room = cells(text) * _CHARACTER
        left = max(free, x + 3 if x + 3 + room < width else x - 3 - room)
        free = left + room + 8
        made += [
            tag("line", x1=x, x2=x, y1=_TOP - 10, y2=bottom, class_="wt-bound"),
            tag("text", text, x=left, y=_TOP - 7, class_="wt-bound-label"),
        ]
    return made


def _under(text: str, x: float, bottom: float, width: float) -> Element:
    half = cells(text) * _CHARACTER / 2
    middle = min(max(x, half), width - half)
    return tag("text", text, x=middle, y=bottom + 16, text_anchor="middle", class_="wt-dim")


def _apart(places: Sequence[float], least: float) -> list[float]:
    """The same places, moved up as far as it takes to stand ``least`` apart."""
    made = list(places)
    order = sorted(range(len(made)), key=lambda index: -made[index])
    for before, index in itertools.pairwise(order):
        made[index] = min(made[index], made[before] - least)
    return made


def _nothing(name: str, width: float) -> Element:
    text = f"{name}: no call succeeded".lstrip(": ")
    return drawing(width, 20, [tag("text", text, x=0, y=14)], label=text)

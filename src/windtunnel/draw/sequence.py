"""A sequence diagram: a lane a node, time downwards, messages as arrows between the lanes.

The vertical place says what came before what, not how long it took: each beginning and end of a
message and each mark has its place, and the times stand at the left. So a microsecond between
two sends can be seen beside an hour of waiting, and two messages that overtake each other cross.
"""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from windtunnel.draw.svg import Child, Element, drawing, tag
from windtunnel.draw.text import cells, clean, shorten

Look: TypeAlias = Literal["good", "skip", "bad"]

_CHARACTER = 6.1  # pixels, of the drawing's 11 px text
_GUTTER, _RIGHT, _TOP = 84, 24, 30
_WIDEST = 260.0
_NARROWEST = 92.0
_ROW, _HOP = 22.0, 13.0  # to the next event; to the arrival that follows its own departure
_LINE = 15


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arrow:
    """A message from one lane to another, or from a lane to itself.

    :param sent_s: when it was sent, seconds.
    :param arrived_s: when it arrived; None when it did not.
    :param look: ``good``: it arrived; ``skip``: still under way; ``bad``: it was lost.
    :param count: how many alike it stands for.
    """

    source: str
    target: str
    sent_s: float
    arrived_s: float | None
    label: str
    look: Look = "good"
    count: int = 1


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happens in one lane."""

    lane: str
    at_s: float
    label: str
    look: Look = "skip"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Across:
    """Something that concerns all lanes: a partition, or what was left out."""

    at_s: float
    label: str
    look: Look = "skip"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A stretch in which a lane does nothing.

    :param until_s: when it is back; None for never.
    :param look: ``bad``: it is gone; ``skip``: it is paused.
    """

    lane: str
    from_s: float
    until_s: float | None
    look: Look = "bad"


Event: TypeAlias = Arrow | Mark | Across


@dataclasses.dataclass(frozen=True, slots=True)
class _Places:
    """Where everything stands: lanes by name, events by number (a beginning and an end)."""

    lanes: dict[str, float]
    begins: list[float]
    ends: list[float]
    times: list[tuple[float, float]]
    floor: float
    width: float

    def first_at(self, at_s: float) -> float:
        """The height of the first event at that time or later."""
        return min((y for time_s, y in self.times if time_s >= at_s), default=self.floor)

    def last_at(self, at_s: float) -> float:
        """The height of the last event up to that time."""
        return max((y for time_s, y in self.times if time_s <= at_s), default=_TOP - 6.0)


def sequence(
    lanes: Sequence[str],
    events: Sequence[Event],
    absences: Sequence[Absence] = (),
    *,
    verdict: str = "",
    width: float = 1080,
) -> Element:
    """Draw ``events`` in the lanes, which stand in the order given.

    :param absences: where a lane is drawn as gone or paused.
    :param verdict: text below: what was violated.
    :param width: in pixels, at most; more when there are many lanes.
    :raises KeyError: for an event in a lane that is not among ``lanes``.
    """
    places = _place(lanes, events, width)
    below = _wrapped(verdict, places.width)
    children: list[Child] = [*_heads(places), *_lifelines(places, absences), *_clock(places)]
    shapes: list[Element] = []
    for number, event in enumerate(events):
        shapes += _shape(event, places.begins[number], places.ends[number], places)
    # Words last, so that no line runs through them.
    shapes.sort(key=lambda shape: shape.name == "text")
    children += shapes
    for number, line in enumerate(below):
        y = places.floor + 22 + number * _LINE
        children.append(tag("text", line, x=2, y=y, class_="wt-verdict"))
    height = places.floor + 10 + (len(below) * _LINE + 10 if below else 0)
    label = f"sequence of {len(events)} events in {len(lanes)} lanes"
    return drawing(places.width, height, children, label=label)


def _place(lanes: Sequence[str], events: Sequence[Event], width: float) -> _Places:
    pitch = (width - _GUTTER - _RIGHT) / max(1, len(lanes))
    pitch = min(_WIDEST, max(_NARROWEST, pitch))
    at = {name: _GUTTER + pitch * (number + 0.5) for number, name in enumerate(lanes)}
    points = sorted(_points(events))
    begins, ends = [0.0] * len(events), [0.0] * len(events)
    times: list[tuple[float, float]] = []
    y, before = _TOP + 6.0, -1
    for time_s, _, number, is_end in points:
        y += _HOP if is_end and before == number else _ROW
        (ends if is_end else begins)[number] = y
        times.append((time_s, y))
        before = number
    for number, event in enumerate(events):
        if not isinstance(event, Arrow) or event.arrived_s is None:
            ends[number] = begins[number]
    used = _GUTTER + pitch * len(lanes) + _RIGHT
    return _Places(at, begins, ends, times, y + _ROW, max(used, min(width, 640)))


def _points(events: Sequence[Event]) -> Iterator[tuple[float, int, int, bool]]:
    """Beginnings and ends: time, order among equals, number of the event, whether the end."""
    for number, event in enumerate(events):
        if isinstance(event, Arrow):
            yield event.sent_s, 2 * number, number, False
            if event.arrived_s is not None:
                yield max(event.arrived_s, event.sent_s), 2 * number + 1, number, True
        else:
            yield event.at_s, 2 * number, number, False


def _heads(places: _Places) -> Iterator[Child]:
    pitch = _pitch(places)
    for name, x in places.lanes.items():
        text = shorten(clean(name), int((pitch - 16) / _CHARACTER))
        wide = cells(text) * _CHARACTER + 18
        yield tag("rect", x=x - wide / 2, y=4, width=wide, height=20, rx=4, class_="wt-track")
        yield tag("text", text, x=x, y=18, text_anchor="middle")


def _pitch(places: _Places) -> float:
    at = list(places.lanes.values())
    return at[1] - at[0] if len(at) > 1 else _WIDEST


def _lifelines(places: _Places, absences: Sequence[Absence]) -> Iterator[Child]:
    for name, x in places.lanes.items():
        y = _TOP - 6.0
        for gone in sorted((one for one in absences if one.lane == name), key=lambda a: a.from_s):
            begin = max(y, places.last_at(gone.from_s))
            end = places.floor if gone.until_s is None else places.first_at(gone.until_s)
            yield _vertical(x, y, begin, "wt-tick")
            yield _vertical(x, begin, end, "wt-gone" if gone.look == "bad" else "wt-paused")
            y = max(y, end)
        yield _vertical(x, y, places.floor, "wt-tick")


def _vertical(x: float, y1: float, y2: float, look: str) -> Element:
    return tag("line", x1=x, x2=x, y1=y1, y2=y2, class_=look)


def _clock(places: _Places) -> Iterator[Child]:
    """Times at the left, as fine as needed to tell neighbours apart."""
    shown, last_y = "", -math.inf
    for time_s, y in places.times:
        text = f"{time_s:.6f} s"
        if text != shown and y - last_y >= _HOP - 1:
            yield tag("text", text, x=_GUTTER - 12, y=y + 4, class_="wt-dim", text_anchor="end")
            shown, last_y = text, y


def _shape(event: Event, y: float, end: float, places: _Places) -> Iterator[Element]:
    if isinstance(event, Arrow):
        yield from _arrow(event, y, end, places)
    elif isinstance(event, Mark):
        yield from _mark(event, y, places)
    else:
        yield from _across(event, y, places)


def _arrow(arrow: Arrow, y: float, end: float, places: _Places) -> Iterator[Element]:
    x1, x2 = places.lanes[arrow.source], places.lanes[arrow.target]
    label = (
        arrow.label if arrow.count == 1 else f"{arrow.label}  \N{MULTIPLICATION SIGN} {arrow.count}"
    )
    whole = tag("title", f"{arrow.source} to {arrow.target}: {label}")
    if x1 == x2:
        loop = f"M{x1:.2f} {y:.2f}h22v{max(end - y, 8):.2f}h-16"
        yield tag("path", whole, d=loop, class_=f"wt-arrow wt-arrow-{arrow.look}")
        yield _head(x1 + 22, x1, max(end, y + 8), max(end, y + 8), arrow.look)
        yield _text(label, x1 + 28, y + 8, (_pitch(places) - 40), "start")
        return
    stop = x2 if arrow.look == "good" else x1 + (x2 - x1) * 0.72
    tip = end if arrow.look == "good" else y
    yield tag("line", whole, x1=x1, y1=y, x2=stop, y2=tip, class_=f"wt-arrow wt-arrow-{arrow.look}")
    if arrow.look == "bad":
        cross = f"M{stop - 5:.2f} {tip - 5:.2f}l10 10m0 -10l-10 10"
        yield tag("path", d=cross, class_="wt-arrow wt-cross")
    else:
        yield _head(x1, stop, y, tip, arrow.look)
    # Nearer to the sender than to the middle, where arrows cross, if the words are short.
    reach = abs(x2 - x1)
    room = min(cells(clean(label)) * _CHARACTER, reach - 16)
    share = min(0.5, max(0.4, room / 2 / reach + 0.03)) if arrow.look == "good" else 0.36
    height = y + (tip - y) * share * reach / abs(stop - x1) - 5
    yield _text(label, x1 + (x2 - x1) * share, height, 2 * share * reach - 8, "middle")


def _head(x1: float, x2: float, y1: float, y2: float, look: Look) -> Element:
    """The point of an arrow, in the direction in which it flies."""
    length = math.hypot(x2 - x1, y2 - y1) or 1.0
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    back_x, back_y = x2 - 8 * dx, y2 - 8 * dy
    points = [
        (x2, y2),
        (back_x - 3.5 * dy, back_y + 3.5 * dx),
        (back_x + 3.5 * dy, back_y - 3.5 * dx),
    ]
    path = "M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in points) + "z"
    return tag("path", d=path, class_=f"wt-head wt-head-{look}")


def _mark(mark: Mark, y: float, places: _Places) -> Iterator[Element]:
    x = places.lanes[mark.lane]
    yield tag("circle", tag("title", mark.label), cx=x, cy=y, r=4.5, class_=f"wt-{mark.look}")
    # The text has the room to the right of its lane, or to the left where there is more.
    right, left = places.width - x - 16, x - _GUTTER - 10
    wanted = cells(clean(mark.label)) * _CHARACTER
    if wanted > right and left > right:
        yield _text(mark.label, x - 10, y + 4, left, "end")
    else:
        yield _text(mark.label, x + 10, y + 4, right, "start")


def _across(across: Across, y: float, places: _Places) -> Iterator[Element]:
    begin, end = _GUTTER - 4, places.width - 6
    yield tag("line", x1=begin, x2=end, y1=y, y2=y, class_=f"wt-across-{across.look}")
    yield _text(across.label, (begin + end) / 2, y + 4, end - begin - 40, "middle", across.look)


def _text(
    label: str, x: float, y: float, room: float, anchor: str, look: Look | None = None
) -> Element:
    text = shorten(clean(label), max(6, int(room / _CHARACTER)))
    kind = "wt-halo" if look != "bad" else "wt-halo wt-verdict"
    kind = f"{kind} wt-dim" if look == "skip" else kind
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=kind)


def _wrapped(verdict: str, width: float) -> list[str]:
    columns = int((width - 8) / _CHARACTER)
    lines: list[str] = []
    for line in clean(verdict, lines=True).splitlines():
        lines += textwrap.wrap(line, columns, subsequent_indent="    ") or [""]
    return lines

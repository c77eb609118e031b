"""The timeline: one lane a worker, one bar a test, against the shortest time there could be.

A bar has three shades (set-up, call, teardown) where there is room for them. Bars too narrow to
be seen are merged with their narrow neighbours into one that says how many it holds, so a run of
ten thousand tests is drawn by some thousand shapes; a merged bar is as bad as its worst test.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias

from windtunnel.draw.svg import Child, Element, drawing, tag
from windtunnel.draw.text import cells, clean, seconds, shorten

Look: TypeAlias = Literal["good", "skip", "bad"]
_LOOKS: tuple[Look, ...] = ("skip", "good", "bad")

_SEEN = 2.0  # pixels: narrower bars are merged
_GAP = 1.0  # pixels: over wider gaps nothing is merged
_TOP, _BOTTOM, _RIGHT = 34, 22, 14


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One stretch of work in a lane.

    :param lane: the worker's name.
    :param start_s: when it began, in seconds on the timeline's clock.
    :param phases_s: seconds of set-up, call and teardown.
    :param look: how it ended: ``good``, ``bad``, or ``skip`` where nothing was decided.
    :param label: what the tooltip says first.
    :param flaky: carries the mark for it; likewise ``quarantined``.
    :param count: how many tests it stands for.
    """

    lane: str
    start_s: float
    phases_s: tuple[float, float, float]
    look: Look
    label: str
    flaky: bool = False
    quarantined: bool = False
    count: int = 1

    @property
    def duration_s(self) -> float:
        """Seconds of all phases."""
        return sum(self.phases_s)

    @property
    def end_s(self) -> float:
        """When it ended."""
        return self.start_s + self.duration_s


@dataclasses.dataclass(frozen=True, slots=True)
class _Scale:
    left: float
    width: float
    zero_s: float
    span_s: float

    def x(self, at_s: float) -> float:
        return self.left + self.length(at_s - self.zero_s)

    def length(self, duration_s: float) -> float:
        return duration_s / self.span_s * self.width


def timeline(
    bars: Sequence[Bar],
    *,
    lanes: Sequence[str] = (),
    bound_s: float | None = None,
    width: float = 1080,
) -> Element:
    """Draw ``bars``, from the first one's start to the last one's end.

    :param lanes: lanes in the order to draw, also those that stay empty; lanes only bars know
        follow, by name and number.
    :param bound_s: seconds after the first start at which the work could have ended at best;
        drawn as a dashed line.
    :param width: in pixels.
    """
    names = [*lanes, *sorted({bar.lane for bar in bars} - set(lanes), key=_by_number)]
    zero = min((bar.start_s for bar in bars), default=0.0)
    end = max((bar.end_s for bar in bars), default=0.0)
    gutter = min(14, max(map(cells, names), default=0)) * 6.6 + 12
    span = max(end - zero, bound_s or 0.0) or 1.0
    scale = _Scale(gutter, width - gutter - _RIGHT, zero, span)
    row = 24 if len(names) <= 24 else 14
    floor = _TOP + row * len(names)
    by_lane: defaultdict[str, list[Bar]] = defaultdict(list)
    for bar in bars:
        by_lane[bar.lane].append(bar)
    children: list[Child] = [_HATCH, *_ticks(scale, floor)]
    for index, name in enumerate(names):
        y = _TOP + index * row
        children.append(tag("text", shorten(clean(name), 14), x=0, y=y + row / 2 + 4))
        children.append(
            tag("rect", x=gutter, y=y + 2, width=scale.width, height=row - 4, class_="wt-track")
        )
        for bar in merged(by_lane[name], scale.length(1.0)):
            children.append(_shape(bar, scale, y + 2, row - 4))
    if bars:
        children += _marks(scale, floor, end - zero, bound_s)
    label = f"timeline of {sum(bar.count for bar in bars)} results in {len(names)} lanes"
    return drawing(width, floor + _BOTTOM, children, label=label)


def merged(bars: Iterable[Bar], pixels_a_second: float) -> Iterator[Bar]:
    """``bars`` of one lane in order, those too narrow to be seen taken together."""
    held: list[Bar] = []
    for bar in sorted(bars, key=lambda bar: bar.start_s):
        narrow = bar.duration_s * pixels_a_second < _SEEN
        if held and (
            not narrow
            or (bar.start_s - held[-1].end_s) * pixels_a_second > _GAP
            or (held[-1].end_s - held[0].start_s) * pixels_a_second >= _SEEN
        ):
            yield _together(held)
            held = []
        if narrow:
            held.append(bar)
        else:
            yield bar
    if held:
        yield _together(held)


def _together(held: list[Bar]) -> Bar:
    if len(held) == 1:
        return held[0]
    bad = [bar for bar in held if bar.look == "bad"]
    label = f"{sum(bar.count for bar in held)} results"
    if bad:
        label += f", {len(bad)} bad, first {bad[0].label}"
    return Bar(
        lane=held[0].lane,
        start_s=held[0].start_s,
        phases_s=(0.0, max(bar.end_s for bar in held) - held[0].start_s, 0.0),
        look=_LOOKS[max(_LOOKS.index(bar.look) for bar in held)],
        label=label,
        flaky=any(bar.flaky for bar in held),
        quarantined=any(bar.quarantined for bar in bad or held),
        count=sum(bar.count for bar in held),
    )


def _shape(bar: Bar, scale: _Scale, y: float, height: float) -> Element:
    whole = max(scale.length(bar.duration_s), 1.0)
    x = scale.x(bar.start_s)
    # A hair of paper between neighbours, where they are wide enough to spare it.
    drawn = whole - 1 if whole > 4 else whole
    children: list[Child] = [tag("title", f"{bar.label}\n{seconds(bar.duration_s)} on {bar.lane}")]
    setup, _, teardown = (scale.length(phase) for phase in bar.phases_s)
    children.append(tag("rect", x=x, y=y, width=drawn, height=height))
    if setup >= 0.8:
        children.append(
            tag("rect", x=x, y=y, width=min(setup, drawn), height=height, class_="wt-edge")
        )
    if teardown >= 0.8:
        wide = min(teardown, drawn)
        children.append(
            tag("rect", x=x + drawn - wide, y=y, width=wide, height=height, class_="wt-edge")
        )
    if bar.quarantined:
        children.append(tag("rect", x=x, y=y, width=drawn, height=height, class_="wt-hatch"))
    if bar.flaky:
        middle = x + drawn / 2
        children.append(tag("path", d=f"M{middle - 4:.2f} {y - 2:.2f}h8l-4 7z", class_="wt-flaky"))
    return tag("g", *children, class_=f"wt-{bar.look}")


def _ticks(scale: _Scale, floor: float) -> Iterator[Child]:
    step = _step(scale.span_s / 8)
    for index in range(int(scale.span_s / step + 1e-9) + 1):
        x = scale.x(scale.zero_s + index * step)
        yield tag("line", x1=x, x2=x, y1=_TOP, y2=floor + 4, class_="wt-tick")
        yield tag("text", _tick_label(index * step), x=x, y=floor + 16, class_="wt-dim",
                  text_anchor="middle" if index else "start")  # fmt: skip


def _step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20 … above ``rough``."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def _tick_label(value: float) -> str:
    return f"{value:.6g} s" if value >= 1 or not value else f"{value * 1000:.6g} ms"


def _marks(
    scale: _Scale, floor: float, makespan_s: float, bound_s: float | None
) -> Iterator[Child]:
    yield from _mark(scale, floor, makespan_s, f"done at {seconds(makespan_s)}", "wt-end", 12)
    if bound_s is not None:
        text = f"lower bound {seconds(bound_s)}"
        yield from _mark(scale, floor, bound_s, text, "wt-bound", 26)


def _mark(
    scale: _Scale, floor: float, at_s: float, text: str, look: str, y: float
) -> Iterator[Child]:
    x = scale.x(scale.zero_s + at_s)
    room_left = x - scale.left > 150
    yield tag("line", x1=x, x2=x, y1=y - 9, y2=floor + 4, class_=look)
    yield tag("text", text, x=x - 5 if room_left else x + 5, y=y, class_=f"{look}-label",
              text_anchor="end" if room_left else "start")  # fmt: skip


def _by_number(name: str) -> tuple[str, int]:
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or 0)


_HATCH = tag(
    "defs",
    tag(
        "pattern",
        tag("line", x1=0, y1=0, x2=0, y2=6, class_="wt-hatch-line"),
        id="wt-hatch",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    ),
)

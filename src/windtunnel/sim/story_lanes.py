"""The text form of a story: a column a node, a line a fact, arrows between the columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from windtunnel.draw import cells, clean, pad, shorten
from windtunnel.sim.story_facts import Fact

WIDTH = 100
_TIME = 12
_WORDS = 46
_NARROWEST, _WIDEST = 6, 11

_LIFE = {"up": "│", "paused": "┊", "crashed": " ", "stopped": " "}
_SIGN = {"good": "○", "skip": "•", "bad": "✗"}


def lines(told: Sequence[Fact], lanes: Sequence[str], states: Mapping[str, str]) -> Iterator[str]:
    """The facts in lanes, or, when there are too many nodes for that, with their names.

    :param states: what each node is before the first of the facts; "up" where it is not said.
    """
    wide = min(_WIDEST, (WIDTH - _TIME - _WORDS) // max(1, len(lanes)))
    if wide < _NARROWEST:
        for before, fact in zip((None, *told), told, strict=False):
            yield _plain(fact, before)
        return
    yield pad("time, s", _TIME - 2, right=True) + "  " + "".join(_heading(n, wide) for n in lanes)
    now = dict(states)
    for before, fact in zip((None, *told), told, strict=False):
        drawn = _row(fact, lanes, now, wide)
        now[fact.node] = fact.state or now.get(fact.node, "up")
        yield _line(fact, drawn, _words(fact, before))


def _heading(name: str, wide: int) -> str:
    text = shorten(clean(name), wide - 1)
    left = (wide - cells(text)) // 2
    return pad(" " * left + text, wide)


def _plain(fact: Fact, before: Fact | None) -> str:
    who = {
        "message": f"{fact.node} -> {fact.target}: ",
        "mark": f"{fact.node}: ",
        "across": "",
    }[fact.kind]
    return _line(fact, "", who + _words(fact, before))


def _line(fact: Fact, drawn: str, words: str) -> str:
    room = WIDTH - _TIME - cells(drawn) - 1
    time = f"{fact.at_ns / 1e9:10.6f}  " if fact.weight or fact.kind != "across" else " " * _TIME
    return f"{time}{drawn} {shorten(clean(words), room)}".rstrip()


def _words(fact: Fact, before: Fact | None) -> str:
    text = fact.text
    if fact.count > 1 and fact.until_ns >= 0:
        text += f"  x {fact.count}, to {fact.until_ns / 1e9:.3f}"
    elif fact.arrived and before is not None and fact.sent_ns < before.at_ns:
        # Something happened while it was under way.
        text += f"  (sent {fact.sent_ns / 1e9:.6f})"
    return text


def _row(fact: Fact, lanes: Sequence[str], states: Mapping[str, str], wide: int) -> str:
    middle = wide // 2
    if fact.kind == "across":
        fill = "═" if fact.weight else "·"
        return fill * (len(lanes) * wide)
    row = [" "] * (len(lanes) * wide)
    for number, name in enumerate(lanes):
        row[number * wide + middle] = _LIFE[states.get(name, "up")]
    at = lanes.index(fact.node) * wide + middle
    if fact.kind == "mark":
        row[at] = _SIGN[fact.look]
    else:
        _draw_arrow(row, at, lanes.index(fact.target) * wide + middle, fact.look)
    return "".join(row)


def _draw_arrow(row: list[str], begin: int, end: int, look: str) -> None:
    if begin == end:
        row[begin] = "↺"
        return
    step = 1 if end > begin else -1
    shaft, point = {"good": ("─", "▶◀"), "skip": ("╌", "▷◁"), "bad": ("╌", "✗✗")}[look]
    # What does not arrive stops short of the other lane.
    stop = end - step if look == "good" else end - 3 * step
    for place in range(begin + step, stop, step):
        row[place] = shaft
    row[begin] = "├" if step > 0 else "┤"
    row[stop] = point[0 if step > 0 else 1]

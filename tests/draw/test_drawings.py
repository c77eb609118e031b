import random
import xml.etree.ElementTree as ET

import pytest

from windtunnel.core import Outcome
from windtunnel.draw import (
    STYLE,
    Bar,
    bars,
    cells,
    clean,
    document,
    interval,
    line,
    pad,
    seconds,
    shorten,
    strip_svg,
    strip_text,
    tag,
    timeline,
)
from windtunnel.draw.timeline import merged

NASTY = "\x1b[31mred\x1b[0m \x00\x07 \x1b]0;title\x07 \u202eevil 漢字 <b>&\"' \ud800 \r\n\t end"


def rects(svg: ET.Element, name: str) -> list[ET.Element]:
    return [one for one in svg.iter() if one.tag.endswith("rect") and one.get("class") == name]


def groups(text: str) -> list[ET.Element]:
    return [one for one in ET.fromstring(text).iter() if one.tag.endswith("}g")]


def bar(lane: str = "gw0", start: float = 0.0, length: float = 1.0, **other: object) -> Bar:
    given = {"look": "good", "label": "t.py::test_a", **other}
    return Bar(lane=lane, start_s=start, phases_s=(length / 4, length / 2, length / 4), **given)


def work(lanes: int, each: int, length: float = 0.1) -> list[Bar]:
    dice = random.Random(1)
    made = []
    for lane in range(lanes):
        at = 0.0
        for index in range(each):
            took = dice.expovariate(1 / length)
            made.append(bar(f"gw{lane}", at, took, label=f"t.py::test_{lane}_{index}"))
            at += took
    return made


def test_cleaned_text_holds_nothing_that_moves_a_terminal_or_that_xml_forbids():
    text = clean(NASTY)
    assert "red" in text
    assert "title" not in text
    assert all(ord(character) >= 0x20 and character not in "\u202e\ud800" for character in text)
    ET.fromstring(document(tag("text", NASTY, label=NASTY), ""))
    text.encode("utf-8")


def test_cleaning_keeps_the_lines_only_where_it_is_told_to():
    assert clean("a\r\nb\tc", lines=True) == "a\nb\tc"
    assert clean("a\r\nb\tc") == "a⏎b c"


@pytest.mark.parametrize("width", [1, 2, 7, 24, 39])
@pytest.mark.parametrize("text", ["tests/test_planner.py::test_plans_in_steps", "漢字" * 20])
def test_shortened_text_fits_its_width_and_padded_text_fills_it(text: str, width: int):
    assert cells(shorten(text, width)) <= width
    assert cells(pad(shorten(text, width), width)) == width


def test_a_shortened_name_keeps_its_beginning_and_more_of_its_end():
    short = shorten("tests/deep/test_planner.py::test_plans_in_three_steps", 30)
    head, tail = short.split("…")
    assert "tests/deep/test_planner.py".startswith(head)
    assert "test_plans_in_three_steps".endswith(tail)
    assert len(tail) > len(head) > 0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9996, "1.00 s"), (9.996, "10.0 s"), (99.96, "100 s"), (7300, "2 h 1 min"), (-1, "0 s")],
)
def test_durations_are_rounded_into_the_unit_that_they_belong_to(value: float, text: str):
    assert seconds(value) == text


def test_a_strip_tells_good_from_bad_from_skipped_and_survives_an_unknown_letter():
    letters = "".join(outcome.letter for outcome in Outcome)
    blocks = strip_text(letters + "?")
    assert len(blocks) == len(letters) + 1
    for outcome, block in zip(Outcome, blocks, strict=False):
        assert block == ("█" if outcome.bad else "▁" if outcome.good else "·")
    assert strip_text(letters, ascii_only=True) == letters
    ET.fromstring(document(strip_svg(letters + "?<"), STYLE))


def test_a_strip_shows_the_last_outcomes():
    assert strip_text("F" + "." * 20) == "▁" * 20
    assert str(strip_svg("F" + "." * 20)) == str(strip_svg("." * 20))


def test_every_bar_of_a_timeline_is_drawn_in_its_lane_at_its_time():
    drawn = groups(document(timeline([bar(), bar(start=3.0), bar("gw1", 1.0)]), STYLE))
    spans = []
    for group in drawn:
        rect = next(one for one in group if one.tag.endswith("rect"))
        spans.append((float(rect.get("y", 0)), float(rect.get("x", 0))))
    (row, first), (same_row, last), (other_row, middle) = spans
    assert row == same_row < other_row
    assert first < middle < last
    assert middle - first == pytest.approx((last - first) / 3, abs=0.1)


def test_a_timeline_marks_what_is_bad_flaky_and_quarantined():
    svg = timeline([bar(look="bad", flaky=True, quarantined=True), bar(start=2.0)])
    first, second = groups(document(svg, STYLE))
    assert first.get("class") == "wt-bad"
    assert second.get("class") == "wt-good"
    marks = [one.get("class") for one in first]
    assert "wt-flaky" in marks
    assert "wt-hatch" in marks
    assert {one.get("class") for one in second} <= {None, "wt-edge"}


def test_a_timeline_states_the_lower_bound_and_the_end():
    text = str(timeline(work(2, 5), bound_s=0.25))
    assert "lower bound 250 ms" in text
    assert "done at" in text


def test_lanes_stand_in_the_order_given_and_else_by_number():
    text = str(timeline([bar("gw10"), bar("gw2"), bar("main")], lanes=["gw1"]))
    assert [text.index(f">{name}<") for name in ("gw1", "gw2", "gw10", "main")] == sorted(
        text.index(f">{name}<") for name in ("gw1", "gw2", "gw10", "main")
    )


def test_narrow_bars_are_merged_and_none_is_lost():
    many = work(1, 10_000)
    drawn = list(merged(many, pixels_a_second=1.0))
    assert len(drawn) < 1_100
    assert sum(one.count for one in drawn) == 10_000
    assert drawn[0].start_s == many[0].start_s
    assert drawn[-1].end_s == pytest.approx(many[-1].end_s)


def test_one_bad_test_among_narrow_ones_still_shows():
    crowd = [bar(start=index * 0.001, length=0.001) for index in range(1000)]
    crowd[500] = bar(start=0.5, length=0.001, look="bad", label="t.py::test_guilty")
    bad = [one for one in merged(crowd, pixels_a_second=1000.0) if one.look == "bad"]
    assert len(bad) == 1
    assert "t.py::test_guilty" in bad[0].label


def test_bars_far_apart_are_not_merged_over_the_gap():
    sparse = [bar(start=0.0, length=0.001), bar(start=100.0, length=0.001)]
    assert len(list(merged(sparse, pixels_a_second=10.0))) == 2


@pytest.mark.parametrize(
    "bars_given",
    [
        [],
        [bar(length=0.0)],
        [bar(length=0.0), bar(length=0.0)],
        [bar(length=1e-9)],
        [bar(length=1e6)],
        [bar(lane=NASTY, label=NASTY)],
        work(200, 2),
    ],
)
def test_odd_timelines_are_still_valid_drawings(bars_given: list[Bar]):
    for bound in (None, 0.0, 1.0):
        svg = document(timeline(bars_given, bound_s=bound), STYLE)
        ET.fromstring(svg)
        assert "nan" not in svg
        assert "inf" not in svg


def test_the_same_drawing_gives_the_same_bytes():
    assert str(timeline(work(3, 50), bound_s=1.0)) == str(timeline(work(3, 50), bound_s=1.0))


def test_bars_are_as_long_as_their_values():
    svg = ET.fromstring(document(bars([("a", 1.0, "1"), ("b", 4.0, "4")]), STYLE))
    short, long = (float(one.get("width", 0)) for one in rects(svg, "wt-good"))
    assert long == pytest.approx(4 * short, rel=0.01)


def test_an_interval_lies_within_its_scale_and_says_its_numbers():
    for low, value, high in ((0, 0, 0), (0.1, 0.3, 0.6), (1, 1, 1)):
        text = document(interval(low, value, high, width=100), STYLE)
        assert f"{value:.0%}, between {low:.0%} and {high:.0%}" in text
        (span,) = rects(ET.fromstring(text), "wt-interval")
        assert float(span.get("x", 0)) == pytest.approx(low * 100)
        assert 0 < float(span.get("width", 0)) <= 100


def test_a_line_is_drawn_through_its_points_in_order_of_x():
    text = str(line([(2.0, 0.0), (0.0, 0.0), (1.0, 10.0)], width=100, height=50, unit="ms"))
    assert 'd="M0 46L50 14L100 46"' in text
    assert "10 ms" in text
    ET.fromstring(document(line([]), STYLE))
    ET.fromstring(document(line([(1.0, 0.0)]), STYLE))

import itertools
import re
import xml.etree.ElementTree as ET

import pytest

from windtunnel.draw import STYLE, Absence, Across, Arrow, Element, Mark, document, sequence


def arrow(source: str = "a", target: str = "b", sent: float = 0.0, arrived: float | None = 1.0,
          label: str = "hello", **other: object) -> Arrow:  # fmt: skip
    return Arrow(source=source, target=target, sent_s=sent, arrived_s=arrived, label=label, **other)  # type: ignore[arg-type]


def parsed(svg: Element) -> ET.Element:
    return ET.fromstring(document(svg, STYLE))


def lines(drawn: ET.Element, name: str) -> list[tuple[float, float, float, float]]:
    found = []
    for one in drawn.iter():
        if one.tag.endswith("}line") and name in str(one.get("class")).split():
            x1, y1, x2, y2 = (float(one.get(key, "nan")) for key in ("x1", "y1", "x2", "y2"))
            found.append((x1, y1, x2, y2))
    return found


def texts(drawn: ET.Element) -> dict[str, tuple[float, float]]:
    return {
        str(one.text): (float(one.get("x", 0)), float(one.get("y", 0)))
        for one in drawn.iter()
        if one.tag.endswith("}text")
    }


def test_a_message_goes_from_its_senders_lane_down_to_its_targets():
    drawn = parsed(sequence(["a", "b", "c"], [arrow("b", "c")]))
    at = texts(drawn)
    ((x1, y1, x2, y2),) = lines(drawn, "wt-arrow")
    assert (x1, x2) == (at["b"][0], at["c"][0])
    assert y1 < y2
    assert at["a"][0] < x1 < at["hello"][0] < x2


def test_messages_that_overtake_each_other_cross():
    drawn = parsed(
        sequence(["a", "b"], [arrow(sent=0.0, arrived=3.0), arrow(sent=1.0, arrived=2.0)])
    )
    (_, slow_from, _, slow_to), (_, quick_from, _, quick_to) = lines(drawn, "wt-arrow")
    assert slow_from < quick_from < quick_to < slow_to


def test_a_message_that_was_lost_stops_short_and_one_under_way_is_drawn_otherwise():
    events = [arrow(), arrow(arrived=None, look="bad"), arrow(arrived=None, look="skip")]
    drawn = parsed(sequence(["a", "b"], events))
    arrived, lost, under_way = lines(drawn, "wt-arrow")
    assert lost[2] < arrived[2]
    assert lost[1] == lost[3]
    assert lines(drawn, "wt-arrow-bad") == [lost]
    assert lines(drawn, "wt-arrow-skip") == [under_way]


def test_repeated_messages_say_how_many_they_are():
    assert "hello  × 12" in texts(parsed(sequence(["a", "b"], [arrow(count=12)])))


def test_a_message_to_itself_is_a_loop_at_its_lane():
    drawn = parsed(sequence(["a", "b"], [arrow("a", "a")]))
    (path,) = [one for one in drawn.iter() if "wt-arrow" in str(one.get("class")).split()]
    begin = re.match(r"M([\d.]+) ", str(path.get("d")))
    assert begin is not None
    assert float(begin[1]) == texts(drawn)["a"][0]


def test_events_stand_in_the_order_of_their_times_with_the_times_beside_them():
    events = [
        Mark(lane="b", at_s=2.0, label="later", look="bad"),
        Across(at_s=1.0, label="partition", look="bad"),
        Mark(lane="a", at_s=0.5, label="first"),
    ]
    at = texts(parsed(sequence(["a", "b"], events)))
    assert at["first"][1] < at["partition"][1] < at["later"][1]
    for label, time in (("first", "0.500000 s"), ("partition", "1.000000 s")):
        assert at[label][1] == at[time][1]


def test_a_lane_that_is_gone_is_drawn_so_from_its_crash_to_its_restart():
    events = [Mark(lane="a", at_s=float(at), label=str(at)) for at in range(5)]
    gone = [Absence(lane="a", from_s=1.0, until_s=3.0), Absence(lane="b", from_s=2.0, until_s=None)]
    paused = Absence(lane="a", from_s=3.0, until_s=4.0, look="skip")
    drawn = parsed(sequence(["a", "b"], events, [*gone, paused]))
    at = texts(drawn)
    (_, begin, _, end), (_, other_begin, _, floor) = lines(drawn, "wt-gone")
    assert (begin, end) == (at["1"][1] - 4, at["3"][1] - 4)
    assert other_begin == at["2"][1] - 4
    assert floor > at["4"][1]
    ((_, begin, _, end),) = lines(drawn, "wt-paused")
    assert (begin, end) == (at["3"][1] - 4, at["4"][1] - 4)


def test_the_verdict_stands_below_and_is_wrapped():
    drawn = parsed(sequence(["a"], [arrow("a", "a")], verdict="violated: " + "word " * 60))
    below = [one for one in drawn.iter() if one.get("class") == "wt-verdict"]
    assert len(below) > 1
    assert all(len(str(one.text)) < 150 for one in below)
    height = float(drawn.get("height", 0))
    assert all(float(one.get("y", 0)) < height for one in below)


def test_many_lanes_widen_the_drawing_and_stay_apart():
    names = [f"node-{number}" for number in range(40)]
    drawn = parsed(sequence(names, [arrow("node-0", "node-39")]))
    at = texts(drawn)
    places = [at[name][0] for name in names]
    assert min(b - a for a, b in itertools.pairwise(places)) > 80
    assert places[-1] < float(drawn.get("width", 0))


def test_no_word_is_wider_than_the_drawing():
    events = [
        arrow("a", "b", label="long " * 50),
        Mark(lane="a", at_s=2.0, label="left " * 50),
        Mark(lane="c", at_s=3.0, label="right " * 50),
        Across(at_s=4.0, label="across " * 90),
    ]
    drawn = parsed(sequence(["a", "b", "c"], events))
    width = float(drawn.get("width", 0))
    for one in drawn.iter():
        if not one.tag.endswith("}text"):
            continue
        x, long = float(one.get("x", 0)), len(str(one.text)) * 6.1
        begin = {"middle": x - long / 2, "end": x - long}.get(str(one.get("text-anchor")), x)
        assert begin >= -1
        assert begin + long <= width + 1


def test_nothing_in_a_label_breaks_the_drawing_and_the_same_gives_the_same_bytes():
    nasty = "\x1b[31mred\x1b[0m <b>&\"' \ud800 \u202e"
    events = [arrow(label=nasty), Mark(lane="b", at_s=1.0, label=nasty)]
    first = document(sequence(["a", "b"], events, verdict=nasty), STYLE)
    ET.fromstring(first)
    first.encode("utf-8")
    assert first == document(sequence(["a", "b"], events, verdict=nasty), STYLE)


def test_an_empty_sequence_is_a_drawing():
    assert "0 events" in str(parsed(sequence([], [])).get("aria-label"))


def test_an_event_in_a_lane_that_is_not_there_is_refused():
    with pytest.raises(KeyError):
        sequence(["a"], [arrow("a", "z")])

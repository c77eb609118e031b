from pathlib import Path

import made_runs
import pytest
from made_runs import BEGAN, finished, judged, made

from windtunnel.core import Outcome, Violation
from windtunnel.draw import cells
from windtunnel.report.data import RunView
from windtunnel.report.sections import closing, sections
from windtunnel.report.terminal import show


def printed(view: RunView, *, width: int = 80, on_screen: bool = False, **other: object) -> str:
    given = {"flaky_report": True} | other
    return show(
        sections(view, **given),
        closing(view),
        width=width,
        on_screen=on_screen,
        colour=on_screen,
        ascii_only=False,
    )


@pytest.fixture
def everything(tmp_path: Path) -> RunView:
    return made(
        tmp_path / "record.db",
        made_runs.everything(),
        judge=lambda record, settings, nodeids: [judged(nodeid) for nodeid in nodeids],
        exit_code=1,
    )


def test_each_thing_worth_saying_has_its_section(everything: RunView):
    titles = [section.title for section in sections(everything, flaky_report=True)]
    assert sorted(titles) == sorted(
        [
            "slowest", "flaky", "recommended for quarantine", "quarantined", "crashed", "hung",
            "not finished", "passed only when run again", "leaked", "reaped", "vacuous",
            "pollution", "isolation unavailable", "quarantine expired", "of-tomorrow", "replay",
        ]
    )  # fmt: skip


def test_a_green_run_of_quick_tests_says_no_more_than_its_pace(tmp_path: Path):
    view = made(tmp_path / "record.db", [finished("t.py::test_a"), finished("t.py::test_b")])
    assert printed(view, flaky_report=False).splitlines() == [
        "pace  2 tests on 2 workers in 400 ms, 1.00 of the lower bound 400 ms"
    ]


def test_flaky_tests_are_named_with_failure_rate_recent_results_and_reason(everything: RunView):
    text = printed(everything)
    (line,) = [line for line in text.splitlines() if "test_lucky" in line and "%" in line]
    assert line.split() == ["38%", "▁▁█▁▁█▁█", "tests/test_a.py::test_lucky"]
    assert "failed 3 and passed 5 of 8 on the same code" in text
    assert "3 of 8  tests/test_a.py::test_lucky" in text


def test_only_tests_that_ended_both_ways_are_put_before_the_judge(everything: RunView):
    assert [one.nodeid for one in everything.flaky] == ["tests/test_a.py::test_lucky"]


def test_a_test_that_reruns_saved_in_an_earlier_run_is_put_before_the_judge(tmp_path: Path):
    name, path = "t.py::test_a", tmp_path / "record.db"
    made(path, [finished(name, Outcome.FAILED, final=False), finished(name, attempt=2)], run_id="a")
    asked: list[str] = []
    made(
        path,
        [finished(name), finished("t.py::test_b")],
        run_id="b",
        judge=lambda record, settings, nodeids: asked.extend(nodeids) or [],
    )
    assert asked == [name]


def test_what_is_in_quarantine_is_not_recommended_for_it_again(tmp_path: Path):
    name = "t.py::test_a"
    view = made(
        tmp_path / "r.db",
        [
            finished(name, Outcome.FAILED, final=False, quarantined=True),
            finished(name, attempt=2, quarantined=True),
        ],
        judge=lambda record, settings, nodeids: [judged(name)],
    )
    text = printed(view)
    assert "it is in quarantine" in text
    assert "recommended" not in text


def test_no_flaky_test_is_said_only_to_those_who_asked(tmp_path: Path):
    view = made(tmp_path / "r.db", [finished("t.py::test_a")], judge=lambda *given: [])
    assert "none of 1 test" in printed(view)
    assert "flaky" not in printed(view, flaky_report=False)


def test_the_same_pollution_by_two_tests_is_told_once(everything: RunView):
    text = printed(everything)
    assert text.count("os.environ['X']") == 1
    assert "by tests/test_a.py::test_passed and 1 other\n" in text


def test_quarantined_failures_stand_apart_from_those_that_fail_the_run(everything: RunView):
    assert everything.counts[Outcome.FAILED] == 2  # test_failed and the one with the odd name
    replays = printed(everything).split("\nreplay\n")[1]
    assert "test_failed" in replays
    assert "test_apart" not in replays


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("on_screen", [False, True])
def test_nothing_but_names_and_commands_is_wider_than_the_terminal(
    everything: RunView, width: int, on_screen: bool
):
    text = printed(everything, width=width)
    if on_screen:
        assert "\x1b[" in printed(everything, width=width, on_screen=True)
    wide = [line for line in text.splitlines() if cells(line) > width]
    assert [line for line in wide if "::" not in line] == []
    assert not (width == 200 and wide)


def test_no_control_character_of_a_test_reaches_the_terminal(everything: RunView):
    text = printed(everything)
    assert "alert" in text
    assert set(text) & {"\x1b", "\x00", "\r", "\u202e"} == set()


def test_what_is_piped_reads_as_what_is_seen(everything: RunView):
    from rich.text import Text

    seen = Text.from_ansi(printed(everything, on_screen=True)).plain
    bare = [line.rstrip(" ─") for line in seen.splitlines()]
    assert bare == [line.rstrip() for line in printed(everything).splitlines()]


def test_without_colour_a_screen_gets_no_escape_sequence(everything: RunView):
    text = show(sections(everything), [], width=80, on_screen=True, colour=False, ascii_only=False)
    assert "─" in text
    assert "\x1b" not in text


def test_a_terminal_that_knows_only_ascii_gets_letters_for_blocks(tmp_path: Path):
    view = made(
        tmp_path / "r.db",
        [
            finished("t.py::test_a", Outcome.FAILED, final=False),
            finished("t.py::test_a", attempt=2),
        ],
        judge=lambda record, settings, nodeids: [judged("t.py::test_a")],
    )
    text = show(
        sections(view, flaky_report=True), [], width=80, on_screen=True, colour=False,
        ascii_only=True,
    )  # fmt: skip
    assert "..F..F.F" in text
    assert text.isascii()


def test_long_sections_are_cut_and_say_so_and_verbosity_shows_all(tmp_path: Path):
    events = [Violation(rule="pollution", subject=f"os.environ['X{index}']") for index in range(25)]
    view = made(tmp_path / "r.db", events)
    assert "… and 15 more" in printed(view, flaky_report=False)
    assert "X24" in printed(view, flaky_report=False, verbosity=1)


def test_quiet_runs_hear_of_trouble_only(everything: RunView):
    titles = {section.title for section in sections(everything, verbosity=-1)}
    assert "leaked" in titles
    assert titles & {"slowest", "replay"} == set()


def test_pace_is_told_against_the_lower_bound(tmp_path: Path):
    spread = [
        finished(f"t.py::test_{index}", worker=worker, started=BEGAN + start,
                 setup_s=0.0, call_s=1.0, teardown_s=0.0)
        for index, (worker, start) in enumerate([("gw0", 0.0), ("gw0", 1.0), ("gw1", 0.0)])
    ]  # fmt: skip
    view = made(tmp_path / "record.db", spread)
    assert view.pace.bound_s == pytest.approx(1.5)
    assert view.pace.makespan_s == pytest.approx(2.0)
    assert dict(closing(view))["pace"] == (
        "3 tests on 2 workers in 2.00 s, 1.33 of the lower bound 1.50 s"
    )


def test_the_longest_test_bounds_the_run_where_it_is_longer_than_an_even_share(tmp_path: Path):
    events = [finished("t.py::a", call_s=5.0), finished("t.py::b", call_s=0.1, worker="gw1")]
    assert made(tmp_path / "r.db", events).pace.bound_s == pytest.approx(5.2)

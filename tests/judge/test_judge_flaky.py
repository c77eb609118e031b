"""From recorded outcomes to judgements."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from histories import DAY_S, history, row, unversioned
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.core import Flakiness, RunStarted, Settings, Stability, TestFinished
from windtunnel.judge.flaky import ATTENTION_S, judge, judge_record
from windtunnel.record import open_record
from windtunnel.record.protocol import OutcomeRow

NAME = "test_a.py::test_a"


def judged(rows: list[OutcomeRow], **thresholds: object) -> Flakiness:
    settings = Settings.resolve(thresholds, {}, {})
    [judgement] = judge({NAME: rows}, settings)
    return judgement


def test_a_pass_and_a_fail_on_the_same_content_hash_are_flaky_even_before_three_results():
    it = judged(history(".F"))
    assert it.stability is Stability.FLAKY
    assert it.p_flaky > 0.99
    assert "same code (tree tree1)" in it.reason


def test_a_rerun_that_passes_in_one_run_is_a_pass_and_a_fail_on_the_same_code():
    rows = [row("F", run=7, final=False), row(".", run=7, attempt=2)]
    assert judged(rows).stability is Stability.FLAKY


def test_the_same_letters_on_changing_code_are_not_near_proof():
    assert judged(unversioned(".F")).stability is Stability.UNKNOWN


def test_a_regression_is_not_flaky():
    it = judged(history(". . . . . . . . FF F F"))
    assert it.stability is Stability.REGRESSED
    assert it.simple_rule  # which is why the simple rule alone will not do
    assert not it.suspect
    assert not it.quarantine_recommended
    assert it.reason == "a regression: fails since tree tree9, 4 results ago"


def test_a_fix_is_not_flaky():
    it = judged(history("F FF F . . . . . . . . . . . . . . . . . ."))
    assert it.stability is Stability.STABLE
    assert "passes since tree tree4" in it.reason


def test_a_test_that_never_passed_is_broken():
    assert judged(history("F F F F F")).stability is Stability.BROKEN


def test_skips_do_not_dilute():
    plain = judged(history(".F F. ..F"))
    diluted = judged(history("ss.sFss FsS.ss ..sssFs".replace("S", "s")))
    assert diluted.results == plain.results == 7
    assert diluted.failure_rate == plain.failure_rate
    assert diluted.p_flaky == plain.p_flaky


@pytest.mark.parametrize("letter", ["F", "E", "C", "T"])
def test_errors_of_setup_crashes_and_timeouts_count_as_failures(letter: str):
    it = judged(history(f".{letter}. .{letter}"))
    assert it.failures == 2
    assert it.stability is Stability.FLAKY


@pytest.mark.parametrize("letter", ["x", "X"])
def test_expected_failures_count_as_passes(letter: str):
    it = judged(history(f"{letter}{letter} {letter}{letter}"))
    assert (it.results, it.failures) == (4, 0)
    assert it.stability is Stability.STABLE


def test_a_test_that_was_only_skipped_is_not_judged():
    assert judge({NAME: history("sss")}) == []


def test_environments_are_judged_apart():
    rows = history(". . . . . . .", environment="py311") + history(
        "F F F F F F F", environment="py313"
    )
    found = {it.environment: it.stability for it in judge({NAME: rows})}
    assert found == {"py311": Stability.STABLE, "py313": Stability.BROKEN}


@pytest.mark.parametrize(
    ("letters", "holds"),
    [("..F", True), ("...F", False), ("FFF", False), ("...", False), (".F", False), ("FF.", True)],
)
def test_the_simple_rule_asks_for_three_results_both_outcomes_and_thirty_percent(
    letters: str, holds: bool
):
    assert judged(unversioned(letters)).simple_rule is holds


def test_the_thresholds_of_the_simple_rule_are_configurable():
    assert judged(unversioned("...F"), flaky_failure_rate=0.25).simple_rule
    assert judged(unversioned(".F"), flaky_min_results=2).simple_rule
    assert not judged(unversioned("..F"), flaky_min_results=4).simple_rule


def test_where_the_history_leaves_it_open_the_simple_rule_makes_a_suspect():
    it = judged(unversioned("..F"))
    assert it.stability is Stability.UNKNOWN
    assert it.suspect


def test_quarantine_is_recommended_for_a_flaky_test_from_five_results_on():
    assert not judged(history(".F.F")).quarantine_recommended
    assert judged(history(".F.F.")).quarantine_recommended
    assert judged(history(".F.F"), flaky_quarantine_results=4).quarantine_recommended
    assert not judged(history(".....")).quarantine_recommended


def test_the_strip_shows_the_last_twenty_results_oldest_first():
    assert judged(history("." * 10 + "F" * 15)).strip == "." * 5 + "F" * 15


def test_the_most_damaging_come_first():
    often = [row(x, run=n, tree="t", nodeid="often") for n, x in enumerate(".F.F.F.F", start=1)]
    seldom = [row(x, run=n, tree="t", nodeid="seldom") for n, x in enumerate(".......F", start=1)]
    slow = [
        row(x, run=n, tree="t", nodeid="slow", call_s=50_000)
        for n, x in enumerate(".......F", start=1)
    ]
    assert [it.nodeid for it in judge({"seldom": seldom, "often": often, "slow": slow})] == [
        "slow",
        "often",
        "seldom",
    ]


def test_damage_is_what_failures_cost_a_week():
    twice_in_two_weeks = [
        row(letter, run=n, tree="t", started=n * 7 * DAY_S, call_s=10)
        for n, letter in enumerate("F.F")
    ]
    assert judged(twice_in_two_weeks).damage_s == pytest.approx(ATTENTION_S + 10)


def test_a_failure_that_a_rerun_or_a_quarantine_absorbed_costs_nobodys_attention():
    rerun = [row("F", final=False, call_s=10), row(".", attempt=2)]
    quarantined = [row("F", quarantined=True, call_s=10), row(".")]
    assert judged(rerun).damage_s == judged(quarantined).damage_s == 10


def test_judgements_come_out_of_a_real_record(tmp_path: Path):
    with open_record(tmp_path / "record.db") as record:
        for number in range(8):
            record.ingest(
                RunStarted(
                    run_id=f"run{number}", argv="pytest", root="/", tree="t1", environment="e1"
                ),
                [
                    TestFinished(
                        nodeid="a", outcome="failed" if number % 3 else "passed", worker=""
                    ),
                    TestFinished(nodeid="b", outcome="passed", worker=""),
                ],
            )
        found = {it.nodeid: it for it in judge_record(record, Settings())}
        only_b = judge_record(record, Settings(), ["b"])
    assert found["a"].stability is Stability.FLAKY
    assert found["a"].strip == ".FF.FF.F"
    assert found["b"].stability is Stability.STABLE
    assert [it.nodeid for it in only_b] == ["b"]


@given(st.lists(st.tuples(st.sampled_from(".FEsxXCT"), st.integers(1, 6)), min_size=1))
def test_any_history_is_judged_without_error_and_consistently(results: list[tuple[str, int]]):
    rows = [
        row(letter, run=run, tree=f"t{tree}") for run, (letter, tree) in enumerate(results, start=1)
    ]
    found = judge({NAME: rows})
    counted = [r for r in rows if r.outcome.bad or r.outcome.good]
    assert len(found) == bool(counted)
    for it in found:
        assert it.results == len(counted)
        assert it.failures == sum(r.outcome.bad for r in counted)
        assert it.p_stable + it.p_flaky + it.p_broken == pytest.approx(1)
        assert it.reason
        assert it.failures or it.stability is not Stability.FLAKY


def test_of_a_thousand_simulated_tests_nearly_all_are_called_what_they_are():
    dice = random.Random(20260101)
    wrong = 0
    for number in range(1000):
        if number % 2:  # flaky: at 5 to 50 %, two runs a state of the code
            rate = dice.uniform(0.05, 0.5)
            letters = [
                "".join("F" if dice.random() < rate else "." for _ in "ab") for _ in range(40)
            ]
            right = (Stability.FLAKY,)
        else:  # steady, with a break of some length that may last to the end
            start = dice.randrange(3, 35)
            end = start + dice.randrange(3, 60)
            letters = ["FF" if start <= n < end else ".." for n in range(40)]
            right = (Stability.STABLE, Stability.REGRESSED, Stability.UNKNOWN)
        wrong += judged(history(" ".join(letters))).stability not in right
    assert wrong <= 10

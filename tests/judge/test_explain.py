"""Rival explanations of a history, and the laws that their weights obey."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.judge.explain import FLAKY, P_FLAKY, Group, Posterior, explain

GROUPS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 5)).filter(lambda group: sum(group) > 0),
    min_size=1,
    max_size=40,
)


def over_time(letters: str) -> Posterior:
    """One result a state of the code."""
    return explain([(int(letter == "F"), int(letter == ".")) for letter in letters])


@given(GROUPS)
def test_probabilities_sum_to_one(groups: list[Group]):
    posterior = explain(groups)
    assert posterior.stable + posterior.flaky + posterior.broken == pytest.approx(1)
    assert min(posterior.stable, posterior.flaky, posterior.broken) >= 0


@given(GROUPS)
def test_the_interval_lies_within_zero_and_one(groups: list[Group]):
    posterior = explain(groups)
    assert 0 <= posterior.low <= posterior.high <= 1


@given(st.integers(2, 60), st.data())
def test_a_test_that_fails_and_passes_on_one_state_of_the_code_has_its_rate_in_the_interval(
    results: int, data: st.DataObject
):
    failures = data.draw(st.integers(max(1, results // 10), results // 2))
    posterior = explain([(failures, results - failures)])
    assert posterior.low <= failures / results <= posterior.high


@given(st.integers(1, 1000))
def test_each_further_pass_makes_a_test_that_never_failed_less_likely_flaky(passes: int):
    assert over_time("." * (passes + 1)).flaky < over_time("." * passes).flaky


@given(GROUPS)
def test_a_failure_and_a_pass_on_the_same_code_are_near_proof_whatever_was_before(
    groups: list[Group],
):
    assert explain([*groups, (1, 1)]).flaky > 0.9


@given(st.integers(3, 100), st.integers(5, 60))
def test_passes_and_then_nothing_but_failures_are_a_regression(before: int, after: int):
    posterior = over_time("." * before + "F" * after)
    assert posterior.broken > 0.95
    assert posterior.low > 0.3


@given(st.integers(3, 60), st.integers(30, 100))
def test_failures_and_then_nothing_but_passes_are_a_fix(before: int, after: int):
    posterior = over_time("F" * before + "." * after)
    assert posterior.stable > 0.85
    assert posterior.high < 0.1


@pytest.mark.parametrize(
    "letters",
    ["..F...F....F..", "F.F.F", "." * 40 + "F.F...F..F", "FF.FF..F.FFF.F"],
)
def test_failures_on_and_off_over_changes_of_the_code_are_flaky(letters: str):
    assert over_time(letters).flaky > 0.95


def test_a_break_over_several_changes_between_passes_is_not_flaky():
    assert over_time("." * 10 + "FFFF" + "." * 20).stable > 0.95


def test_one_failure_between_passes_is_flaky_about_as_often_as_micco_reports():
    assert over_time("." * 12 + "F" + "." * 12).flaky == pytest.approx(0.84, abs=0.1)


def test_a_flaky_test_that_was_mended_becomes_stable_again():
    mended = over_time("F..F..F...F..F.." + "." * 60)
    assert mended.stable > 0.95
    assert mended.high < 0.1


def test_a_stable_test_that_became_flaky_shows_its_present_rate():
    became = over_time("." * 60 + "F.FF..F.F.")
    assert became.flaky > 0.99
    assert became.low < 0.5 < became.high


def test_a_flaky_test_that_broke_is_broken():
    assert over_time("..F....F....F.." + "F" * 12).broken > 0.95


def test_the_prior_fits_the_170_passes_that_gruber_and_others_found_necessary():
    assert FLAKY.mean == pytest.approx(0.015 / P_FLAKY, rel=0.01)
    assert over_time("." * 170).stable > 0.95


def test_a_long_history_full_of_contradictions_does_not_underflow():
    posterior = explain([(500, 500)] * 100)
    assert posterior.flaky == pytest.approx(1)
    assert posterior.low < 0.5 < posterior.high

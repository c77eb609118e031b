"""Delta debugging finds 1-minimal sets, with few tests of the predicate."""

from hypothesis import given
from hypothesis import strategies as st

from windtunnel.probe.ddmin import ddmin
from windtunnel.probe.statistics import Rate, fisher_exact


@given(st.integers(1, 60), st.sets(st.integers(0, 59), min_size=1))
def test_what_is_needed_together_is_all_that_is_left(size, needed):
    needed = sorted(n for n in needed if n < size) or [0]
    assert ddmin(range(size), lambda part: set(needed) <= set(part)) == needed


@given(st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=4), min_size=1, max_size=5))
def test_no_element_of_the_result_can_be_left_out(causes):
    def shows(part):
        return any(cause <= set(part) for cause in causes)

    left = ddmin(range(31), shows)
    assert shows(left)
    assert not any(shows([other for other in left if other != item]) for item in left)


def test_one_polluter_among_a_thousand_tests_costs_tens_of_experiments():
    asked = []

    def shows(part):
        asked.append(len(part))
        return 777 in part

    assert ddmin(range(1000), shows) == [777]
    assert len(asked) < 25


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20))
def test_fishers_p_value_is_a_probability_and_does_not_care_which_comes_first(a, b, n, m):
    one, other = Rate(min(a, n), n), Rate(min(b, m), m)
    assert 0 < fisher_exact(one, other) <= 1
    assert fisher_exact(one, other) == fisher_exact(other, one)

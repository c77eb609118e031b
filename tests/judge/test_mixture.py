"""The incomplete beta function and the intervals that stand on it."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windtunnel.judge.mixture import Beta, credible_interval, incomplete_beta


def exact(a: int, b: int, x: Fraction) -> Fraction:
    """For whole a and b: the probability of at least a successes in a + b - 1 trials."""
    n = a + b - 1
    return sum((math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1)), Fraction(0))


@given(st.integers(1, 60), st.integers(1, 60), st.fractions(0, 1, max_denominator=1000))
def test_the_incomplete_beta_function_agrees_with_the_exact_binomial_sum(
    a: int, b: int, x: Fraction
):
    assert incomplete_beta(a, b, float(x)) == pytest.approx(float(exact(a, b, x)), abs=1e-9)


@given(st.floats(0.1, 1e5), st.floats(0.1, 1e5), st.floats(0, 1), st.floats(0, 1))
def test_a_distribution_function_never_falls(a: float, b: float, x: float, y: float):
    low, high = sorted((x, y))
    assert incomplete_beta(a, b, low) <= incomplete_beta(a, b, high) + 1e-9


@pytest.mark.parametrize("a", [0.5, 1, 4.8, 99_999])
def test_a_symmetric_distribution_has_half_its_mass_below_one_half(a: float):
    assert incomplete_beta(a, a, 0.5) == pytest.approx(0.5, abs=1e-9)


@given(
    st.lists(
        st.tuples(st.floats(0.01, 1), st.floats(0.5, 500), st.floats(0.5, 500)),
        min_size=1,
        max_size=4,
    )
)
def test_an_interval_holds_the_mass_it_claims(parts: list[tuple[float, float, float]]):
    mixture = [(weight, Beta(a, b)) for weight, a, b in parts]
    low, high = credible_interval(mixture)
    total = sum(weight for weight, _ in mixture)
    inside = sum(w * (beta.below(high) - beta.below(low)) for w, beta in mixture) / total
    assert 0 <= low <= high <= 1
    assert inside >= 0.95 - 1e-6


def test_the_probability_of_results_in_order_is_the_product_of_the_predictions():
    belief, product = Beta(0.5, 4.8), 1.0
    for failed in (True, False, False, True, False):
        product *= belief.mean if failed else 1 - belief.mean
        belief = belief.after(failures=failed, passes=not failed)
    assert math.exp(Beta(0.5, 4.8).log_likelihood(2, 3)) == pytest.approx(product)

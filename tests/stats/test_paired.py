from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lowres.stats.paired import (
    behrens_fisher,
    compare,
    holm,
    interquartile_mean,
    negative_transfer_rate,
    p_value,
    probability_of_improvement,
    worst_pair,
)
from lowres.stats.variance import Block


def grid(values: Any) -> Block:
    values = np.asarray(values, dtype=float)
    return Block(values.mean(axis=1), values)


def noisy(mean: float, seed: int, draws: int = 5, groups: int = 40) -> Block:
    rng = np.random.default_rng(seed)
    return grid(mean + 0.01 * rng.normal(size=(draws, 1)) + 0.1 * rng.normal(size=groups) + np.zeros((draws, groups)))


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .04 times 4 3 2 1 = .04 .06 .06 .04, made rising: .04 .06 .06 .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_raw_and_bonferroni(raw: list[float]) -> None:
    adjusted = holm(raw)
    for p, q in zip(raw, adjusted, strict=True):
        assert p <= q <= min(1, len(raw) * p)
    order = np.argsort(raw, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_identical_fits_have_p_one() -> None:
    same = noisy(0.7, 1)
    (one,) = compare([[same - same]])
    assert (one.difference.mean, one.p, one.p_adjusted, one.minimum_detectable) == (0, 1, 1, 0)
    assert one.verdict == "no difference shown"


def test_constant_difference_is_as_strong_as_a_sign_test() -> None:
    few, many = (compare([[grid(np.ones((2, groups)))]])[0] for groups in (3, 10))
    assert (few.p, few.verdict) == (0.25, "no difference shown")
    assert (many.p, many.verdict) == (2**-9, "better")


def test_verdicts_and_what_could_have_been_seen() -> None:
    up, down, none = compare([[noisy(0.3, 1)], [noisy(-0.3, 2)], [noisy(0.0, 3)]])
    assert (up.verdict, down.verdict, none.verdict) == ("better", "worse", "no difference shown")
    for one in (up, down, none):
        d = one.difference
        assert one.minimum_detectable == pytest.approx((stats.t.ppf(0.975, d.df) + stats.t.ppf(0.8, d.df)) * d.se)


def test_one_draw_has_the_p_of_a_t_test_over_groups() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, size=30)
    assert p_value([grid(values[None])]) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_draws_alone_have_the_p_of_a_t_test_over_draws() -> None:
    draws = np.array([0.1, 0.4, -0.2, 0.9])
    assert p_value([grid(np.repeat(draws[:, None], 6, axis=1))]) == pytest.approx(stats.ttest_1samp(draws, 0).pvalue)


@pytest.mark.parametrize(("draw_df", "distance"), [(1, 3.0), (2, 3.0), (2, 8.0), (4, 2.0), (9, 2.5)])
def test_behrens_fisher_against_numerical_convolution(draw_df: int, distance: float) -> None:
    # P(|a T1 + b T2| > d) = 1 - integral of t2(x) [F1((d - b x) / a) - F1((-d - b x) / a)] dx, a^2 = 0.7, b^2 = 0.3
    x = np.linspace(-60, 60, 400_001)
    a, b = 0.7**0.5, 0.3**0.5
    inner = stats.t.cdf((distance - b * x) / a, draw_df) - stats.t.cdf((-distance - b * x) / a, draw_df)
    exact = 1 - float(np.trapezoid(stats.t.pdf(x, 20) * inner, x))
    assert behrens_fisher(distance, 0.7, 0.3, draw_df, 20) == pytest.approx(exact, rel=2e-3)


def test_one_lucky_row_in_every_draw_is_no_verdict() -> None:
    # Same number of hits in every draw, each time on another row: neither draws nor groups seem to vary.
    # Left is the noise: sum of squares 3 (1 - 1/50) - 3 (3/9 - 1/50) = 2 with 98 df; V = 2 / 98 / 150, df = 2.
    (one,) = compare([[grid(np.eye(3, 50))]])
    assert one.p == pytest.approx(2 * stats.t.sf(0.02 / (2 / 98 / 150) ** 0.5, 2))
    assert one.verdict == "no difference shown"


def test_no_method_is_no_comparison() -> None:
    assert compare([]) == []


def test_a_larger_family_is_stricter() -> None:
    alone = compare([[noisy(0.04, 4)]])[0]
    within = compare([[noisy(0.04, 4)], *([noisy(0, seed)] for seed in range(10, 13))])[0]
    assert within.p == alone.p
    assert within.p_adjusted > alone.p_adjusted


def test_aggregates_by_hand() -> None:
    assert negative_transfer_rate([0.1, -0.2, 0.0, -0.1]) == 0.5
    assert np.isnan(negative_transfer_rate([]))
    assert worst_pair([("a", 0.7), ("b", 0.5), ("c", 0.5)]) == ("b", 0.5)
    assert interquartile_mean(np.array([[0.0, 1.0, 2.0, 100.0]])) == 1.5
    # pairs: (1, 2) against (1, 3): wins 1 of 4, ties 1 of 4; (5,) against (4, 4) all won
    assert probability_of_improvement(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]])) == 0.375
    assert probability_of_improvement(np.array([[5.0]]), np.array([[4.0, 4.0]])) == 1.0

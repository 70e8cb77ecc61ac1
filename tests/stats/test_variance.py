from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lowres.stats.variance import (
    Block,
    Floats,
    block,
    combine,
    covariance,
    interval,
    moments,
    pseudo_values,
    two_samples,
)


def accuracy(sums: Floats) -> Floats:
    return sums[..., 0] / sums[..., 1]


def grid(values: Any) -> Block:
    values = np.asarray(values, dtype=float)
    return Block(values.mean(axis=1), values)


def random_block(seed: int, draws: int = 4, groups: int = 12) -> Block:
    rng = np.random.default_rng(seed)
    return grid(rng.normal(size=(draws, 1)) + rng.normal(size=groups) + rng.normal(size=(draws, groups)))


seeds = st.integers(0, 10_000)


def test_pseudo_values_of_a_ratio_by_hand() -> None:
    # Groups with (hits, rows) (1, 2), (3, 3), (0, 1): accuracy 4/6. P_g = 3 * 4/6 - 2 * accuracy without g.
    counts = np.array([[[1.0, 2.0], [3.0, 3.0], [0.0, 1.0]]])
    expected = [2 - 2 * 3 / 4, 2 - 2 * 1 / 3, 2 - 2 * 4 / 5]
    np.testing.assert_allclose(pseudo_values(counts, accuracy), [expected], rtol=1e-14)
    np.testing.assert_allclose(block(counts, accuracy).theta, [4 / 6])


def test_pseudo_values_of_a_mean_are_the_values() -> None:
    hits = np.random.default_rng(0).integers(0, 2, size=(3, 20)).astype(float)
    counts = np.stack([hits, np.ones_like(hits)], axis=-1)
    np.testing.assert_allclose(block(counts, accuracy).pseudo, hits, atol=1e-12)


def test_components_by_hand() -> None:
    # X = [[1, 2, 6], [3, 6, 6]]: row means 3, 5; column means 2, 4, 6; grand mean 4.
    # MS groups = 2 * (4 + 0 + 4) / 2 = 8; residuals +-(0, 1, 1): MS rest = 4 / 2 = 2.
    # V = (s^2 of (3, 5) = 2) / 2 + (8 - 2) / (2 * 3) = 2.
    found = moments([[grid([[1, 2, 6], [3, 6, 6]])]])
    assert found.groups.item() == pytest.approx(8)
    assert found.rest.item() == pytest.approx(2)
    # df: the spread of draws, 1, weighs (D + 1) / (D - 1) = 3 fold; mean squares over D G are 8/6 and 2/6:
    # (3 + 1)^2 / (3^2 / 1 + (2/6)^2 / 2 + ((8/6)^2 + (2/6)^2) / 2)
    df = 16 / (9 + 4 / 72 + (64 / 36 + 4 / 36) / 2)
    one = interval([grid([[1, 2, 6], [3, 6, 6]])])
    assert (one.mean, one.se**2, one.df) == pytest.approx((4, 2, df))
    assert one.high - one.mean == pytest.approx(stats.t.ppf(0.975, df) * 2**0.5)
    assert one.few_draws


def test_one_draw_is_the_t_interval_over_groups() -> None:
    values = np.random.default_rng(1).normal(size=40)
    one = interval([grid(values[None])])
    low, high = stats.t.interval(0.95, 39, values.mean(), stats.sem(values))
    assert (one.low, one.high, one.df) == pytest.approx((low, high, 39))


def test_no_group_variance_is_the_t_interval_over_draws() -> None:
    draws = np.array([0.1, 0.4, 0.2, 0.9, 0.3])
    one = interval([grid(np.repeat(draws[:, None], 6, axis=1))])
    low, high = stats.t.interval(0.95, 4, draws.mean(), stats.sem(draws))
    assert (one.low, one.high, one.df) == pytest.approx((low, high, 4))
    assert not one.few_draws


def test_components_below_the_noise_leave_the_noise() -> None:
    # Checkerboard: draw and group means all 0, so V = MS rest / (D G) = (8 / 3) / 8; equal draws are no certainty.
    # df = (1/3)^2 / ((1/3)^2 / 3 + (1/3)^2 / 3): the noise, and the noise in the group component.
    one = interval([grid([[1, -1, 1, -1], [-1, 1, -1, 1]])])
    assert (one.mean, one.se**2, one.df) == pytest.approx((0, 1 / 3, 1.5))


def test_nothing_varies() -> None:
    one = interval([grid(np.full((3, 4), 0.25))])
    assert (one.mean, one.se, one.low, one.high) == (0.25, 0, 0.25, 0.25)


def test_two_test_sets_share_draws_and_add_groups() -> None:
    first, second = random_block(1), random_block(2, groups=30)
    found = moments([[first, -second]])
    draw = np.var(first.theta - second.theta, ddof=1) / 4
    own = [moments([[one]]) for one in (first, second)]
    groups = [max(0, (m.groups.item() - m.rest.item()) / (4 * m.sizes[0])) for m in own]
    assert found.contrast(np.ones(1))[1] == pytest.approx(draw + sum(groups))


@given(seeds, st.floats(-5, 5), st.floats(0.01, 100))
def test_shift_and_scale(seed: int, shift: float, scale: float) -> None:
    base = random_block(seed)
    plain = interval([base])
    moved = interval([Block(scale * base.theta + shift, scale * base.pseudo + shift)])
    for name in ("mean", "low", "high"):
        assert getattr(moved, name) == pytest.approx(scale * getattr(plain, name) + shift, rel=1e-6, abs=1e-6)
    assert (moved.se, moved.df) == pytest.approx((scale * plain.se, plain.df), rel=1e-5)
    mirror = interval([-base])
    assert (mirror.low, mirror.high) == pytest.approx((-plain.high, -plain.low))


@given(seeds)
def test_order_of_draws_and_groups_does_not_matter(seed: int) -> None:
    base, rng = random_block(seed), np.random.default_rng(seed)
    draws, groups = rng.permutation(4), rng.permutation(12)
    mixed = Block(base.theta[draws], base.pseudo[np.ix_(draws, groups)])
    plain, other = interval([base]), interval([mixed])
    assert (other.low, other.high, other.df) == pytest.approx((plain.low, plain.high, plain.df))


@given(seeds)
def test_covariance_is_consistent(seed: int) -> None:
    a, b = random_block(seed), random_block(seed + 1)
    assert covariance([a], [a]) == pytest.approx(interval([a]).se ** 2)
    assert covariance([a], [b]) == pytest.approx(covariance([b], [a]))
    assert covariance([a * 2], [-b]) == pytest.approx(-2 * covariance([a], [b]))


@given(st.integers(0, 60), st.integers(1, 4))
def test_bounded_intervals_stay_inside(hits: int, draws: int) -> None:
    values = np.zeros((draws, 60))
    values[:, :hits] = 1
    values[0] = np.roll(values[0], 1)
    one = interval([grid(values)], bounds=(0, 1))
    assert 0 <= one.low <= one.mean <= one.high <= 1
    assert one.low < one.high


def test_perfect_score_has_wilsons_bound() -> None:
    one = interval([grid(np.ones((3, 50)))], bounds=(0, 1))
    z2 = stats.norm.ppf(0.975) ** 2
    assert (one.low, one.high) == (pytest.approx(1 - z2 / (50 + z2)), 1)


def test_bounds_are_invisible_far_from_them() -> None:
    base = grid(0.5 + 1e-3 * random_block(3).pseudo)
    plain, bounded = interval([base]), interval([base], bounds=(0, 1))
    assert (bounded.low, bounded.high) == pytest.approx((plain.low, plain.high), abs=1e-6)
    assert (bounded.se, bounded.df) == (plain.se, plain.df)


def test_combine_adds_terms_of_one_test_set() -> None:
    a, b, c = random_block(1), random_block(2), random_block(3, groups=5)
    first, second = combine([("x", 0.5, a), ("y", 1.0, c), ("x", -0.5, b)])
    np.testing.assert_allclose(first.pseudo, (a.pseudo - b.pseudo) / 2)
    np.testing.assert_allclose(second.theta, c.theta)


@pytest.mark.parametrize(
    ("theta", "pseudo"),
    [
        (np.zeros(2), np.zeros((3, 4))),
        (np.zeros(2), np.zeros((2, 1))),
        (np.zeros(0), np.zeros((0, 4))),
        (np.array([0, np.nan]), np.zeros((2, 4))),
    ],
)
def test_unusable_blocks_are_refused(theta: Floats, pseudo: Floats) -> None:
    with pytest.raises(ValueError, match=r"draw|finite"):
        Block(theta, pseudo)


def test_blocks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same draws and groups"):
        random_block(1) - random_block(1, groups=5)
    with pytest.raises(ValueError, match="same draws"):
        interval([random_block(1), random_block(1, draws=3)])
    with pytest.raises(ValueError, match="outside the metric's range"):
        interval([grid(np.full((2, 4), 2.0))], bounds=(0, 1))


def placed(first: Floats, second: Floats) -> tuple[Floats, Floats]:
    """Share of the second sample below each row of the first, and of the first above each row of the second."""
    above = (first[:, None] > second).astype(float)
    return above.mean(axis=1), above.mean(axis=0)


def test_two_samples_have_the_variance_of_delong() -> None:
    rng = np.random.default_rng(1)
    own, other = placed(rng.normal(1, 1, 30), rng.normal(0, 1, 12))
    found = interval(two_samples(grid(own[None]), grid(other[None])))
    assert found.mean == pytest.approx(own.mean())
    assert found.se**2 == pytest.approx(own.var(ddof=1) / 30 + other.var(ddof=1) / 12)


def test_two_samples_by_hand() -> None:
    # 3 above 1 and 2, 1.5 above 1: placements (1, .5) and (1, .5), mean .75, variance .125 over 2 rows each
    own, other = placed(np.array([3.0, 1.5]), np.array([1.0, 2.0]))
    assert (own.tolist(), other.tolist()) == ([1.0, 0.5], [1.0, 0.5])
    found = interval(two_samples(grid(own[None]), grid(other[None])))
    assert (found.mean, found.se**2) == (pytest.approx(0.75), pytest.approx(0.125))


def test_two_samples_share_their_draws() -> None:
    rng = np.random.default_rng(2)
    shifts = rng.normal(1, 0.5, 6)
    sides = [placed(rng.normal(shift, 1, 40), rng.normal(0, 1, 50)) for shift in shifts]
    own, other = (np.stack(side) for side in zip(*sides, strict=True))
    found = moments([two_samples(grid(own), grid(other))])
    assert found.draws[0, 0] == pytest.approx(own.mean(axis=1).var(ddof=1) / 6)
    assert found.sizes.tolist() == [40, 50]


def test_two_ways_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="must agree"):
        two_samples(grid([[0.5, 0.6]]), grid([[0.5, 0.7]]))

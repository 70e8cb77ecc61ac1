from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lowres.stats.shift import drop, recovery, scenario
from lowres.stats.variance import Block, interval


def grid(values: Any) -> Block:
    values = np.asarray(values, dtype=float)
    return Block(values.mean(axis=1), values)


def pair(seed: int, draws: int = 5, groups: int = 30, share: float = 0.5) -> tuple[Block, Block]:
    rng = np.random.default_rng(seed)
    common = 0.1 * rng.normal(size=(draws, 1)) + 0.4 * rng.normal(size=groups)
    top = share + common + 0.2 * rng.normal(size=(draws, 1)) + 0.3 * rng.normal(size=(draws, groups))
    return grid(top), grid(1 + common + 0.3 * rng.normal(size=(draws, groups)))


@pytest.mark.parametrize(
    ("source", "target", "name"),
    [(0.1, 0.2, "classic"), (0.1, 0.0, "observed"), (-0.1, 0.2, "unobserved"), (0.0, -0.2, "none")],
)
def test_scenarios(source: float, target: float, name: str) -> None:
    assert scenario(source, target) == name


def test_drop_on_the_same_rows_is_paired() -> None:
    a, b = pair(1)
    assert len(drop(a, b, same_rows=True)) == 1
    np.testing.assert_allclose(drop(a, b, same_rows=True)[0].pseudo, a.pseudo - b.pseudo)
    apart = drop(a, b, same_rows=False)
    assert interval(apart).mean == pytest.approx(float(np.mean(a.theta - b.theta)))
    assert interval(drop(a, a, same_rows=True)).se == 0


def test_drop_needs_the_same_draws() -> None:
    with pytest.raises(ValueError, match="same draws"):
        drop(pair(1)[0], pair(1, draws=4)[0], same_rows=False)


def test_mean_drops_over_all_ordered_pairs_agree() -> None:
    # TT of a domain is its SS fit: over a complete set of pairs mean source drop = mean target drop.
    rng = np.random.default_rng(0)
    score = {(s, t): grid(rng.normal(size=(3, 9))) for s in "abc" for t in "abc"}
    pairs = [(s, t) for s in "abc" for t in "abc" if s != t]
    source = [interval(drop(score[s, s], score[s, t], same_rows=False)).mean for s, t in pairs]
    target = [interval(drop(score[t, t], score[s, t], same_rows=True)).mean for s, t in pairs]
    assert np.mean(source) == pytest.approx(np.mean(target))


def test_recovery_against_brute_force() -> None:
    for seed in range(2):
        top, bottom = pair(seed)
        found = recovery([top], [bottom]).interval
        assert found is not None
        ratios = np.arange(-0.5, 2, 2e-3)
        tested = [interval([top - bottom * r]) for r in ratios]
        kept = [r for r, one in zip(ratios, tested, strict=True) if one.low <= 0 <= one.high]
        assert ratios[0] < kept[0] < kept[-1] < ratios[-1]
        assert found.low == pytest.approx(kept[0], abs=2e-3)
        assert found.high == pytest.approx(kept[-1], abs=2e-3)
        assert found.mean == pytest.approx(top.theta.mean() / bottom.theta.mean())


def test_recovery_is_fiellers_formula_for_one_draw() -> None:
    # One draw: variance is an exact quadratic form with G - 1 degrees of freedom, so Fieller's closed form holds.
    top, bottom = pair(3, draws=1, groups=50)
    v = np.cov(top.pseudo[0], bottom.pseudo[0]) / 50
    a, b, t2 = float(top.theta[0]), float(bottom.theta[0]), stats.t.ppf(0.975, 49) ** 2
    roots = np.sort(np.roots([b * b - t2 * v[1, 1], -2 * (a * b - t2 * v[0, 1]), a * a - t2 * v[0, 0]]))
    found = recovery([top], [bottom]).interval
    assert (found.low, found.high) == pytest.approx(tuple(roots), rel=1e-6)


@given(st.integers(0, 10_000), st.floats(0.01, 50), st.floats(-2, 3))
def test_recovery_is_bounded_and_scales(seed: int, scale: float, share: float) -> None:
    top, bottom = pair(seed, share=share)
    plain = recovery([top], [bottom])
    assume(plain.interval is not None)
    one = plain.interval
    assert np.isfinite([one.low, one.high]).all()
    assert one.low <= one.mean <= one.high
    other = recovery([top * scale], [bottom]).interval
    assert (other.low, other.high) == pytest.approx((scale * one.low, scale * one.high), rel=1e-6, abs=1e-8)
    both = recovery([top * scale], [bottom * scale]).interval
    assert (both.low, both.high) == pytest.approx((one.low, one.high), rel=1e-6, abs=1e-8)


def test_recovery_of_the_ceiling_and_of_nothing() -> None:
    _, bottom = pair(1)
    whole, none = recovery([bottom], [bottom]).interval, recovery([bottom * 0.0], [bottom]).interval
    assert (whole.low, whole.mean, whole.high) == pytest.approx((1, 1, 1), abs=1e-6)
    assert (none.low, none.mean, none.high) == pytest.approx((0, 0, 0), abs=1e-6)


def test_recovery_over_two_targets_is_a_ratio_of_sums() -> None:
    (a, b), (c, d) = pair(1), pair(2, groups=20)
    found = recovery([a, c], [b, d]).interval
    assert found.mean == pytest.approx((a.theta.mean() + c.theta.mean()) / (b.theta.mean() + d.theta.mean()))


def test_no_recovery_without_a_drop() -> None:
    top, _ = pair(1)
    flat = grid(np.random.default_rng(2).normal(size=(5, 30)))
    found = recovery([top], [flat])
    assert found.interval is None
    assert "not shown to be above 0" in found.reason
    zero = recovery([top], [flat - flat])
    assert zero.interval is None

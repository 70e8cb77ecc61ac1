from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.stats.curves import isotonic, labels_to_match
from lowres.stats.variance import Block, interval

BUDGETS = [8, 16, 32, 64, 128]


def grid(values: Any) -> Block:
    values = np.asarray(values, dtype=float)
    return Block(values.mean(axis=1), values)


def blocks(means: Sequence[float], score: float, noise: float = 0.02, seed: int = 0) -> tuple[list[Block], Block]:
    rng = np.random.default_rng(seed)
    common = 0.3 * rng.normal(size=30)
    common -= common.mean()
    made = []
    for mean in [*means, score]:
        values = noise * rng.normal(size=(5, 1)) + common + noise * rng.normal(size=(5, 30))
        made.append(grid(values - values.mean() + mean))
    return made[:-1], made[-1]


def test_crossing_by_hand() -> None:
    # .65 is half way from .6 (16 labels) to .7 (32) in log2 labels: 2^4.5
    curve, method = blocks([0.5, 0.6, 0.7, 0.8, 0.9], 0.65)
    found = labels_to_match(BUDGETS, curve, method)
    assert found.reason is None
    assert found.interval.mean == pytest.approx(2**4.5)
    assert found.interval.low < 2**4.5 < found.interval.high


def test_against_brute_force() -> None:
    curve, method = blocks([0.5, 0.6, 0.7, 0.8, 0.9], 0.68, seed=3)
    found = labels_to_match(BUDGETS, curve, method).interval
    kept = []
    for x in np.arange(3, 7, 5e-4):
        left = min(int(x) - 3, 3)
        at = x - 3 - left
        one = interval([method - (curve[left] * (1 - at) + curve[left + 1] * at)])
        if one.low <= 0 <= one.high:
            kept.append(x)
    assert np.log2([found.low, found.high]) == pytest.approx([kept[0], kept[-1]], abs=1e-3)


def test_dips_are_smoothed() -> None:
    # Pools .7 and .5 to .6: the curve reads .4 .6 .6 .8 .9, so .6 is first reached with 16 labels.
    curve, method = blocks([0.4, 0.7, 0.5, 0.8, 0.9], 0.6)
    assert labels_to_match(BUDGETS, curve, method).interval.mean == pytest.approx(16)


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (0.45, "below target-only with 8 labels"),
        (0.95, "above target-only with 128 labels"),
        (0.501, "lower bound lies below 8 labels"),
        (0.899, "upper bound lies above 128 labels"),
    ],
)
def test_nothing_is_extrapolated(score: float, reason: str) -> None:
    found = labels_to_match(BUDGETS, *blocks([0.5, 0.6, 0.7, 0.8, 0.9], score))
    assert found.interval is None
    assert reason in found.reason


def test_the_curve_itself_needs_its_own_labels() -> None:
    curve, _ = blocks([0.5, 0.6, 0.7, 0.8, 0.9], 0)
    found = labels_to_match(BUDGETS, curve, curve[2]).interval
    assert (found.low, found.mean, found.high) == pytest.approx((32, 32, 32), rel=1e-4)


@pytest.mark.parametrize("budgets", [[8], [8, 8], [0, 8], [16, 8], [8, 16, 32]])
def test_unusable_budgets_are_refused(budgets: list[int]) -> None:
    curve, method = blocks([0.5, 0.6], 0.55)
    with pytest.raises(ValueError, match="rising budgets"):
        labels_to_match(budgets, curve[: len(budgets)], method)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_isotonic_rises_and_keeps_the_mean(values: list[float]) -> None:
    smooth = isotonic(np.array(values))
    assert (np.diff(smooth) >= -1e-12).all()
    assert smooth.mean() == pytest.approx(np.mean(values))
    np.testing.assert_allclose(isotonic(smooth), smooth)
    np.testing.assert_allclose(isotonic(np.sort(values)), np.sort(values))

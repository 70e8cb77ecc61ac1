from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lowres.stats.paired import interquartile_mean, probability_of_improvement
from lowres.stats.pooled import improvement_interval, interquartile_interval
from lowres.stats.variance import Block, interval


def flat(theta: list[float]) -> Block:
    """Scores without any test noise."""
    values = np.array(theta)
    return Block(values, np.repeat(values[:, None], 4, axis=1))


def noisy(seed: int, mean: float, draw: float = 0.03, group: float = 0.3, draws: int = 5, groups: int = 80) -> Block:
    rng = np.random.default_rng(seed)
    values = mean + draw * rng.standard_normal((draws, 1)) + group * rng.standard_normal(groups)
    return Block(values.mean(axis=1), values)


def test_interquartile_mean_by_hand() -> None:
    # Twelve scores, the middle six .60 … .70. Scores beyond count as .60 and .70, so that the draws' winsorised
    # means are (.60 + .62 + .70) / 3 … and influences are twice their distances, half of the scores being kept.
    one, two, three = flat([0.5, 0.51, 0.52, 0.6]), flat([0.62, 0.64, 0.66, 0.68]), flat([0.7, 0.8, 0.81, 0.82])
    found = interquartile_interval([("a", one), ("b", two), ("c", three)], bounds=(0, 1))
    scores = np.stack([one.theta, two.theta, three.theta])
    assert (
        found.mean
        == pytest.approx(interquartile_mean(scores))
        == pytest.approx(np.mean([0.6, 0.62, 0.64, 0.66, 0.68, 0.7]))
    )
    moved = 2 * np.array([0.6 + 0.62 + 0.7, 0.6 + 0.64 + 0.7, 0.6 + 0.66 + 0.7, 0.6 + 0.68 + 0.7]) / 3
    assert found.se == pytest.approx(moved.std(ddof=1) / 2)
    assert found.low < found.mean < found.high


def test_of_equal_pairs_only_the_middle_ones_bring_their_test_rows() -> None:
    low, middle, other, high = noisy(1, 0.3), noisy(2, 0.55), noisy(3, 0.6), noisy(4, 0.8)
    found = interquartile_interval([("a", low), ("b", middle), ("c", other), ("d", high)], bounds=(-2, 3))
    alone = interval([middle * 0.5, other * 0.5])
    assert (found.mean, found.se) == (pytest.approx(alone.mean), pytest.approx(alone.se, rel=1e-6))


def test_equal_scores_share_what_counts() -> None:
    def level(seed: int) -> Block:
        groups = 0.3 * np.random.default_rng(seed).standard_normal(80)
        return Block(np.full(5, 0.5), np.tile(0.5 + groups - groups.mean(), (5, 1)))

    pairs = {name: level(seed) for seed, name in enumerate("abcd")}
    found = interquartile_interval(list(pairs.items()), bounds=(-2, 3))
    alone = interval([one * 0.25 for one in pairs.values()])
    assert (found.mean, found.se) == (pytest.approx(0.5), pytest.approx(alone.se))


def test_improvement_by_hand() -> None:
    one, two = flat([0.7, 0.8, 0.9]), flat([0.75, 0.6, 0.65])
    found = improvement_interval([("a", one, two)])
    assert (
        found.mean
        == pytest.approx(probability_of_improvement(one.theta[None], two.theta[None]))
        == pytest.approx(8 / 9)
    )
    # a draw wins 2/3, 3/3, 3/3 of its comparisons as a draw of the method, 2/3, 3/3, 3/3 as one of the reference
    pull = np.array([2 / 3 + 2 / 3, 2, 2]) - 8 / 9
    assert found.se == pytest.approx(pull.std(ddof=1) / 3**0.5)


def test_where_every_draw_wins_the_low_end_is_wilsons() -> None:
    found = improvement_interval([("a", flat([0.9, 0.8, 0.85]), flat([0.1, 0.2, 0.3]))])
    square = stats.t.ppf(0.975, 2) ** 2
    assert (found.mean, found.high, found.low) == (1.0, 1.0, pytest.approx(1 - square / (3 + square)))


def test_test_rows_widen_the_chance_of_improvement() -> None:
    widths = []
    for group in (0.001, 0.3):
        pair = ("a", noisy(5, 0.61, draw=0.02, group=group), noisy(6, 0.6, draw=0.02, group=group))
        found = improvement_interval([pair])
        assert 0 <= found.low <= found.mean <= found.high <= 1
        widths.append(found.high - found.low)
    assert widths[1] > widths[0]

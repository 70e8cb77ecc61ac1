"""The worked examples of docs/forecasts.md, and the rules against independent computations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict

from lowres.scoring import forecasts as rules


def two(sure: list[float]) -> np.ndarray:
    """Probabilities whose first class is the answer, with these confidences."""
    return np.stack([np.array(sure), 1 - np.array(sure)], axis=1)


SOURCE, TARGET = two([0.9, 0.8, 0.7, 0.6]), two([0.95, 0.9, 0.7, 0.55, 0.55])
TRUTH = np.array([0, 0, 0, 1])


def test_threshold_by_hand() -> None:
    assert rules.thresholded_confidence(TRUTH, SOURCE, TARGET) == pytest.approx(0.6)
    assert rules.entropy_threshold(TRUTH, SOURCE) == pytest.approx(0.7 * np.log(0.7) + 0.3 * np.log(0.3))
    assert rules.thresholded_confidence(1 - TRUTH[:1], SOURCE[:1], TARGET) == 0.0  # nothing was right


def test_confidence_at_the_best_temperature() -> None:
    logits, target = np.log(SOURCE), np.log(TARGET)

    def scaled(values: np.ndarray, heat: float) -> np.ndarray:
        powers = np.exp(values / heat)
        return powers / powers.sum(axis=1, keepdims=True)

    best = optimize.brute(
        lambda heat: -np.log(scaled(logits, heat[0])[np.arange(4), TRUTH]).mean(), [(0.05, 20)], Ns=4000
    )
    wanted = scaled(target, best[0]).max(axis=1).mean()
    assert rules.confidence(TRUTH, SOURCE, TARGET) == pytest.approx(wanted, abs=1e-3)
    fall = scaled(logits, best[0]).max(axis=1).mean() - wanted
    assert rules.difference_of_confidences(TRUTH, SOURCE, TARGET) == pytest.approx(0.75 - fall, abs=1e-3)


def test_agreement_by_hand() -> None:
    """Two draws, each right on 75 % of the source rows, agree on 80 % of them and on 70 % of the target rows."""
    truth = np.zeros(20, dtype=np.int64)
    one, other = np.zeros(20, dtype=int), np.zeros(20, dtype=int)
    one[:5] = 1
    other[[0, 1, 2, 5, 6]] = 1  # each right on 15 of 20; they differ on rows 3 4 5 6: agree on 80 %
    source = np.stack([np.eye(2)[one], np.eye(2)[other]])
    first, second = np.zeros(10, dtype=int), np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
    target = np.stack([np.eye(2)[first], np.eye(2)[second]])
    wanted = stats.norm.cdf(stats.norm.ppf(0.75) + stats.norm.ppf(0.7) - stats.norm.ppf(0.8))
    assert wanted == pytest.approx(0.64, abs=0.005)
    assert rules.agreement(truth, source, target) == pytest.approx([wanted, wanted])
    with pytest.raises(ValueError, match="two models"):
        rules.agreement(truth, source[:1], target[:1])


def test_words_by_hand() -> None:
    assert rules.word_divergence(np.array([1.0, 1, 0]), np.array([1.0, 0, 1])) == pytest.approx(0.5)
    assert rules.word_divergence(np.array([2.0, 2]), np.array([5.0, 5])) == 0
    assert rules.word_divergence(np.array([1.0, 0]), np.array([0.0, 3])) == pytest.approx(1)


def test_expected_sums_by_hand() -> None:
    # Rows of the target all answer 0: their expected truth is 3.65 times 0 and 1.35 times 1.
    assert rules.expected_sums(TARGET) == pytest.approx([3.65, 0, 1.35, 0])


def test_domain_distance_is_that_of_cross_validation() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(60, 4)), rng.normal(size=(90, 4)) + 0.5
    folds = np.arange(150) % 5
    x, y = np.concatenate([one, other]), np.repeat([0, 1], [60, 90])
    model = LogisticRegression(max_iter=1000, class_weight="balanced")
    wrong = cross_val_predict(model, x, y, cv=PredefinedSplit(folds)) != y
    error = (wrong[y == 0].mean() + wrong[y == 1].mean()) / 2
    assert rules.domain_distance(one, other, folds) == pytest.approx(2 - 4 * error)
    assert rules.domain_distance(one, other + 50, folds) == 2

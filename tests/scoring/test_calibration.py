from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from lowres.scoring.calibration import conformal_level, label_sets, risk_by_coverage, scaled, temperature
from lowres.scoring.metrics import calibration_error


def drawn(rows: int, heat: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from softmax(z), and what a model says that is ``heat`` times as sure."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (rows, 3))
    truth = np.array([rng.choice(3, p=row) for row in softmax(logits, axis=1)])
    return truth, softmax(logits * heat, axis=1)


@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_was_done(heat: float) -> None:
    truth, said = drawn(6000, heat)
    found = temperature(truth, said)
    assert found == pytest.approx(heat, rel=0.08)
    assert scaled(said, heat) == pytest.approx(drawn(6000, 1.0)[1], abs=1e-9)
    assert calibration_error(truth, scaled(said, found)) < 0.035  # 15 bins of 400 rows: about .02 by chance
    if heat == 3.0:
        assert calibration_error(truth, said) > 0.1


def test_scaling_keeps_the_answer_and_zeros() -> None:
    said = np.array([[1.0, 0.0], [0.3, 0.7]])
    found = scaled(said, 4.0)
    assert found.argmax(axis=1).tolist() == [0, 1]
    assert np.isfinite(found).all()
    assert found.sum(axis=1) == pytest.approx([1, 1])


def test_risk_by_coverage_by_hand() -> None:
    truth = np.array([0, 0, 1, 0])
    sure = np.array([0.9, 0.8, 0.8, 0.6])
    coverage, risk = risk_by_coverage(truth, np.stack([sure, 1 - sure], axis=1))
    assert coverage.tolist() == [0.25, 0.75, 1.0]
    assert risk == pytest.approx([0, 1 / 3, 1 / 4])


def test_sets_hold_the_truth_as_often_as_wanted() -> None:
    held = []
    for seed in range(200):
        truth, said = drawn(100, 2.0, seed)
        level = conformal_level(truth[:50], said[:50], 0.9)
        assert level is not None
        held.append(label_sets(said[50:], level)[np.arange(50), truth[50:]].mean())
    # exactly 46/51 in expectation; the mean of 200 samples is within a point of it
    assert np.mean(held) == pytest.approx(46 / 51, abs=0.015)


def test_nine_rows_are_needed_for_sets_of_nine_tenths() -> None:
    truth, said = drawn(9, 1.0)
    assert conformal_level(truth[:8], said[:8], 0.9) is None
    assert conformal_level(truth, said, 0.9) == pytest.approx(said[np.arange(9), truth].min())


def test_a_class_that_cannot_be_stays_so_at_any_temperature() -> None:
    """A temperature of 20 turns 1e-12 into .25; a class that a model has not seen has 0 and keeps it."""
    found = scaled(np.array([[0.9, 0.1, 0.0]]), 20.0)
    assert found[0, 2] == 0.0
    assert found[0, :2] == pytest.approx(scaled(np.array([[0.9, 0.1]]), 20.0)[0])

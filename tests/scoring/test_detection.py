"""How well confidences tell the inside from the outside, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve, roc_auc_score

from lowres.scoring.detection import auroc, confidences, placements, recall_at_precision

# few values, so that many are tied
sides = st.lists(st.integers(0, 12), min_size=1, max_size=60).map(lambda values: np.array(values) / 12)


@given(sides, sides)
def test_auroc_is_that_of_scikit_learn(inside: np.ndarray, outside: np.ndarray) -> None:
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    assert auroc(inside, outside) == pytest.approx(roc_auc_score(truth, np.concatenate([inside, outside])))


@given(sides, sides)
def test_both_ways_to_the_auroc_agree(inside: np.ndarray, outside: np.ndarray) -> None:
    own, other = placements(inside, outside)
    assert (own.shape, other.shape) == (inside.shape, outside.shape)
    assert own.mean() == pytest.approx(other.mean())
    assert auroc(outside, inside) == pytest.approx(1 - own.mean())


@given(sides, sides, st.sampled_from([0.5, 0.75, 0.8, 0.95, 1.0]))
def test_recall_is_that_of_scikit_learn(inside: np.ndarray, outside: np.ndarray, precision: float) -> None:
    truth = np.repeat([0, 1], [len(inside), len(outside)])
    precise, recall, _ = precision_recall_curve(truth, -np.concatenate([inside, outside]))
    assert recall_at_precision(inside, outside, precision) == pytest.approx(recall[precise >= precision].max())


def test_by_hand() -> None:
    inside, outside = np.array([0.9, 0.8, 0.5]), np.array([0.6, 0.5, 0.2, 0.2])
    own, other = placements(inside, outside)
    assert own == pytest.approx([1, 1, (2 + 0.5) / 4])
    assert other == pytest.approx([2 / 3, (2 + 0.5) / 3, 1, 1])
    assert auroc(inside, outside) == pytest.approx((2 + 5 / 8) / 3)
    # flagged up to .2: two of two outside; up to .5: three of four, as the inside row there is flagged with them; up to .6: 4 of 5
    assert recall_at_precision(inside, outside, 0.95) == 0.5
    assert recall_at_precision(inside, outside, 0.8) == 1.0
    assert recall_at_precision(inside, np.array([0.9]), 0.95) == 0.0


def test_a_constant_tells_nothing_apart() -> None:
    same = np.full(10, 0.5)
    assert auroc(same, same[:4]) == 0.5
    assert recall_at_precision(same, same[:4], 0.95) == 0.0
    assert recall_at_precision(same[:1], np.full(19, 0.5), 0.95) == 1.0  # all are flagged, 19 of 20 rightly


def test_confidence_is_the_highest_of_the_known_classes() -> None:
    assert confidences(np.array([[0.2, 0.8, 0.0], [0.6, 0.4, 0.0]], dtype=np.float32)) == pytest.approx([0.8, 0.6])


def test_what_cannot_be_asked_is_refused() -> None:
    some, none = np.array([0.5]), np.array([])
    for inside, outside in ((some, none), (none, some)):
        with pytest.raises(ValueError, match="rows of both sides"):
            auroc(inside, outside)
        with pytest.raises(ValueError, match="rows of both sides"):
            recall_at_precision(inside, outside, 0.95)
    with pytest.raises(ValueError, match="precision lies above 0"):
        recall_at_precision(some, some, 0.0)

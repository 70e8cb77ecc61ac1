from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from lowres.errors import UserError
from lowres.scoring import evaluate_modules, metrics


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes)[labels]


pairs = st.integers(2, 4).flatmap(
    lambda classes: st.lists(
        st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=2, max_size=60
    ).map(lambda rows: (classes, np.array([row[0] for row in rows]), np.array([row[1] for row in rows])))
)


@given(pairs)
def test_agrees_with_scikit_learn(case: tuple[int, np.ndarray, np.ndarray]) -> None:
    classes, truth, answers = case
    scores = one_hot(answers, classes)
    assert metrics.METRICS["accuracy"].score(truth, scores) == pytest.approx(
        sklearn_metrics.accuracy_score(truth, answers)
    )
    wanted = sklearn_metrics.f1_score(truth, answers, average="macro", zero_division=0)
    assert metrics.METRICS["macro_f1"].score(truth, scores) == pytest.approx(wanted)
    assert metrics.METRICS["matthews"].score(truth, scores) == pytest.approx(
        sklearn_metrics.matthews_corrcoef(truth, answers)
    )


def test_hand_counted() -> None:
    truth = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    assert metrics.METRICS["accuracy"].score(truth, scores) == 0.75
    assert metrics.METRICS["macro_f1"].score(truth, scores) == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert metrics.class_recall(truth, scores).tolist() == [0.5, 1.0]
    assert metrics.negative_log_likelihood(truth, scores) == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert metrics.brier(truth, scores) == pytest.approx((0.02 + 0.72 + 0.08 + 0.18) / 4)
    # by confidence: .9 right, .8 right, .7 right, .6 wrong -> risks 0, 0, 0, 1/4
    assert metrics.risk_coverage_area(truth, scores) == pytest.approx(1 / 16)
    # two bins: {.6 wrong, .7 right}: |.5 - .65|; {.8, .9 right}: |1 - .85|
    assert metrics.calibration_error(truth, scores, bins=2) == pytest.approx(0.15)


def test_rows_tied_in_confidence_share_their_error() -> None:
    truth = np.array([0, 1, 0, 1])
    scores = np.full((4, 2), 0.5)
    assert metrics.risk_coverage_area(truth, scores) == pytest.approx(0.5)
    assert metrics.risk_coverage_area(truth[::-1], scores) == pytest.approx(0.5)


@pytest.mark.parametrize("name", sorted(metrics.METRICS))
def test_an_empty_set_has_no_score(name: str) -> None:
    with pytest.raises(ValueError, match="no rows"):
        metrics.METRICS[name].score(np.zeros(0, dtype=np.int64), np.zeros((0, 2)))


def test_unknown_metric_names_the_nearest() -> None:
    with pytest.raises(UserError, match="macro_f1"):
        metrics.find_metric("macro-f1")


def test_all_metrics_have_json_values() -> None:
    import json

    found = metrics.all_metrics(np.array([0, 0]), np.array([[0.9, 0.1], [0.2, 0.8]]), ("a", "b"))
    assert json.loads(json.dumps(found, allow_nan=False))["recall"] == {"a": 0.5, "b": None}


def test_evaluate_modules_compute_and_combine() -> None:
    import evaluate

    truth, answers = [0, 1, 1, 0], [0, 1, 0, 0]
    both = evaluate.combine([evaluate_modules.load("accuracy"), evaluate_modules.load("macro_f1")])
    assert both.compute(predictions=answers, references=truth) == {
        "accuracy": 0.75,
        "macro_f1": pytest.approx(sklearn_metrics.f1_score(truth, answers, average="macro")),
    }
    scores = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]]
    for name in evaluate_modules.ON_PROBABILITIES:
        got = evaluate_modules.load(name).compute(predictions=scores, references=truth)[name]
        assert got == pytest.approx(evaluate_modules.ON_PROBABILITIES[name](np.array(truth), np.array(scores)))
    assert set(evaluate_modules.NAMES) == {*metrics.METRICS, *evaluate_modules.ON_PROBABILITIES}


def test_labels_that_a_model_has_not_seen_have_no_probability() -> None:
    known = np.array([[0.25, 0.75]], dtype=np.float32)
    assert metrics.widened(known, ("c", "a"), ("a", "b", "c")).tolist() == [[0.75, 0.0, 0.25]]
    assert metrics.widened(known, ("a", "b"), ("a", "b")) is known

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from lowres.scoring import shift_measures
from lowres.scoring.metrics import find_metric


def test_words_by_hand() -> None:
    words, (own, other) = shift_measures.word_counts(["Good film, good PLOT", "a bad film"], ["good phone"], rarest=1)
    assert words == ["bad", "film", "good", "phone", "plot"]
    assert own.toarray().tolist() == [[0, 1, 2, 0, 1], [1, 1, 0, 0, 0]]
    assert other.toarray().tolist() == [[0, 0, 1, 1, 0]]
    assert shift_measures.unseen_words(own.toarray().sum(axis=0), other.toarray().sum(axis=0)) == 0.5
    assert shift_measures.word_counts(["good one", "good two"], ["good"], rarest=3)[0] == ["good"]


def test_lengths_and_labels_by_hand() -> None:
    shares = shift_measures.label_shares(np.array([0, 0, 0, 1]), 3)
    assert shares.tolist() == [0.75, 0.25, 0.0]
    assert shift_measures.label_shift(shares, np.array([0.25, 0.25, 0.5])) == 0.5
    assert shift_measures.label_shift(shares, shares) == 0.0


def test_the_fall_from_labels_is_that_of_rows_repeated_to_the_other_shares() -> None:
    rng = np.random.default_rng(3)
    truth = np.repeat([0, 1], [60, 40])
    answers = np.where(rng.random(100) < np.where(truth == 0, 0.9, 0.6), truth, 1 - truth)
    said = np.eye(2)[answers]
    # to shares of 1/3 and 2/3: every row of label 0 once, of label 1 three times
    repeated = np.repeat(np.arange(100), np.where(truth == 0, 1, 3))
    shares = np.array([1 / 3, 2 / 3])
    for name, score in (
        ("accuracy", lambda t, a: (t == a).mean()),
        ("macro_f1", lambda t, a: f1_score(t, a, average="macro")),
    ):
        wanted = score(truth, answers) - score(truth[repeated], answers[repeated])
        assert shift_measures.of_labels(truth, said, shares, find_metric(name)) == pytest.approx(wanted)
    assert shift_measures.of_labels(truth, said, np.array([0.6, 0.4]), find_metric("macro_f1")) == pytest.approx(0.0)


def test_labels_without_rows_explain_nothing() -> None:
    said = np.eye(3)[[0, 1]]
    assert shift_measures.of_labels(np.array([0, 1]), said, np.array([0.5, 0.4, 0.1]), find_metric("accuracy")) is None


def test_log_odds_are_those_of_the_paper() -> None:
    counts, prior = np.array([[8.0, 2.0], [1.0, 9.0]]), np.array([1.0, 2.0])
    odds, variance = shift_measures.log_odds(counts, prior)
    # first word under the first label: (8 + 1) of 10 + 3, against (1 + 1) of 10 + 3
    assert odds[0, 0] == pytest.approx(np.log(9 / 4) - np.log(2 / 11))
    assert variance[0, 0] == pytest.approx(1 / 9 + 1 / 2)
    assert odds[1] == pytest.approx(-odds[0])


def test_no_word_is_left() -> None:
    names, parts = shift_measures.word_counts(["!", "?"], [":-)"] * 9)
    assert names == []
    assert [part.shape for part in parts] == [(2, 0), (9, 0)]

"""Metrics of words, of several labels and of numbers, against seqeval, scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import seqeval.metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from lowres.errors import UserError
from lowres.scoring.metrics import find_metric

TAGS = ("O", "B-per", "I-per", "B-loc", "I-loc")
sentences = st.lists(
    st.lists(st.tuples(st.sampled_from(TAGS), st.sampled_from(TAGS)), min_size=1, max_size=8), min_size=1, max_size=8
)


def arrays(case: list[list[tuple[str, str]]], labels: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Targets [words, 2] and one-hot answers [words, tags]."""
    words = [
        (labels.index(true), row, labels.index(said)) for row, sentence in enumerate(case) for true, said in sentence
    ]
    return np.array([word[:2] for word in words]), np.eye(len(labels))[[word[2] for word in words]]


@given(sentences)
def test_entity_f1_is_that_of_seqeval(case: list[list[tuple[str, str]]]) -> None:
    true, said = ([[pair[side] for pair in sentence] for sentence in case] for side in (0, 1))
    wanted = seqeval.metrics.f1_score(true, said, zero_division=0)
    assert find_metric("entity_f1", "tokens", TAGS).score(*arrays(case, TAGS)) == pytest.approx(wanted)


BIOES = ("O", *(f"{mark}-per" for mark in "BIES"))


def test_bioes() -> None:
    case = [[("B-per", "B-per"), ("E-per", "E-per"), ("S-per", "O"), ("S-per", "S-per")]]
    # three entities are there, two are found, both right
    assert find_metric("entity_f1", "tokens", BIOES).score(*arrays(case, BIOES)) == pytest.approx(0.8)


def test_an_entity_ends_with_its_sentence() -> None:
    case = [[("B-per", "B-per")], [("I-per", "B-per")]]
    assert find_metric("entity_f1", "tokens", TAGS).score(*arrays(case, TAGS)) == 1.0


@given(sentences)
def test_scores_of_single_words(case: list[list[tuple[str, str]]]) -> None:
    true, said = ([pair[side] for sentence in case for pair in sentence] for side in (0, 1))
    targets, answers = arrays(case, TAGS)
    accuracy, macro = (find_metric(name, "tokens", TAGS).score(targets, answers) for name in ("accuracy", "macro_f1"))
    assert accuracy == pytest.approx(sklearn_metrics.accuracy_score(true, said))
    assert macro == pytest.approx(sklearn_metrics.f1_score(true, said, average="macro", zero_division=0))


@given(st.lists(st.tuples(*[st.booleans()] * 6), min_size=1, max_size=20))
def test_several_labels(case: list[tuple[bool, ...]]) -> None:
    both = np.array(case, dtype=float)
    true, said = both[:, :3], both[:, 3:]
    there = (true + said).any(axis=0)
    found = {name: find_metric(name, "multilabel").score(true, said) for name in ("micro_f1", "exact_match")}
    assert found["micro_f1"] == pytest.approx(sklearn_metrics.f1_score(true, said, average="micro", zero_division=0))
    assert found["exact_match"] == pytest.approx(sklearn_metrics.accuracy_score(true, said))
    if there.any():
        wanted = sklearn_metrics.f1_score(true, said, labels=np.flatnonzero(there), average="macro", zero_division=0)
        assert find_metric("macro_f1", "multilabel").score(true, said) == pytest.approx(wanted)


numbers = st.floats(0, 5, width=16)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=30))
def test_numbers(case: list[tuple[float, float]]) -> None:
    true, said = np.array(case).T
    if min(true.std(), said.std()) < 0.01:
        return
    assert find_metric("spearman", "regression").score(true, said[:, None]) == pytest.approx(
        scipy.stats.spearmanr(true, said).statistic, abs=1e-6
    )
    assert find_metric("pearson", "regression").score(true, said[:, None]) == pytest.approx(
        scipy.stats.pearsonr(true, said).statistic, abs=1e-6
    )


def test_constant_answers_correlate_with_nothing() -> None:
    assert find_metric("spearman", "regression").score(np.array([1.0, 2.0, 3.0]), np.ones((3, 1))) == 0.0


def test_a_metric_of_another_kind() -> None:
    with pytest.raises(UserError, match="entity_f1"):
        find_metric("entity_f2", "tokens")
    with pytest.raises(UserError, match="spearman"):
        find_metric("macro_f1", "regression")
    with pytest.raises(UserError, match="tags that name entities"):
        find_metric("entity_f1", "tokens", ("NOUN", "VERB"))


def test_it_has_to_know_its_tags() -> None:
    with pytest.raises(ValueError, match="no rows"):
        find_metric("accuracy", "tokens").score(np.zeros((0, 2), dtype=int), np.zeros((0, 2)))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import lowres
from lowres.errors import UserError
from tests.conftest import toy_rows

ROWS = [row for row in toy_rows(30) if row["domain"] == "shop"]
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]


@pytest.fixture
def classifier(encoder: Path) -> lowres.Classifier:
    recipe = {"learning_rate": 5e-3, "head_learning_rate": 5e-2, "min_steps": 40, "max_length": 24}
    return lowres.Classifier(backbone=str(encoder), recipe=recipe, lora={"linears": "all"}, precision="fp32")


def test_learns_saves_and_loads(classifier: lowres.Classifier, tmp_path: Path) -> None:
    assert classifier.fit(TEXTS, LABELS) is classifier
    assert classifier.classes_.tolist() == ["negative", "positive"]
    assert classifier.score(TEXTS, LABELS) > 0.9
    assert classifier.predict_proba(TEXTS).sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    loaded = lowres.load(classifier.save(tmp_path / "kept"))
    assert loaded.predict(TEXTS) == classifier.predict(TEXTS).tolist()


def test_numbers_as_labels_come_back_as_numbers(classifier: lowres.Classifier) -> None:
    codes = np.array([10 if label == "negative" else 2 for label in LABELS])
    assert classifier.fit(TEXTS, codes).classes_.tolist() == [2, 10]
    assert set(classifier.predict(TEXTS).tolist()) <= {2, 10}
    assert classifier.score(TEXTS, codes) > 0.9


def test_same_draw_same_model_and_shots_are_taken(classifier: lowres.Classifier) -> None:
    classifier.set_params(shots=5)
    first, same = (clone(classifier).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2))
    assert np.array_equal(first, same)
    assert classifier.fit(TEXTS, LABELS).model_.about["train_rows"] == 10
    assert not np.array_equal(first, clone(classifier).set_params(draw=1).fit(TEXTS, LABELS).predict_proba(TEXTS))


def test_in_pipeline_grid_search_and_cross_validation(classifier: lowres.Classifier) -> None:
    pipeline = make_pipeline(FunctionTransformer(lambda texts: [text.upper() for text in texts]), classifier)
    assert pipeline.fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.9
    search = GridSearchCV(classifier, {"shots": [2, None]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["shots"] in (2, None)
    assert len(cross_val_score(classifier, TEXTS, LABELS, cv=3)) == 3


def test_parameters_round_trip(classifier: lowres.Classifier) -> None:
    assert clone(classifier).get_params() == classifier.get_params()
    assert set(classifier.get_params()) == {"backbone", "shots", "draw", "recipe", "lora", "device", "precision"}
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (TEXTS, LABELS[:-1], "differ in number"),
        (TEXTS, ["one"] * 60, "two classes"),
        ("one text", ["a"], "a list is needed"),
        ([1, 2], ["a", "b"], "is no text"),
    ],
)
def test_faults(classifier: lowres.Classifier, texts: list[str], labels: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        classifier.fit(texts, labels)


def test_unknown_settings_are_named(classifier: lowres.Classifier) -> None:
    with pytest.raises(UserError, match="learning_rate"):
        classifier.set_params(recipe={"learning_rat": 1}).fit(TEXTS, LABELS)

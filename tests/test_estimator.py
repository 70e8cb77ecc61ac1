"""The scikit-learn estimator: scikit-learn's own checks on numbers spelled as texts, and what they do not reach."""

from __future__ import annotations

import copy
import pickle
import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from sklearn.utils.validation import check_is_fitted, validate_data

import lowres
from lowres.errors import UserError
from tests.conftest import toy_rows

ROWS = [row for row in toy_rows(30) if row["domain"] == "shop"]
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
RECIPE = {"learning_rate": 5e-3, "head_learning_rate": 5e-2, "min_steps": 40, "max_length": 24}
PAGE = Path(__file__).parent.parent / "docs" / "library.md"


@pytest.fixture
def classifier(encoder: Path) -> lowres.Classifier:
    return lowres.Classifier(backbone=str(encoder), recipe=dict(RECIPE), lora={"linears": "all"}, precision="fp32")


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
    pipeline = make_pipeline(FunctionTransformer(upper), classifier)
    assert pipeline.fit(TEXTS, LABELS).score(TEXTS, LABELS) > 0.9
    assert pipeline.set_params(classifier__shots=3).fit(TEXTS, LABELS)[-1].model_.about["train_rows"] == 6
    grid = {"shots": [2, None], "lora": [{"rank": 2}, {"rank": 4}]}
    search = GridSearchCV(classifier, grid, cv=2).fit(TEXTS, LABELS)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_estimator_.model_.adapter["r"] == search.best_params_["lora"]["rank"]
    assert len(cross_val_score(classifier, TEXTS, LABELS, cv=3)) == 3
    assert cross_val_score(classifier, TEXTS, LABELS, cv=2, scoring="neg_log_loss").max() < 0


@pytest.mark.slow
def test_two_processes_give_what_one_gives(classifier: lowres.Classifier) -> None:
    one, two = (cross_val_score(classifier, TEXTS, LABELS, cv=2, n_jobs=jobs) for jobs in (1, 2))
    assert one == pytest.approx(two)
    search = GridSearchCV(classifier, {"shots": [2, None]}, cv=2, n_jobs=2).fit(TEXTS, LABELS)
    assert search.score(TEXTS, LABELS) > 0.9
    returned = cross_validate(classifier, TEXTS, LABELS, cv=2, n_jobs=2, return_estimator=True)["estimator"]
    assert all(fitted.score(TEXTS, LABELS) > 0.8 for fitted in returned)


def test_inside_other_estimators(classifier: lowres.Classifier) -> None:
    calibrated = CalibratedClassifierCV(classifier, cv=2).fit(TEXTS, LABELS)
    assert calibrated.predict_proba(TEXTS).sum(axis=1) == pytest.approx(np.ones(60))
    other = clone(classifier).set_params(draw=1)
    voted = VotingClassifier([("a", classifier), ("b", other)], voting="soft").fit(TEXTS, LABELS)
    assert voted.score(TEXTS, LABELS) > 0.9


@pytest.mark.parametrize("kind", [list, tuple, np.array, pd.Series, lambda texts: np.array(texts, dtype=object), iter])
def test_texts_of_any_list_are_the_same(classifier: lowres.Classifier, kind: Callable[[list[str]], Any]) -> None:
    classifier.set_params(recipe={**RECIPE, "min_steps": 4})
    expected = clone(classifier).fit(TEXTS, LABELS).predict_proba(TEXTS)
    found = classifier.fit(kind(TEXTS), kind(LABELS)).predict_proba(kind(TEXTS))
    assert np.array_equal(found, expected)
    shuffled = pd.Series(TEXTS, index=range(60, 0, -1))  # the index of a Series says nothing
    assert np.array_equal(classifier.predict_proba(shuffled), expected)


@pytest.mark.parametrize(
    ("pair", "kind"),
    [
        (("no", "yes"), "U"),
        ((False, True), "b"),
        ((3, 7), "i"),
        ((np.int8(-1), np.int8(1)), "i"),
        ((1.0, 2.0), "f"),
        ((np.str_("n"), np.str_("y")), "U"),
    ],
)
def test_labels_come_back_as_they_were(classifier: lowres.Classifier, pair: tuple[Any, Any], kind: str) -> None:
    given = [pair[label == "positive"] for label in LABELS]
    answers = classifier.fit(TEXTS, given).predict(TEXTS)
    assert (answers.dtype.kind, set(answers.tolist())) == (kind, set(pair))
    assert classifier.score(TEXTS, given) > 0.9


def test_fit_changes_no_input_and_no_parameter(classifier: lowres.Classifier) -> None:
    texts, labels = np.array(TEXTS, dtype=object), np.array(LABELS)
    before = copy.deepcopy((texts, labels, classifier.get_params()))
    classifier.fit(texts, labels)
    assert np.array_equal(before[0], texts)
    assert np.array_equal(before[1], labels)
    assert before[2] == classifier.get_params()


def test_one_text_is_answered_as_among_many(classifier: lowres.Classifier) -> None:
    classifier.fit(TEXTS, LABELS)
    together, order = classifier.predict_proba(TEXTS), np.random.default_rng(0).permutation(60)
    alone = np.concatenate([classifier.predict_proba([text]) for text in TEXTS])
    assert alone == pytest.approx(together, abs=1e-5)
    assert classifier.predict_proba([TEXTS[place] for place in order]) == pytest.approx(together[order], abs=1e-5)
    assert classifier.predict_proba([]).shape == (0, 2)
    assert classifier.predict([]).shape == (0,)


def test_a_saved_one_answers_the_same(classifier: lowres.Classifier, tmp_path: Path) -> None:
    classifier.fit(TEXTS, LABELS)
    loaded = lowres.load(classifier.save(tmp_path / "kept"))
    assert loaded.predict_proba(TEXTS) == pytest.approx(classifier.predict_proba(TEXTS), abs=1e-5)
    assert loaded.labels == tuple(classifier.classes_)
    assert not list((tmp_path / "kept").glob("*.pkl"))


def test_copies_carry_arrays_and_no_encoder(classifier: lowres.Classifier, encoder: Path) -> None:
    assert pickle.loads(pickle.dumps(classifier)).get_params() == classifier.get_params()  # noqa: S301 - made here
    answers = classifier.fit(TEXTS, LABELS).predict_proba(TEXTS)
    content = pickle.dumps(classifier)
    assert b"torch" not in content
    assert np.array_equal(pickle.loads(content).predict_proba(TEXTS), answers)  # noqa: S301 - made here
    assert np.array_equal(copy.deepcopy(classifier).predict_proba(TEXTS), answers)


def upper(texts: list[str]) -> list[str]:
    return [text.upper() for text in texts]


def test_parameters_round_trip(classifier: lowres.Classifier) -> None:
    assert clone(classifier).get_params() == classifier.get_params()
    assert set(classifier.get_params()) == {
        "backbone",
        "shots",
        "draw",
        "recipe",
        "lora",
        "device",
        "precision",
        "adapter",
    }
    with pytest.raises(NotFittedError):
        classifier.predict(TEXTS)


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (TEXTS, LABELS[:-1], "differ in number"),
        (TEXTS, ["one"] * 60, "two classes"),
        ("one text", ["a"], "a list is needed"),
        ([1, 2], ["a", "b"], "item 0 is no text"),
        (["a", None], ["a", "b"], "item 1 is no text"),
        (pd.Series(["a", np.nan]), ["a", "b"], "item 1 is no text"),
        (["a", " \n"], ["a", "b"], "item 1 is an empty text"),
        (pd.DataFrame({"text": ["a", "b"]}), ["a", "b"], r"X\['text'\]"),
        (np.array([["a", "b"]]), ["a", "b"], r"of shape \(1, 2\)"),
        ([["a"], ["b"]], ["a", "b"], "item 0 is no text"),
        ({"a": 1, "b": 2}, ["a", "b"], "no list of texts"),
        ({"a", "b"}, ["a", "b"], "no list of texts"),
        (5, ["a", "b"], "no list of texts"),
        ([], [], "two classes"),
        (["a", "b"], None, "y is None"),
        (["a", "b"], ["a", 1], "different kinds"),
        (["a", "b"], ["a", None], "different kinds"),
        (["a", "b"], [None, None], "cannot be learned"),
        (["a", "b"], [0.5, 1.7], "continuous"),
        (["a", "b"], [0.0, np.nan], "NaN"),
        (["a", "b"], [["a", "b"], ["b", "a"]], "1d array"),
    ],
)
def test_faults(classifier: lowres.Classifier, texts: Any, labels: Any, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        classifier.fit(texts, labels)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value).splitlines()) <= 3
    assert not hasattr(classifier, "classes_")


def test_unknown_settings_are_named(classifier: lowres.Classifier) -> None:
    with pytest.raises(UserError, match="learning_rate"):
        classifier.set_params(recipe={"learning_rat": 1}).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"recipe": {"max_length": 500}}, "at most 64"),
        ({"recipe": {"learning_rate": -1}}, "more than 0"),
        ({"lora": {"live_layers": 9}}, "1 to 2"),
        ({"shots": 0}, "at least 1"),
        ({"shots": 500}, "at most 30 shots"),
        ({"precision": "fp16"}, "bf16"),
        ({"backbone": "minilmm"}, "minilm"),
    ],
)
def test_settings_that_cannot_work(classifier: lowres.Classifier, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        classifier.set_params(**changed).fit(TEXTS, LABELS)


class Spelled(lowres.Classifier):
    """Takes numbers, as scikit-learn's checks give them, and writes each as a word of the tiny tokenizer."""

    def fit(self, X: Any, y: Any) -> Spelled:
        super().fit(spell(validate_data(self, X)), y)
        return self

    def predict_proba(self, X: Any) -> Any:
        check_is_fitted(self)
        return super().predict_proba(spell(validate_data(self, X, reset=False)))

    def predict(self, X: Any) -> Any:
        check_is_fitted(self)
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.one_d_array, tags.input_tags.string = True, False, False
        return tags


def spell(X: Any) -> list[str]:
    bins = np.clip(np.rint(2 * X) + 5, 0, 9).astype(int)
    return [" ".join(str((10 * column + value) % 100) for column, value in enumerate(row)) for row in bins]


@cache
def verdicts() -> dict[str, str]:
    """What the documentation says of each check."""
    found = dict(re.findall(r"^\| `(check_\w+)` \| (.+?) \|$", PAGE.read_text(encoding="utf-8"), flags=re.M))
    assert len(found) > 40
    return found


def checks() -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by_name: dict[str, list[Any]] = {}
        for _, check in estimator_checks.estimator_checks_generator(Spelled()):
            by_name.setdefault(check.func.__name__, []).append(check)
    return by_name


def test_every_check_is_in_the_documentation() -> None:
    release = re.search(r"scikit-learn (\d+\.\d+)", PAGE.read_text(encoding="utf-8"))
    assert release
    if sklearn.__version__.startswith(release[1] + "."):
        assert set(verdicts()) == set(checks())
    assert sum(verdict == "runs" for verdict in verdicts().values()) >= 30


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(name for name, verdict in verdicts().items() if verdict == "runs"))
def test_check_of_scikit_learn(name: str, encoder: Path) -> None:
    recipe = {**RECIPE, "min_steps": 60, "max_length": 32}
    spelled = Spelled(backbone=str(encoder), recipe=recipe, lora={"linears": "all"}, precision="fp32")
    for check in checks().get(name) or pytest.skip("not in this release of scikit-learn"):
        check(clone(spelled))


def test_tags_say_texts() -> None:
    tags = lowres.Classifier().__sklearn_tags__()
    assert (tags.input_tags.string, tags.input_tags.one_d_array, tags.input_tags.two_d_array) == (True, True, False)
    assert (tags.estimator_type, tags.requires_fit, tags.target_tags.required) == ("classifier", True, True)
    assert not tags.input_tags.allow_nan
    assert not tags.non_deterministic


def test_measured_on_further_rows_it_may_abstain(encoder: Path) -> None:
    rows = [row for row in toy_rows(60) if row["domain"] == "film"]
    texts, labels = [row["text"] for row in rows], [row["label"] for row in rows]
    fitted = lowres.Classifier(backbone=encoder, recipe={"min_steps": 40, "max_length": 24, "learning_rate": 5e-3})
    fitted.fit(texts[::2], labels[::2])
    with pytest.raises(UserError, match="abstain"):
        fitted.model_.predict(texts, min_precision=0.9)
    fitted.measure(texts[1::2], labels[1::2])
    assert fitted.model_.counted.steps.rows == 60
    found = fitted.model_.predict(texts, min_precision=0.6)
    assert set(found) <= {None, "negative", "positive"}

"""Fits that need no gradient steps: class frequencies, logistic regression and small trees, by scikit-learn.

What they learn is kept as plain arrays and answered from those, so that nothing has to be unpickled.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.models.heads import softmax
from lowres.training.fit import Check, Fit, Fitted, Logistic, MostFrequent, Tree, Words

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    from lowres.training.fit import Engine


ABSENT = -1e9
"""Logit of a class that has no rows."""


def solve(fit: Fit, engine: Engine) -> Fitted:
    """Trains a closed-form fit; ``engine`` gives the frozen features where they are needed."""
    began = time.perf_counter()
    words: tuple[str, ...] = ()
    checks: tuple[Check, ...]
    if isinstance(fit.objective, MostFrequent):
        counts = np.bincount(fit.targets, weights=fit.row_weights, minlength=len(fit.labels))
        head = {"frequencies": (counts / counts.sum()).astype(np.float32)}
        checks = (
            Check("saw every class", bool((counts > 0).all()), float((counts > 0).sum()), f"= {len(fit.labels)}"),
        )
    else:
        inputs: Any
        extra = {}
        if isinstance(fit.start, Words):
            vectorizer = _vectorizer(fit.start)
            inputs = vectorizer.fit_transform(fit.texts)
            words = tuple(vectorizer.get_feature_names_out())
            extra = {"idf": vectorizer.idf_.astype(np.float64)}
        else:
            inputs = engine.features(fit.texts, fit.recipe)
        head = (_logistic(fit, inputs) if isinstance(fit.objective, Logistic) else _tree(fit, inputs)) | extra
        checks = _acted(head)
    return Fitted(adapter={}, head=head, checks=checks, seconds=time.perf_counter() - began, words=words)


def answer(fit: Fit, fitted: Fitted, texts: list[str], engine: Engine) -> npt.NDArray[np.float32]:
    """Probabilities of a closed-form fit, [texts, classes]."""
    head = fitted.head
    if isinstance(fit.objective, MostFrequent):
        return np.tile(head["frequencies"], (len(texts), 1))
    inputs: Any
    if isinstance(fit.start, Words):
        vectorizer = _vectorizer(fit.start, fitted.words)
        vectorizer.idf_ = head["idf"]
        inputs = vectorizer.transform(texts)
    else:
        inputs = engine.features(texts, fit.recipe)
    if isinstance(fit.objective, Logistic):
        return softmax(np.asarray(inputs @ head["weight"].T) + head["bias"])
    return _walk(head, inputs)


def _vectorizer(settings: Words, vocabulary: tuple[str, ...] | None = None) -> TfidfVectorizer:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(
        ngram_range=(1, settings.ngrams),
        max_features=settings.max_features,
        sublinear_tf=True,
        token_pattern=r"(?u)\b\w+\b|[^\w\s]+",
        vocabulary=list(vocabulary) if vocabulary is not None else None,
    )


def _logistic(fit: Fit, inputs: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Weight [classes, features] and bias [classes] whose softmax is the model, for two classes too."""
    from sklearn.linear_model import LogisticRegression

    assert isinstance(fit.objective, Logistic)
    classes = np.unique(fit.targets)
    weight = np.zeros((len(fit.labels), inputs.shape[1]))
    bias = np.full(len(fit.labels), ABSENT)
    if len(classes) == 1:
        bias[classes[0]] = 0.0
        return {"weight": weight, "bias": bias}
    model = LogisticRegression(C=fit.objective.C, max_iter=2000)
    model.fit(inputs, fit.targets, sample_weight=fit.row_weights)
    if len(classes) == 2:  # scikit-learn keeps one row; the other class has logit 0
        weight[classes[1]], bias[classes] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        weight[classes], bias[classes] = model.coef_, model.intercept_
    return {"weight": weight, "bias": bias}


def _tree(fit: Fit, inputs: sparse.csr_matrix) -> dict[str, npt.NDArray[Any]]:
    from sklearn.tree import DecisionTreeClassifier

    assert isinstance(fit.objective, Tree)
    # ties between equally good splits are broken by the seed of the draw
    state = seeds.number("init", fit.task, fit.draw, "tree") % 2**32
    model = DecisionTreeClassifier(max_depth=fit.objective.max_depth, random_state=state)
    model.fit(inputs, fit.targets, sample_weight=fit.row_weights)
    inner = model.tree_
    values = np.zeros((inner.node_count, len(fit.labels)))
    values[:, model.classes_] = inner.value[:, 0, :]
    return {
        "left": inner.children_left.astype(np.int64),
        "right": inner.children_right.astype(np.int64),
        "feature": inner.feature.astype(np.int64),
        "threshold": inner.threshold.astype(np.float64),
        "value": values / values.sum(axis=1, keepdims=True),
    }


def _walk(head: dict[str, Any] | Any, inputs: Any) -> npt.NDArray[np.float32]:
    """Sends every row down the tree until it stands in a leaf."""
    dense = np.asarray(inputs.toarray() if hasattr(inputs, "toarray") else inputs, dtype=np.float32)
    node = np.zeros(len(dense), dtype=np.int64)
    while True:
        inner = head["left"][node] >= 0
        if not inner.any():
            return np.asarray(head["value"][node], dtype=np.float32)
        at = node[inner]
        goes_left = dense[inner, head["feature"][at]] <= head["threshold"][at]
        node[inner] = np.where(goes_left, head["left"][at], head["right"][at])


def _acted(head: dict[str, npt.NDArray[Any]]) -> tuple[Check, ...]:
    if "weight" in head:
        norm = float(np.linalg.norm(head["weight"]))
        return (Check("weights not zero", norm > 0.0, norm, "> 0"),)
    splits = float((head["left"] >= 0).sum())
    return (Check("tree has a split", splits > 0, splits, "> 0"),)

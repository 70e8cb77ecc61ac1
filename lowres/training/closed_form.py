"""Fits that need no gradient steps: class frequencies, logistic regression and small trees, by scikit-learn.

What they learn is kept as plain arrays and answered from those, so that nothing has to be unpickled.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.rows import unit_sizes
from lowres.kinds import KINDS
from lowres.models import adapters
from lowres.models.heads import answers
from lowres.training.check import Check
from lowres.training.fit import Fit, Fitted
from lowres.training.recipe import Average, Logistic, MostFrequent, Prototypes, Tree, Words

if TYPE_CHECKING:
    from scipy import sparse
    from sklearn.feature_extraction.text import TfidfVectorizer

    from lowres.training.fit import Engine, Tensors


ABSENT = -1e9
"""Logit of a class that has no rows."""


def solve(fit: Fit, engine: Engine, starts: Mapping[str, Fitted]) -> Fitted:
    """Trains a closed-form fit.

    Args:
        fit: The fit.
        engine: Gives the features, frozen or under the adapter of the fit's start.
        starts: What came out of the fits it needs, by content.
    """
    began = time.perf_counter()
    if isinstance(fit.objective, Average):
        return replace(
            _average(fit, [starts[one.content] for one in fit.ingredients]), seconds=time.perf_counter() - began
        )
    under = (fit.start, starts[fit.start.content]) if isinstance(fit.start, Fit) else None
    words: tuple[str, ...] = ()
    checks: tuple[Check, ...]
    if isinstance(fit.objective, MostFrequent):
        head, checks = _most_frequent(fit)
    else:
        inputs: Any
        extra = {}
        if isinstance(fit.start, Words):
            vectorizer = _vectorizer(fit.start)
            inputs = vectorizer.fit_transform(fit.texts)
            words = tuple(vectorizer.get_feature_names_out())
            extra = {"idf": vectorizer.idf_.astype(np.float64)}
        else:
            inputs = engine.features(fit.texts, fit.recipe, under)
        head = _SOLVERS[type(fit.objective)](fit, inputs) | extra
        checks = _acted(fit, head, inputs)
    adapter = under[1].adapter if under else {}
    return Fitted(adapter=adapter, head=head, checks=checks, seconds=time.perf_counter() - began, words=words)


def answer(fit: Fit, fitted: Fitted, texts: list[str], engine: Engine) -> npt.NDArray[np.float32]:
    """Answers of a fit without an adapter, [units, outputs]."""
    head = fitted.head
    if isinstance(fit.objective, MostFrequent):
        return np.tile(head["frequencies"], (int(unit_sizes(texts).sum()), 1))
    inputs: Any
    if isinstance(fit.start, Words):
        vectorizer = _vectorizer(fit.start, fitted.words)
        vectorizer.idf_ = head["idf"]
        inputs = vectorizer.transform(texts)
    else:
        inputs = engine.features(texts, fit.recipe)
    if "weight" in head:
        logits = np.asarray(inputs @ head["weight"].T) + head["bias"]
        return answers(logits, KINDS[fit.kind].answer, fit.labels)
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


def _most_frequent(fit: Fit) -> tuple[dict[str, npt.NDArray[np.float32]], tuple[Check, ...]]:
    """What a fit answers that looks at no text: frequencies of the labels, or the mean place on the scale."""
    if KINDS[fit.kind].answer == "one":
        counts = np.bincount(fit.targets.astype(np.int64), weights=fit.unit_weights, minlength=len(fit.labels))
        shares = counts / counts.sum()
    else:
        shares = np.average(fit.targets.reshape(-1, fit.outputs), axis=0, weights=fit.unit_weights)
    if KINDS[fit.kind].answer == "value":
        low, high = map(float, fit.labels)
        return {"frequencies": (low + (high - low) * shares).astype(np.float32)}, ()
    seen = int((shares > 0).sum())
    return {"frequencies": shares.astype(np.float32)}, (
        Check("saw every class", seen == fit.outputs, float(seen), f"= {fit.outputs}"),
    )


def logistic(
    inputs: Any,
    targets: npt.NDArray[Any],
    classes: int,
    C: float,
    weights: npt.NDArray[np.float64] | None = None,
) -> dict[str, npt.NDArray[np.float64]]:
    """Weight [classes, features] and bias [classes] whose softmax is the model, for two classes too.

    Args:
        inputs: [rows, features], dense or sparse.
        targets: Label positions, [rows].
        classes: Number of classes; one without rows gets the logit ``ABSENT``.
        C: See ``Logistic``.
        weights: Of the rows, [rows]; None: all the same.
    """
    from sklearn.linear_model import LogisticRegression

    present = np.unique(targets)
    weight = np.zeros((classes, inputs.shape[1]))
    bias = np.full(classes, ABSENT)
    if len(present) == 1:
        bias[present[0]] = 0.0
        return {"weight": weight, "bias": bias}
    model = LogisticRegression(C=C, max_iter=2000)
    model.fit(inputs, targets, sample_weight=weights)
    if len(present) == 2:  # scikit-learn keeps one row; the other class has logit 0
        weight[present[1]], bias[present] = model.coef_[0], (0.0, model.intercept_[0])
    else:
        weight[present], bias[present] = model.coef_, model.intercept_
    return {"weight": weight, "bias": bias}


def _logistic(fit: Fit, inputs: Any) -> dict[str, npt.NDArray[np.float64]]:
    """One model, or where labels stand each for itself, and of a place on a scale, a binary model each."""
    assert isinstance(fit.objective, Logistic)
    if KINDS[fit.kind].answer != "one":
        return _binary_models(fit, inputs)
    return logistic(inputs, fit.targets, len(fit.labels), fit.objective.C, fit.unit_weights)


def _binary_models(fit: Fit, inputs: Any) -> dict[str, npt.NDArray[np.float64]]:
    """Weight [outputs, features] and bias [outputs] of one logistic model an output. A target between 0 and 1 counts as both,
    each with its share; an output that is always the same has no weights and the (smoothed) share of its rows.
    """
    from scipy import sparse
    from sklearn.linear_model import LogisticRegression

    assert isinstance(fit.objective, Logistic)
    targets, rows = fit.targets.reshape(-1, fit.outputs).astype(float), fit.unit_weights
    twice = (sparse.vstack if sparse.issparse(inputs) else np.concatenate)([inputs, inputs])
    sides = np.repeat([1, 0], len(targets))
    weight, bias = np.zeros((fit.outputs, inputs.shape[1])), np.zeros(fit.outputs)
    for output in range(fit.outputs):
        shares = np.concatenate([rows * targets[:, output], rows * (1 - targets[:, output])])
        if min(shares[sides == 1].sum(), shares[sides == 0].sum()) == 0.0:
            bias[output] = math.log((shares[sides == 1].sum() + 0.5) / (shares[sides == 0].sum() + 0.5))
            continue
        there = shares > 0
        model = LogisticRegression(C=fit.objective.C, max_iter=2000)
        model.fit(twice[there], sides[there], sample_weight=shares[there])
        weight[output], bias[output] = model.coef_[0], model.intercept_[0]
    return {"weight": weight, "bias": bias}


def _prototypes(fit: Fit, inputs: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float64]]:
    """The mean direction of each class as the weight of a linear head, [classes, hidden]."""
    assert isinstance(fit.objective, Prototypes)
    weight = np.zeros((len(fit.labels), inputs.shape[1]))
    bias = np.full(len(fit.labels), ABSENT)
    vectors = inputs / np.maximum(np.linalg.norm(inputs, axis=1, keepdims=True), 1e-12)
    for label in np.unique(fit.targets):
        own = fit.targets == label
        mean = np.average(vectors[own], axis=0, weights=fit.unit_weights[own])
        weight[label], bias[label] = mean / max(np.linalg.norm(mean), 1e-12) / fit.objective.temperature, 0.0
    return {"weight": weight, "bias": bias}


def _average(fit: Fit, ingredients: Sequence[Fitted]) -> Fitted:
    """The mean of adapters and heads; of updates exact: A and weighted B of all ingredients side by side."""
    assert isinstance(fit.objective, Average)
    weights, each = fit.objective.weights, [one.adapter for one in ingredients]
    if fit.objective.of == "update":
        adapter = adapters.beside(each, weights)
    else:
        adapter = {
            name: np.sum([np.float32(weight) * one[name] for weight, one in zip(weights, each, strict=True)], axis=0)
            for name in each[0]
        }
    return Fitted(adapter, _mean_head(fit, ingredients), checks=_averaged(fit, adapter, ingredients))


def _mean_head(fit: Fit, ingredients: Sequence[Fitted]) -> Tensors:
    """The mean of heads; of a label that not all of them know, over those that do."""
    assert isinstance(fit.objective, Average)
    places = [[fit.heads.index(label) for label in one.heads] for one in fit.ingredients]
    weights = np.tile(np.array(fit.objective.weights)[:, None], fit.outputs)  # [ingredients, labels]
    known = np.zeros_like(weights)
    for row, own in zip(known, places, strict=True):
        row[own] = 1.0
    weights *= weights.sum(axis=0) / (weights * known).sum(axis=0)
    head: dict[str, npt.NDArray[np.float32]] = {}
    for name, first in ingredients[0].head.items():
        terms = np.zeros((len(ingredients), fit.outputs, *first.shape[1:]), dtype=np.float32)
        for term, weight, own, one in zip(terms, weights.astype(np.float32), places, ingredients, strict=True):
            term[own] = weight[own].reshape(-1, *[1] * (first.ndim - 1)) * one.head[name]
        head[name] = np.sum(terms, axis=0)
    return head


def _averaged(fit: Fit, adapter: Tensors, ingredients: Sequence[Fitted]) -> tuple[Check, ...]:
    """No two ingredients are the same, each brings an update, and they do not cancel out."""
    assert isinstance(fit.objective, Average)
    apart = min(
        (
            max(float(np.abs(one.adapter[name] - other.adapter[name]).max()) for name in one.adapter)
            for one, other in itertools.combinations(ingredients, 2)
        ),
        default=0.0,
    )
    brought, change = sum(_update(one.adapter) > 0.0 for one in ingredients), _update(adapter)
    moved = "start moved from the initial one" if fit.objective.of == "factors" else "update not zero"
    return (
        Check("ingredients differ", apart > 0.0, apart, "> 0"),
        Check("ingredients with an update", brought == len(ingredients), brought, f"= {len(ingredients)}"),
        Check(moved, change > 0.0, change, "> 0"),
    )


def _update(adapter: Tensors) -> float:
    """Length of all B, which begin with zeros."""
    return math.sqrt(sum(np.sum(value.astype(float) ** 2) for name, value in adapter.items() if ".lora_B." in name))


def _tree(fit: Fit, inputs: sparse.csr_matrix) -> dict[str, npt.NDArray[Any]]:
    from sklearn.tree import DecisionTreeClassifier

    assert isinstance(fit.objective, Tree)
    # ties between equally good splits are broken by the seed of the draw
    state = seeds.number("init", fit.task, fit.draw, "tree") % 2**32
    model = DecisionTreeClassifier(max_depth=fit.objective.max_depth, random_state=state)
    model.fit(inputs, fit.targets, sample_weight=fit.unit_weights)
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


_SOLVERS: dict[type, Callable[[Fit, Any], dict[str, npt.NDArray[Any]]]] = {
    Logistic: _logistic,
    Prototypes: _prototypes,
    Tree: _tree,
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


def _acted(fit: Fit, head: dict[str, npt.NDArray[Any]], inputs: Any) -> tuple[Check, ...]:
    """It learned something, and by it tells the classes of its own rows apart."""
    if "weight" in head:
        norm = float(np.linalg.norm(head["weight"]))
        learned = Check("weights not zero", norm > 0.0, norm, "> 0")
        if KINDS[fit.kind].answer != "one":
            return (learned,)
        said = np.asarray(inputs @ head["weight"].T + head["bias"]).argmax(1)
    else:
        splits = float((head["left"] >= 0).sum())
        learned = Check("tree has a split", splits > 0, splits, "> 0")
        said = _walk(head, inputs).argmax(1)
    classes = np.unique(fit.targets)
    recall, chance = float(np.mean([(said[fit.targets == one] == one).mean() for one in classes])), 1 / len(classes)
    told = Check("mean recall on its rows above chance", recall > chance, recall, f"> {chance:.3g}")
    return (learned, told) if len(classes) > 1 else (learned,)

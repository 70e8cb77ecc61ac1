"""A scikit-learn estimator over the same fits that studies are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from lowres.data import splits
from lowres.data.encodings import whole
from lowres.data.rows import Rows
from lowres.data.tokens import check_truncation
from lowres.errors import UserError
from lowres.kinds import Given, rows_of
from lowres.library import check_reach
from lowres.models import classifier as models
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.study.config import build_config
from lowres.training.engines import make_engine
from lowres.training.fit import Fit, Part

TASK = "classifier"
"""Name in the seeds: the same texts, labels and draw give the same model."""


class InputError(UserError, ValueError):
    """Texts or labels that cannot be used; a ``ValueError`` too, which scikit-learn expects for them."""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """LoRA on a small pretrained encoder, for lists of texts.

    Args:
        backbone: ``minilm``, a folder, or a hub id.
        shots: Rows per class to train on, sampled by the draw; None: all.
        draw: Fixes everything random.
        recipe: Fields of ``lowres.training.fit.Recipe`` that differ from its defaults.
        lora: Fields of ``lowres.training.recipe.LoRA`` that differ from its defaults.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``, for training; answers are given in fp32.
        adapter: Kind of adapter: ``lora``, ``rslora``, ``dora``, ``pissa``, ``adalora`` or ``ia3``.

    After ``fit``: ``classes_``, sorted; ``model_``, the trained ``lowres.models.classifier.Classifier``.

    Texts are a list, a tuple, a pandas Series or an array of shape [rows]; pairs of texts a list of tuples. Labels are all
    text, all bool or all numbers.
    Copies for worker processes (joblib) work, also of a fitted one. To keep a model, ``save`` it: a pickle depends on
    versions and paths, and runs what it names when it is read.
    """

    def __init__(
        self,
        backbone: str | Path = "minilm",
        shots: int | None = None,
        draw: int = 0,
        recipe: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
        adapter: str = "lora",
    ) -> None:
        self.backbone = backbone
        self.shots = shots
        self.draw = draw
        self.recipe = recipe
        self.lora = lora
        self.device = device
        self.precision = precision
        self.adapter = adapter

    def fit(self, X: Iterable[Given], y: Iterable[Any]) -> Classifier:
        """Trains on texts [rows], or tuples of two texts, and labels [rows].

        Raises:
            InputError: Not texts, an empty text, other numbers of texts and labels, labels of mixed kinds, one class only.
            UserError: Too few rows for the shots, or a setting that is wrong.
        """
        kind, texts = _rows(X)
        given = _labels(y)
        if len(texts) != len(given):
            raise InputError("texts and labels differ in number", got=f"{len(texts)} texts, {len(given)} labels")
        classes = np.unique(given)
        if len(classes) < 2:
            raise InputError("a classifier needs at least two classes", got=f"{len(classes)} class, {len(texts)} texts")
        names = tuple(str(label) for label in classes)
        given_settings = {"recipe": self.recipe or {}, "lora": self.lora or {}, "adapter": self.adapter}
        config = build_config({**given_settings, "device": self.device, "precision": self.precision})
        ids = tuple(str(number) for number in range(len(texts)))
        rows = Rows(TASK, ids, tuple(texts), tuple(str(label) for label in given), ids, kind)
        if self.shots is not None and self.shots < 1:
            raise UserError(f"shots: got {self.shots}, expected at least 1, or None for all rows")
        if self.shots is not None:
            rows = splits.shots(TASK, rows, self.shots, self.draw)
        fit = Fit((Part(rows),), names, TASK, self.draw, adapter=config.trained, recipe=config.recipe)
        found, machine = find_backbone(str(self.backbone)), resolve(config.device, config.precision)
        check_reach(found, config)
        check_truncation(config.recipe.truncation, kind)
        engine = make_engine(config.engine, found, found.tokens(), machine.device, machine.precision)
        ((_, fitted),) = engine.fit_many([fit], {})
        if isinstance(fitted, Exception):
            raise fitted
        self.classes_ = classes
        self.model_ = models.Classifier(
            backbone=found, adapter=engine.adapter_config(fit), tensors=fitted.adapter, head=fitted.head, labels=names,
            max_length=fit.recipe.max_length, pooling=found.pooling, normalise=fit.recipe.normalise, tokenizer=found.folder,
            about={"task": TASK, "method": "target-only", "train_rows": len(rows), "draw": self.draw}, kind=kind, device=machine.device,
            truncation=fit.recipe.truncation,
        )  # fmt: skip
        return self

    def predict_proba(self, X: Iterable[Given]) -> npt.NDArray[np.float32]:
        """Probabilities, [texts, classes], in the order of ``classes_``."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(_rows(X, self.model_.kind)[1])

    def predict(self, X: Iterable[Given]) -> npt.NDArray[Any]:
        """The most probable class of each text, [texts]."""
        check_is_fitted(self, "model_")
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def measure(self, X: Iterable[Given], y: Iterable[Any]) -> Classifier:
        """Counts right answers on labelled texts that it was not trained on, so that ``model_`` can abstain.

        ``model_.predict(texts, min_precision=0.95)`` then answers with label names, None where it abstains.
        """
        check_is_fitted(self, "model_")
        self.model_ = self.model_.counted_on(
            _rows(X, self.model_.kind)[1], [str(label) for label in _labels(y)], task=TASK
        )
        return self

    def save(self, folder: str | Path) -> Path:
        """Writes an adapter folder that ``lowres.load`` and ``lowres predict`` read."""
        check_is_fitted(self, "model_")
        return self.model_.save(folder)

    def __getstate__(self) -> dict[str, Any]:
        """Parameters, arrays and paths; the encoder is loaded again where the copy is used."""
        state = dict(super().__getstate__())
        if "model_" in state:
            state["model_"] = replace(state["model_"])
        return state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags


def _rows(X: Iterable[Given], kind: str | None = None) -> tuple[str, list[str]]:
    """The kind of task, by the first item where none is asked for, and the texts as its rows."""
    shape = getattr(X, "shape", None)
    if isinstance(X, str | bytes):
        raise InputError("one text was given where a list is needed", got=X[:60], expected="[text, …]")
    if not isinstance(X, Iterable) or isinstance(X, Mapping | Set) or (shape is not None and len(shape) != 1):
        raise InputError(
            "X is no list of texts",
            got=type(X).__name__ + (f" of shape {tuple(shape)}" if shape is not None else ""),
            expected="one text a row: a list, a Series, an array of shape [rows]",
            hint="of a DataFrame give one column, such as X['text'], or list(zip(X['a'], X['b'])) for pairs"
            if shape is not None
            else None,
        )
    items = list(X)
    found = kind or ("pair" if items and _texts_in(items[0]) == 2 else "classification")
    wanted, what, expected = (2, "pair of texts", "(text, text)") if found == "pair" else (1, "text", "str")
    for number, item in enumerate(items):
        if _texts_in(item) != wanted:
            raise InputError(f"item {number} is no {what}", got=type(item).__name__, expected=expected)
        if not all(text.strip() for text in ([item] if isinstance(item, str) else item)):
            raise InputError(f"item {number} is an empty text", hint="leave such rows out")
    return found, rows_of(found, items)


def _texts_in(item: object) -> int:
    """How many texts an item is, 1 or 2; 0 for anything else."""
    if isinstance(item, str):
        return 1
    two = isinstance(item, tuple | list) and len(item) == 2 and all(isinstance(text, str) for text in item)
    return 2 if two else 0


def _labels(y: Any) -> npt.NDArray[Any]:
    """The labels as one array of text, bool or numbers."""
    if y is None:
        raise InputError("Classifier requires y to be passed, but the target y is None")
    listed = np.asarray(list(y), dtype=object) if not hasattr(y, "shape") and isinstance(y, Iterable) else y
    try:
        given = column_or_1d(listed, warn=True)
        kinds = {_kind(label) for label in given.tolist()}
        if len(kinds) > 1:
            raise InputError("labels of different kinds", got=", ".join(sorted(kinds)), expected="all of one kind")
        given = np.asarray(given.tolist()) if given.dtype == object else given
        broken = next((label for label in given.tolist() if isinstance(label, str) and whole(label) != label), None)
        if broken is not None:
            raise InputError("a label holds what UTF-8 cannot spell", got=ascii(broken), expected="whole characters")
        check_classification_targets(given)
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError("labels that cannot be learned", got=error) from error
    return np.asarray(given)


def _kind(label: object) -> str:
    if isinstance(label, str):
        return "text"
    if isinstance(label, bool):
        return "bool"
    return "number" if isinstance(label, int | float) else type(label).__name__

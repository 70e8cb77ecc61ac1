"""A scikit-learn estimator over the same fits that studies are made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.tokens import Tokens
from lowres.errors import UserError
from lowres.models import classifier as models
from lowres.models.backbone import find_backbone
from lowres.models.device import resolve
from lowres.settings import parse
from lowres.training.fit import Fit, LoRA, Part, Recipe
from lowres.training.loop import LoopEngine

TASK = "classifier"
"""Name in the seeds: the same texts, labels and draw give the same model."""


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """LoRA on a small pretrained encoder, for lists of texts.

    Args:
        backbone: ``minilm``, a folder, or a hub id.
        shots: Rows per class to train on, sampled by the draw; None: all.
        draw: Fixes everything random.
        recipe: Fields of ``lowres.training.fit.Recipe`` that differ from its defaults.
        lora: Fields of ``lowres.training.fit.LoRA`` that differ from its defaults.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        precision: ``auto``, ``fp32`` or ``bf16``, for training; answers are given in fp32.

    After ``fit``: ``classes_``, sorted; ``model_``, the trained ``lowres.models.classifier.Classifier``.
    """

    def __init__(
        self,
        backbone: str = "minilm",
        shots: int | None = None,
        draw: int = 0,
        recipe: Mapping[str, Any] | None = None,
        lora: Mapping[str, Any] | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> None:
        self.backbone = backbone
        self.shots = shots
        self.draw = draw
        self.recipe = recipe
        self.lora = lora
        self.device = device
        self.precision = precision

    def fit(self, X: Iterable[str], y: Iterable[Any]) -> Classifier:
        """Trains on texts [rows] and labels [rows].

        Raises:
            UserError: Not texts, other numbers of texts and labels, fewer than two classes, too few rows for the shots.
        """
        texts, given = _texts(X), np.asarray(list(y))
        if len(texts) != len(given):
            raise UserError("texts and labels differ in number", got=f"{len(texts)} texts, {len(given)} labels")
        self.classes_ = np.unique(given)
        if len(self.classes_) < 2:
            raise UserError("a classifier needs at least two classes", got=len(self.classes_))
        names = tuple(str(label) for label in self.classes_)
        if len(set(names)) < len(names):
            raise UserError("labels of different types are spelled the same", got=", ".join(names))
        ids = tuple(str(number) for number in range(len(texts)))
        rows = Rows(TASK, ids, tuple(texts), tuple(str(label) for label in given), ids)
        if self.shots is not None:
            rows = splits.shots(TASK, rows, self.shots, self.draw)
        found, machine = find_backbone(self.backbone), resolve(self.device, self.precision)
        fit = Fit(
            (Part(rows),), names, TASK, self.draw,
            adapter=parse(LoRA, self.lora or {}, "lora"), recipe=parse(Recipe, self.recipe or {}, "recipe"),
        )  # fmt: skip
        tokens = Tokens(found.folder / "tokenizer.json", found.pad_id)
        engine = LoopEngine(found, tokens, machine.device, machine.precision)
        ((_, fitted),) = engine.fit_many([fit], {})
        if isinstance(fitted, Exception):
            raise fitted
        self.model_ = models.Classifier(
            backbone=found, adapter=engine.adapter_config(fit), tensors=fitted.adapter, head=fitted.head, labels=names,
            max_length=fit.recipe.max_length, pooling=found.pooling, normalise=fit.recipe.normalise, tokenizer=found.folder,
            about={"task": TASK, "method": "target-only", "train_rows": len(rows), "draw": self.draw}, device=machine.device,
        )  # fmt: skip
        return self

    def predict_proba(self, X: Iterable[str]) -> npt.NDArray[np.float32]:
        """Probabilities, [texts, classes], in the order of ``classes_``."""
        check_is_fitted(self, "model_")
        return self.model_.predict_proba(_texts(X))

    def predict(self, X: Iterable[str]) -> npt.NDArray[Any]:
        """The most probable class of each text, [texts]."""
        check_is_fitted(self, "model_")
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def save(self, folder: str | Path) -> Path:
        """Writes an adapter folder that ``lowres.load`` and ``lowres predict`` read."""
        check_is_fitted(self, "model_")
        return self.model_.save(folder)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array, tags.input_tags.two_d_array, tags.input_tags.string = True, False, True
        return tags


def _texts(X: Iterable[str]) -> list[str]:
    if isinstance(X, str):
        raise UserError("one text was given where a list is needed", got=X[:60], expected="[text, …]")
    texts = list(X)
    wrong = next((number for number, text in enumerate(texts) if not isinstance(text, str)), None)
    if wrong is not None:
        raise UserError(f"item {wrong} is no text", got=type(texts[wrong]).__name__, expected="str")
    return texts

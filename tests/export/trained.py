"""Fitted models of tiny encoders, for everything that leaves the house."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lowres.data import splits
from lowres.data.task import Task
from lowres.models.backbone import Backbone
from lowres.models.classifier import Classifier
from lowres.training.fit import Fit, Fitted, Part
from lowres.training.loop import LoopEngine
from lowres.training.recipe import Recipe

TEXTS = ["good day lol", "the bad plot was awful 7", "my phone", "a great scene and a fine actor 12", "x"]


def fitted(backbone: Backbone, task: Task, domain: str = "shop", **recipe: object) -> Classifier:
    """A model trained on the shots of a domain."""
    engine = LoopEngine(backbone, backbone.tokens(), "cpu", "fp32")
    settings = Recipe(learning_rate=5e-3, head_learning_rate=5e-2, min_steps=20, max_length=24, **recipe)  # type: ignore[arg-type]
    fit = Fit(
        (Part(splits.shots(task.name, task.domains[domain].train, 8, 0)),),
        task.labels,
        task.name,
        0,
        recipe=settings,
    )
    ((_, made),) = engine.fit_many([fit], {})
    assert isinstance(made, Fitted), made
    about = {
        "task": task.name,
        "source": None,
        "target": domain,
        "shots": 8,
        "method": "target-only",
        "draw": 0,
        "scores": [],
    }
    return Classifier(
        backbone, engine.adapter_config(fit), made.adapter, made.head, task.labels, 24, backbone.pooling, settings.normalise,
        backbone.folder, about, kind=task.kind,
    )  # fmt: skip


def gap(first: Classifier, second: Classifier, texts: list[str] | None = None) -> float:
    """The largest difference of two models' probabilities."""
    asked = texts or TEXTS
    return float(np.abs(first.predict_proba(asked) - second.predict_proba(asked)).max())


def size(folder: Path) -> int:
    """Bytes of all weights in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))

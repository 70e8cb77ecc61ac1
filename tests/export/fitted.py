"""Fitted models of every kind without a training: an adapter and a head of random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lowres import seeds
from lowres.kinds import rows_of
from lowres.models import encoder
from lowres.models.backbone import Backbone
from lowres.models.classifier import Classifier
from lowres.models.heads import initial_head
from lowres.training.adapted import make_adapted
from lowres.training.recipe import Adapter, LoRA

LABELS = {
    "classification": ("bad", "good", "naïve"),
    "pair": ("agree", "differ"),
    "tokens": ("O", "B-THING", "I-THING"),
    "multilabel": ("a", "b", "c", "d"),
    "regression": ("1", "5"),
}
LONG = " ".join(f"good {number} the plot was awful" for number in range(20))
SINGLES = ["good day lol", "the bad plot was awful 7", "my phone", "", "it was so", LONG, "zebra ☃ good"]
TEXTS: dict[str, list[Any]] = {
    "classification": SINGLES,
    "pair": [("good day", "bad day"), ("my phone", "my phone"), (LONG, "good"), ("bad", LONG), ("", "fine")],
    "tokens": [["good", "day", "lol"], ["my", "phone"], LONG.split(), ["the", "", "plot"], ["box"]],
    "multilabel": SINGLES,
    "regression": SINGLES,
}


def fitted(
    backbone: Backbone,
    kind: str = "classification",
    *,
    truncation: str = "head",
    pooling: str = "mean",
    normalise: bool = True,
    adapter: Adapter | None = LoRA(rank=4, linears="all"),
    max_length: int = 24,
) -> Classifier:
    """A model whose adapter and head change what the encoder says."""
    adapted, rng = make_adapted(backbone.load(), adapter), seeds.generator("fitted", kind)
    tensors = {
        name: (value + rng.normal(0, 0.3, value.shape)).astype(np.float32)
        for name, value in adapted.fresh("fitted").items()
    }
    outputs = 1 if kind == "regression" else len(LABELS[kind])
    head = initial_head(backbone.hidden, outputs, "fitted")
    head["weight"] *= 30
    model = Classifier(
        backbone,
        None if adapter is None else adapted.config(),
        tensors,
        head,
        LABELS[kind],
        max_length,
        pooling,
        normalise and kind != "tokens",
        backbone.folder,
        {"task": "toy", "scores": [{"task": "toy", "domain": "shop", "metric": "macro_f1", "value": 0.5}]},
        kind=kind,
        truncation=truncation,
    )
    reading = {"max_length": max_length, "pooling": pooling, "normalise": model.normalise, "truncation": truncation}
    rows = rows_of(kind, TEXTS[kind])
    vectors = encoder.features(model.network, model.tokens, rows, device="cpu", precision="fp32", **reading)
    return replace(model, head={**head, "bias": -(vectors @ head["weight"].T).mean(0)})  # so that answers differ

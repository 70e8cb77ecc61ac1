"""Metrics of texts with any number of labels: a label is given from a probability of one half on."""

from __future__ import annotations

from typing import Final

import numpy as np

from lowres.scoring.metric import Floats, Metric, Probabilities, Targets
from lowres.scoring.tagging import mean_f1

GIVEN_FROM: Final = 0.5


def label_counts(targets: Targets, probabilities: Probabilities) -> Floats:
    """Of each label: rightly given, given, there, [rows, 3 labels]."""
    true, said = targets > 0.5, probabilities >= GIVEN_FROM
    return np.concatenate([true & said, said, true], axis=1).astype(np.float64)


def pooled_f1(sums: Floats) -> Floats:
    """F1 of all labels counted together, from sums of ``label_counts``; 0 where there is none at all."""
    right, said, true = (part.sum(axis=-1) for part in np.split(sums, 3, axis=-1))
    mass = said + true
    return np.asarray(np.divide(2 * right, mass, out=np.zeros_like(mass), where=mass > 0))


def whole_sets(targets: Targets, probabilities: Probabilities) -> Floats:
    """1 where all labels of a row are right and no other is given, and 1 for the count, [rows, 2]."""
    right = ((targets > 0.5) == (probabilities >= GIVEN_FROM)).all(axis=1).astype(np.float64)
    return np.stack([right, np.ones_like(right)], axis=1)


METRICS: dict[str, Metric] = {
    "macro_f1": Metric("macro_f1", "macro-F1", label_counts, mean_f1),
    "micro_f1": Metric("micro_f1", "micro-F1", label_counts, pooled_f1),
    "exact_match": Metric(
        "exact_match", "exact match", whole_sets, lambda sums: np.asarray(sums[..., 0] / sums[..., 1])
    ),
}

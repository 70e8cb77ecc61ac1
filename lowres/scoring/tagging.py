"""Metrics of words with one tag each. Targets are [words, 2]: the tag, and the number of the row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lowres.kinds import entities
from lowres.scoring.metric import Floats, Metric, Probabilities, Targets


def span_counts(labels: Sequence[str], targets: Targets, probabilities: Probabilities) -> Floats:
    """Entities that are right in type, begin and end, entities predicted, and entities there, [words, 3]; those of a row
    stand at its first word.

    Args:
        labels: The tags by position.
        targets: [words, 2].
        probabilities: [words, tags].
    """
    said, rows = probabilities.argmax(axis=1), targets[:, 1]
    counts = np.zeros((len(targets), 3))
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(rows)], strict=True):
        true, found = (set(entities([labels[tag] for tag in tags[begin:end]])) for tags in (targets[:, 0], said))
        counts[begin] = len(true & found), len(found), len(true)
    return counts


def span_f1(sums: Floats) -> Floats:
    """Micro-averaged F1 of entities from sums of ``span_counts`` (CoNLL-2003); 0 where there is none at all."""
    mass = sums[..., 1] + sums[..., 2]
    return np.asarray(np.divide(2 * sums[..., 0], mass, out=np.zeros_like(mass), where=mass > 0))


def _unbound(targets: Targets, probabilities: Probabilities) -> Floats:
    raise ValueError("entity_f1 has to know its tags: find_metric(name, kind, labels)")


def word_hits(targets: Targets, probabilities: Probabilities) -> Floats:
    """1 where the most probable tag is right, and 1 for the count, [words, 2]."""
    right = (probabilities.argmax(axis=1) == targets[:, 0]).astype(np.float64)
    return np.stack([right, np.ones_like(right)], axis=1)


def tag_counts(targets: Targets, probabilities: Probabilities) -> Floats:
    """Of each tag: rightly predicted, predicted, there, [words, 3 tags]."""
    tags = np.arange(probabilities.shape[1])
    true, said = targets[:, :1] == tags, probabilities.argmax(axis=1)[:, None] == tags
    return np.concatenate([true & said, said, true], axis=1).astype(np.float64)


def mean_f1(sums: Floats) -> Floats:
    """Mean F1 over the labels that occur in truth or prediction, from sums of right, predicted and true ones side by side."""
    right, said, true = np.split(sums, 3, axis=-1)
    mass = said + true
    scores = np.divide(2 * right, mass, out=np.full_like(mass, np.nan), where=mass > 0)
    return np.asarray(np.nanmean(scores, axis=-1))


METRICS: dict[str, Metric] = {
    "entity_f1": Metric("entity_f1", "entity-F1", _unbound, span_f1),
    "accuracy": Metric("accuracy", "accuracy", word_hits, lambda sums: np.asarray(sums[..., 0] / sums[..., 1])),
    "macro_f1": Metric("macro_f1", "macro-F1", tag_counts, mean_f1),
}

"""Probabilities to numbers, in plain numpy: the metrics of one label a text, and every metric by kind of task and name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from lowres.errors import UserError, unknown_name
from lowres.kinds import entities
from lowres.scoring import multilabel, scale, tagging
from lowres.scoring.metric import Floats, Metric, Probabilities, Targets, not_empty


def hits(targets: Targets, probabilities: Probabilities) -> Floats:
    """1 where the most probable class is right, and 1 for the count, [rows, 2]."""
    right = (probabilities.argmax(axis=1) == targets).astype(np.float64)
    return np.stack([right, np.ones_like(right)], axis=1)


def confusions(targets: Targets, probabilities: Probabilities) -> Floats:
    """One-hot cell of the confusion matrix (truth major), [rows, classes²]."""
    classes = probabilities.shape[1]
    cells = np.zeros((len(targets), classes * classes))
    cells[np.arange(len(targets)), targets * classes + probabilities.argmax(axis=1)] = 1.0
    return cells


def share(sums: Floats) -> Floats:
    """Accuracy from sums of ``hits``."""
    return np.asarray(sums[..., 0] / sums[..., 1])


def macro_f1(sums: Floats) -> Floats:
    """Mean F1 over the classes that occur in truth or prediction, from sums of ``confusions``."""
    matrix = _square(sums)
    right = np.einsum("...cc->...c", matrix)
    mass = matrix.sum(axis=-1) + matrix.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        scores = np.where(mass > 0, 2 * right / mass, np.nan)
    return np.asarray(np.nanmean(scores, axis=-1))


def matthews(sums: Floats) -> Floats:
    """Matthews correlation for any number of classes (Gorodkin 2004), 0 where it is undefined."""
    matrix = _square(sums)
    total = matrix.sum(axis=(-2, -1))
    truth, predicted = matrix.sum(axis=-1), matrix.sum(axis=-2)
    right = np.einsum("...cc->...", matrix)
    above = right * total - (truth * predicted).sum(axis=-1)
    below = np.sqrt((total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (truth**2).sum(axis=-1)))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))


METRICS: dict[str, Metric] = {
    "macro_f1": Metric("macro_f1", "macro-F1", confusions, macro_f1),
    "accuracy": Metric("accuracy", "accuracy", hits, share),
    "matthews": Metric("matthews", "Matthews correlation", confusions, matthews, bounds=(-1.0, 1.0)),
}


KIND_METRICS: dict[str, dict[str, Metric]] = {
    "classification": METRICS,
    "pair": METRICS,
    "tokens": tagging.METRICS,
    "multilabel": multilabel.METRICS,
    "regression": scale.METRICS,
}


def find_metric(name: str, kind: str | None = None, labels: Sequence[str] = ()) -> Metric:
    """A primary metric by name.

    Args:
        name: Of the metric.
        kind: Of the task; None: of any, for its title and bounds alone.
        labels: Of the task; of words their tags.

    Raises:
        UserError: No such metric of this kind; names the nearest. Or no tag that begins an entity, for ``entity_f1``.
    """
    if kind is None:
        kind = next((one for one, metrics in KIND_METRICS.items() if name in metrics), "classification")
    metrics = KIND_METRICS[kind]
    if name not in metrics:
        raise unknown_name("metric", name, metrics)
    if name != "entity_f1":
        return metrics[name]
    odd = [label for label in labels if label != "O" and not re.fullmatch(r"[BIES]-.+", label)]
    if odd and entities(list(labels)):
        raise UserError(
            "tags that name no entity among those that do",
            got=", ".join(odd[:5]),
            expected="O, B-person, I-person, … (BIO or BIOES)",
            hint="mend them in the table; metric: accuracy scores tags of single words as they are",
        )
    if labels and not entities(list(labels)):
        raise UserError(
            "metric entity_f1 needs tags that name entities",
            got=", ".join(labels[:5]),
            expected="O, B-person, I-person, … (BIO or BIOES)",
            hint="metric: accuracy scores tags of single words",
        )
    return replace(metrics[name], statistics=partial(tagging.span_counts, tuple(labels)))


def widened(
    probabilities: npt.NDArray[np.float32], labels: Sequence[str], among: Sequence[str]
) -> npt.NDArray[np.float32]:
    """Probabilities over more labels, [rows, among]: 0 for those that a model has not seen."""
    if tuple(labels) == tuple(among):
        return probabilities
    wide = np.zeros((len(probabilities), len(among)), dtype=probabilities.dtype)
    wide[:, [among.index(label) for label in labels]] = probabilities
    return wide


def class_recall(targets: Targets, probabilities: Probabilities) -> Floats:
    """Share of each class's rows that are found, NaN for a class without rows, [classes]."""
    matrix = _square(confusions(targets, probabilities).sum(axis=0))
    counts = matrix.sum(axis=1)
    return np.asarray(np.divide(np.diag(matrix), counts, out=np.full(len(counts), np.nan), where=counts > 0))


def negative_log_likelihood(targets: Targets, probabilities: Probabilities) -> float:
    """Mean −ln p of the true class, in nats; p is cut at 1e-12."""
    not_empty(targets)
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(-np.log(np.clip(true, 1e-12, 1.0)).mean())


def brier(targets: Targets, probabilities: Probabilities) -> float:
    """Mean squared distance to the one-hot truth, summed over the classes (Brier 1950), 0 … 2."""
    not_empty(targets)
    gap = probabilities.astype(np.float64)
    gap[np.arange(len(targets)), targets] -= 1.0
    return float((gap**2).sum(axis=1).mean())


def calibration_error(targets: Targets, probabilities: Probabilities, bins: int = 15) -> float:
    """Expected calibration error of the top class with bins of equal mass (Nguyen & O'Connor 2015)."""
    not_empty(targets)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = hits(targets, probabilities)[:, 0]
    ranked = np.argsort(confidence, kind="stable")
    gaps = [
        len(part) * abs(right[part].mean() - confidence[part].mean())
        for part in np.array_split(ranked, bins)
        if len(part)
    ]
    return float(sum(gaps) / len(targets))


def risk_coverage_area(targets: Targets, probabilities: Probabilities) -> float:
    """Mean error among the most confident rows, over all coverages (AURC, a:1805.08206); rows tied in confidence share."""
    not_empty(targets)
    confidence = probabilities.max(axis=1)
    wrong = 1.0 - hits(targets, probabilities)[:, 0]
    levels, level = np.unique(-confidence, return_inverse=True)
    mean_wrong = np.bincount(level, weights=wrong, minlength=len(levels)) / np.bincount(level, minlength=len(levels))
    expected = np.cumsum(mean_wrong[np.sort(level)])
    return float((expected / np.arange(1, len(wrong) + 1)).mean())


def all_metrics(
    targets: Targets, probabilities: Probabilities, labels: tuple[str, ...], kind: str = "classification"
) -> dict[str, object]:
    """Every metric of one set of predictions, by name."""
    if KIND_METRICS[kind] is not METRICS:
        named = (name for name in KIND_METRICS[kind] if name != "entity_f1" or entities(list(labels)))
        return {name: find_metric(name, kind, labels).score(targets, probabilities) for name in named}
    recalls = class_recall(targets, probabilities)
    return {
        **{name: metric.score(targets, probabilities) for name, metric in METRICS.items()},
        "nll": negative_log_likelihood(targets, probabilities),
        "brier": brier(targets, probabilities),
        "ece": calibration_error(targets, probabilities),
        "aurc": risk_coverage_area(targets, probabilities),
        "recall": {
            label: None if np.isnan(value) else float(value) for label, value in zip(labels, recalls, strict=True)
        },
    }


def _square(sums: Floats) -> Floats:
    classes = round(sums.shape[-1] ** 0.5)
    return sums.reshape(*sums.shape[:-1], classes, classes)

"""The metrics as modules of the ``evaluate`` library, made here without a hub.

    >>> from lowres.scoring import evaluate_modules
    >>> evaluate_modules.load("macro_f1").compute(predictions=[0, 1, 1], references=[0, 1, 0])  # doctest: +SKIP
    {'macro_f1': 0.6666666666666666}

``import evaluate`` takes seconds and pulls torch, so it happens on the first call only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from lowres.errors import unknown_name
from lowres.scoring import metrics
from lowres.scoring.metric import Floats, Probabilities, Targets

ON_PROBABILITIES: dict[str, Callable[[Targets, Probabilities], float]] = {
    "nll": metrics.negative_log_likelihood,
    "brier": metrics.brier,
    "ece": metrics.calibration_error,
    "aurc": metrics.risk_coverage_area,
}
"""Metrics whose ``predictions`` are one list of probabilities a row."""

NAMES = (*metrics.METRICS, *ON_PROBABILITIES)


def load(name: str) -> Any:
    """An ``evaluate.Metric`` that can be computed and combined like any other.

    Args:
        name: One of ``NAMES``. Those of ``ON_PROBABILITIES`` take rows of probabilities as predictions, the others labels
            numbered from 0.
    """
    if name not in NAMES:
        raise unknown_name("metric", name, NAMES)
    import datasets
    import evaluate

    number = datasets.Value("int64")
    predictions = datasets.Sequence(datasets.Value("float64")) if name in ON_PROBABILITIES else number
    info = evaluate.MetricInfo(
        description=f"{name} as lowres computes it",
        citation="",
        inputs_description=load.__doc__ or "",
        features=datasets.Features({"predictions": predictions, "references": number}),
    )

    class Wrapped(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            return info

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return {name: _score(name, np.asarray(predictions), np.asarray(references, dtype=np.int64))}

    Wrapped.__name__ = name
    Wrapped.__module__ = f"{__name__}.{name}"
    return Wrapped()


def _score(name: str, predictions: Floats, references: Targets) -> float:
    if name in ON_PROBABILITIES:
        return ON_PROBABILITIES[name](references, predictions)
    labels = predictions.astype(np.int64)
    one_hot = np.eye(int(max(labels.max(), references.max())) + 1)[labels]
    return metrics.METRICS[name].score(references, one_hot)

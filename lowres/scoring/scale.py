"""Metrics of numbers on a scale: correlations of what is there and what is said."""

from __future__ import annotations

import numpy as np

from lowres.scoring.metric import Floats, Metric, Probabilities, Targets


def moments(targets: Targets, answers: Probabilities) -> Floats:
    """1, x, y, x², y² and x y of numbers x and answers y that have mean 0 and variance 1 over all rows, [rows, 6]."""
    x, y = (_standard(np.asarray(values, dtype=np.float64).ravel()) for values in (targets, answers))
    return np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)


def rank_moments(targets: Targets, answers: Probabilities) -> Floats:
    """The same of their ranks, ties sharing the mean of theirs. Ranks are those among all rows, also where some are left out."""
    from scipy.stats import rankdata

    return moments(rankdata(targets), rankdata(np.asarray(answers).ravel())[:, None])


def correlation(sums: Floats) -> Floats:
    """Pearson correlation from sums of ``moments``, 0 where one side is constant."""
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    above = n * xy - x * y
    below = np.sqrt(np.maximum(n * xx - x * x, 0.0) * np.maximum(n * yy - y * y, 0.0))
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 1e-9))


def _standard(values: Floats) -> Floats:
    spread = values.std()
    return np.asarray((values - values.mean()) / spread if spread > 0 else np.zeros_like(values))


METRICS: dict[str, Metric] = {
    "spearman": Metric("spearman", "Spearman correlation", rank_moments, correlation, bounds=(-1.0, 1.0)),
    "pearson": Metric("pearson", "Pearson correlation", moments, correlation, bounds=(-1.0, 1.0)),
}

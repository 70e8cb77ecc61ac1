"""Whether a confidence can be believed: temperature, risk by coverage, a precision that is kept, and label sets.

Everything here is fitted on labelled rows and says what it holds for: rows drawn like those. Under shift it may fail,
which is why it is measured on the target too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lowres.scoring.metrics import Floats, Probabilities, Targets, hits, negative_log_likelihood

_LEAST = 1e-12
TEMPERATURES = (0.05, 20.0)
"""Between these a temperature is sought."""
LEVEL = 0.95
"""Confidence of every one-sided bound here."""


@dataclass(frozen=True)
class Operating:
    """From which confidence a model answers, and what it then keeps.

    ``threshold`` is the lowest confidence that is answered, ``coverage`` the share of rows at or above it with its
    two-sided interval, ``precision`` the share of those that are right, and ``promised`` its lower bound.
    """

    threshold: float
    coverage: float
    low: float
    high: float
    precision: float
    promised: float
    rows: int


def temperature(targets: Targets, probabilities: Probabilities) -> float:
    """The T for which probabilities^(1/T), normalised, have the lowest negative log-likelihood (Guo et al. 2017,
    arXiv 1706.04599). Above 1: the model was too sure.
    """
    from scipy.optimize import minimize_scalar

    low, high = (math.log(bound) for bound in TEMPERATURES)
    found = minimize_scalar(
        lambda log: negative_log_likelihood(targets, scaled(probabilities, math.exp(log))),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(math.exp(found.x))


def scaled(probabilities: Probabilities, temperature: float) -> Floats:
    """Probabilities at a temperature, [rows, classes]; the most probable class stays."""
    logits = np.log(np.clip(probabilities.astype(np.float64), _LEAST, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def risk_by_coverage(targets: Targets, probabilities: Probabilities) -> tuple[Floats, Floats]:
    """Coverage and share of wrong answers, both [levels], when only rows of at least some confidence are answered.

    One point for each confidence that occurs, so that rows of equal confidence are answered together.
    """
    confidence, wrong = probabilities.max(axis=1), 1.0 - hits(targets, probabilities)[:, 0]
    levels, level = np.unique(-confidence, return_inverse=True)
    answered = np.cumsum(np.bincount(level, minlength=len(levels)))
    errors = np.cumsum(np.bincount(level, weights=wrong, minlength=len(levels)))
    return answered / len(targets), errors / answered


def operating_point(
    targets: Targets, probabilities: Probabilities, precision: float, *, level: float = LEVEL
) -> Operating | None:
    """The most that can be answered with a precision that the labels support, or None where they support none.

    Confidences are tried from the highest down, in steps of a twentieth of the rows named beforehand, and the first
    whose lower bound falls below ``precision`` ends the search: so the bound of the one that is taken holds at ``level``
    although many were looked at (fixed-sequence testing; Angelopoulos et al. 2021, arXiv 2110.01052, section 2). Each
    bound is Clopper and Pearson's.

    Args:
        targets: Label positions, [rows].
        probabilities: [rows, classes].
        precision: The share of right answers that must be kept, between 0 and 1.
        level: Confidence that it is kept.
    """
    confidence, right = probabilities.max(axis=1).astype(np.float64), hits(targets, probabilities)[:, 0]
    ranked = np.sort(confidence)[::-1]
    least = math.ceil(math.log(1 - level) / math.log(precision)) if precision < 1 else len(ranked) + 1
    best = None
    steps = np.unique(np.maximum(least, np.ceil(np.arange(1, 21) * len(ranked) / 20).astype(int)))
    for size in steps[steps <= len(ranked)]:
        answered = confidence >= ranked[size - 1]
        count, good = int(answered.sum()), int(right[answered].sum())
        promised = lower_bound(good, count, level)
        if promised < precision:
            break
        two_sided = 0.5 + level / 2
        best = Operating(
            threshold=float(ranked[size - 1]),
            coverage=count / len(ranked),
            low=lower_bound(count, len(ranked), two_sided),
            high=1 - lower_bound(len(ranked) - count, len(ranked), two_sided),
            precision=good / count,
            promised=promised,
            rows=len(ranked),
        )
    return best


def labels_needed(precision: float, *, level: float = LEVEL) -> int:
    """Labels, all answered rightly, from which on a precision can be promised at all."""
    return math.ceil(math.log(1 - level) / math.log(precision))


def lower_bound(good: int, count: int, level: float) -> float:
    """One-sided lower bound of a share at this confidence (Clopper & Pearson 1934, Biometrika 26)."""
    from scipy.special import betaincinv

    return float(betaincinv(good, count - good + 1, 1 - level)) if good else 0.0


def conformal_level(targets: Targets, probabilities: Probabilities, coverage: float) -> float | None:
    """The probability from which on a label belongs into the set of a row, by split conformal prediction.

    Sets of all labels with at least this probability hold the true one in ``coverage`` of the rows that are drawn like
    these (Vovk et al. 2005; Angelopoulos & Bates 2021, arXiv 2107.07511, section 1, with the score 1 − p). None where
    there are too few rows: ``coverage`` needs coverage / (1 − coverage) of them.
    """
    rank = math.ceil((len(targets) + 1) * coverage)
    if rank > len(targets):
        return None
    true = probabilities[np.arange(len(targets)), targets].astype(np.float64)
    return float(np.sort(true)[::-1][rank - 1])


def label_sets(probabilities: Probabilities, level: float) -> npt.NDArray[np.bool_]:
    """Which labels belong to the set of each row, [rows, classes]."""
    return np.asarray(probabilities.astype(np.float64) >= level)

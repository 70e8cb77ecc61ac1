"""Whether a confidence can be believed: temperature, risk by coverage, and label sets.

Everything here is fitted on labelled rows and says what it holds for: rows drawn like those. Under shift it may fail,
which is why it is measured on the target too.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from lowres.scoring.metric import Floats, Probabilities, Targets
from lowres.scoring.metrics import hits, negative_log_likelihood

_LEAST = 1e-12
TEMPERATURES = (0.05, 20.0)
"""Between these a temperature is sought."""


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
    """Probabilities at a temperature, [rows, classes]; the most probable class stays, and so does one that cannot be (0)."""
    logits = np.log(np.clip(probabilities.astype(np.float64), _LEAST, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True)) * (probabilities > 0)
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

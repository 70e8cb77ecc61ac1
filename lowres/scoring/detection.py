"""How well a confidence tells rows that belong to some class, the inside, from rows that belong to none, the outside.

Floats are highest probabilities, [rows] of either side; the outside is to have the lower ones.
"""

from __future__ import annotations

import numpy as np

from lowres.scoring.metric import Floats, Probabilities


def confidences(probabilities: Probabilities) -> Floats:
    """The highest probability of each row, [rows], from [rows, classes]: the maximum softmax probability of Hendrycks &
    Gimpel (2017, arXiv 1610.02136). A class that a model does not know has probability 0, so the highest is of one it knows.
    """
    return np.asarray(probabilities.max(axis=1), dtype=np.float64)


def placements(inside: Floats, outside: Floats) -> tuple[Floats, Floats]:
    """Of each inside row the share of the outside below it, [inside rows], and of each outside row the share of the inside
    above it, [outside rows]; equal ones count half.

    The mean of either side is the AUROC, and their variances give that of it (DeLong, DeLong & Clarke-Pearson 1988,
    Biometrics 44).

    Raises:
        ValueError: A side has no rows.
    """
    _check_sides(inside, outside)
    return _below(inside, outside), 1.0 - _below(outside, inside)


def auroc(inside: Floats, outside: Floats) -> float:
    """The chance that a row of the inside is surer than one of the outside, 0 … 1; equal ones count half."""
    return float(placements(inside, outside)[0].mean())


def recall_at_precision(inside: Floats, outside: Floats, precision: float) -> float:
    """The largest share of the outside that can be flagged while so many of the flagged rows are outside.

    Rows are flagged from the lowest confidence on, those of equal confidence together; 0 where no threshold is precise
    enough. It depends on how many rows either side has.

    Raises:
        ValueError: A side has no rows, or the precision is none.
    """
    if not 0 < precision <= 1:
        raise ValueError(f"a precision lies above 0 and not above 1, got {precision}")
    _check_sides(inside, outside)
    levels = np.unique(outside)
    right = np.searchsorted(np.sort(outside), levels, side="right")
    wrong = np.searchsorted(np.sort(inside), levels, side="right")
    precise = right / (right + wrong) >= precision
    return float(right[precise].max(initial=0) / len(outside))


def _below(rows: Floats, others: Floats) -> Floats:
    """Of each row the share of the others that have less, equal ones counted half, [rows]."""
    ranked = np.sort(others)
    left, right = (np.searchsorted(ranked, rows, side=side) for side in ("left", "right"))
    return np.asarray((left + right) / (2 * len(ranked)), dtype=np.float64)


def _check_sides(inside: Floats, outside: Floats) -> None:
    if not len(inside) or not len(outside):
        raise ValueError(f"needs rows of both sides, got {len(inside)} inside and {len(outside)} outside")

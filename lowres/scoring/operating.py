"""From which confidence a model should answer to keep a precision, and whether the labels at hand can promise it.

Answers are counted once, at confidences named beforehand; any precision is then looked up in that small table.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lowres.scoring.metric import Floats, Probabilities, Targets
from lowres.scoring.metrics import hits

LEVEL = 0.95
"""Confidence of every one-sided bound here."""
STEPS = 20
"""Confidences that are tried: those that answer a twentieth of the rows, two twentieths, and so on to all."""
BORNE = 3
"""Wrong answers for which the first confidence that is tried should leave room."""


class Step(NamedTuple):
    """Rows at or above a confidence, and how many of them are answered rightly."""

    threshold: float
    answered: int
    right: int


@dataclass(frozen=True)
class Steps:
    """What a model answers at falling thresholds, counted on labelled rows that it was not trained on.

    ``design`` is the variance of the share of right answers over groups against that of as many independent rows, at
    least 1 (Kish 1965): so many rows say as much as one that stands alone.
    """

    rows: int
    design: float
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        if self.rows < 1 or not math.isfinite(self.design) or self.design < 1:
            raise ValueError("expected rows of at least 1 and a finite design of at least 1")
        counts = [(step.answered, step.right) for step in self.steps]
        if not counts or any(not 0 <= right <= answered <= self.rows for answered, right in counts):
            raise ValueError("steps: expected 0 ≤ right ≤ answered ≤ rows, and at least one")
        if any(
            not (before.threshold > after.threshold and before.answered < after.answered)
            for before, after in zip(self.steps, self.steps[1:], strict=False)
        ) or not all(0 <= step.threshold <= 1 for step in self.steps):
            raise ValueError("steps: expected thresholds that fall from 1 to 0 while more is answered")


@dataclass(frozen=True)
class Operating:
    """From which confidence a model answers, and what it then keeps.

    ``threshold`` is the lowest confidence that is answered, ``coverage`` the share of rows at or above it, ``precision``
    the share of those that are right, and ``promised`` its lower bound.
    """

    threshold: float
    coverage: float
    precision: float
    promised: float
    rows: int


def operating_steps(targets: Targets, probabilities: Probabilities, groups: Sequence[str]) -> Steps:
    """Counts of answers by confidence; rows of equal confidence are answered together.

    Args:
        targets: Label positions, [rows].
        probabilities: [rows, classes].
        groups: What each row belongs to, [rows].
    """
    confidence, right = probabilities.max(axis=1).astype(np.float64), hits(targets, probabilities)[:, 0]
    ranked = np.sort(confidence)[::-1]
    sizes = np.ceil(np.arange(1, STEPS + 1) * len(ranked) / STEPS).astype(int)
    steps = []
    for threshold in np.unique(ranked[sizes - 1])[::-1]:
        answered = confidence >= threshold
        steps.append(Step(float(threshold), int(answered.sum()), int(right[answered].sum())))
    return Steps(len(ranked), design_effect(right, groups), tuple(steps))


def operating_point(found: Steps, precision: float, *, level: float = LEVEL) -> Operating | None:
    """The most that can be answered with a precision that the labels support, or None where they support none.

    Thresholds are tried from the highest down, and the first whose lower bound falls below ``precision`` ends the search:
    so the bound of the one that is taken holds at ``level`` although many were looked at (fixed-sequence testing;
    Angelopoulos et al. 2021, arXiv 2110.01052, section 2). Where the search begins follows from the number of
    rows and their design effect: where three wrong answers can be borne, but at half of the rows at the latest, unless so
    few can promise nothing. Each bound is Clopper and Pearson's on counts divided by ``design`` (Korn & Graubard 1998,
    Survey Methodology 24).

    Args:
        found: Counts on labelled rows.
        precision: The share of right answers that must be kept, above 0 and below 1.
        level: Confidence that it is kept.
    """
    begin, best = _begin(found, precision, level), None
    for step in found.steps:
        if step.answered < begin:
            continue
        promised = lower_bound(step.right / found.design, step.answered / found.design, level)
        if promised < precision:
            break
        best = Operating(
            threshold=step.threshold,
            coverage=step.answered / found.rows,
            precision=step.right / step.answered,
            promised=promised,
            rows=found.rows,
        )
    return best


def highest_precision(found: Steps, *, level: float = LEVEL) -> float | None:
    """The highest whole percentage that the labels support, as a share; None if they support none from 50 % on."""
    percents = (percent / 100 for percent in range(99, 49, -1))
    return next((one for one in percents if operating_point(found, one, level=level) is not None), None)


def refusal(found: Steps, precision: float, *, level: float = LEVEL) -> str:
    """Why the labels do not support a precision, in a few words, for one that has no ``operating_point``."""
    needed = rows_needed(found, precision, level=level)
    if found.rows < needed:
        return f"{found.rows} labelled rows are too few, {needed} are needed even if all are answered rightly"
    step = next(step for step in found.steps if step.answered >= _begin(found, precision, level))
    share, shown = (
        step.right / step.answered,
        lower_bound(step.right / found.design, step.answered / found.design, level),
    )
    said = f"of the surest {step.answered} of {found.rows} labelled rows {100 * share:.1f} % are right"
    if share <= precision:
        return f"{said}, which is not enough"
    more = _answers_needed(share, precision, level) * found.design * found.rows / step.answered
    return (
        f"{said}, which shows {100 * shown:.1f} %; about {math.ceil(more)} labelled rows would be needed at that share"
    )


def rows_needed(found: Steps, precision: float, *, level: float = LEVEL) -> int:
    """Labelled rows, grouped like these and all answered rightly, from which on a precision can be promised."""
    return math.ceil(found.design * labels_needed(precision, level=level))


def _answers_needed(share: float, precision: float, level: float) -> int:
    """Independent answers, this share of them right, from which on a lower precision is shown."""
    counts = range(1, 1 << 40)
    return counts[bisect_left(counts, True, key=lambda count: lower_bound(share * count, count, level) >= precision)]


def _begin(found: Steps, precision: float, level: float) -> float:
    """Rows that the first threshold which is tried must answer."""
    least = found.design * labels_needed(precision, level=level)
    roomy = found.design * labels_needed(precision, wrong=BORNE, level=level)
    return max(least, min(roomy, found.rows / 2))


def labels_needed(precision: float, *, wrong: int = 0, level: float = LEVEL) -> int:
    """Independent labels, all but ``wrong`` answered rightly, from which on a precision can be promised."""
    if not 0 < precision < 1:
        raise ValueError(f"a precision lies between 0 and 1, got {precision}")
    count = max(wrong + 1, math.ceil(math.log(1 - level) / math.log(precision)))
    if not wrong:
        return count
    counts = range(count, 4 * (wrong + 1) * (count + 1))
    return counts[bisect_left(counts, True, key=lambda rows: lower_bound(rows - wrong, rows, level) >= precision)]


def lower_bound(good: float, count: float, level: float) -> float:
    """One-sided lower bound of a share at this confidence (Clopper & Pearson 1934, Biometrika 26)."""
    from scipy.special import betaincinv

    return float(betaincinv(good, count - good + 1, 1 - level)) if good else 0.0


def design_effect(right: Floats, groups: Sequence[str]) -> float:
    """Variance of the mean of ``right`` [rows] over groups against that of as many independent rows, at least 1.

    The variance over groups is the linearised one of a ratio (Korn & Graubard 1998). Where all rows are right, or all
    wrong, nothing tells it: then each group counts as one row.
    """
    _, position = np.unique(np.array(groups), return_inverse=True)
    count, size = int(position.max()) + 1, len(right)
    mean = float(right.mean())
    if count == size:
        return 1.0
    if not 0 < mean < 1 or count < 2:
        return size / count
    sums = np.bincount(position, weights=right - mean)
    return max(1.0, float((sums**2).sum() * count / (count - 1) / (size * mean * (1 - mean))))

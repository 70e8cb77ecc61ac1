"""What a model will score on texts without labels, from its answers there and on labelled rows of its source.

Probabilities in, expected accuracy out. None of these can be right for every shift: each assumes something, which its
docstring says, and ``docs/forecasts-measured.md`` says how far each was off.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np
import numpy.typing as npt

from lowres.scoring.calibration import scaled, temperature
from lowres.scoring.metric import Floats, Probabilities, Targets
from lowres.scoring.metrics import hits, share

Forecast = Callable[[Targets, Probabilities, Probabilities], float]
"""Label positions [rows] and probabilities [rows, classes] in the source, and probabilities in the target; accuracy."""


def accuracy(targets: Targets, probabilities: Probabilities) -> float:
    """Share of rows answered rightly."""
    return float(share(hits(targets, probabilities).sum(axis=0)))


def confidence(targets: Targets, source: Probabilities, target: Probabilities) -> float:
    """Mean confidence in the target at the temperature of the source. Assumes that calibration carries over."""
    return float(scaled(target, temperature(targets, source)).max(axis=1).mean())


def difference_of_confidences(targets: Targets, source: Probabilities, target: Probabilities) -> float:
    """Accuracy in the source less the fall of mean confidence (DoC, arXiv 2107.03315, with slope 1).

    Assumes that confidence falls as much as accuracy does.
    """
    heat = temperature(targets, source)
    fall = scaled(source, heat).max(axis=1).mean() - scaled(target, heat).max(axis=1).mean()
    return _share(accuracy(targets, source) - float(fall))


def thresholded_confidence(targets: Targets, source: Probabilities, target: Probabilities) -> float:
    """Share of target rows above the negative entropy that, in the source, as many rows exceed as are right (ATC-NE,
    arXiv 2201.04234). Assumes that the same confidence means as much in both domains.
    """
    return float((negative_entropy(target) >= entropy_threshold(targets, source)).mean())


def entropy_threshold(targets: Targets, source: Probabilities) -> float:
    """The negative entropy that as many source rows reach as are right; infinite where none is."""
    own = negative_entropy(source)
    wrong = round((1 - accuracy(targets, source)) * len(own))
    return float(np.sort(own)[wrong]) if wrong < len(own) else float("inf")


FORECASTS: dict[str, Forecast] = {
    "confidence": confidence,
    "doc": difference_of_confidences,
    "atc": thresholded_confidence,
}
"""Of one model. ``agreement`` needs several."""


def agreement(
    targets: Targets, source: npt.NDArray[np.floating], target: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Accuracy in the target of each of several models, from how often they agree (agreement-on-the-line, arXiv
    2206.13089; over draws with different head starts: 2404.01542), [models].

    On a probit scale agreement and accuracy are taken to move from source to target by the same line. Draws of one
    recipe lie too close together to tell its slope, so the slope is 1 and its height is the mean over all pairs:
    a departure from the papers, whose models differ more.

    Args:
        targets: Label positions in the source, [rows].
        source: Probabilities in the source, [models, rows, classes], two or more models.
        target: In the target, [models, rows, classes].
    """
    own, other = source.argmax(axis=2), target.argmax(axis=2)
    pairs = list(combinations(range(len(own)), 2))
    if not pairs:
        raise ValueError("agreement needs two models or more")
    before = np.array([(own[one] == own[two]).mean() for one, two in pairs])
    after = np.array([(other[one] == other[two]).mean() for one, two in pairs])
    height = (probit(after, other.shape[1]) - probit(before, own.shape[1])).mean()
    right = (own == targets).mean(axis=1)
    return normal(probit(right, own.shape[1]) + height)


def probit(values: Floats, rows: Floats | int) -> Floats:
    """Shares of so many rows on the scale of the normal law; one at 0 or 1 counts as half a row away from it."""
    from scipy.special import ndtri

    return np.asarray(ndtri(np.clip(values, 0.5 / rows, 1 - 0.5 / rows)), dtype=np.float64)


def normal(values: Floats) -> Floats:
    """The other way: places on the normal scale to shares."""
    from scipy.special import ndtr

    return np.asarray(ndtr(values), dtype=np.float64)


def expected_sums(probabilities: Probabilities) -> Floats:
    """Expected sum of ``confusions`` if the probabilities were the truth, [classes²] (truth major)."""
    classes = probabilities.shape[1]
    answered = np.eye(classes)[probabilities.argmax(axis=1)]
    return np.asarray((probabilities.astype(np.float64).T @ answered).reshape(-1))


def domain_distance(features: Floats, others: Floats, folds: npt.NDArray[np.int64]) -> float:
    """Proxy A-distance, 2 (1 − 2 ε), with ε the cross-validated error of a logistic regression that tells the domains
    apart (Ben-David et al. 2010), balanced between them: 0 where it cannot, 2 where it always can.

    Args:
        features: Vectors of one domain, [rows, hidden].
        others: Of the other, [rows, hidden].
        folds: Fold of each row of both, one after the other.
    """
    from sklearn.linear_model import LogisticRegression

    x = np.concatenate([features, others]).astype(np.float64)
    y = np.repeat([0, 1], [len(features), len(others)])
    errors = np.zeros(len(y))
    for fold in np.unique(folds):
        held = folds == fold
        model = LogisticRegression(max_iter=1000, class_weight="balanced").fit(x[~held], y[~held])
        errors[held] = model.predict(x[held]) != y[held]
    error = (errors[y == 0].mean() + errors[y == 1].mean()) / 2
    return float(np.clip(2 * (1 - 2 * error), 0.0, 2.0))


def word_divergence(counts: Floats, others: Floats) -> float:
    """Jensen-Shannon divergence in bits between two word distributions, 0 … 1, from counts over one vocabulary, [words]."""
    p, q = counts / counts.sum(), others / others.sum()
    middle = (p + q) / 2

    def against(one: Floats) -> float:
        there = one > 0
        return float((one[there] * np.log2(one[there] / middle[there])).sum())

    return (against(p) + against(q)) / 2


def negative_entropy(probabilities: Probabilities) -> Floats:
    """Sum of p ln p, [rows]: 0 for a sure answer, below for others."""
    known = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
    return np.asarray((known * np.log(known)).sum(axis=1))


def _share(value: float) -> float:
    return min(1.0, max(0.0, value))

"""LogME: how well frozen features suit a task, as the evidence of a Bayesian linear model.

You et al. 2021 (arXiv 2102.11005); chosen for ranking text encoders by Bassignana et al. 2022 (arXiv 2210.11255). The
fixed point is that of the authors' second paper (You et al. 2022, arXiv 2110.10545): one singular value decomposition,
then numbers only.
"""

from __future__ import annotations

import numpy as np

from lowres.scoring.metric import Floats, Targets

ROUNDS = 200
_LEAST = 1e-10


def logme(features: Floats, targets: Targets, classes: int) -> float:
    """Mean over the classes of the log evidence a row of a linear regression from features to "is this class".

    Higher is better. Only values on the same rows and labels can be compared.

    Args:
        features: [rows, hidden].
        targets: Label positions, [rows]; a class without rows, or with all of them, is left out.
        classes: Number of classes.

    Raises:
        ValueError: No class has some but not all of the rows.
    """
    left, singular, _ = np.linalg.svd(np.asarray(features, dtype=np.float64), full_matrices=False)
    found = [
        evidence(left, singular, (targets == label).astype(np.float64))
        for label in range(classes)
        if 0 < (targets == label).sum() < len(targets)
    ]
    if not found:
        raise ValueError("needs rows of two classes or more")
    return float(np.mean(found))


def evidence(left: Floats, singular: Floats, values: Floats) -> float:
    """Log evidence a row of ``values`` = features · w + noise, w ~ N(0, 1/alpha), noise ~ N(0, 1/beta), at the alpha and
    beta for which it is highest (MacKay's fixed point, Bishop 2006, section 3.5).

    Args:
        left: Left singular vectors of the features, [rows, rank].
        singular: Singular values, [rank].
        values: [rows].
    """
    rows, hidden = len(values), len(singular)
    sigma = singular**2
    shown = (left.T @ values) ** 2
    outside = max(0.0, float(values @ values - shown.sum()))
    alpha, beta = 1.0, 1.0
    for _ in range(ROUNDS):
        before = alpha / beta
        free = float((beta * sigma / (alpha + beta * sigma)).sum())
        weight = float((beta**2 * sigma * shown / (alpha + beta * sigma) ** 2).sum())
        misfit = float((shown * (alpha / (alpha + beta * sigma)) ** 2).sum()) + outside
        alpha = max(free / max(weight, _LEAST), _LEAST)
        beta = (rows - free) / max(misfit, _LEAST)
        if abs(alpha / beta - before) <= 1e-6 * before:
            break
    weight = float((beta**2 * sigma * shown / (alpha + beta * sigma) ** 2).sum())
    misfit = float((shown * (alpha / (alpha + beta * sigma)) ** 2).sum()) + outside
    total = (
        hidden * np.log(alpha)
        + rows * np.log(beta)
        - np.log(alpha + beta * sigma).sum()
        - beta * misfit
        - alpha * weight
        - rows * np.log(2 * np.pi)
    )
    return float(total / 2 / rows)

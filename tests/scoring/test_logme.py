import numpy as np
import pytest
from scipy import optimize, stats

from lowres.scoring.logme import evidence, logme


def direct(features: np.ndarray, values: np.ndarray) -> float:
    """The highest log density a row of N(0, I / beta + X Xᵀ / alpha) at the values, by search."""
    rows = len(values)

    def negative(logs: np.ndarray) -> float:
        alpha, beta = np.exp(logs)
        covariance = np.eye(rows) / beta + features @ features.T / alpha
        return -float(stats.multivariate_normal(np.zeros(rows), covariance).logpdf(values)) / rows

    starts = [(0.0, 0.0), (2.0, 3.0), (-2.0, 2.0)]
    return -min(
        optimize.minimize(negative, start, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-10}).fun
        for start in starts
    )


@pytest.mark.parametrize(("rows", "hidden"), [(60, 5), (25, 40)])
def test_it_is_the_evidence_of_the_gaussian(rows: int, hidden: int) -> None:
    rng = np.random.default_rng(rows)
    features = rng.normal(size=(rows, hidden))
    targets = (features[:, 0] + 0.7 * rng.normal(size=rows) > 0).astype(np.int64)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    each = [direct(features, (targets == label).astype(float)) for label in (0, 1)]
    assert evidence(left, singular, (targets == 1).astype(float)) == pytest.approx(each[1], abs=1e-4)
    assert logme(features, targets, 2) == pytest.approx(np.mean(each), abs=1e-4)


def test_better_features_rank_higher_and_rotation_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    signal = np.eye(3)[targets]
    good, poor, none = (
        np.concatenate([signal + spread * rng.normal(size=(200, 3)), rng.normal(size=(200, 20))], axis=1)
        for spread in (0.3, 1.0, 9.0)
    )
    scores = [logme(one, targets, 3) for one in (good, poor, none)]
    assert scores == sorted(scores, reverse=True)
    rotation = np.linalg.qr(rng.normal(size=(23, 23)))[0]
    assert logme(good @ rotation, targets, 3) == pytest.approx(scores[0])


def test_missing_classes_and_perfect_features() -> None:
    targets = np.array([0, 1] * 20)
    features = np.eye(2)[targets]
    assert np.isfinite(logme(features, targets, 3))
    assert logme(features, targets, 3) == logme(features, targets, 2)
    with pytest.raises(ValueError, match="two classes"):
        logme(features, np.zeros(40, dtype=np.int64), 2)
    assert np.isfinite(logme(np.zeros((40, 2)), targets, 2))

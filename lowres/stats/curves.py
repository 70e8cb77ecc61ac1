"""Labels saved: how many target labels alone would reach the score of a method that uses the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lowres.stats.variance import FEW_DRAWS, Block, Floats, Interval, moments, outermost, t_quantile


@dataclass(frozen=True)
class Match:
    """Target labels in all with which ``target-only`` matches the method, or the reason why that is not known."""

    interval: Interval | None
    reason: str | None


def labels_to_match(budgets: Sequence[int], curve: Sequence[Block], method: Block, *, level: float = 0.95) -> Match:
    """Inverts the learning curve of ``target-only``, piecewise linear in log2 labels, at the method's score.

    The mean is the first crossing of the curve's means after monotone smoothing (pool adjacent violators, equal
    weights). The interval holds every n for which the t test keeps "method − curve(n) = 0", with curve(n) the
    interpolated block of the unsmoothed curve, from the first to the last such n; it is the whole answer, or none:
    a mean or bound outside the measured budgets is never extrapolated.

    Args:
        budgets: Labelled target rows in all, rising, at least two, above 0.
        curve: Block of ``target-only`` at each budget.
        method: Block of the method, on the same test set and draws.
        level: Confidence.

    The interval's ``se`` is that of a symmetric interval as wide, in labels.
    """
    labels = np.asarray(budgets, dtype=np.float64)
    if len(labels) < 2 or len(labels) != len(curve) or labels[0] <= 0 or (np.diff(labels) <= 0).any():
        raise ValueError(f"needs two or more rising budgets above 0, one block each, got {list(budgets)}")
    knots = np.log2(labels)
    found = moments([*([one] for one in curve), [method]])
    smooth = isotonic(found.means[:-1])
    score = float(found.means[-1])
    if score < smooth[0]:
        return Match(None, f"the method scores below target-only with {budgets[0]} labels, the fewest measured")
    if score > smooth[-1]:
        return Match(None, f"the method scores above target-only with {budgets[-1]} labels, the most measured")
    at = _crossing(knots, smooth, score)

    def weights(x: Floats) -> Floats:
        return np.concatenate([-_hats(knots, x), np.ones((len(x), 1))], axis=1)

    grid = np.union1d(np.linspace(knots[0], knots[-1], 513), knots)
    low, high = outermost(lambda x: found.accepts(weights(x), level), grid, at)
    if low <= knots[0]:
        return Match(None, f"the lower bound lies below {budgets[0]} labels, the fewest measured")
    if high >= knots[-1]:
        return Match(None, f"the upper bound lies above {budgets[-1]} labels, the most measured")
    df = float(found.contrast(weights(np.array([at])))[2][0])
    ends = 2.0**low, 2.0**high
    se = (ends[1] - ends[0]) / (2 * float(t_quantile(0.5 + level / 2, df)))
    return Match(Interval(2.0**at, *ends, se, df, found.count < FEW_DRAWS), None)


def isotonic(values: Floats) -> Floats:
    """The rising sequence nearest to ``values`` in least squares (pool adjacent violators)."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pool = (float(value), 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, size = pools.pop()
            pool = ((mean * size + pool[0] * pool[1]) / (size + pool[1]), size + pool[1])
        pools.append(pool)
    return np.repeat([mean for mean, _ in pools], [size for _, size in pools])


def _crossing(knots: Floats, smooth: Floats, score: float) -> float:
    after = int(np.argmax(smooth >= score))
    if after == 0:
        return float(knots[0])
    rise = smooth[after] - smooth[after - 1]
    return float(knots[after - 1] + (knots[after] - knots[after - 1]) * (score - smooth[after - 1]) / rise)


def _hats(knots: Floats, x: Floats) -> Floats:
    """Weights ``[points, knots]`` of linear interpolation."""
    return np.stack([np.interp(x, knots, row) for row in np.eye(len(knots))], axis=1)

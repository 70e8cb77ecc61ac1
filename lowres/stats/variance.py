"""Two-way variance components: intervals for scores that vary with the draw and with the test groups.

A *block* is one score on one test set, a *quantity* a sum of blocks on disjoint test sets, all over the same draws.
The model of a block's pseudo-values is ``mu + draw + group + rest`` (crossed random effects, one value a cell;
Searle, Casella & McCulloch 1992, chapter 4). ``docs/statistics.md`` has the formulas and their simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Value = Callable[[Floats], Floats]

FEW_DRAWS = 5
_NEGLIGIBLE = 1e-12  # a standard error this small against the pseudo-values is rounding
_MANY = 1e9  # degrees of freedom from here on are those of the normal law


@dataclass(frozen=True, eq=False)
class Block:
    """A score, or a linear contrast of scores, on one test set.

    Attributes:
        theta: The score of each draw, ``[draws]``.
        pseudo: Its delete-one-group jackknife pseudo-values, ``[draws, groups]``.

    Blocks of the same test set and draws add, subtract and scale. Blocks of different test sets must not be added
    (nothing here could notice two test sets of one size): put them side by side, see ``combine``.
    """

    theta: Floats
    pseudo: Floats

    def __post_init__(self) -> None:
        if self.pseudo.ndim != 2 or self.theta.shape != self.pseudo.shape[:1]:
            raise ValueError(
                f"theta must be [draws] and pseudo [draws, groups], got {self.theta.shape} and {self.pseudo.shape}"
            )
        if self.pseudo.shape[0] < 1 or self.pseudo.shape[1] < 2:
            raise ValueError(f"needs at least one draw and two test groups, got {self.pseudo.shape}")
        if not (np.isfinite(self.theta).all() and np.isfinite(self.pseudo).all()):
            raise ValueError("a score or one of its pseudo-values is not finite")

    def _same(self, other: Block) -> None:
        if self.pseudo.shape != other.pseudo.shape:
            raise ValueError(
                f"blocks of one test set have the same draws and groups, got {self.pseudo.shape}, {other.pseudo.shape}"
            )

    def __add__(self, other: Block) -> Block:
        self._same(other)
        return Block(self.theta + other.theta, self.pseudo + other.pseudo)

    def __sub__(self, other: Block) -> Block:
        self._same(other)
        return Block(self.theta - other.theta, self.pseudo - other.pseudo)

    def __mul__(self, factor: float) -> Block:
        return Block(self.theta * factor, self.pseudo * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Block:
        return Block(-self.theta, -self.pseudo)


Quantity = Sequence[Block]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    ``se`` is the standard error and ``df`` its degrees of freedom (infinite where the standard error is exactly 0);
    ``few_draws`` says that fewer than five draws carry it.
    """

    mean: float
    low: float
    high: float
    se: float
    df: float
    few_draws: bool = False


@dataclass(frozen=True, eq=False)
class Moments:
    """Variance components of several quantities and of every linear contrast of them.

    Attributes:
        means: ``[quantities]``.
        draws: Draw component of the (co)variance of the means, ``[quantities, quantities]``.
        groups: Mean products between groups, ``[tests, quantities, quantities]``.
        rest: Mean products of draw × group, same shape; zero with a single draw.
        sizes: Groups of each test set, ``[tests]``.
        count: Number of draws.
    """

    means: Floats
    draws: Floats
    groups: Floats
    rest: Floats
    sizes: Floats
    count: int

    def parts(self, weights: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
        """Variance of contrasts ``[..., quantities]`` by origin.

        Returns what the spread of the draws shows, ``[...]`` (draw effects with draw × group noise); that noise alone,
        ``[...]``; the group component of each test set, ``[..., tests]`` (0 where it is estimated negative); and the
        estimation variances of the second and third, without the factor 2, each ``[...]``.
        """
        draw = np.maximum(0.0, np.einsum("...i,ij,...j->...", weights, self.draws, weights))
        scale = self.count * self.sizes
        between = np.einsum("...i,kij,...j->...k", weights, self.groups, weights) / scale
        within = np.einsum("...i,kij,...j->...k", weights, self.rest, weights) / scale
        rough = within**2 / max(self.count - 1, 1) / (self.sizes - 1)
        spread = (between**2 / (self.sizes - 1) + rough).sum(axis=-1)
        return draw, within.sum(axis=-1), np.maximum(0.0, between - within), rough.sum(axis=-1), spread

    def contrast(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """Mean, variance and degrees of freedom of contrasts ``[..., quantities]``, each ``[...]``.

        The draw part of the variance is never below the draw × group noise. Degrees of freedom are Satterthwaite's
        (1946, Biometrics Bulletin 2) with one departure: the spread of the draws weighs (D + 1) / (D − 1) fold. With
        three draws the plain rule loses up to three points of coverage where draws and groups both matter, since a
        spread that came out small by chance also raises the degrees of freedom.
        """
        draw, noise, groups, rough, spread = self.parts(weights)
        group, free = groups.sum(axis=-1), self.count - 1
        inflated = draw * (free + 2) / free if free else draw
        total = np.maximum(inflated, noise) + group
        error = spread + rough + (inflated**2 / free if free else 0.0)
        df = np.divide(total**2, error, out=np.full_like(total, _MANY), where=error > 0)
        least = min([*([free] if free else []), *(self.sizes - 1)])
        return weights @ self.means, np.maximum(draw, noise) + group, np.clip(df, least, _MANY)

    def between(self) -> Floats:
        """Covariance of the means that the test groups alone cause, ``[quantities, quantities]``, without a negative part."""
        component = (self.groups - self.rest) / (self.count * self.sizes)[:, None, None]
        values, vectors = np.linalg.eigh(component)
        kept = np.maximum(values, 0.0)
        return np.asarray((vectors * kept[:, None, :] @ vectors.transpose(0, 2, 1)).sum(axis=0))

    def accepts(self, weights: Floats, level: float) -> NDArray[np.bool_]:
        """Whether the two-sided t test at ``1 - level`` keeps "the contrast is 0", for ``[..., quantities]``."""
        mean, variance, df = self.contrast(weights)
        return np.asarray(np.abs(mean) <= t_quantile(0.5 + level / 2, df) * np.sqrt(variance), dtype=np.bool_)


def group_sums(values: Floats, groups: NDArray[np.int64]) -> Floats:
    """Sums of ``values`` [rows, k] over each group, [groups, k], from the position of each row's group, [rows]."""
    sums = np.zeros((int(groups.max()) + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums


def block(statistics: Floats, value: Value) -> Block:
    """Scores of one fit per draw, and their pseudo-values, from additive statistics of the test groups.

    Args:
        statistics: ``[draws, groups, k]``, such as the flattened confusion matrix of each group.
        value: Maps sums over groups ``[..., k]`` to scores ``[...]``; must stand the loss of any one group.

    The pseudo-values ``G θ − (G − 1) θ(−g)`` (Tukey; Efron & Tibshirani 1993, chapter 11) turn a score that is no
    mean, such as macro-F1, into one value a group. ``theta`` is the plain score, not the mean of the pseudo-values:
    it is the number every other table prints, and the two differ by O(1 / G), far below the standard error.
    """
    total = statistics.sum(axis=1)
    theta = np.asarray(value(total), dtype=np.float64)
    return Block(theta, pseudo_values(statistics, value, theta))


def pseudo_values(statistics: Floats, value: Value, theta: Floats | None = None) -> Floats:
    """Delete-one-group jackknife pseudo-values ``[draws, groups]`` of ``value``; see ``block``."""
    groups = statistics.shape[1]
    total = statistics.sum(axis=1)
    full = np.asarray(value(total), dtype=np.float64) if theta is None else theta
    without = np.asarray(value(total[:, None, :] - statistics), dtype=np.float64)
    return np.asarray(groups * full[:, None] - (groups - 1) * without, dtype=np.float64)


def combine(terms: Iterable[tuple[str, float, Block]]) -> tuple[Block, ...]:
    """A quantity from (test set, weight, block) terms: terms of one test set are summed into one block."""
    blocks: dict[str, Block] = {}
    for test, weight, term in terms:
        scaled = term * weight
        blocks[test] = blocks[test] + scaled if test in blocks else scaled
    return tuple(blocks.values())


def two_samples(first: Block, second: Block) -> tuple[Block, ...]:
    """A statistic of two samples as one quantity, such as the AUROC, where each sample is a test set of its own.

    Args:
        first: The mean of a placement over the first sample: how its rows lie against all rows of the second.
        second: The same of the second sample against the first, the same number by another way.

    Each block brings half of the score and all of its pseudo-values' spread: so the mean is the score, and the variance the
    sum of those of both means, as DeLong, DeLong & Clarke-Pearson (1988, Biometrics 44) have it.

    Raises:
        ValueError: The two are not the same number.
    """
    if not np.allclose(first.theta, second.theta, atol=1e-9):
        raise ValueError(f"two ways to one statistic must agree, got {first.theta} and {second.theta}")
    whole = (Block(one.theta, 2 * one.pseudo - one.theta[:, None]) for one in (first, second))
    return combine((name, 0.5, one) for name, one in zip(("first", "second"), whole, strict=True))


def moments(quantities: Sequence[Quantity]) -> Moments:
    """Components of several quantities whose k-th blocks lie on the same test set."""
    shapes = [[one.pseudo.shape for one in quantity] for quantity in quantities]
    if not shapes or not shapes[0] or any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"quantities must have blocks on the same test sets, got shapes {shapes}")
    count = shapes[0][0][0]
    if any(draws != count for draws, _ in shapes[0]):
        raise ValueError(f"blocks of one quantity must have the same draws, got shapes {shapes[0]}")
    theta = np.stack([np.sum([one.theta for one in quantity], axis=0) for quantity in quantities])
    centred = theta - theta.mean(axis=1, keepdims=True)
    between, rest = [], []
    for same_test in zip(*quantities, strict=True):
        pseudo = np.stack([one.pseudo for one in same_test])
        groups = pseudo.mean(axis=1)
        groups = groups - groups.mean(axis=1, keepdims=True)
        residual = pseudo - pseudo.mean(axis=2, keepdims=True) - groups[:, None, :]
        residual = residual.reshape(len(pseudo), -1)
        free = groups.shape[1] - 1
        between.append(count * groups @ groups.T / free)
        rest.append(residual @ residual.T / (free * (count - 1)) if count > 1 else np.zeros_like(between[-1]))
    return Moments(
        means=theta.mean(axis=1),
        draws=centred @ centred.T / (count * (count - 1)) if count > 1 else np.zeros((len(theta), len(theta))),
        groups=np.stack(between),
        rest=np.stack(rest),
        sizes=np.array([groups for _, groups in shapes[0]], dtype=np.float64),
        count=count,
    )


def interval(blocks: Quantity, *, level: float = 0.95, bounds: tuple[float, float] | None = None) -> Interval:
    """Interval of a sum of blocks on disjoint test sets: ``mean ± t · se``.

    ``bounds`` is the range of the metric. With it the interval is built on the logit of the score's place in that
    range and mapped back (Brown, Cai & DasGupta 2001, Stat. Sci. 16, on binomial intervals near 0 and 1),
    so it never leaves the range. At a bound itself the far end is Wilson's with one trial a group.
    """
    found = moments([blocks])
    mean, variance, df = (float(one[0]) for one in found.contrast(np.ones((1, 1))))
    few = found.count < FEW_DRAWS
    scale = max(float(np.abs(one.pseudo).max()) for one in blocks)
    se = math.sqrt(variance)
    if se <= _NEGLIGIBLE * scale:
        se, df = 0.0, math.inf
    low = high = mean
    if bounds is not None:
        low, high = _inside(mean, se, float(t_quantile(0.5 + level / 2, df)), float(found.sizes.min()), bounds)
    elif se > 0:
        half = float(t_quantile(0.5 + level / 2, df)) * se
        low, high = mean - half, mean + half
    return Interval(mean, low, high, se, df, few)


def covariance(first: Quantity, second: Quantity) -> float:
    """Covariance of two quantities on the same draws and test sets; of a quantity with itself it is ``se ** 2``.

    Where a component of either quantity is replaced (see ``Moments.parts``), so is that of the covariance.
    """
    found = moments([first, second])
    scale = (found.count * found.sizes)[:, None, None]
    noise = (found.rest / scale).sum(axis=0)
    component = (found.groups - found.rest) / scale
    kept = (component[:, 0, 0] > 0) & (component[:, 1, 1] > 0)
    draws = found.draws if (np.diag(found.draws) >= np.diag(noise)).all() else noise
    return float(draws[0, 1] + component[kept, 0, 1].sum())


def t_quantile(probability: float, df: Floats | float) -> Floats:
    """Quantile of Student's t; infinite ``df`` is the normal law."""
    from scipy.special import stdtrit  # a tenth of the import time of scipy.stats

    return np.asarray(stdtrit(np.minimum(df, _MANY), probability), dtype=np.float64)


def outermost(accepts: Callable[[Floats], NDArray[np.bool_]], grid: Floats, inside: float) -> tuple[float, float]:
    """Ends of the set that a test keeps: first and last kept grid points, refined by bisection to the next one.

    ``inside`` is a point of the set. Where an end of the (sorted) grid is kept, that end is returned.
    """
    points = np.unique(np.append(grid, inside))
    kept = np.flatnonzero(accepts(points) | (points == inside))
    ends = []
    for edge, step in ((int(kept[0]), -1), (int(kept[-1]), 1)):
        good = float(points[edge])
        if 0 <= edge + step < len(points):
            bad = float(points[edge + step])
            for _ in range(50):
                middle = (good + bad) / 2
                good, bad = (middle, bad) if bool(accepts(np.array([middle]))[0]) else (good, middle)
        ends.append(good)
    return ends[0], ends[1]


def _inside(mean: float, se: float, quantile: float, groups: float, bounds: tuple[float, float]) -> tuple[float, float]:
    bottom, top = bounds
    place = (mean - bottom) / (top - bottom)
    if not -1e-9 <= place <= 1 + 1e-9:
        raise ValueError(f"the score {mean} lies outside the metric's range {bounds}")
    nearest = 1e-9
    if place <= nearest or place >= 1 - nearest:
        far = (top - bottom) * quantile**2 / (groups + quantile**2)
        return (bottom, bottom + far) if place < 0.5 else (top - far, top)
    step = quantile * se / (top - bottom) / (place * (1 - place))
    centre = math.log(place / (1 - place))

    def back(logit: float) -> float:
        odds = math.exp(-abs(logit))
        return bottom + (top - bottom) * (1 / (1 + odds) if logit >= 0 else odds / (1 + odds))

    return min(mean, back(centre - step)), max(mean, back(centre + step))

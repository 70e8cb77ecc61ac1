"""Interquartile mean and probability of improvement over pairs, with intervals over draws and test groups.

Both are smooth in the distribution of the scores, so each is linearised: every draw and every test group of every pair has
an influence, and the influences go through the same variance components as any mean (``variance.py``). The stratified
bootstrap of Agarwal et al. 2021 (arXiv 2108.13264) covers draws alone, and a handful of them too narrowly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lowres.stats.paired import interquartile_mean, probability_of_improvement
from lowres.stats.variance import Block, Floats, Interval, combine, interval, moments, t_quantile

TRIMMED = 0.25


def interquartile_interval(
    scores: Sequence[tuple[str, Block]], *, bounds: tuple[float, float], level: float = 0.95
) -> Interval:
    """Of the mean of the middle half of all scores of all pairs and draws.

    The influence of a score is that of a trimmed mean: scores beyond the quartiles count as the quartiles (Huber 1981,
    *Robust Statistics*, section 3.3), and their test groups not at all; equal scores that are partly beyond share what counts.

    Args:
        scores: Test set and block of each pair, over the same draws.
        bounds: Range of the metric.
        level: Confidence.
    """
    theta = np.stack([one.theta for _, one in scores])
    cut = int(TRIMMED * theta.size)
    kept = np.sort(theta, axis=None)[cut : theta.size - cut]
    values, place, all_ = np.unique(theta, return_inverse=True, return_counts=True)
    inside = (np.bincount(np.searchsorted(values, kept), minlength=len(values)) / all_)[place].reshape(theta.shape)
    share = len(kept) / theta.size
    moved = np.clip(theta, kept[0], kept[-1])
    terms = [
        (test, 1 / len(scores), Block((pulled - moved.mean()) / share, _centred(one) * within[:, None] / share))
        for (test, one), pulled, within in zip(scores, moved, inside, strict=True)
    ]
    return interval(_around(interquartile_mean(theta), terms), level=level, bounds=bounds)


def improvement_interval(pairs: Sequence[tuple[str, Block, Block]], *, level: float = 0.95) -> Interval:
    """Of the mean over pairs of P(a draw of the method beats a draw of the reference), ties a half.

    Draws enter by the first-order part of the two-sample U statistic (Hoeffding 1948). A test group moves the difference
    of a pair's scores, and that moves the chance by the density of the difference at 0, taken as normal with what draws
    and groups scatter. Where all draws of all pairs say the same the far end is Wilson's with one trial a draw.

    Args:
        pairs: Test set, block of the method and block of the reference of each pair, all over the same draws.
        level: Confidence.
    """
    own, other = np.stack([one.theta for _, one, _ in pairs]), np.stack([one.theta for _, _, one in pairs])
    mean, draws = probability_of_improvement(own, other), own.shape[1]
    if mean in (0.0, 1.0):
        square = float(t_quantile(0.5 + level / 2, max(draws - 1, 1))) ** 2
        far = square / (draws + square)
        return Interval(mean, max(0.0, mean - far), min(1.0, mean + far), 0.0, math.inf)
    terms = []
    for test, one, two in pairs:
        won = (one.theta[:, None] > two.theta) + 0.5 * (one.theta[:, None] == two.theta)
        pull = won.mean(axis=1) + won.mean(axis=0) - 2 * won.mean()
        terms.append((test, 1 / len(pairs), Block(pull, _centred(one - two) * _density(one, two))))
    return interval(_around(mean, terms), level=level, bounds=(0.0, 1.0))


def _density(one: Block, two: Block) -> float:
    """Of the difference of two draws' scores, at 0."""
    found = moments([[one - two]])
    _, noise, groups, _, _ = found.parts(np.ones(1))
    variance = float(one.theta.var(ddof=1) + two.theta.var(ddof=1)) + float(groups.sum())
    variance = max(variance, found.count * float(noise))
    if variance == 0:
        return 0.0
    return math.exp(-(float(found.means[0]) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def _centred(one: Block) -> Floats:
    return np.asarray(one.pseudo - one.pseudo.mean(axis=1, keepdims=True))


def _around(mean: float, terms: Sequence[tuple[str, float, Block]]) -> tuple[Block, ...]:
    """Influences on each test set as a quantity with this mean."""
    first, *rest = combine(terms)
    return Block(first.theta + mean, first.pseudo), *rest

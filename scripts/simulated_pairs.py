"""Simulated studies of several pairs, and what is said over all of them; see simulate_intervals.py.

Three domains, six ordered pairs: pairs into one target share its test rows, all share their draws. Truth of a mean is the
expectation on infinite test sets; of the interquartile mean and the chance of improvement, which are no means of scores,
it is the mean of the estimate over all simulated studies of a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations

import numpy as np
from simulated_studies import METRICS, Setting, TestSet, draw_effects, truth

from lowres.stats.paired import interquartile_means, probability_of_improvement, worst_pair
from lowres.stats.pooled import improvement_interval, interquartile_interval
from lowres.stats.variance import block, combine, interval

Found = dict[str, tuple[float, float, float, float | None]]
"""By quantity: estimate, low, high, and the truth where it is known beforehand."""
DOMAINS = "abc"
PAIRS = tuple(permutations(DOMAINS, 2))
MU = dict(zip(PAIRS, (0.5, 0.6, 0.65, 0.75, 0.85, 0.95), strict=True))
ALONE = dict(zip(DOMAINS, (0.55, 0.6, 0.65), strict=True))


def simulate(setting: Setting, rng: np.random.Generator) -> Found:
    """One study, by accuracy."""
    value, effects = METRICS["accuracy"], draw_effects(setting, rng)
    tests = {name: TestSet(setting, rng) for name in DOMAINS}
    alone = {name: block(tests[name].fit(ALONE[name], next(effects)), value) for name in DOMAINS}
    own = {pair: block(tests[pair[1]].fit(MU[pair], next(effects)), value) for pair in PAIRS}
    theta = np.stack([own[pair].theta for pair in PAIRS])
    other = np.stack([alone[pair[1]].theta for pair in PAIRS])
    levels = combine((pair[1], 1 / len(PAIRS), own[pair]) for pair in PAIRS)
    worst, _ = worst_pair([(pair, float(own[pair].theta.mean())) for pair in PAIRS])
    inner = interquartile_interval([(pair[1], own[pair]) for pair in PAIRS], bounds=(0, 1))
    better = improvement_interval([(pair[1], own[pair], alone[pair[1]]) for pair in PAIRS])
    named = interval([own[worst]], bounds=(0, 1))
    mean = interval(levels, bounds=(0, 1))
    found: Found = {
        "mean": (mean.mean, mean.low, mean.high, _mean_truth(setting)),
        "interquartile mean": (inner.mean, inner.low, inner.high, None),
        "improvement": (better.mean, better.low, better.high, None),
        "worst pair, named": (named.mean, named.low, named.high, truth(setting, MU[worst], "accuracy")),
        "worst pair": (named.mean, named.low, named.high, truth(setting, min(MU.values()), "accuracy")),
    }
    for name, low, high in _bootstrap(theta, other, rng):
        found[f"{name}, bootstrap of draws"] = (found[name][0], low, high, None)
    return found


def _mean_truth(setting: Setting) -> float:
    return float(np.mean([truth(setting, mu, "accuracy") for mu in MU.values()]))


def _bootstrap(own: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> Iterator[tuple[str, float, float]]:
    """The stratified bootstrap of arXiv 2108.13264, for comparison."""
    picks = rng.integers(own.shape[1], size=(2, 300, *own.shape))
    first, second = (
        np.take_along_axis(np.broadcast_to(values, one.shape), one, axis=2)
        for values, one in zip((own, other), picks, strict=True)
    )
    inner = np.percentile(interquartile_means(first), [2.5, 97.5])
    better = np.percentile(
        [probability_of_improvement(one, two) for one, two in zip(first, second, strict=True)], [2.5, 97.5]
    )
    yield "interquartile mean", float(inner[0]), float(inner[1])
    yield "improvement", float(better[0]), float(better[1])

"""Simulated learning curves, pilots and promises, and what is forecast from them; see simulate_intervals.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from simulated_studies import METRICS, MU, Setting, TestSet, draw_effects

from lowres.scoring.metrics import share
from lowres.scoring.operating import operating_point, operating_steps
from lowres.stats.laws import back_tests, fit_law
from lowres.stats.power import detectable
from lowres.stats.variance import Block, Interval, block, group_sums, interval

Floats = NDArray[np.float64]
Hits = dict[str, bool | None]
"""By quantity: whether the truth was held; None where nothing was said."""
BUDGETS = np.array([16.0, 32.0, 64.0, 128.0, 256.0])
LEVEL = 0.9
CEILING = 1000.0
"""Labels of the fits that the ceiling is measured with."""
POINT_SPREAD, TEST_SPREAD = 0.04, 0.015
"""Standard deviation of a draw's score at the smallest budget, and of what a test set of some 600 rows shifts all scores by."""


@dataclass(frozen=True)
class Curve:
    """A kind of learning curve: its truth, and whether scores are of a finite test set."""

    name: str
    truth: Callable[[Floats], Floats]
    test: bool = False


def _law(x: Floats) -> Floats:
    return np.asarray(0.9 - 1.2 * x**-0.5)


def _step(x: Floats) -> Floats:
    """No power law: a rise over the middle budgets."""
    return np.asarray(0.6 + 0.28 / (1 + (x / 64) ** -1.8))


CURVES = (Curve("law", _law), Curve("law, finite test set", _law, test=True), Curve("no power law", _step))


def curve_study(curve: Curve, draws: int, budgets: int, rng: np.random.Generator) -> Hits:
    """Bands at the largest budget and at four times it, the band of the next mean, and of the labels to a score between."""
    x, spread = BUDGETS[:budgets], POINT_SPREAD * (BUDGETS[:budgets] / 16) ** -0.25
    scattered = 0.5**0.5 * (rng.standard_normal((draws, 1)) + rng.standard_normal((draws, budgets)))
    shift = TEST_SPREAD * rng.standard_normal() if curve.test else 0.0
    scores = curve.truth(x) + shift + spread * scattered
    tests = np.full((budgets, budgets), TEST_SPREAD**2) if curve.test else None
    law = fit_law(x.tolist(), scores, rng, tests=tests)
    end, wanted = 4 * x[-1], 2 * x[-1]
    low, high = law.band(np.array([x[-1], end]), LEVEL)
    true = curve.truth(np.array([x[-1], end]))
    found = law.reach(float(curve.truth(np.array([wanted]))[0]), LEVEL)
    asked = list(back_tests(x.tolist(), scores, rng, level=LEVEL))
    return {
        "band at the largest": bool(low[0] <= true[0] <= high[0]),
        "band at four times": bool(low[1] <= true[1] <= high[1]),
        "back-test": asked[-1].held if asked else None,
        "labels to reach": None if found.x is None else (found.low or 0.0) <= wanted <= (found.high or np.inf),
    }


def ceiling_study(curve: Curve, draws: int, budgets: int, rng: np.random.Generator, on_curve: bool = False) -> Hits:
    """The band of the labels to a score below the ceiling, which is measured on the same test set and draws.

    By the law of the scores less what the ceiling departs from its mean, as ``analysis/reach.py``. The truth reaches the
    score at twice the most labels; ``on_curve``, the ceiling is the last budget, as of ``target-only``, at half its labels.
    """
    x = np.append(BUDGETS[:budgets], CEILING)
    scattered = 0.5**0.5 * (rng.standard_normal((draws, 1)) + rng.standard_normal((draws, len(x))))
    shift = TEST_SPREAD * rng.standard_normal() if curve.test else 0.0
    scores = curve.truth(x) + shift + POINT_SPREAD * (x / 16) ** -0.25 * scattered
    ceiling, used = scores[:, -1], len(x) if on_curve else budgets
    wanted = CEILING / 2 if on_curve else 2 * x[budgets - 1]
    below = curve.truth(np.array([CEILING, wanted]))
    law = fit_law(x[:used].tolist(), scores[:, :used] - (ceiling - ceiling.mean())[:, None], rng)
    found = law.reach(float(ceiling.mean() - below[0] + below[1]), LEVEL)
    held = None if found.x is None else bool((found.low or 0.0) <= wanted <= (found.high or np.inf))
    return {"to near the ceiling" + ", its last budget" * on_curve: held}


def power_study(setting: Setting, rng: np.random.Generator) -> Hits:
    """Whether a study finds the difference that a pilot of as many draws said it could find, and half of it."""
    printed = detectable([_difference(setting, rng)], setting.draws)
    fresh = interval([_difference(setting, rng)])
    return {
        "detected": fresh.low + printed > 0,
        "half of it": fresh.low + printed / 2 > 0,
    }


def _difference(setting: Setting, rng: np.random.Generator) -> Block:
    """Of two equal methods on a fresh test set; a true difference is then added."""
    test, effects = TestSet(setting, rng), draw_effects(setting, rng)
    one, two = (block(test.fit(MU["method"], next(effects)), METRICS["accuracy"]) for _ in range(2))
    return one - two


@dataclass(frozen=True)
class Trust:
    """Models whose confidence is right on average over groups and draws."""

    groups: int
    group: float
    """Standard deviation of what a group adds to the probit of a right answer."""
    draws: int = 5
    draw: float = 0.15


TRUSTS = (Trust(100, 0.0), Trust(100, 1.0), Trust(300, 0.0), Trust(300, 1.0))
PRECISIONS = (0.9, 0.95)


def promise_studies(setting: Trust, precision: float, studies: int, rng: np.random.Generator) -> list[Hits]:
    """One a draw: whether the promised precision is kept on endless rows; and one a study that promises something: whether
    the interval of the share answered holds its mean over all such studies, on endless rows.
    """
    found = [promise_study(setting, precision, rng) for _ in range(studies)]
    true = float(np.mean([share for _, _, share in found if share is not None] or [0.0]))
    kept: list[Hits] = [{"promise kept": one} for draws, _, _ in found for one in draws]
    return kept + [{"coverage": one.low <= true <= one.high} for _, one, _ in found if one is not None]


def promise_study(
    setting: Trust, precision: float, rng: np.random.Generator
) -> tuple[list[bool | None], Interval | None, float | None]:
    """Whether each draw's promise is kept, None where it makes none; the interval of the share answered, and its truth."""
    group = np.repeat(np.arange(setting.groups), np.minimum(rng.geometric(0.25, setting.groups), 12))
    first = np.isin(group, rng.permutation(setting.groups)[: setting.groups // 2])
    wide, effect = (1 + setting.group**2 + setting.draw**2) ** 0.5, setting.group * rng.standard_normal(setting.groups)
    endless = _confidences(rng, 20_000)
    kept, sums, true = list[bool | None](), [], []
    for draw in setting.draw * rng.standard_normal(setting.draws):
        sure = _confidences(rng, len(group))
        right = rng.random(len(group)) < stats.norm.cdf(stats.norm.ppf(sure) * wide + draw + effect[group])
        probabilities = np.stack([sure, 1 - sure], axis=1)
        steps = operating_steps(
            1 - right[first].astype(np.int64), probabilities[first], [str(one) for one in group[first]]
        )
        point = operating_point(steps, precision)
        threshold = np.inf if point is None else point.threshold
        answered = endless >= threshold
        chance = stats.norm.cdf((stats.norm.ppf(endless[answered]) * wide + draw) / (1 + setting.group**2) ** 0.5)
        kept.append(bool(chance.mean() >= precision) if answered.any() else None)
        held = np.stack([probabilities.max(axis=1) >= threshold, np.ones(len(group))], axis=1)[~first]
        sums.append(group_sums(held.astype(np.float64), np.unique(group[~first], return_inverse=True)[1]))
        true.append(float(answered.mean()))
    if all(one is None for one in kept):
        return kept, None, None
    return kept, interval([block(np.stack(sums), share)], bounds=(0.0, 1.0)), float(np.mean(true))


def _confidences(rng: np.random.Generator, rows: int) -> Floats:
    return np.asarray(0.5 + 0.4999 * rng.beta(3.0, 0.7, rows))

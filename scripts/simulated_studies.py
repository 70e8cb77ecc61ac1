"""Simulated studies with clustered test rows, and what `lowres.stats` says about them; see simulate_intervals.py.

Every study has fresh draws and two fresh test sets. A row is classified rightly when a latent margin is positive:

    margin = mu[fit, class] + common draw effect + class-trading draw effect + group effect + row effect

Draw, group and row effects have a part shared by all fits (same rows, same texts) and a part of each fit. Groups have
1 to 15 rows, mostly of one class. The truth of every quantity is its expectation over draws on an infinite test set, by
Gauss-Hermite quadrature; nothing is estimated from the simulated samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lowres.stats.curves import labels_to_match
from lowres.stats.paired import compare, holm
from lowres.stats.shift import drop, recovery
from lowres.stats.variance import Block, Interval, block, interval, moments

BUDGETS = (16, 64, 256, 1024)
SHARED = 0.5  # share of draw and group variance that all fits have in common
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mix:
    """Where the variance comes from: standard deviations against a row effect of 1."""

    name: str
    draw: float
    group: float
    easy: float = 0.0  # added to every margin


MIXES = (
    Mix("draws", 0.45, 0.2),
    Mix("groups", 0.03, 1.0),
    Mix("both", 0.15, 0.7),
    Mix("tiny", 0.02, 0.1, easy=1.2),
)


@dataclass(frozen=True)
class Setting:
    """One simulated kind of study."""

    mix: Mix
    draws: int
    classes: int
    groups: int = 100

    def offsets(self) -> Floats:
        """Class-wise shift of the margin: some classes are harder."""
        return np.linspace(-0.25, 0.25, self.classes)

    def prior(self) -> Floats:
        """Class shares, uneven."""
        share = np.arange(self.classes, 0, -1) + 1.0
        return share / share.sum()


def accuracy(confusion: Floats) -> Floats:
    """Accuracy of flattened confusion matrices ``[..., classes²]`` (rows: truth)."""
    size = math.isqrt(confusion.shape[-1])
    return confusion[..., :: size + 1].sum(-1) / confusion.sum(-1)


def macro_f1(confusion: Floats) -> Floats:
    """Macro-F1 of flattened confusion matrices; a class neither present nor predicted scores 0."""
    size = math.isqrt(confusion.shape[-1])
    square = confusion.reshape(*confusion.shape[:-1], size, size)
    seen = square.sum(-1) + square.sum(-2)
    hits = 2 * np.diagonal(square, axis1=-2, axis2=-1)
    return np.divide(hits, seen, out=np.zeros_like(seen), where=seen > 0).mean(-1)


METRICS: dict[str, Callable[[Floats], Floats]] = {"accuracy": accuracy, "macro-F1": macro_f1}


def truth(setting: Setting, mu: float, metric: str) -> float:
    """Expected score over draws on infinitely many groups."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    common, trading = np.meshgrid(nodes, nodes, indexing="ij")
    sign = np.linspace(-1, 1, setting.classes)
    margin = (
        mu
        + setting.mix.easy
        + setting.offsets()
        + setting.mix.draw * (math.sqrt(0.7) * common[..., None] + math.sqrt(0.3) * trading[..., None] * sign)
    )
    right = stats.norm.cdf(margin / math.sqrt(1 + setting.mix.group**2))
    classes = setting.classes
    confusion = ((1 - right) / (classes - 1))[..., None] * np.ones(classes)
    confusion[..., np.arange(classes), np.arange(classes)] = right
    confusion = confusion * setting.prior()[:, None]
    score = METRICS[metric](confusion.reshape(*common.shape, -1))
    return float((score * np.outer(weights, weights)).sum())


@dataclass
class TestSet:
    """A fresh test set and the effects that all fits share on it."""

    setting: Setting
    rng: np.random.Generator
    labels: NDArray[np.int64] = field(init=False)
    group: NDArray[np.int64] = field(init=False)
    shared_group: Floats = field(init=False)
    shared_row: Floats = field(init=False)

    def __post_init__(self) -> None:
        rng, groups = self.rng, self.setting.groups
        sizes = np.minimum(rng.geometric(0.2, groups), 15)
        self.group = np.repeat(np.arange(groups), sizes)
        leaning = rng.choice(self.setting.classes, p=self.setting.prior(), size=groups)
        rows = len(self.group)
        own = rng.choice(self.setting.classes, p=self.setting.prior(), size=rows)
        self.labels = np.where(rng.random(rows) < 0.6, leaning[self.group], own)
        self.shared_group = rng.standard_normal(groups)
        self.shared_row = rng.standard_normal(rows)

    def fit(self, mu: float, draw_effect: Floats) -> Floats:
        """Confusion matrices ``[draws, groups, classes²]`` of a fit; ``draw_effect [draws, 2]`` is common, trading."""
        setting, rng, mix = self.setting, self.rng, self.setting.mix
        classes, rows = setting.classes, len(self.labels)
        sign = np.linspace(-1, 1, classes)
        per_class = (
            mu
            + mix.easy
            + setting.offsets()
            + mix.draw * (math.sqrt(0.7) * draw_effect[:, :1] + math.sqrt(0.3) * draw_effect[:, 1:] * sign)
        )
        groups = math.sqrt(SHARED) * self.shared_group + math.sqrt(1 - SHARED) * rng.standard_normal(setting.groups)
        noise = rng.standard_normal((setting.draws, rows), dtype=np.float32)
        margin = per_class[:, self.labels] + mix.group * groups[self.group]
        margin = margin + math.sqrt(0.6) * self.shared_row + math.sqrt(0.4) * noise
        wrong = (self.labels + rng.integers(1, classes, size=(setting.draws, rows))) % classes
        predicted = np.where(margin > 0, self.labels, wrong)
        size = classes * classes
        cell = (np.arange(setting.draws)[:, None] * setting.groups + self.group) * size
        counts = np.bincount(
            (cell + self.labels * classes + predicted).ravel(), minlength=setting.draws * setting.groups * size
        )
        return counts.reshape(setting.draws, setting.groups, size).astype(np.float64)


def draw_effects(setting: Setting, rng: np.random.Generator) -> Iterator[Floats]:
    """Draw effects of one fit after another, half shared: the same rows were sampled for all."""
    shared = rng.standard_normal((setting.draws, 2))
    while True:
        own = rng.standard_normal((setting.draws, 2))
        yield math.sqrt(SHARED) * shared + math.sqrt(1 - SHARED) * own


MU = {"SS": 0.95, "ST": 0.35, "TT": 1.05, "method": 0.75, "reference": 0.6}
CURVE = (0.25, 0.55, 0.85, 1.0)
LINEAR = ("score", "source drop", "paired difference")


def truths(setting: Setting, metric: str) -> dict[str, float]:
    """True value of every quantity."""
    score = {name: truth(setting, mu, metric) for name, mu in MU.items()}
    at = float(np.interp(score["method"], [truth(setting, mu, metric) for mu in CURVE], np.log2(BUDGETS)))
    return {
        "score": score["TT"],
        "source drop": score["SS"] - score["ST"],
        "paired difference": score["method"] - score["reference"],
        "recovery": (score["method"] - score["ST"]) / (score["TT"] - score["ST"]),
        "labels saved": 2**at,
    }


@dataclass
class Study:
    """What one simulated study says, in one metric; ``plain`` are simpler rules, for comparison."""

    intervals: dict[str, Interval | None]
    draw_share: dict[str, float]
    plain: dict[str, tuple[float, float]]
    false_verdict: bool
    false_by_t: bool


def simulate(setting: Setting, rng: np.random.Generator) -> dict[str, Study]:
    """One study, analysed in every metric."""
    effects = draw_effects(setting, rng)
    source, target = TestSet(setting, rng), TestSet(setting, rng)
    mixed = next(effects)
    fits = {"SS": source.fit(MU["SS"], mixed), "ST": target.fit(MU["ST"], mixed)}
    fits |= {name: target.fit(MU[name], next(effects)) for name in ("TT", "method", "reference")}
    curve = [target.fit(mu, next(effects)) for mu in CURVE]
    null = [target.fit(MU["reference"], next(effects)) for _ in range(4)]
    return {metric: analyse(fits, curve, null, value, rng) for metric, value in METRICS.items()}


def analyse(
    fits: dict[str, Floats],
    curve: list[Floats],
    null: list[Floats],
    value: Callable[[Floats], Floats],
    rng: np.random.Generator,
) -> Study:
    """Every interval of one study in one metric."""
    of = {name: block(one, value) for name, one in fits.items()}
    linear: dict[str, tuple[Block, ...]] = {
        "score": (of["TT"],),
        "source drop": drop(of["SS"], of["ST"], same_rows=False),
        "paired difference": (of["method"] - of["reference"],),
    }
    intervals: dict[str, Interval | None] = {
        name: interval(one, bounds=(0, 1) if name == "score" else None) for name, one in linear.items()
    }
    intervals["recovery"] = recovery([of["method"] - of["ST"]], [of["TT"] - of["ST"]]).interval
    intervals["labels saved"] = labels_to_match(BUDGETS, [block(one, value) for one in curve], of["method"]).interval
    differences = [[block(one, value) - of["reference"]] for one in null]
    by_t = [interval(one) for one in differences]
    resample = rng.integers(len(of["TT"].theta), size=(500, len(of["TT"].theta)))
    plain = {}
    for name in ("score", "source drop"):
        theta = np.sum([part.theta for part in linear[name]], axis=0)
        low, high = np.percentile(theta[resample].mean(1), [2.5, 97.5])
        plain[name] = (float(low), float(high))
    straight = interval(linear["score"])
    plain["straight"] = (straight.low, straight.high)
    return Study(
        intervals,
        {name: float(moments([one]).draws[0, 0]) for name, one in linear.items()},
        plain,
        any(one.verdict != "no difference shown" for one in compare(differences)),
        min(holm([2 * float(stats.t.sf(abs(one.mean) / one.se, one.df)) for one in by_t])) <= 0.05,
    )

"""The score of source-only in the target, said before any target label, beside the measured one."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from lowres.analysis.evidence import Forecast
from lowres.analysis.measure import Scores, estimate_of, start_of
from lowres.analysis.summary import Estimate
from lowres.data.rows import Rows
from lowres.scoring import forecasts as rules
from lowres.scoring.calibration import scaled, temperature
from lowres.scoring.metric import Floats, Metric, Probabilities, Targets
from lowres.scoring.metrics import find_metric, hits, share
from lowres.stats.variance import Block, Quantity, block, group_sums, interval, pseudo_values

MOST_CELLS = 20_000_000
"""Numbers of the expected confusion matrices of all test groups and draws; where it takes more they are left out."""


MOST_AGREEING = 50
"""Draws whose pairs are compared; with more of them agreement is left out."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What each draw of source-only says on one set of rows."""

    probabilities: npt.NDArray[np.floating]
    """[draws, rows, classes]."""
    groups: npt.NDArray[np.int64]
    """Position of each row's group, [rows]."""

    @classmethod
    def on(cls, rows: Rows, probabilities: list[npt.NDArray[np.float32]]) -> Answers:
        """Those on these rows, one array a draw."""
        return cls(np.stack(probabilities), np.unique(np.array(rows.groups), return_inverse=True)[1])

    def sums(self, values: Floats) -> Floats:
        """Sums of ``values`` [rows, k] over each group, [groups, k]."""
        return group_sums(values, self.groups)

    def pseudo(self, values: Floats) -> Floats:
        """Pseudo-values of the means of ``values`` [draws, rows], [draws, groups]."""
        ones = np.ones(values.shape[1])
        return pseudo_values(np.stack([self.sums(np.stack([row, ones], axis=1)) for row in values]), share)

    def without(self, values: Floats) -> tuple[Floats, Floats]:
        """Means of ``values`` [k, rows] over all rows but those of each group, [k, groups], and how many rows those are."""
        sums, rows = self.sums(values.T), np.bincount(self.groups)
        left = len(self.groups) - rows
        return (values.sum(axis=1)[:, None] - sums.T) / left, left.astype(np.float64)


def forecasts(scores: Scores) -> list[Forecast]:
    """Every rule on every pair, and the measured score beside it."""
    return [one for source, target in scores.outcome.plan.pairs for one in _pair(scores, source, target)]


def _pair(scores: Scores, source: str, target: str) -> Iterator[Forecast]:
    outcome = scores.outcome
    inside, outside = scores.starts(source), scores.columns.get(start_of(source, target), {})
    contents = [inside[draw] for draw in sorted(inside.keys() & outside.keys())]
    if not contents:
        return
    own, other = (
        Answers.on(outcome.plan.rows(name), [one for one in answers if one is not None])
        for name in (source, target)
        for answers in [[outcome.answers(content, name) for content in contents]]
    )
    truth = outcome.targets(target)
    metric = outcome.plan.task.measure
    for rule, name, predicted in predict(outcome.targets(source), own, other, metric):
        measured = [find_metric(name).score(truth, draw) for draw in other.probabilities]
        yield Forecast(
            source=source, target=target, rule=rule, metric=name, predicted=predicted, measured=float(np.mean(measured))
        )


def predict(targets: Targets, source: Answers, target: Answers, metric: Metric) -> Iterator[tuple[str, str, Estimate]]:
    """(rule, metric, predicted score) of every rule that can be had. Looks at no target label.

    Means over draws. The interval covers draws and the test groups of both domains (``lowres.stats.variance``), the
    noise of temperature and threshold to first order. It says how well the rule's answer is known, and nothing about
    how right the rule is.

    Args:
        targets: Label positions of the source rows.
        source: Answers on the source rows.
        target: Answers on the target rows, by the same draws.
        metric: The metric of the task. One that is not accuracy is forecast by ``confidence`` only, from the confusion
            matrix that the scaled probabilities expect.
    """
    heats = [temperature(targets, draw) for draw in source.probabilities]
    found: dict[str, Pair] = {
        "confidence": _confidence(targets, heats, source, target),
        "doc": _difference(targets, heats, source, target),
        "atc": _thresholded(targets, source, target),
    }
    for name, (own, other) in found.items():
        both = zip(source.probabilities, target.probabilities, strict=True)
        theta = np.array([rules.FORECASTS[name](targets, before, after) for before, after in both])
        found[name] = own, Block(theta, other.pseudo)
    if 1 < len(heats) <= MOST_AGREEING:
        found["agreement"] = _agreement(targets, source, target)
    found["mean"] = _mean([own for own, _ in found.values()]), _mean([other for _, other in found.values()])
    for name, quantity in found.items():
        yield name, "accuracy", estimate(quantity)
    if metric.name != "accuracy":
        expected = _expected(targets, heats, source, target, metric)
        if expected is not None:
            yield "confidence", metric.name, estimate(expected, metric.bounds)


def accuracy(targets: Targets, answers: Answers) -> Estimate:
    """Measured share of right answers, over draws and test groups."""
    right = np.stack([hits(targets, draw)[:, 0] for draw in answers.probabilities])
    return estimate([Block(right.mean(axis=1), answers.pseudo(right))])


def estimate(quantity: Quantity, bounds: tuple[float, float] = (0.0, 1.0)) -> Estimate:
    """The 95 % interval of a share, or of another score with bounds."""
    return estimate_of(interval(quantity, bounds=bounds))


Pair = tuple[Block, Block]
"""Blocks on the source groups and on the target groups, whose sum is the forecast."""


def _confidence(targets: Targets, heats: list[float], source: Answers, target: Answers) -> Pair:
    pulls = [
        _pull(targets, before, heat) * _slope(functools.partial(_mean_confidence, after), heat)
        for before, after, heat in zip(source.probabilities, target.probabilities, heats, strict=True)
    ]
    return _blocks(source.pseudo(np.stack(pulls)), target.pseudo(_sure(heats, target)))


def _difference(targets: Targets, heats: list[float], source: Answers, target: Answers) -> Pair:
    """As ``_confidence``, with what the mean confidence in the source does to it."""
    right = np.stack([hits(targets, draw)[:, 0] for draw in source.probabilities])
    before, after = _confidence(targets, heats, source, source), _confidence(targets, heats, source, target)
    fall = before[0] + before[1] - after[0]
    return _blocks(source.pseudo(right) - fall.pseudo, after[1].pseudo)


def _thresholded(targets: Targets, source: Answers, target: Answers) -> Pair:
    """To first order: a source row moves the threshold as far as the target's shares move by as much as its own do."""
    ends = [rules.entropy_threshold(targets, draw) for draw in source.probabilities]
    own, other = (
        np.stack([rules.negative_entropy(draw) >= end for draw, end in zip(one.probabilities, ends, strict=True)])
        for one in (source, target)
    )
    right = np.stack([hits(targets, draw)[:, 0] for draw in source.probabilities])
    return _blocks(source.pseudo(right - own), target.pseudo(other.astype(np.float64)))


def _mean(blocks: list[Block]) -> Block:
    return functools.reduce(operator.add, blocks) * (1 / len(blocks))


def _blocks(source: Floats, target: Floats) -> Pair:
    return Block(np.zeros(len(source)), source), Block(np.zeros(len(target)), target)


def _sure(heats: list[float], answers: Answers) -> Floats:
    """Confidence at each draw's temperature, [draws, rows]."""
    return np.stack([scaled(draw, heat).max(axis=1) for draw, heat in zip(answers.probabilities, heats, strict=True)])


def _agreement(targets: Targets, source: Answers, target: Answers) -> Pair:
    """``rules.agreement`` with pseudo-values: everything it needs are shares of rows, and so known without any group."""
    theta = rules.agreement(targets, source.probabilities, target.probabilities)
    right = np.stack([hits(targets, draw)[:, 0] for draw in source.probabilities])
    before, after = _agreeing(source), _agreeing(target)
    lifted = rules.probit(right.mean(axis=1), right.shape[1])[:, None]
    fallen = rules.probit(before.mean(axis=1), before.shape[1]).mean()
    fixed = rules.probit(after.mean(axis=1), after.shape[1]).mean()
    agreed, rows = source.without(before)
    own = rules.probit(source.without(right)[0], rows) + fixed - rules.probit(agreed, rows).mean(axis=0)
    agreed, rows = target.without(after)
    other = lifted + rules.probit(agreed, rows).mean(axis=0) - fallen
    first, second = (
        theta[:, None] + (without.shape[1] - 1) * (theta[:, None] - rules.normal(without)) for without in (own, other)
    )
    return Block(np.zeros(len(theta)), first), Block(theta, second)


def _agreeing(answers: Answers) -> Floats:
    """Whether two draws answer alike, [pairs of draws, rows]."""
    chosen = answers.probabilities.argmax(axis=2)
    return np.stack([chosen[one] == chosen[two] for one, two in combinations(range(len(chosen)), 2)]).astype(np.float64)


def _expected(targets: Targets, heats: list[float], source: Answers, target: Answers, metric: Metric) -> Pair | None:
    """The metric of the confusion matrix that the scaled probabilities expect; None where that takes too much memory."""
    draws, _, classes = target.probabilities.shape
    size = int(target.groups.max()) + 1
    if draws * size * classes**2 > MOST_CELLS:
        return None
    sums = np.zeros((draws, size, classes, classes))
    pulls = []
    for draw, (before, after, heat) in enumerate(zip(source.probabilities, target.probabilities, heats, strict=True)):
        known = scaled(after, heat)
        np.add.at(sums[draw].transpose(0, 2, 1), (target.groups, known.argmax(axis=1)), known)
        slope = _slope(functools.partial(_expected_score, metric, after), heat)
        pulls.append(_pull(targets, before, heat) * slope)
    return Block(np.zeros(draws), source.pseudo(np.stack(pulls))), block(sums.reshape(draws, size, -1), metric.value)


def _mean_confidence(probabilities: Probabilities, heat: float) -> float:
    return float(scaled(probabilities, heat).max(axis=1).mean())


def _expected_score(metric: Metric, probabilities: Probabilities, heat: float) -> float:
    return float(metric.value(rules.expected_sums(scaled(probabilities, heat))))


def _pull(targets: Targets, probabilities: Probabilities, heat: float) -> Floats:
    """How far each row pulls the inverse temperature, times the number of rows, [rows]: the influence function of a
    maximum likelihood estimate, score over information.
    """
    logits = np.log(np.clip(probabilities.astype(np.float64), 1e-12, 1.0))
    known = scaled(probabilities, heat)
    mean = (known * logits).sum(axis=1)
    information = float(((known * logits**2).sum(axis=1) - mean**2).mean())
    score = logits[np.arange(len(targets)), targets] - mean
    return score / information if information > 0 else np.zeros_like(score)


def _slope(value: Callable[[float], float], heat: float) -> float:
    """Derivative of a function of the temperature by the inverse temperature."""
    step = 1e-3 / heat
    return (value(1 / (1 / heat + step)) - value(1 / (1 / heat - step))) / (2 * step)

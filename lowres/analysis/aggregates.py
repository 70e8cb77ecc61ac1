"""Methods over all pairs at once, and rules that pick one without a look at target test labels."""

from __future__ import annotations

import numpy as np

from lowres import seeds
from lowres.analysis.evidence import Aggregate, Choice
from lowres.analysis.measure import Column, Scores, column_of, methods_by_budget, reference
from lowres.analysis.summary import Estimate
from lowres.scoring.forecasts import confidence
from lowres.stats.paired import interquartile_mean, interquartile_means, probability_of_improvement
from lowres.stats.variance import Floats

LEAST_DRAWS = 3
RESAMPLES = 1000


def aggregates(scores: Scores) -> list[Aggregate]:
    """Each method and budget over all pairs that it was finished on, as Agarwal et al. 2021 (arXiv 2108.13264) propose.

    95 % percentile intervals by their stratified bootstrap: draws are resampled within each pair. That covers the draws
    of these pairs and nothing else: not other test rows, not other domains; pairs that share fits, test rows and draws
    are treated as independent; and with five draws it is too narrow (``docs/statistics.md``: it holds the truth in 80 %
    or less where draws matter). Verdicts never rest on it. Below three draws nothing is given.
    """
    plan = scores.outcome.plan
    found = []
    for method, shots in methods_by_budget(scores):
        if shots is None:
            continue
        pairs = [pair for pair in plan.pairs if column_of(method, *pair, shots) in scores.columns]
        own = [column_of(method, *pair, shots) for pair in pairs]
        values = _draws(scores, own)
        if values is None or values.shape[1] < LEAST_DRAWS:
            continue
        resampled = _resampled(values, "method", method, shots)
        against, improvement = reference(shots), None
        other = _draws(scores, [column_of(against, *pair, shots) for pair in pairs]) if method != against else None
        if other is not None and other.shape[1] >= LEAST_DRAWS:
            again = zip(resampled, _resampled(other, "reference", method, shots), strict=True)
            improvement = _estimate(
                probability_of_improvement(values, other),
                np.array([probability_of_improvement(one, two) for one, two in again]),
            )
        found.append(
            Aggregate(
                method=method,
                shots=shots,
                interquartile_mean=_estimate(interquartile_mean(values), interquartile_means(resampled)),
                against=against if improvement else None,
                improvement=improvement,
            )
        )
    return found


def choices(scores: Scores) -> list[Choice]:
    """What each rule picks on every pair and budget with two methods or more, and what it loses to the best measured.

    ``forecast`` takes the method whose draws are surest of the target's texts, mean confidence; at the temperature of
    the source where its fits were tested there, else as they are. ``always source-then-target`` takes that one
    wherever it was measured. The best is the best mean *measured*, so that regret is a little too high for every rule.
    """
    found = []
    for source, target in scores.outcome.plan.pairs:
        for shots in sorted(scores.outcome.plan.config.shots):
            columns = {
                method: column_of(method, source, target, shots)
                for method, budget in methods_by_budget(scores)
                if budget == shots and column_of(method, source, target, shots) in scores.columns
            }
            values = _draws(scores, list(columns.values()))
            if values is None or len(columns) < 2:
                continue
            means = dict(zip(columns, values.mean(axis=1).tolist(), strict=True))
            best = max(means, key=lambda method: means[method])
            sure = {method: _sureness(scores, column, source) for method, column in columns.items()}
            picks = {"forecast": max(sure, key=lambda method: sure[method])}
            if "source-then-target" in means:
                picks["always source-then-target"] = "source-then-target"
            found += [
                Choice(
                    rule=rule, source=source, target=target, shots=shots, picked=picked, best=best, regret=means[best] - means[picked]
                )
                for rule, picked in picks.items()
            ]  # fmt: skip
    return found


def _sureness(scores: Scores, column: Column, source: str) -> float:
    """Mean confidence of a method's draws on the target's test texts; labels of the source only."""
    outcome, truth = scores.outcome, scores.outcome.targets(source)
    each = []
    for content in scores.columns[column].values():
        answers = outcome.probabilities[content, column[2]]
        inside = outcome.answers(content, source)
        each.append(float(answers.max(axis=1).mean()) if inside is None else confidence(truth, inside, answers))
    return float(np.mean(each))


def _draws(scores: Scores, columns: list[Column]) -> Floats | None:
    """Scores over common draws, [columns, draws]."""
    blocks = scores.blocks(columns)
    return None if blocks is None else np.stack([one.theta for one in blocks])


def _resampled(values: Floats, *name: object) -> Floats:
    """Draws drawn again within each pair, [RESAMPLES, pairs, draws]."""
    rng = seeds.generator("aggregate", *name)
    picks = rng.integers(values.shape[1], size=(RESAMPLES, *values.shape))
    return np.take_along_axis(np.broadcast_to(values, picks.shape), picks, axis=2)


def _estimate(mean: float, again: Floats) -> Estimate:
    low, high = np.percentile(again, [2.5, 97.5])
    return Estimate(mean=mean, low=float(min(low, mean)), high=float(max(high, mean)))

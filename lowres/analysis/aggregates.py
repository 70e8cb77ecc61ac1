"""Methods over all pairs at once, and rules that pick one without a look at target test labels."""

from __future__ import annotations

import numpy as np

from lowres.analysis.evidence import Aggregate, Choice
from lowres.analysis.measure import Column, Scores, column_of, estimate_of, methods_by_budget, reference
from lowres.analysis.source_dev import SourceDev
from lowres.scoring.forecasts import confidence
from lowres.stats.pooled import improvement_interval, interquartile_interval
from lowres.stats.variance import Floats

LEAST_DRAWS = 3


def aggregates(scores: Scores) -> list[Aggregate]:
    """Each method and budget over all pairs that it was finished on, as Agarwal et al. 2021 (arXiv 2108.13264) propose.

    Their intervals are not the bootstrap over draws of that paper, which is far too narrow (``docs/statistics.md``), but
    cover draws and test groups (``lowres.stats.pooled``). They speak of these domains. Below three draws nothing is given.
    """
    plan = scores.outcome.plan
    bounds = plan.task.measure.bounds
    found = []
    for method, shots in methods_by_budget(scores):
        if shots is None:
            continue
        pairs = [pair for pair in plan.pairs if column_of(method, *pair, shots) in scores.columns]
        targets = [target for _, target in pairs]
        own = [column_of(method, *pair, shots) for pair in pairs]
        blocks = scores.blocks(own)
        if blocks is None or len(blocks[0].theta) < LEAST_DRAWS:
            continue
        against, improvement = reference(shots), None
        other = [column_of(against, *pair, shots) for pair in pairs]
        both = scores.blocks([*own, *other]) if method != against else None
        if both is not None and len(both[0].theta) >= LEAST_DRAWS:
            alike = zip(targets, both[: len(own)], both[len(own) :], strict=True)
            improvement = estimate_of(improvement_interval(list(alike)))
        inner = interquartile_interval(list(zip(targets, blocks, strict=True)), bounds=bounds)
        found.append(
            Aggregate(
                method=method,
                shots=shots,
                interquartile_mean=estimate_of(inner),
                against=against if improvement else None,
                improvement=improvement,
            )
        )
    return found


def choices(scores: Scores, dev: SourceDev | None = None) -> list[Choice]:
    """What each rule picks on every pair and budget with two methods or more, and what it loses to the best measured.

    ``forecast`` takes the method whose draws are surest of the target's texts, mean confidence; at the temperature of
    the source where its fits were tested there, else as they are. ``source dev`` takes the best on dev rows of the
    source among the methods that use it, where there are two. ``always source-then-target`` takes that one
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
            by_source = dev.best(columns, source) if dev is not None else None
            if by_source is not None:
                picks["source dev"] = by_source
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

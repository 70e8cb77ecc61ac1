"""Whether a confidence tells the rows of a target from rows that belong to no class of the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lowres.analysis.evidence import Outside
from lowres.analysis.measure import Column, Scores, estimate_of
from lowres.data.rows import Rows
from lowres.data.splits import limit_test
from lowres.scoring.detection import confidences, placements, recall_at_precision
from lowres.scoring.metric import Floats
from lowres.scoring.metrics import share
from lowres.stats.variance import Interval, block, group_sums, interval, two_samples
from lowres.study.runner import answer
from lowres.study.store import Store
from lowres.training.fit import Engine

PRECISION = 0.95
"""Share of the flagged rows that have to be out of scope."""


def outside(scores: Scores, engine: Engine, store: Store) -> list[Outside]:
    """Every method and budget on every pair, where the task has rows out of scope.

    Asks the kept fits of the study's cells about those rows, at most ``limit`` of them; the answers stay in the store.
    """
    plan = scores.outcome.plan
    if plan.task.outside is None:
        return []
    rows = limit_test(plan.task.name, plan.task.outside, plan.config.limit)
    return [_measured(scores, column, rows, engine, store) for column in _columns(scores)]


def _columns(scores: Scores) -> Iterator[Column]:
    """All but those of a model in its own source."""
    origins = scores.outcome.plan.origins
    for column in scores.columns:
        _, source, target, _ = column
        if source is None or target not in origins.members(source):
            yield column


def _measured(scores: Scores, column: Column, rows: Rows, engine: Engine, store: Store) -> Outside:
    outcome, (method, source, target, shots) = scores.outcome, column
    tests, inner, outer = outcome.plan.test_rows[target], list[Floats](), list[Floats]()
    for _, content in sorted(scores.columns[column].items()):
        fit = outcome.plan.distinct[content]
        answers = answer(fit, outcome.environment, engine, store, rows, outcome.plan.task.labels)
        inner.append(confidences(outcome.probabilities[content, target]))
        outer.append(confidences(answers))
    recalls = [recall_at_precision(*both, PRECISION) for both in zip(inner, outer, strict=True)]
    found = auroc_interval(inner, outer, tests.groups, rows.groups)
    return Outside(
        method=method,
        source=source,
        target=target,
        shots=shots,
        rows=len(rows),
        prevalence=len(rows) / (len(rows) + len(tests)),
        auroc=estimate_of(found) if found else None,
        precision=PRECISION,
        recall=float(np.mean(recalls)),
        lowest=min(recalls),
        highest=max(recalls),
        reason=None if found else "one group of rows inside or outside, two of either are needed",
    )


def auroc_interval(
    inner: Sequence[Floats], outer: Sequence[Floats], inside: Sequence[str], outside: Sequence[str]
) -> Interval | None:
    """The AUROC over draws and groups of both sides; None where a side has one group.

    Args:
        inner: Confidences in the rows inside by draw, each [rows inside].
        outer: Confidences in the rows outside by draw, each [rows outside].
        inside: The group of each row inside.
        outside: The group of each row outside.
    """
    if min(len(set(inside)), len(set(outside))) < 2:
        return None
    placed = [placements(*both) for both in zip(inner, outer, strict=True)]
    blocks = [
        block(np.stack([_sums(sides[side], groups) for sides in placed]), share)
        for side, groups in enumerate((inside, outside))
    ]
    return interval(two_samples(*blocks), bounds=(0.0, 1.0))


def _sums(placed: Floats, groups: Sequence[str]) -> Floats:
    """Sum of the placements and rows of each group, [groups, 2]."""
    _, position = np.unique(np.array(groups), return_inverse=True)
    return group_sums(np.stack([placed, np.ones(len(placed))], axis=1), position)

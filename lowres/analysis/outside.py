"""Whether a confidence tells the rows of a target from rows that belong to no class of the task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
    outcome, columns = scores.outcome, list(_columns(scores))
    plan, labels = outcome.plan, outcome.plan.task.labels
    if plan.task.outside is None:
        return []
    rows = limit_test(plan.task.name, plan.task.outside, plan.config.limit)
    contents = dict.fromkeys(content for column in columns for content in scores.columns[column].values())
    outer = {
        content: confidences(answer(plan.distinct[content], outcome.environment, engine, store, rows, labels))
        for content in contents
    }
    return [_measured(scores, column, rows, outer) for column in columns]


def _columns(scores: Scores) -> Iterator[Column]:
    """All but those of a model in its own source."""
    origins = scores.outcome.plan.origins
    for column in scores.columns:
        _, source, target, _ = column
        if source is None or target not in origins.members(source):
            yield column


def _measured(scores: Scores, column: Column, rows: Rows, outer: Mapping[str, Floats]) -> Outside:
    """One column; ``outer``: confidences in the rows out of scope by content of the fit."""
    method, source, target, shots = column
    tests = scores.outcome.plan.test_rows[target]
    contents = [content for _, content in sorted(scores.columns[column].items())]
    inside = [confidences(scores.outcome.probabilities[content, target]) for content in contents]
    outside = [outer[content] for content in contents]
    recalls = [recall_at_precision(*both, PRECISION) for both in zip(inside, outside, strict=True)]
    found = auroc_interval(inside, outside, tests.groups, rows.groups)
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
    inside: Sequence[Floats], outside: Sequence[Floats], groups: Sequence[str], outer_groups: Sequence[str]
) -> Interval | None:
    """The AUROC over draws and groups of both sides; None where a side has one group.

    Args:
        inside: Confidences in the rows inside by draw, each [rows inside].
        outside: Confidences in the rows outside by draw, each [rows outside].
        groups: The group of each row inside.
        outer_groups: The group of each row outside.
    """
    if min(len(set(groups)), len(set(outer_groups))) < 2:
        return None
    own, other = zip(*(placements(*both) for both in zip(inside, outside, strict=True)), strict=True)
    first, second = (
        block(np.stack([_sums(placed, of) for placed in side]), share)
        for side, of in ((own, groups), (other, outer_groups))
    )
    return interval(two_samples(first, second), bounds=(0.0, 1.0))


def _sums(placed: Floats, groups: Sequence[str]) -> Floats:
    """Sum of the placements and rows of each group, [groups, 2]."""
    _, position = np.unique(np.array(groups), return_inverse=True)
    return group_sums(np.stack([placed, np.ones(len(placed))], axis=1), position)

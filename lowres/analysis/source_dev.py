"""Scores of a study's fits on dev rows of their source, by which a rule picks a method without target labels."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from lowres.analysis.measure import Column, Scores
from lowres.data.rows import Rows, pooled
from lowres.data.splits import limit_test
from lowres.methods.catalogue import METHODS
from lowres.study.runner import answer, truth
from lowres.study.store import Store
from lowres.training.fit import Engine

MOST_ROWS = 100
"""Dev rows of a source that each fit is asked: a few percent of what training and testing it took."""


@dataclass(frozen=True)
class SourceDev:
    """Asks kept fits that were trained with a source on at most 100 of its dev rows; answers are kept in the store."""

    scores: Scores
    engine: Engine
    store: Store
    _rows: dict[str, Rows] = field(default_factory=dict)

    def best(self, columns: dict[str, Column], source: str) -> str | None:
        """Of the methods that use the source the one with the best mean there; None with fewer than two, or no dev rows."""
        asked = {method: column for method, column in columns.items() if METHODS[method].uses_source}
        rows = self._rows_of(source)
        if len(asked) < 2 or not len(rows):
            return None
        means = {method: self._mean(column, rows) for method, column in asked.items()}
        return max(means, key=lambda method: means[method])

    def _mean(self, column: Column, rows: Rows) -> float:
        """Mean score of a column's draws on rows of its source."""
        outcome = self.scores.outcome
        plan, metric = outcome.plan, outcome.plan.task.measure
        wanted = truth(rows, plan.task.labels)
        each = [
            metric.score(
                wanted,
                answer(plan.distinct[content], outcome.environment, self.engine, self.store, rows, plan.task.labels),
            )
            for content in self.scores.columns[column].values()
        ]
        return float(np.mean(each))

    def _rows_of(self, source: str) -> Rows:
        if source not in self._rows:
            plan = self.scores.outcome.plan
            members = plan.origins.members(source)
            most = MOST_ROWS // len(members)
            rows = [limit_test(plan.task.name, plan.task.domains[name].dev, most) for name in members]
            self._rows[source] = pooled(source, rows)
        return self._rows[source]

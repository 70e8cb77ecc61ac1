"""One number of a study, and the rows that its method may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.training.fit import Fit, Part
from lowres.training.recipe import BY_GRADIENT, CrossEntropy, LoRA, Objective, Recipe, Words


@dataclass(frozen=True)
class Cell:
    """(task, source, target, shots, method, draw). Source None: the method uses none; shots None: all of the pool."""

    task: str
    source: str | None
    target: str
    shots: int | None
    method: str
    draw: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON-like data."""
        return {
            "task": self.task,
            "source": self.source,
            "target": self.target,
            "shots": self.shots,
            "method": self.method,
            "draw": self.draw,
        }


@dataclass(frozen=True)
class Settings:
    """What all fits of a study share."""

    row_cap: int
    adapter: LoRA = field(default_factory=LoRA)
    recipe: Recipe = field(default_factory=Recipe)


@dataclass(frozen=True)
class Bench:
    """A cell with its rows within reach: what a method works on.

    It holds training rows only: no way leads to a test or dev row, and to target labels only through the shots (or, for
    the ceiling, the pool).
    """

    cell: Cell
    train: Mapping[str, Rows]
    """Training rows by domain."""
    labels: tuple[str, ...]
    settings: Settings

    @property
    def source_train(self) -> Rows:
        """S: labelled rows of the source, up to the row cap."""
        assert self.cell.source is not None
        return self._capped(self.cell.source)

    @property
    def target_pool(self) -> Rows:
        """As many labelled rows of the target as a source fit has: only for the ceiling."""
        return self._capped(self.cell.target)

    @property
    def target_shots(self) -> Rows:
        """T: so many labelled rows per class of the target; none at 0 shots."""
        return splits.shots(self.cell.task, self.train[self.cell.target], self.cell.shots or 0, self.cell.draw)

    @property
    def source_and_shots(self) -> tuple[Rows, ...]:
        """S and T; at 0 shots S alone."""
        return (self.source_train, self.target_shots) if self.cell.shots else (self.source_train,)

    def fit(self, *rows: Rows, start: Fit | Words | None = None, objective: Objective | None = None) -> Fit:
        """A fit on these rows with the study's adapter and recipe.

        Args:
            rows: One or more sets of rows; each has the same share of the loss.
            start: Another fit, or words; None: the backbone.
            objective: None: cross-entropy. Those without gradients leave the backbone frozen.
        """
        objective = objective or CrossEntropy()
        return Fit(
            parts=tuple(Part(part) for part in rows),
            labels=self.labels,
            task=self.cell.task,
            draw=self.cell.draw,
            start=start,
            objective=objective,
            adapter=self.settings.adapter if isinstance(objective, BY_GRADIENT) else None,
            recipe=self.settings.recipe,
        )

    def _capped(self, domain: str) -> Rows:
        return splits.cap(self.cell.task, self.train[domain], self.settings.row_cap, self.cell.draw)

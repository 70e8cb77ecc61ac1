"""One number of a study, and the rows that its method may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.training.fit import CrossEntropy, Fit, LoRA, Objective, Part, Recipe, Words

if TYPE_CHECKING:
    from lowres.data.task import Task


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

    It gives no way to a test or dev row, and to target labels only through the shots (or, for the ceiling, the pool).
    """

    cell: Cell
    task: Task
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
        return splits.shots(
            self.task.name, self.task.domains[self.cell.target].train, self.cell.shots or 0, self.cell.draw
        )

    @property
    def source_and_shots(self) -> tuple[Rows, ...]:
        """S and T; at 0 shots S alone."""
        return (self.source_train, self.target_shots) if self.cell.shots else (self.source_train,)

    def fit(
        self,
        *rows: Rows | Part,
        start: Fit | Words | None = None,
        objective: Objective | None = None,
        frozen: bool = False,
    ) -> Fit:
        """A fit on these rows with the study's adapter and recipe.

        Args:
            rows: One or more sets of rows; each has the same share of the loss unless given as a part.
            start: Another fit, or words; None: the backbone.
            objective: None: cross-entropy by gradient descent.
            frozen: Whether the backbone stays as it is.
        """
        closed = objective is not None and not isinstance(objective, CrossEntropy)
        return Fit(
            parts=tuple(part if isinstance(part, Part) else Part(part) for part in rows),
            labels=self.task.labels,
            task=self.task.name,
            draw=self.cell.draw,
            start=start,
            objective=objective or CrossEntropy(),
            adapter=None if frozen or closed else self.settings.adapter,
            recipe=self.settings.recipe,
        )

    def _capped(self, domain: str) -> Rows:
        return splits.cap(self.task.name, self.task.domains[domain].train, self.settings.row_cap, self.cell.draw)

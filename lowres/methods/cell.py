"""One number of a study, and the rows that its method may use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lowres.data import splits
from lowres.data.hints import Hints
from lowres.data.rows import Rows
from lowres.errors import UserError
from lowres.methods.settings import MethodSettings
from lowres.training.fit import Fit, Part
from lowres.training.picks import PseudoLabels, Rules
from lowres.training.recipe import BY_GRADIENT, Adapter, Average, CrossEntropy, LoRA, Objective, Recipe, Words


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
    adapter: Adapter = field(default_factory=LoRA)
    recipe: Recipe = field(default_factory=Recipe)
    method: MethodSettings = field(default_factory=MethodSettings)
    lm_head: bool = False
    """Whether the backbone has its masked-LM head; looked up where a method asks for it."""


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
    sources: tuple[str, ...] = ()
    """Domains whose labels may be used, the target among them only for itself as a source."""
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sources that are made of several domains."""
    hints: Hints = field(default_factory=Hints)
    """What the task file says of the labels."""
    held_out: frozenset[str] = frozenset()
    """Ids of shots that a fit is scored on: it sees them neither with nor without their labels."""
    labels_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The labels of each domain, where domains differ in them: a fit has those that it has seen."""

    @property
    def source_train(self) -> tuple[Part, ...]:
        """S: labelled rows of the source, up to the row cap."""
        assert self.cell.source is not None
        return self.domain_train(self.cell.source)

    @property
    def target_pool(self) -> tuple[Part, ...]:
        """As many labelled rows of the target as a source fit has: only for the ceiling."""
        return self.domain_train(self.cell.target)

    @property
    def target_shots(self) -> tuple[Part, ...]:
        """T: so many labelled rows per class of the target; none at 0 shots."""
        return (Part(self._kept(self.all_shots)),) if self.cell.shots else ()

    @property
    def all_shots(self) -> Rows:
        """The target shots, those that are held out among them."""
        return splits.shots(self.cell.task, self.train[self.cell.target], self.cell.shots or 0, self.cell.draw)

    @property
    def source_and_shots(self) -> tuple[Part, ...]:
        """S and T, the same share each; at 0 shots S alone."""
        return (*self.source_train, *self.target_shots)

    @property
    def target_unlabelled(self) -> Rows:
        """U: rows of the target pool without their labels, up to the row cap; the shots are not among them."""
        shots = set(self.all_shots.ids) if self.cell.shots else set()
        pool = self._capped(self.cell.target).without_labels()
        places = [place for place, row in enumerate(pool.ids) if row not in shots]
        if not places:
            raise UserError(
                f"{self.cell.method} looks at unlabelled rows of {self.cell.target}, and none are left",
                got=f"{len(pool)} rows, all among the shots",
                expected="more rows than shots",
                hint="fewer --shots, or more --source-rows",
            )
        return pool.take(places)

    def guessed(self, teacher: Fit, share: float = PseudoLabels.share) -> Part:
        """U, labelled by another fit; where domains differ in labels, with those of the shots alone."""
        own = self.labels_of.get(self.cell.target, ()) if self.cell.shots else ()
        among = () if set(teacher.labels) <= set(own) else own
        return Part(self.target_unlabelled, by=PseudoLabels(teacher, share, among))

    @property
    def label_texts(self) -> tuple[Part, ...]:
        """Names: one text a label, its description in the task file or its name in words."""
        return (Part(self.hints.texts(self.labels)),)

    @property
    def ruled(self) -> Part:
        """U, of which the keywords of the task file label a part; the labels of T only tell how well they do.

        Raises:
            UserError: A label has no keywords, or none of them is in any of the rows.
        """
        missing = [label for label in self.labels if label not in self.hints.keywords]
        if missing:
            raise UserError(
                f"{self.cell.method} needs the field keywords in the task file: words that speak for each label",
                got=f"none for {', '.join(missing)}",
                expected="keywords: {LABEL: [word, a longer phrase]}",
                hint="lowres tasks show vader-sentiment has some; lowres tasks init writes a task file for a table",
            )
        rows = self.target_unlabelled
        rules = Rules.read(self.hints, rows, self.labels, [part.rows for part in self.target_shots])
        unmet = [label for label in self.labels if label not in rules.labels]
        if unmet and not (self.labels_of and len(self.labels) - len(unmet) > 1):
            raise UserError(
                f"{self.cell.method}: the keywords of {', '.join(unmet)} label no unlabelled row of {rows.domain}",
                got=f"{len(rows)} rows in draw {self.cell.draw}, {rules.coverage:.0%} of them with a keyword",
                hint="give that label more common words under keywords in the task file",
            )
        return Part(rows, by=rules)

    @property
    def others(self) -> tuple[str, ...]:
        """The sources other than the target.

        Raises:
            UserError: There are fewer than two.
        """
        found = tuple(name for name in self.sources if name != self.cell.target)
        if len(found) < 2:
            raise UserError(
                f"{self.cell.method} learns from several domains",
                got=f"source {', '.join(found) or 'none'} for target {self.cell.target}",
                expected="two or more sources",
                hint=f"lowres run … --methods {self.cell.method} --source A,B",
            )
        return found

    def domain_train(self, source: str) -> tuple[Part, ...]:
        """Labelled rows of a source, up to the row cap; of a set so many in all, each domain with the same share."""
        members = self.sets.get(source, (source,))
        each, left = divmod(self.settings.row_cap, len(members))
        rows = (self._capped(name, each + (place < left)) for place, name in enumerate(members))
        return shared([Part(one) for one in rows], 1.0)

    def window(self, domain: str, shots: int, number: int) -> tuple[Part, ...]:
        """The ``number``-th (from 0) so many rows per class of a source, beginning anew where its rows end."""
        rows = self._capped(domain)
        places = [
            own[(number * shots + np.arange(min(shots, len(own)))) % len(own)] for own in rows.by_label().values()
        ]
        return (Part(rows.take(np.sort(np.concatenate(places)))),)

    def fit(
        self,
        parts: Sequence[Part],
        *,
        start: Fit | Words | None = None,
        objective: Objective | None = None,
        adapter: Adapter | None = None,
        labels: tuple[str, ...] | None = None,
        draw: int | None = None,
        **changes: Any,
    ) -> Fit:
        """A fit on these rows with the study's adapter and recipe.

        Args:
            parts: Rows and their shares of the loss.
            start: Another fit, or words; None: the backbone.
            objective: None: cross-entropy. Those without gradients leave the backbone, or the adapter of the start, as it is.
            adapter: None: the study's.
            labels: None: those of the task; where its domains differ in them, those that this fit has seen.
            draw: None: the cell's own; for a stage that all draws share, a fixed one.
            changes: Fields of the recipe that differ from the study's.
        """
        objective = objective or CrossEntropy()
        adapter = (adapter or self.settings.adapter) if isinstance(objective, BY_GRADIENT) else None
        if isinstance(start, Fit) and start.adapter is not None:
            adapter = start.adapter
        return Fit(
            parts=tuple(parts),
            labels=labels or self._seen(parts, start),
            task=self.cell.task,
            draw=self.cell.draw if draw is None else draw,
            start=start,
            objective=objective,
            adapter=adapter,
            recipe=replace(self.settings.recipe, **changes),
        )

    def mean(self, ingredients: Sequence[Fit], weights: Sequence[float] = (), of: str = "update") -> Fit:
        """The average of fits; without weights each counts the same. See ``Average`` for ``of``.

        Raises:
            UserError: The study's adapter is not plain LoRA, of whose updates alone the average is known.
        """
        first = ingredients[0]
        if not isinstance(first.adapter, LoRA):
            raise UserError(
                f"{self.cell.method} averages the updates of plain LoRA",
                got=f"--adapter {type(first.adapter).__name__.lower()}",
                expected="--adapter lora, or --methods without it",
            )
        times = len(ingredients) if of == "update" else 1
        return Fit(
            parts=(),
            labels=tuple(label for label in self.labels if any(label in one.labels for one in ingredients)),
            task=self.cell.task,
            draw=self.cell.draw,
            objective=Average(tuple(weights) or (1 / len(ingredients),) * len(ingredients), of),
            adapter=replace(first.adapter, rank=times * first.adapter.rank, alpha=times * first.adapter.alpha),
            recipe=first.recipe,
            ingredients=tuple(ingredients),
        )

    def _seen(self, parts: Sequence[Part], start: Fit | Words | None) -> tuple[str, ...]:
        """Labels of the domains whose labelled rows these are, or that other fits or rules give, and of the head that goes
        on; all where nothing is labelled. No row's own label is looked at.
        """
        if not self.labels_of:
            return self.labels
        seen = set(start.labels) if isinstance(start, Fit) and start.has_head else set[str]()
        for part in parts:
            if isinstance(part.by, PseudoLabels | Rules):
                seen |= set(part.by.labels)
            elif not part.rows.unlabelled:
                seen |= set(self.labels_of.get(part.rows.domain, part.rows.labels))
        return tuple(label for label in self.labels if label in seen) or self.labels

    def domain_texts(self, domain: str) -> Rows:
        """Rows of a domain without their labels, up to the row cap, the same ones in every draw."""
        return (
            self._kept(splits.cap(self.cell.task, self.train[domain], self.settings.row_cap, 0))
            .without_labels()
            .plain()
        )

    def _kept(self, rows: Rows) -> Rows:
        if not self.held_out:
            return rows
        return rows.take([place for place, row in enumerate(rows.ids) if row not in self.held_out])

    def _capped(self, domain: str, rows: int | None = None) -> Rows:
        return splits.cap(
            self.cell.task, self.train[domain], self.settings.row_cap if rows is None else rows, self.cell.draw
        )


def shared(parts: Sequence[Part], share: float) -> tuple[Part, ...]:
    """Parts that have this share together."""
    total = sum(part.share for part in parts)
    return tuple(replace(part, share=share * part.share / total) for part in parts)

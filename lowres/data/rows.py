"""Rows of one domain, kept in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.mapped import chosen
from lowres.kinds import KINDS, is_words, readable, words_of

Positions = npt.NDArray[np.int64]

UNLABELLED = ""
"""The label of a row whose label is not known or not to be looked at."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts of one domain with ids, labels by name, and groups.

    ``ids`` are unique over all domains of a task. ``groups`` is what is resampled together (review, document); a row
    that belongs to nothing larger has its own id there. A label is one string: of words their tags, of a text with any
    number of labels all of them, each as ``join_words`` writes them; of a regression a number.
    """

    domain: str
    ids: tuple[str, ...]
    texts: Sequence[str]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    kind: str = "classification"
    """One of ``KINDS``."""

    def __post_init__(self) -> None:
        sizes = {len(self.ids), len(self.texts), len(self.labels), len(self.groups)}
        if len(sizes) != 1:
            raise ValueError(f"columns of different lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Iterable[int] | Positions) -> Rows:
        """The rows at these positions, in this order."""
        places = [int(position) for position in positions]
        return replace(
            self,
            ids=tuple(self.ids[place] for place in places),
            texts=chosen(self.texts, places),
            labels=tuple(self.labels[place] for place in places),
            groups=tuple(self.groups[place] for place in places),
        )

    def without(self, positions: Iterable[int] | Positions) -> Rows:
        """The rows that are neither at these positions nor of a group with one that is."""
        gone = {self.groups[int(position)] for position in positions}
        if not gone:
            return self
        return self.take([place for place, group in enumerate(self.groups) if group not in gone])

    @cached_property
    def unlabelled(self) -> bool:
        """Whether no row has a label."""
        return not any(self.labels)

    def labelled(self, labels: Sequence[str]) -> Rows:
        """The same rows with other labels."""
        return replace(self, labels=tuple(labels))

    def without_labels(self) -> Rows:
        """The same rows, their labels out of reach."""
        return self.labelled([UNLABELLED] * len(self))

    def plain(self) -> Rows:
        """Rows of words as texts, for what looks at texts alone; others as they are."""
        if KINDS[self.kind].unit == "text":
            return self
        return replace(self, texts=[readable(text) for text in self.texts], kind="classification")

    @cached_property
    def fingerprint(self) -> str:
        """Hash of (id, text, label) in order: the content, never a file or path."""
        return seeds.digest_lists("rows", self.ids, self.texts, self.labels)

    def by_label(self) -> dict[str, Positions]:
        """Ascending positions of the rows with each label that occurs, labels sorted by name; of tags, and of texts with
        several labels, a row stands at each of its own.
        """
        found: dict[str, list[int]] = {}
        for position, label in enumerate(self.labels):
            for one in dict.fromkeys(words_of(label)) if is_words(label) else (label,):
                found.setdefault(one, []).append(position)
        return {label: np.array(found[label], dtype=np.int64) for label in sorted(found)}

    @cached_property
    def sizes(self) -> Positions:
        """How many units with an answer of their own each row has: its words, or 1, [rows]."""
        return np.ones(len(self), dtype=np.int64) if KINDS[self.kind].unit == "text" else unit_sizes(self.texts)

    @property
    def units(self) -> int:
        """Units of all rows."""
        return int(self.sizes.sum())

    @property
    def unit_groups(self) -> npt.NDArray[np.str_]:
        """The group of each unit, [units]."""
        return np.repeat(np.array(self.groups), self.sizes)

    def targets(self, labels: Sequence[str]) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
        """What a model of these labels should say; of a row without a label 0.

        Positions of labels, [units]; of a kind with any number of labels 1 for each that a row has, [rows, labels]; of a
        regression, whose labels are the ends of its scale, the place between them, 0 … 1, [rows].
        """
        position = {label: index for index, label in enumerate(labels)}
        answer = KINDS[self.kind].answer
        if answer == "value":
            low, high = map(float, labels)
            return np.array([(float(label or low) - low) / (high - low) for label in self.labels], dtype=np.float32)
        if answer == "many":
            made = np.zeros((len(self), len(labels)), dtype=np.float32)
            for row, label in enumerate(self.labels):
                made[row, [position[one] for one in words_of(label)]] = 1.0
            return made
        if KINDS[self.kind].unit == "text":
            return np.array([position[label] if label else 0 for label in self.labels], dtype=np.int64)
        tags = (
            words_of(label) if label else [labels[0]] * size
            for label, size in zip(self.labels, self.sizes, strict=True)
        )
        made = np.array([position[tag] for row in tags for tag in row], dtype=np.int64)
        if len(made) != self.units:
            raise ValueError(f"{self.units} words, {len(made)} tags")
        return made


def unit_sizes(texts: Sequence[str]) -> Positions:
    """How many units each text has: its words, where it is a list of them, or 1, [texts]."""
    return np.array([len(words_of(text)) if is_words(text) else 1 for text in texts], dtype=np.int64)


class Spread:
    """Where the units of rows lie, when all units stand one after another.

    Args:
        sizes: Units of each row.
    """

    def __init__(self, sizes: Sequence[int] | Positions) -> None:
        self.sizes = np.asarray(sizes, dtype=np.int64)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def units(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The units of some rows, in their order."""
        begins, sizes = self.starts[rows], self.sizes[rows]
        inner = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(np.repeat(begins, sizes) + inner)


def pooled(name: str, parts: Sequence[Rows]) -> Rows:
    """Rows of several domains under one name, groups of two domains apart; of a single domain, its rows as they are."""
    if len(parts) == 1:
        return parts[0]
    return Rows(
        name,
        tuple(row for part in parts for row in part.ids),
        tuple(text for part in parts for text in part.texts),
        tuple(label for part in parts for label in part.labels),
        tuple(f"{place}:{group}" for place, part in enumerate(parts) for group in part.groups),
        parts[0].kind,
    )

"""Rows of one domain, kept in columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.mapped import chosen

Positions = npt.NDArray[np.int64]

UNLABELLED = ""
"""The label of a row whose label is not known or not to be looked at."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Texts of one domain with ids, labels by name, and groups.

    ``ids`` are unique over all domains of a task. ``groups`` is what is resampled together (review, document); a row
    that belongs to nothing larger has its own id there.
    """

    domain: str
    ids: tuple[str, ...]
    texts: Sequence[str]
    labels: tuple[str, ...]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        sizes = {len(self.ids), len(self.texts), len(self.labels), len(self.groups)}
        if len(sizes) != 1:
            raise ValueError(f"columns of different lengths: {sorted(sizes)}")

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, positions: Iterable[int] | Positions) -> Rows:
        """The rows at these positions, in this order."""
        places = [int(position) for position in positions]
        return Rows(
            self.domain,
            tuple(self.ids[place] for place in places),
            chosen(self.texts, places),
            tuple(self.labels[place] for place in places),
            tuple(self.groups[place] for place in places),
        )

    @cached_property
    def unlabelled(self) -> bool:
        """Whether no row has a label."""
        return not any(self.labels)

    def labelled(self, labels: Sequence[str]) -> Rows:
        """The same rows with other labels."""
        return Rows(self.domain, self.ids, self.texts, tuple(labels), self.groups)

    def without_labels(self) -> Rows:
        """The same rows, their labels out of reach."""
        return self.labelled([UNLABELLED] * len(self))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of (id, text, label) in order: the content, never a file or path."""
        return seeds.digest_lists("rows", self.ids, self.texts, self.labels)

    def by_label(self) -> dict[str, Positions]:
        """Ascending positions of each label that occurs, labels sorted by name."""
        found: dict[str, list[int]] = {}
        for position, label in enumerate(self.labels):
            found.setdefault(label, []).append(position)
        return {label: np.array(found[label], dtype=np.int64) for label in sorted(found)}


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
    )

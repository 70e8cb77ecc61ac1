"""Rows that rules decide on: keywords of a task file, counted before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lowres import seeds
from lowres.data.hints import Hints, covered, labels_by_vote
from lowres.data.rows import Rows
from lowres.training.fit import Check

LEAST_COVERAGE, LEAST_AGREEMENT = 0.05, 0.5


@dataclass(frozen=True, eq=False)
class Rules:
    """Rows labelled by keywords: each gets the label that most of them speak for; a tie, or no keyword, leaves it out."""

    labels: tuple[str, ...]
    """What each row of the part is given; nothing where it is left out."""
    coverage: float
    """Share of the rows with a keyword."""
    agreement: float
    """Share of those whose keywords all speak for one label."""
    accuracy: float | None
    """Mean recall on the shots that get a label; None where there are none."""
    chance: float
    asked: ClassVar[None] = None
    """No fit is asked."""

    @classmethod
    def read(cls, hints: Hints, rows: Rows, labels: Sequence[str], shots: Sequence[Rows] = ()) -> Rules:
        """The rules of a task on rows without labels, and how they do on rows whose labels may be looked at."""
        votes = hints.votes(rows.texts, labels)
        said = [label for known in shots for label in labels_by_vote(hints.votes(known.texts, labels), labels)]
        true = [label for known in shots for label in known.labels]
        spoken = [(one, other) for one, other in zip(said, true, strict=True) if one]
        recalls = [
            float(np.mean([one == other for one, other in spoken if other == label]))
            for label in dict.fromkeys(other for _, other in spoken)
        ]
        coverage, agreement = covered(votes)
        accuracy = float(np.mean(recalls)) if recalls else None
        return cls(labels_by_vote(votes, labels), coverage, agreement, accuracy, 1 / len(labels))

    def keeps(self, rows: Rows) -> int:
        """How many of the rows."""
        return sum(map(bool, self.labels))

    def pick(self, rows: Rows) -> tuple[Rows, tuple[Check, ...]]:
        """The rows that get a label, with it."""
        places = [place for place, label in enumerate(self.labels) if label]
        checks = [
            Check("rows with a keyword", self.coverage > LEAST_COVERAGE, self.coverage, f"> {LEAST_COVERAGE}"),
            Check("of those, keywords agree", self.agreement > LEAST_AGREEMENT, self.agreement, f"> {LEAST_AGREEMENT}"),
        ]
        if self.accuracy is not None:
            right = self.accuracy > self.chance
            checks.append(Check("keywords are right on the shots", right, self.accuracy, f"> {self.chance:.3g}"))
        return rows.take(places).labelled([self.labels[place] for place in places]), tuple(checks)

    def spec(self) -> dict[str, Any]:
        """As JSON-like data: what the keywords made, never the keywords."""
        return {
            "rules": {
                "labels": seeds.digest_lists("rules", self.labels),
                "agreement": self.agreement,
                "coverage": self.coverage,
                "accuracy": self.accuracy,
            }
        }

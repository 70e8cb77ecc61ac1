"""Who decides which rows of a part are trained on, and with which labels: another fit, or keywords. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.data.hints import Hints, covered, labels_by_vote
from lowres.data.rows import Rows
from lowres.training.check import Check

if TYPE_CHECKING:
    from lowres.training.fit import Fit

LEAST_COVERAGE, LEAST_AGREEMENT = 0.05, 0.5


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """Rows labelled by a trained fit: of each class the same number, those it is surest of (a:2009.11538)."""

    asked: Fit
    """The teacher."""
    share: float = 0.5
    """Of the rows that are kept, at the most."""
    among: tuple[str, ...] = ()
    """Labels that are given; none named, or none of them the teacher's: all of the teacher."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Those that may be given, in the order of the teacher."""
        return tuple(label for label in self.asked.labels if label in self.among) or self.asked.labels

    def keeps(self, rows: Rows) -> int:
        """How many of the rows, at the most."""
        return max(1, int(self.share * len(rows)))

    def pick(self, rows: Rows, probabilities: npt.NDArray[np.float32]) -> tuple[Rows, tuple[Check, ...]]:
        """The rows that are kept, with their new labels; probabilities [rows, labels of the teacher]."""
        probabilities = probabilities[:, [self.asked.labels.index(label) for label in self.labels]]
        labels, sure = probabilities.argmax(1), probabilities.max(1)
        most = max(1, int(self.share * len(rows) / probabilities.shape[1]))
        kept = [
            np.flatnonzero(labels == label)[np.argsort(-sure[labels == label], kind="stable")[:most]]
            for label in range(probabilities.shape[1])
        ]
        places = np.sort(np.concatenate(kept))
        picked = rows.take(places).labelled([self.labels[label] for label in labels[places]])
        sizes = np.array([len(places) for places in kept])
        return picked, (
            Check("classes among the pseudo-labels", bool((sizes > 0).sum() > 1), float((sizes > 0).sum()), "> 1"),
            Check("rarest pseudo-label, share of rows", bool(sizes.min() > 0), float(sizes.min() / sizes.sum()), "> 0"),
        )

    def spec(self) -> dict[str, Any]:
        """As JSON-like data."""
        among = {"among": list(self.among)} if self.among else {}
        return {"pseudo-labels": {"asked": self.asked.content, "share": self.share, **among}}


@dataclass(frozen=True, eq=False)
class Resembling:
    """The rows of each class that a domain classifier finds most target-like (Ma et al. 2019, doi:10.18653/v1/D19-6109)."""

    asked: Fit
    """The domain classifier; its last label is the target."""
    share: float = 0.5
    """Of the rows of each class that are kept."""

    def keeps(self, rows: Rows) -> int:
        """How many of the rows, about."""
        return max(1, int(self.share * len(rows)))

    def pick(self, rows: Rows, probabilities: npt.NDArray[np.float32]) -> tuple[Rows, tuple[Check, ...]]:
        """The rows that are kept; probabilities [rows, domains]."""
        alike = probabilities[:, -1].astype(float)
        places = np.sort(
            np.concatenate(
                [
                    own[np.argsort(-alike[own], kind="stable")[: max(1, round(self.share * len(own)))]]
                    for own in rows.by_label().values()
                ]
            )
        )
        above = _share_above(alike, places, rows)
        return rows.take(places), (Check("kept rows are more target-like than others", above > 0.9, above, "> 0.9"),)

    def spec(self) -> dict[str, Any]:
        """As JSON-like data."""
        return {"resembling": {"asked": self.asked.content, "share": self.share}}


def _share_above(alike: npt.NDArray[np.float64], kept: npt.NDArray[np.int64], rows: Rows) -> float:
    """Of all pairs of a kept row and one of its class that was left, the share in which the kept one is more alike; ties
    count half. 1 where nothing was left.
    """
    stays = np.zeros(len(alike), dtype=np.bool_)
    stays[kept] = True
    above = pairs = 0.0
    for own in rows.by_label().values():
        one, other = alike[own[stays[own]]], alike[own[~stays[own]]]
        gaps = np.sign(one[:, None] - other[None, :])
        above += float((gaps + 1).sum()) / 2
        pairs += gaps.size
    return above / pairs if pairs else 1.0


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

"""How far two domains lie apart, from their texts: told apart by frozen features, words, lengths, label shares."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.analysis.diagnosis import label_measures
from lowres.analysis.evidence import Distance
from lowres.analysis.measure import Scores
from lowres.data import splits
from lowres.data.rows import Rows
from lowres.scoring.forecasts import domain_distance, word_divergence
from lowres.scoring.metric import Floats
from lowres.scoring.shift_measures import unseen_words
from lowres.training.fit import Engine
from lowres.training.recipe import Recipe

MOST_TEXTS = 300
"""Texts of a domain whose features are compared."""
FOLDS = 5
_WORD = re.compile(r"\w+")


def distances(scores: Scores, engine: Engine) -> list[Distance]:
    """Every pair of the study, by its test rows; ``unseen`` against all training rows of the source."""
    plan = scores.outcome.plan
    ruler = Ruler(plan.task.name, engine, plan.config.recipe)
    found = []
    for source, target in plan.pairs:
        labels, explained = label_measures(scores.outcome, scores, source, target)
        train = (plan.task.domains[name].train for name in plan.origins.members(source))
        apart = ruler.apart(plan.rows(source), plan.rows(target), *train)
        found.append(apart.model_copy(update={"labels": labels, "of_labels": explained}))
    return found


@dataclass
class Ruler:
    """Compares texts; what was measured on a set of rows is kept."""

    task: str
    engine: Engine
    recipe: Recipe
    _features: dict[str, Floats] = field(default_factory=dict)
    _words: dict[str, Counter[str]] = field(default_factory=dict)
    _apart: dict[frozenset[str], float] = field(default_factory=dict)

    def apart(self, source: Rows, target: Rows, *train: Rows) -> Distance:
        """The distance of two sets of rows, without their labels.

        Args:
            source: Of the source, at least two groups.
            target: Of the target, at least two groups.
            train: Training rows of the source, for the words that it never has.
        """
        words, others, *seen = (self._counts(rows) for rows in (source, target, *train))
        vocabulary = sorted(words.keys() | others.keys())
        counts, other_counts, *seen_counts = (
            np.array([one[word] for word in vocabulary], dtype=np.float64) for one in (words, others, *seen)
        )
        total, other_total = max(counts.sum(), 1.0), max(other_counts.sum(), 1.0)
        return Distance(
            source=source.domain,
            target=target.domain,
            proxy_a=self._proxy(source, target),
            words=word_divergence(counts, other_counts) if counts.any() and other_counts.any() else 1.0,
            unseen=unseen_words(np.sum(seen_counts, axis=0), other_counts) if other_counts.any() else 0.0,
            length=float(other_total / len(target) / (total / len(source))),
            labels=None,
            of_labels=None,
        )

    def _proxy(self, source: Rows, target: Rows) -> float:
        place = frozenset((source.fingerprint, target.fingerprint))
        if place not in self._apart:
            parts = [splits.limit_test(self.task, rows, MOST_TEXTS) for rows in (source, target)]
            folds = np.concatenate([_folds(rows) for rows in parts])
            own, other = (self._vectors(rows) for rows in parts)
            self._apart[place] = domain_distance(own, other, folds)
        return self._apart[place]

    def _vectors(self, rows: Rows) -> Floats:
        if rows.fingerprint not in self._features:
            vectors = self.engine.features(list(rows.texts), self.recipe)
            self._features[rows.fingerprint] = np.asarray(vectors, dtype=np.float64)
        return self._features[rows.fingerprint]

    def _counts(self, rows: Rows) -> Counter[str]:
        if rows.fingerprint not in self._words:
            self._words[rows.fingerprint] = Counter(word for text in rows.texts for word in _WORD.findall(text.lower()))
        return self._words[rows.fingerprint]


def _folds(rows: Rows) -> npt.NDArray[np.int64]:
    """Fold of each row; the groups of a domain are dealt out, so that none straddles and every fold has some."""
    groups, position = np.unique(np.array(rows.groups), return_inverse=True)
    dealt = np.empty(len(groups), dtype=np.int64)
    dealt[seeds.order([str(group) for group in groups], "folds", rows.domain)] = np.arange(len(groups)) % FOLDS
    return np.asarray(dealt[position])

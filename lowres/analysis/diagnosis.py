"""What changes between two domains: rows that flip, words that speak for another label, and a map of the texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lowres import seeds
from lowres.analysis.evidence import Flip, Place, Word
from lowres.analysis.measure import Column, Scores, start_of
from lowres.data import splits
from lowres.data.rows import Rows, pooled
from lowres.kinds import readable
from lowres.methods.catalogue import METHODS
from lowres.scoring.metric import Floats
from lowres.scoring.shift_measures import label_shares, label_shift, log_odds, of_labels, word_counts
from lowres.study.runner import Outcome

if TYPE_CHECKING:
    from scipy import sparse

FLIPS = 5
"""Rows of each kind a pair."""
LONGEST = 300
"""Characters of a text that are shown."""
WORDS = 12
"""A pair, at most."""
WORD_ROWS = 5000
"""Training rows of a source or target whose words are counted, at most."""
FALSE = 0.1
"""Share of the words that may be there by chance."""
PRIOR_WORDS = 500.0
"""Weight of the prior in words; its shares are those of both domains together."""
MAPPED = 150
"""Texts of a domain on the map, at most."""
Features = Callable[[list[str]], npt.NDArray[np.float32]]


def label_measures(outcome: Outcome, scores: Scores, source: str, target: str) -> tuple[float, float | None]:
    """How far the label shares of the test rows lie apart, and the part of the source drop (in score points) that this
    alone explains: mean over the draws of source-only; None where it cannot be said. A source of several domains: means
    over them, as the drop itself.
    """
    classes, metric = len(outcome.plan.task.labels), outcome.plan.task.measure
    members = {name: outcome.targets(name) for name in outcome.plan.origins.members(source)}
    own = np.mean([label_shares(targets, classes) for targets in members.values()], axis=0)
    shares = label_shares(outcome.targets(target), classes)
    falls = [
        of_labels(targets, outcome.probabilities[content, name], shares, metric)
        for content in scores.starts(source).values()
        for name, targets in members.items()
    ]
    known = [fall for fall in falls if fall is not None]
    return label_shift(own, shares), float(np.mean(known)) if known and len(known) == len(falls) else None


def flips(outcome: Outcome, scores: Scores) -> list[Flip]:
    """Test rows of each target that source-only and the best method with target labels answer differently in most draws.

    Best by the score measured on these very rows: this describes what was measured and recommends nothing.
    """
    found = []
    for source, target in outcome.plan.pairs:
        best = _best_transfer(outcome, scores, source, target)
        if best is not None:
            found += _flips(outcome, scores, source, best)
    return found


def _best_transfer(outcome: Outcome, scores: Scores, source: str, target: str) -> Column | None:
    columns: list[Column] = [
        (name, source, target, shots)
        for name in outcome.plan.methods
        for shots in outcome.plan.config.shots
        if shots and METHODS[name].uses >= {"S", "T"}
    ]
    means = {
        column: float(np.mean(blocks[0].theta))
        for column in columns
        if (blocks := scores.blocks([column, start_of(source, target)]))
    }
    return max(means, key=lambda column: means[column]) if means else None


def _flips(outcome: Outcome, scores: Scores, source: str, column: Column) -> list[Flip]:
    method, _, target, shots = column
    before, after = scores.columns[start_of(source, target)], scores.columns[column]
    draws = sorted(set(before) & set(after))
    truth, rows = outcome.targets(target), outcome.plan.test_rows[target]
    own = np.stack([outcome.probabilities[before[draw], target] for draw in draws])  # [draws, rows, classes]
    other = np.stack([outcome.probabilities[after[draw], target] for draw in draws])
    was, now = own.argmax(axis=2) == truth, other.argmax(axis=2) == truth
    moved = (other - own)[:, np.arange(len(truth)), truth].mean(axis=0)
    found = []
    for mended, share in ((True, (~was & now).mean(axis=0)), (False, (was & ~now).mean(axis=0))):
        ranked = np.lexsort((-moved if mended else moved, -share))
        found += [
            Flip(
                source=source,
                target=target,
                method=method,
                shots=shots or 0,
                row=rows.ids[place],
                text=_cut(readable(rows.texts[place])),
                label=rows.labels[place],
                mended=mended,
                share=float(share[place]),
            )
            for place in ranked[:FLIPS]
            if share[place] > 0.5
        ]
    return found


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def words(outcome: Outcome) -> list[Word]:
    """Words of training rows that speak for a label in the target otherwise than in the source.

    Ranked by the difference of the log odds over its standard error. Kept are the first so many of which at most one in
    ten is there by chance (Benjamini & Hochberg 1995), texts taken as independent. A word counts once a text, since a
    text repeats its own words.
    """
    task = outcome.plan.task

    @cache
    def counted(name: str) -> Rows:
        members = outcome.plan.origins.members(name)
        most = WORD_ROWS // len(members)
        return pooled(name, [splits.cap(task.name, task.domains[one].train, most, 0) for one in members])

    return [
        word
        for source, target in outcome.plan.pairs
        if len(task.domains[target].train)
        for word in _words(counted(source), counted(target), _common(outcome, source, target))
    ]


def _common(outcome: Outcome, source: str, target: str) -> tuple[str, ...]:
    """The labels that both have: for another one no word can speak otherwise in the target."""
    task, members = outcome.plan.task, outcome.plan.origins.members(source)
    known = {label for name in members for label in task.labels_in(name)}
    return tuple(label for label in task.labels_in(target) if label in known)


def _words(source: Rows, target: Rows, labels: Sequence[str]) -> list[Word]:
    source, target = (
        rows.take([place for place, label in enumerate(rows.labels) if label in labels]) for rows in (source, target)
    )
    if len(labels) < 2 or not len(source) or not len(target):
        return []
    names, parts = word_counts(source.texts, target.texts)
    if len(names) < 2:
        return []
    counts = [_by_label(part, rows.labels, labels) for part, rows in zip(parts, (source, target), strict=True)]
    both = counts[0].sum(axis=0) + counts[1].sum(axis=0)
    prior = PRIOR_WORDS * both / both.sum()
    (odds, variance), (others, other_variance) = (log_odds(count, prior) for count in counts)
    apart = (others - odds) / np.sqrt(variance + other_variance)  # [labels, words]
    ranked = np.lexsort((-apart, -np.abs(apart).round(9)), axis=0)[
        0
    ]  # of two labels, the one it speaks for in the target
    strength = np.abs(apart[ranked, np.arange(len(names))])
    found = np.argsort(-strength, kind="stable")[: min(WORDS, _discoveries(strength, len(labels)))]
    return [
        Word(
            source=source.domain,
            target=target.domain,
            word=names[place],
            label=labels[ranked[place]],
            in_source=float(odds[ranked[place], place]),
            in_target=float(others[ranked[place], place]),
        )
        for place in found
    ]


def _discoveries(strength: Floats, labels: int) -> int:
    """How many of the largest standard scores, [words], Benjamini and Hochberg's rule keeps.

    A score is the largest over the labels: with two of them they are one test, else the chance is Bonferroni's.
    """
    from scipy.special import ndtr

    tests = labels if labels > 2 else 1
    chances = np.minimum(1.0, tests * np.sort(2 * ndtr(-strength)))
    kept = np.flatnonzero(chances <= FALSE * np.arange(1, len(chances) + 1) / len(chances))
    return int(kept[-1]) + 1 if len(kept) else 0


def _by_label(counts: sparse.csr_matrix, given: Sequence[str], labels: Sequence[str]) -> Floats:
    """In how many texts of each label each word occurs, [labels, words]."""
    matrix = (np.array(given)[None, :] == np.array(labels)[:, None]).astype(np.float64)
    return np.asarray(matrix @ (counts > 0))


def domain_map(outcome: Outcome, features: Features) -> list[Place]:
    """Test texts of every domain in two dimensions, by PCA and by t-SNE (van der Maaten & Hinton 2008) on the vectors of
    the frozen backbone. Neighbours on the t-SNE map are alike; its distances and sizes of clouds say nothing.

    Args:
        outcome: What was run.
        features: Vectors of texts, [texts, hidden].
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    task = outcome.plan.task.name
    chosen = [
        rows.take(np.sort(seeds.order(rows.ids, "map", task, name)[:MAPPED]))
        for name, rows in outcome.plan.test_rows.items()
    ]
    vectors = np.asarray(features([text for rows in chosen for text in rows.texts]), dtype=np.float64)
    if len(vectors) < 4:
        return []
    flat = PCA(2, svd_solver="full").fit_transform(vectors)
    state = seeds.number("map", task) % 2**32
    near = TSNE(2, perplexity=min(30.0, (len(vectors) - 1) / 3), init="pca", random_state=state).fit_transform(vectors)
    domains = Counter({rows.domain: len(rows) for rows in chosen})
    labels = [label for rows in chosen for label in rows.labels]
    return [
        Place(domain=domain, label=label, pca=_point(one), tsne=_point(other))
        for domain, label, one, other in zip(domains.elements(), labels, flat, near, strict=True)
    ]


def _point(values: npt.NDArray[np.floating]) -> tuple[float, float]:
    return round(float(values[0]), 4), round(float(values[1]), 4)

"""How two domains differ in words, length and labels: counts and label positions in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lowres.scoring.metric import Floats, Metric, Probabilities, Targets

if TYPE_CHECKING:
    from scipy import sparse

RAREST = 5
"""Texts of all parts together in which a word must occur to be weighed."""


def word_counts(*parts: Sequence[str], rarest: int = RAREST) -> tuple[list[str], list[sparse.csr_matrix]]:
    """Words of all parts in order, and how often each occurs in each text, [texts, words] a part.

    Words are runs of two or more letters or digits, in lower case; none where none occurs in so many texts.

    Args:
        parts: Texts, such as those of two domains.
        rarest: Texts of all parts together in which a word must occur.
    """
    from sklearn.feature_extraction.text import CountVectorizer

    texts = [text for part in parts for text in part]
    counter = CountVectorizer(min_df=min(rarest, max(1, len(texts))))
    try:
        counts = counter.fit_transform(texts)
    except ValueError:  # no word is left
        from scipy.sparse import csr_matrix

        return [], [csr_matrix((len(part), 0)) for part in parts]
    edges = np.cumsum([0, *(len(part) for part in parts)])
    return list(counter.get_feature_names_out()), [counts[begin:end] for begin, end in pairwise(edges)]


def unseen_words(counts: npt.NDArray[np.number], others: npt.NDArray[np.number]) -> float:
    """Share of the running words of the other domain that the first never has, from counts over one vocabulary, [words]."""
    return float(others[counts == 0].sum() / others.sum())


def label_shares(targets: Targets, classes: int) -> Floats:
    """Share of the rows that each label has, [classes]."""
    return np.asarray(np.bincount(targets, minlength=classes) / len(targets))


def label_shift(shares: Floats, others: Floats) -> float:
    """Total variation between label shares, 0 … 1: the share of rows that would have to change their label."""
    return float(np.abs(shares - others).sum() / 2)


def of_labels(targets: Targets, probabilities: Probabilities, others: Floats, metric: Metric) -> float | None:
    """How far the score falls when only the label shares become those of the other domain, in score points of 0 … 1.

    The rows of the first domain are weighted so that each label has its share in the other (the label shift of Lipton
    et al. 2018, arXiv 1802.03916: texts of a label stay what they are). None where a label of the other domain has no row.

    Args:
        targets: Label positions in the first domain, [rows].
        probabilities: Of one model there, [rows, classes].
        others: Label shares of the other domain, [classes].
        metric: What is scored.
    """
    shares = label_shares(targets, len(others))
    if ((others > 0) & (shares == 0)).any():
        return None
    weights = np.divide(others, shares, out=np.zeros_like(others), where=shares > 0)
    addends = metric.statistics(targets, probabilities)
    return float(metric.value(addends.sum(axis=0)) - metric.value(weights[targets] @ addends))


def log_odds(counts: Floats, prior: Floats) -> tuple[Floats, Floats]:
    """Log odds of each word under a label against under all others, and their variances, both [labels, words].

    With an informative Dirichlet prior (Monroe, Colaresi & Quinn 2008, Political Analysis 16, equations 16 and 19).

    Args:
        counts: How often a word occurs under a label, [labels, words].
        prior: Words seen beforehand, added to both sides, [words], all above 0.
    """
    own, rest = counts + prior, counts.sum(axis=0) - counts + prior
    odds = np.log(own / (own.sum(axis=1, keepdims=True) - own)) - np.log(
        rest / (rest.sum(axis=1, keepdims=True) - rest)
    )
    return odds, 1 / own + 1 / rest

"""The floors and the two ends of the scale: what every transfer method has to be compared with."""

from __future__ import annotations

from lowres.methods.cell import Bench
from lowres.training.fit import Fit
from lowres.training.recipe import MostFrequent, Prototypes, Tree, Words


def source_only(bench: Bench) -> Fit:
    """LoRA on the source rows."""
    return bench.fit(bench.source_train)


def target_full(bench: Bench) -> Fit:
    """LoRA on as many target rows as a source fit has."""
    return bench.fit(bench.target_pool)


def target_only(bench: Bench) -> Fit:
    """LoRA on the target shots."""
    return bench.fit(bench.target_shots)


def majority(bench: Bench) -> Fit:
    """Class frequencies of the source rows."""
    return bench.fit(bench.source_train, objective=MostFrequent())


def tfidf(bench: Bench) -> Fit:
    """TF-IDF and logistic regression on the target shots."""
    return bench.fit(bench.target_shots, start=Words(), objective=bench.settings.method.logistic)


def tfidf_joint(bench: Bench) -> Fit:
    """TF-IDF and logistic regression on source rows and target shots, half of the weight each."""
    return bench.fit(bench.source_and_shots, start=Words(), objective=bench.settings.method.logistic)


def tree(bench: Bench) -> Fit:
    """A decision tree of depth 4 on the words of source rows and target shots, half of the weight each."""
    return bench.fit(bench.source_and_shots, start=Words(ngrams=1), objective=Tree())


def probe(bench: Bench) -> Fit:
    """Logistic regression on frozen pooled features of the target shots."""
    return bench.fit(bench.target_shots, objective=bench.settings.method.logistic)


def nearest(bench: Bench) -> Fit:
    """The nearest class mean of the target shots by cosine similarity of frozen pooled features (a:1703.05175)."""
    return bench.fit(bench.target_shots, objective=Prototypes())


def probe_joint(bench: Bench) -> Fit:
    """Logistic regression on frozen pooled features of source rows and target shots, half of the weight each."""
    return bench.fit(bench.source_and_shots, objective=bench.settings.method.logistic)

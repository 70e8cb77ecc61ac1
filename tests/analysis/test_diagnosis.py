from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from lowres import seeds
from lowres.analysis import diagnosis
from lowres.analysis.measure import Scores
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.scoring.metrics import find_metric
from lowres.study.runner import Outcome
from tests.analysis.synthetic import made_outcome


@pytest.fixture(scope="module")
def outcome(toy_task: Task) -> Outcome:
    """Transfer mends most of what source-only gets wrong."""
    return made_outcome(toy_task, lambda method, source, target: 0.5 if method == "source-only" else 0.9)


def probabilities(outcome: Outcome, method: str, source: str, target: str) -> list[np.ndarray]:
    return [
        outcome.probabilities[fit.content, target]
        for cell, fit in outcome.plan.fits.items()
        if (cell.method, cell.source, cell.target) == (method, source, target)
    ]


def test_flips_are_wrong_before_and_right_after_in_most_draws(outcome: Outcome) -> None:
    found = diagnosis.flips(outcome, Scores(outcome))
    assert {(one.source, one.target) for one in found} == set(outcome.plan.pairs)
    mended = [one for one in found if one.mended]
    assert len(mended) == 5 * len(outcome.plan.pairs)
    for one in found:
        assert (one.method, one.shots) == ("source-then-target", 4)
        rows = outcome.plan.test_rows[one.target]
        place = rows.ids.index(one.row)
        assert (one.text, one.label) == (rows.texts[place], rows.labels[place])
        truth = outcome.targets(one.target)[place]
        was = [own[place].argmax() == truth for own in probabilities(outcome, "source-only", one.source, one.target)]
        now = [
            own[place].argmax() == truth for own in probabilities(outcome, "source-then-target", one.source, one.target)
        ]
        agree = [(not a and b) if one.mended else (a and not b) for a, b in zip(was, now, strict=True)]
        assert one.share == np.mean(agree) > 0.5


def test_at_0_shots_nothing_flips(toy_task: Task) -> None:
    outcome = made_outcome(toy_task, lambda method, source, target: 0.5, shots=[0])
    assert diagnosis.flips(outcome, Scores(outcome)) == []


def rows(domain: str, label_of: dict[str, str], count: int) -> Rows:
    """Texts of filler and one telling word, drawn as they come."""
    rng = seeds.generator("words", domain)
    filler = ("some", "more", "other", "very", "quite", "such")
    texts = [f"{word} {' '.join(map(str, rng.choice(filler, 3)))} the" for word in label_of for _ in range(count)]
    labels = [label for label in label_of.values() for _ in range(count)]
    ids = tuple(f"{domain}{number}" for number in range(len(texts)))
    return Rows(domain, ids, tuple(texts), tuple(labels), ids)


def test_a_word_that_changes_sides_is_found_and_no_other() -> None:
    source = rows("a", {"long": "good", "crisp": "good", "short": "bad", "dull": "bad"}, 40)
    target = rows("b", {"short": "good", "crisp": "good", "long": "bad", "dull": "bad"}, 40)
    found = diagnosis._words(source, target, ("bad", "good"))
    assert {(one.word, one.label) for one in found} == {("long", "bad"), ("short", "good")}
    for one in found:
        assert one.in_target > 0.9 > -0.9 > one.in_source
    assert diagnosis._words(source, replace(source, domain="c"), ("bad", "good")) == []


def test_words_are_those_of_training_rows(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []

    def spy(source: Rows, target: Rows, labels: object) -> list[object]:
        read.extend((*source.ids, *target.ids))
        return []

    monkeypatch.setattr(diagnosis, "_words", spy)
    assert diagnosis.words(outcome) == []
    allowed = {row for domain in outcome.plan.domains for row in outcome.plan.task.domains[domain].train.ids}
    assert read
    assert set(read) <= allowed


def test_a_word_counts_once_a_text() -> None:
    source, target = rows("a", {"long": "good", "dull": "bad"}, 40), rows("b", {"long": "good", "dull": "bad"}, 40)
    often = replace(target, texts=(*target.texts[:-1], "long " * 400), labels=(*target.labels[:-1], "bad"))
    assert diagnosis._words(source, often, ("bad", "good")) == []


def test_label_measures(outcome: Outcome) -> None:
    scores = Scores(outcome)
    shift, part = diagnosis.label_measures(outcome, scores, "shop", "film")
    own, other = outcome.targets("shop"), outcome.targets("film")
    assert shift == pytest.approx(abs(own.mean() - other.mean()))
    falls = []
    for said in probabilities(outcome, "source-only", "shop", "shop"):
        share = np.array([1 - other.mean(), other.mean()]) / np.array([1 - own.mean(), own.mean()])
        metric = find_metric("macro_f1")
        addends = metric.statistics(own, said)
        falls.append(metric.value(addends.sum(axis=0)) - metric.value((addends * share[own][:, None]).sum(axis=0)))
    assert part == pytest.approx(np.mean(falls))


def test_the_map_is_the_same_twice_and_its_pca_is_scikit_learns(outcome: Outcome) -> None:
    seen: list[list[str]] = []

    def features(texts: list[str]) -> np.ndarray:
        seen.append(texts)
        return np.stack([seeds.generator("vector", text).normal(size=8) for text in texts]).astype(np.float32)

    found = diagnosis.domain_map(outcome, features)
    assert found == diagnosis.domain_map(outcome, features)
    counts = {name: min(150, len(part)) for name, part in outcome.plan.test_rows.items()}
    assert {name: sum(one.domain == name for one in found) for name in counts} == counts
    wanted = PCA(2, svd_solver="full").fit_transform(features(seen[0]).astype(np.float64))
    assert np.array([one.pca for one in found]) == pytest.approx(wanted, abs=1e-4)
    assert np.isfinite([one.tsne for one in found]).all()
    assert np.ptp([one.tsne for one in found]) > 1

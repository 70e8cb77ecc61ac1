"""Distances between domains, against counts by hand."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import f1_score

from lowres import results
from lowres.analysis.distances import FOLDS, _folds, distances
from lowres.analysis.evidence import Evidence
from lowres.analysis.gather import gather
from lowres.analysis.measure import Scores
from lowres.data.rows import Rows
from lowres.library import Study


def words(rows: Rows) -> Counter[str]:
    return Counter(word for text in rows.texts for word in re.findall(r"\w+", text.lower()))


def test_words_and_lengths_are_those_counted_by_hand(small: Callable[..., Study]) -> None:
    study = small()
    outcome = study.run().outcome
    for one in distances(Scores(outcome), study.engine):
        rows, others = outcome.plan.test_rows[one.source], outcome.plan.test_rows[one.target]
        own, other, seen = words(rows), words(others), words(study.task.domains[one.source].train)
        every = sorted(own | other)
        shares = [np.array([count[word] for word in every]) / count.total() for count in (own, other)]
        assert one.words == pytest.approx(jensenshannon(*shares, base=2) ** 2)
        missing = [word for word in other.elements() if word not in seen]
        assert one.unseen == pytest.approx(len(missing) / other.total())
        assert one.unseen > 0.05
        assert one.length == pytest.approx((other.total() / len(others)) / (own.total() / len(rows)))
        assert 0 < one.proxy_a <= 2
        assert one.labels == pytest.approx(abs(np.mean([label == "positive" for label in rows.labels]) - np.mean(
            [label == "positive" for label in others.labels])))  # fmt: skip


def test_the_part_of_labels_is_that_of_repeated_rows(small: Callable[..., Study]) -> None:
    """Every second positive target row is left out: SS is then measured with positive source rows at their new weight."""
    study = small()
    outcome = study.run().outcome
    rows = outcome.plan.test_rows["film"]
    positive = [place for place, label in enumerate(rows.labels) if label == "positive"]
    outcome.plan.test_rows["film"] = rows = rows.take(
        [place for place in range(len(rows)) if place not in positive[::2]]
    )
    source = outcome.plan.test_rows["shop"]
    weight = {
        label: (rows.labels.count(label) / len(rows)) / (source.labels.count(label) / len(source))
        for label in study.task.labels
    }
    falls = []
    for content in Scores(outcome).columns["source-only", "shop", "shop", 0].values():
        answered = [study.task.labels[place] for place in outcome.probabilities[content, "shop"].argmax(axis=1)]
        weights = [weight[label] for label in source.labels]
        falls.append(
            f1_score(source.labels, answered, average="macro")
            - f1_score(source.labels, answered, average="macro", sample_weight=weights)
        )
    found = next(one for one in distances(Scores(outcome), study.engine) if one.target == "film")
    assert found.of_labels == pytest.approx(np.mean(falls))


def test_no_group_straddles_a_fold_and_none_is_empty() -> None:
    names = tuple(f"g{place // 3}" for place in range(60))
    rows = Rows("shop", tuple(map(str, range(60))), tuple("text" for _ in names), names, names)
    folds = _folds(rows)
    assert sorted(set(folds.tolist())) == list(range(FOLDS))
    assert all(len(set(folds[np.array(names) == name])) == 1 for name in set(names))
    assert (_folds(replace(rows, domain="film")) != folds).any()


def test_evidence_is_written_and_read_again(small: Callable[..., Study]) -> None:
    study = small()
    result = study.run()
    written = Evidence.model_validate_json((result.folder / "evidence.json").read_bytes())
    assert written == result.evidence
    assert written.model_copy(update={"seal": ""}) == gather(result.scores, study.engine, study.store)
    assert len(written.distances) == 2
    assert len(written.forecasts) == 12


def test_evidence_of_the_same_fits_is_kept(small: Callable[..., Study], monkeypatch: pytest.MonkeyPatch) -> None:
    first = small().run()
    path = first.folder / "evidence.json"
    made = []

    def counted(*of: Any) -> Evidence:
        made.append(of)
        return gather(*of)

    monkeypatch.setattr(results, "gather", counted)
    assert small().run().evidence == first.evidence
    assert not made
    text = path.read_text()
    changed = json.loads(text)
    changed["distances"][0]["words"] /= 2
    path.write_text(json.dumps(changed))
    assert small().run().evidence == first.evidence
    assert len(made) == 1
    assert path.read_text() == text

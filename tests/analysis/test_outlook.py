"""``Study.forecast``: texts without labels in, a score out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lowres.analysis.forecast import forecasts
from lowres.analysis.measure import Scores
from lowres.analysis.outlook import LEAST_TEXTS, unlabelled
from lowres.data.rows import Rows
from lowres.errors import UserError
from lowres.library import Study


def relabelled(study: Study, domain: str) -> Study:
    """The study with the labels of a domain turned around."""
    turned = {"negative": "positive", "positive": "negative"}

    def turn(rows: Rows) -> Rows:
        return replace(rows, labels=tuple(turned[label] for label in rows.labels))

    known = study.task.domains[domain]
    study.task.domains[domain] = replace(known, train=turn(known.train), dev=turn(known.dev), test=turn(known.test))
    return study


def test_no_target_label_matters(small: Callable[..., Study]) -> None:
    found = small(targets=["film"]).forecast()
    other = relabelled(small(targets=["film"], force=True), "film").forecast()
    assert other == found
    assert all(one.measured is None for one in found.forecasts)
    assert [one.labels for one in found.distances] == [None]
    turned_source = relabelled(small(targets=["film"], force=True), "shop").forecast()
    assert turned_source.forecasts != found.forecasts


def test_it_says_what_the_study_says(small: Callable[..., Study]) -> None:
    ahead = small().forecast()
    outcome = small().run().outcome
    assert not outcome.trained & {
        fit.content for cell, fit in outcome.plan.fits.items() if cell.method == "source-only"
    }
    after = {(one.target, one.rule, one.metric): one.predicted for one in forecasts(Scores(outcome))}
    assert len(ahead.forecasts) == len(after) == 12
    for one in ahead.forecasts:
        assert one.predicted.mean == pytest.approx(after[one.target, one.rule, one.metric].mean, abs=1e-5)
    assert ahead.says[0].startswith("shop → film: accuracy is forecast to")


def test_texts_of_their_own_stand_for_a_domain(small: Callable[..., Study]) -> None:
    study = small(targets=["film"])
    texts = study.task.domains["film"].test.texts
    named, own = study.forecast(), small(targets=[]).forecast(list(texts), "new")
    for one, other in zip(own.forecasts, named.forecasts, strict=True):
        assert one.predicted.model_dump() == pytest.approx(other.predicted.model_dump())
    assert own.texts == {"new": len(texts)}
    assert own.distances[0].words == named.distances[0].words


def test_bad_requests_are_refused(small: Callable[..., Study]) -> None:
    with pytest.raises(UserError, match="the target is the source"):
        small(targets=["shop"]).forecast()
    with pytest.raises(UserError, match="a domain of the task"):
        small(targets=[]).forecast(["a text"] * 30, "film")
    with pytest.raises(UserError, match="too few texts"):
        unlabelled("new", ["a text"] * (LEAST_TEXTS - 1))
    with pytest.raises(UserError, match="flim"):
        small(targets=["flim"]).forecast()

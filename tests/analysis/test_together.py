"""Scores, drops and what else is said of a set of sources, against computations by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import f1_score

from lowres.analysis.diagnosis import label_measures
from lowres.analysis.distances import distances
from lowres.analysis.forecast import forecasts
from lowres.analysis.measure import Scores, summarise
from lowres.analysis.summary import Summary
from lowres.analysis.trust import calibration, risks
from lowres.data.task import Task
from lowres.library import Study
from lowres.scoring import forecasts as rules
from lowres.study.runner import Outcome
from tests.analysis.synthetic import made_outcome

SOURCE, TARGET, MEMBERS = "chat+shop", "film", ("chat", "shop")
SHARES = {"chat": 0.95, "shop": 0.7, "film": 0.6}


@pytest.fixture
def outcome(toy_task: Task) -> Outcome:
    return made_outcome(toy_task, lambda method, source, target: SHARES[target], protocol="leave-one-out", seeds=5)


def summary(outcome: Outcome) -> Summary:
    return summarise(Scores(outcome), "none")


def probabilities(outcome: Outcome, domain: str) -> list[np.ndarray]:
    """Of ``source-only`` on the set, by draw."""
    return [
        outcome.probabilities[fit.content, domain]
        for cell, fit in outcome.plan.fits.items()
        if (cell.method, cell.source, cell.target) == ("source-only", SOURCE, domain)
    ]


def inside(found: Summary) -> object:
    return next(one for one in found.scores if (one.method, one.source, one.target) == ("source-only", SOURCE, SOURCE))


def by_hand(parts: list[tuple[float, np.ndarray]]) -> tuple[float, float, float]:
    """Mean, standard error and t quantile of Σ weight · mean(rows), rows [draws, rows] of several test sets, every row a
    group of its own: the formulas of docs/statistics.md."""
    draws = len(parts[0][1])
    theta = sum(weight * rows.mean(axis=1) for weight, rows in parts)
    draw = theta.var(ddof=1) / draws
    noise = group = error = 0.0
    for weight, rows in parts:
        values, free = weight * rows, rows.shape[1] - 1
        centred = values - values.mean(axis=1, keepdims=True)
        common = centred.mean(axis=0)
        between = (common**2).sum() / free / rows.shape[1]
        rest = ((centred - common) ** 2).sum() / free / (draws - 1) / draws / rows.shape[1]
        noise += rest
        group += max(0.0, between - rest)
        error += between**2 / free + 2 * rest**2 / free / (draws - 1)
    inflated = draw * (draws + 1) / (draws - 1)
    total = max(inflated, noise) + group
    least = min(draws - 1, *(rows.shape[1] - 1 for _, rows in parts))
    df = max(total**2 / (error + inflated**2 / (draws - 1)), least)
    return theta.mean(), np.sqrt(max(draw, noise) + group), stats.t.ppf(0.975, df)


def test_score_and_drop_of_a_set_with_their_intervals(toy_task: Task) -> None:
    task = replace(toy_task, spec=toy_task.spec.model_copy(update={"metric": "accuracy"}))
    outcome = made_outcome(task, lambda method, source, target: SHARES[target], protocol="leave-one-out", seeds=5)
    found = summary(outcome)
    right = {
        name: np.stack([one.argmax(axis=1) == outcome.targets(name) for one in probabilities(outcome, name)]).astype(
            float
        )
        for name in SHARES
    }
    sizes = {name: rows.shape[1] for name, rows in right.items()}
    assert all(len(set(outcome.plan.test_rows[name].groups)) == size for name, size in sizes.items())

    mean, se, quantile = by_hand([(0.5, right[name]) for name in MEMBERS])
    assert mean == pytest.approx((right["chat"].mean() + right["shop"].mean()) / 2)
    score = inside(found)
    step = quantile * se / mean / (1 - mean)
    centre = np.log(mean / (1 - mean))
    assert score.mean == pytest.approx(mean)
    assert score.low == pytest.approx(1 / (1 + np.exp(step - centre)))
    assert score.high == pytest.approx(1 / (1 + np.exp(-step - centre)))
    assert score.seeds == 5

    fall, se, quantile = by_hand([*((0.5, right[name]) for name in MEMBERS), (-1.0, right[TARGET])])
    drop = next(one.source_drop for one in found.shift if one.target == TARGET)
    assert drop.mean == pytest.approx(fall)
    assert fall == pytest.approx(mean - right[TARGET].mean())
    assert (drop.low, drop.high) == pytest.approx((fall - quantile * se, fall + quantile * se))


def test_a_score_that_is_no_mean(outcome: Outcome) -> None:
    found = summary(outcome)
    each = {
        name: np.mean([f1_score(outcome.targets(name), one.argmax(axis=1), average="macro") for one in probabilities(outcome, name)])
        for name in SHARES
    }  # fmt: skip
    assert inside(found).mean == pytest.approx((each["chat"] + each["shop"]) / 2)
    drop = next(one.source_drop.mean for one in found.shift if one.target == TARGET)
    assert drop == pytest.approx((each["chat"] + each["shop"]) / 2 - each["film"])
    assert {(one.source, one.target) for one in found.shift} == set(outcome.plan.pairs)
    assert not [one for one in found.scores if one.source == SOURCE and one.target in MEMBERS]


def test_without_one_member_a_draw_does_not_count(outcome: Outcome) -> None:
    lost = next(
        fit.content
        for cell, fit in outcome.plan.fits.items()
        if (cell.method, cell.source, cell.target, cell.draw) == ("source-only", SOURCE, "chat", 3)
    )
    del outcome.probabilities[lost, "chat"]
    assert inside(summary(outcome)).seeds == 4
    assert outcome.answers(lost, SOURCE) is None
    assert 3 not in Scores(outcome).starts(SOURCE)


def test_forecasts_of_a_set_read_all_its_rows(outcome: Outcome) -> None:
    truth = np.concatenate([outcome.targets(name) for name in MEMBERS])
    both = zip(*(probabilities(outcome, name) for name in MEMBERS), probabilities(outcome, TARGET), strict=True)
    wanted = np.mean([rules.FORECASTS["doc"](truth, np.concatenate([chat, shop]), film) for chat, shop, film in both])
    said = {one.rule: one for one in forecasts(Scores(outcome)) if one.target == TARGET and one.metric == "accuracy"}
    assert said["doc"].source == SOURCE
    assert said["doc"].predicted.mean == pytest.approx(wanted)
    assert set(said) == {"confidence", "doc", "atc", "agreement", "mean"}


def test_trust_of_a_set_reads_all_its_rows(outcome: Outcome) -> None:
    scores = Scores(outcome)
    assert {(one.source, one.target) for one in calibration(outcome, scores)} == set(outcome.plan.pairs)
    curve = next(one for one in risks(outcome, scores) if (one.domain, one.target) == (SOURCE, TARGET))
    wrong = [
        np.mean(np.concatenate([one.argmax(axis=1) != outcome.targets(name) for name, one in zip(MEMBERS, draw, strict=True)]))
        for draw in zip(*(probabilities(outcome, name) for name in MEMBERS), strict=True)
    ]  # fmt: skip
    assert curve.points[-1] == (1.0, pytest.approx(np.mean(wrong), abs=1e-6))


def test_labels_of_a_set_are_the_mean_over_its_domains(outcome: Outcome) -> None:
    chat = outcome.plan.test_rows["chat"]
    kept = [place for place, label in enumerate(chat.labels) if label == "positive" or place % 3 == 0]
    outcome.plan.test_rows["chat"] = chat.take(kept)
    for cell, fit in outcome.plan.fits.items():
        if cell.target == "chat" and len(outcome.probabilities[fit.content, "chat"]) > len(kept):
            outcome.probabilities[fit.content, "chat"] = outcome.probabilities[fit.content, "chat"][kept]
    positive = {name: np.mean(outcome.targets(name)) for name in SHARES}
    assert np.mean(outcome.targets(SOURCE)) != pytest.approx((positive["chat"] + positive["shop"]) / 2)
    apart, explained = label_measures(outcome, Scores(outcome), SOURCE, TARGET)
    assert apart == pytest.approx(abs((positive["chat"] + positive["shop"]) / 2 - positive["film"]))
    falls = []
    for name in MEMBERS:
        truth, share = outcome.targets(name), positive["film"]
        weights = np.where(truth == 1, share / truth.mean(), (1 - share) / (1 - truth.mean()))
        for one in probabilities(outcome, name):
            answers = one.argmax(axis=1)
            before, after = (f1_score(truth, answers, average="macro", sample_weight=w) for w in (None, weights))
            falls.append(before - after)
    assert explained == pytest.approx(np.mean(falls))


def test_distances_of_a_set(small: Callable[..., Study]) -> None:
    study = small(sources=[], targets=["film"], protocol="leave-one-out", seeds=1)
    outcome = study.run().outcome
    (one,) = distances(Scores(outcome), study.engine)
    assert one.source == SOURCE
    texts = [text for name in MEMBERS for text in outcome.plan.test_rows[name].texts]
    film = outcome.plan.test_rows["film"].texts
    assert one.length == pytest.approx(
        sum(len(text.split()) for text in film) / len(film) / (sum(len(text.split()) for text in texts) / len(texts))
    )
    seen = {word for name in MEMBERS for text in study.task.domains[name].train.texts for word in text.split()}
    running = [word for text in film for word in text.split()]
    assert one.unseen == pytest.approx(np.mean([word not in seen for word in running]))


def test_a_forecast_before_any_label(small: Callable[..., Study]) -> None:
    study = small(sources=[], targets=["film"], protocol="leave-one-out")
    found = study.forecast()
    assert study.fits_ahead() == 2
    assert {(one.source, one.target) for one in found.forecasts} == {(SOURCE, TARGET)}
    ran = small(sources=[], targets=["film"], protocol="leave-one-out").run()
    known = {one.rule: one.predicted for one in ran.evidence.forecasts if one.metric == "accuracy"}
    assert {one.rule: one.predicted for one in found.forecasts if one.metric == "accuracy"} == known
    texts = list(study.task.domains["film"].test.texts)
    alone = small(sources=[], targets=[], protocol="leave-one-out").forecast(texts, "new")
    assert {one.source for one in alone.forecasts} == {"chat+film+shop"}

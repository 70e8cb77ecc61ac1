"""Forecasts of the drop on made-up answers and on a small study."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from lowres.analysis.forecast import Answers, accuracy, forecasts, predict
from lowres.analysis.measure import Scores
from lowres.library import Study
from lowres.scoring import forecasts as rules
from lowres.scoring.calibration import scaled, temperature
from lowres.scoring.metrics import find_metric

RULES = ["confidence", "doc", "atc", "agreement", "mean"]


def made(rows: int, seed: int, draws: int = 3, groups: int = 40, shift: float = 0.0) -> tuple[np.ndarray, Answers]:
    """Targets and answers of a model whose probabilities are the truth at temperature 1, less ``shift`` of its logit."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=rows) * 2
    targets = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    said = logit * (1 - shift) + 0.3 * rng.normal(size=(draws, rows))
    second = 1 / (1 + np.exp(-said))
    return targets, Answers(np.stack([1 - second, second], axis=2), rng.permutation(np.arange(rows) % groups))


def test_rules_are_the_means_of_the_pure_ones() -> None:
    truth, source = made(400, 1)
    _, target = made(300, 2, shift=0.4)
    found = {(rule, metric): one for rule, metric, one in predict(truth, source, target, find_metric("macro_f1"))}
    for rule in ("confidence", "doc", "atc"):
        each = [
            rules.FORECASTS[rule](truth, a, b) for a, b in zip(source.probabilities, target.probabilities, strict=True)
        ]
        assert found[rule, "accuracy"].mean == pytest.approx(np.mean(each))
    together = rules.agreement(truth, source.probabilities, target.probabilities)
    assert found["agreement", "accuracy"].mean == pytest.approx(together.mean())
    four = [found[rule, "accuracy"].mean for rule in RULES[:4]]
    assert found["mean", "accuracy"].mean == pytest.approx(np.mean(four))
    for one in found.values():
        assert 0 <= one.low < one.mean < one.high <= 1


def test_expected_macro_f1_by_hand() -> None:
    truth, source = made(400, 1)
    _, target = made(300, 2)
    found = {(rule, metric): one for rule, metric, one in predict(truth, source, target, find_metric("macro_f1"))}
    each = []
    for own, other in zip(source.probabilities, target.probabilities, strict=True):
        p = scaled(other, temperature(truth, own))
        answered, soft = p.argmax(axis=1), []
        for label in (0, 1):
            right = p[answered == label, label].sum()
            soft.append(2 * right / (p[:, label].sum() + (answered == label).sum()))
        each.append(np.mean(soft))
    assert found["confidence", "macro_f1"].mean == pytest.approx(np.mean(each))


def test_pseudo_values_are_those_of_leaving_out_a_group() -> None:
    """Of the agreement rule, by brute force over both domains."""
    truth, source = made(200, 3, groups=20)
    _, target = made(150, 4, groups=15)
    from lowres.analysis.forecast import _agreement

    own, other = _agreement(truth, source, target)
    whole = rules.agreement(truth, source.probabilities, target.probabilities)
    for group in (0, 7):
        kept = target.groups != group
        without = rules.agreement(truth, source.probabilities, target.probabilities[:, kept])
        assert other.pseudo[:, group] == pytest.approx(15 * whole - 14 * without)
        kept = source.groups != group
        without = rules.agreement(truth[kept], source.probabilities[:, kept], target.probabilities)
        assert own.pseudo[:, group] == pytest.approx(20 * whole - 19 * without)


@pytest.mark.parametrize("rule", ["confidence", "doc", "atc"])
def test_intervals_hold_the_accuracy_where_the_assumption_does(rule: str) -> None:
    """Same law in both domains, so every rule is right on average: the interval covers the true accuracy."""
    expected, hits = [], 0
    for seed in range(60):
        truth, source = made(300, 2 * seed, groups=300)
        _, target = made(300, 2 * seed + 1, groups=300)
        found = {name: one for name, metric, one in predict(truth, source, target, find_metric("accuracy"))}
        hits += found[rule].low <= TRUE <= found[rule].high
        expected.append(found[rule].mean)
    assert np.mean(expected) == pytest.approx(TRUE, abs=0.015)
    assert stats.binomtest(hits, 60, 0.93, alternative="less").pvalue > 0.01


LOGITS = np.linspace(-12, 12, 4001)
_SIGN = stats.norm.cdf(LOGITS / 0.3)  # chance that a draw, whose logit has noise of 0.3, says the second class
_SECOND = 1 / (1 + np.exp(-LOGITS))
TRUE = float(np.average(_SECOND * _SIGN + (1 - _SECOND) * (1 - _SIGN), weights=stats.norm.pdf(LOGITS / 2)))


def test_one_draw_knows_no_agreement() -> None:
    truth, source = made(200, 5, draws=1)
    _, target = made(200, 6, draws=1)
    found = [rule for rule, _, _ in predict(truth, source, target, find_metric("accuracy"))]
    assert found == ["confidence", "doc", "atc", "mean"]


def test_accuracy_is_that_of_scikit_learn() -> None:
    truth, source = made(200, 7)
    each = [accuracy_score(truth, draw.argmax(axis=1)) for draw in source.probabilities]
    assert accuracy(truth, source).mean == pytest.approx(np.mean(each))


def test_a_study_forecasts_every_pair_and_looks_at_no_target_label(small: Callable[..., Study]) -> None:
    outcome = small().run().outcome
    found = forecasts(Scores(outcome))
    assert [(one.target, one.rule, one.metric) for one in found] == [
        (target, rule, metric)
        for target in ("film", "chat")
        for rule, metric in [*((rule, "accuracy") for rule in RULES), ("confidence", "macro_f1")]
    ]
    film = outcome.targets("film")
    contents = {fit.content for cell, fit in outcome.plan.fits.items() if cell.method == "source-only"}
    answers = [outcome.probabilities[content, "film"].argmax(axis=1) for content in contents]
    assert found[0].measured == pytest.approx(np.mean([accuracy_score(film, one) for one in answers]))
    assert found[5].measured == pytest.approx(np.mean([f1_score(film, one, average="macro") for one in answers]))

    rows = outcome.plan.test_rows
    mixed = replace(rows["film"], labels=tuple(reversed(rows["film"].labels)))
    assert mixed.labels != rows["film"].labels
    rows["film"] = mixed
    again = forecasts(Scores(outcome))
    assert [one.predicted for one in again] == [one.predicted for one in found]
    assert again[0].measured != found[0].measured

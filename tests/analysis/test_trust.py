from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lowres import seeds
from lowres.analysis import trust
from lowres.analysis.measure import Scores
from lowres.data.task import Task, load_task
from lowres.scoring.calibration import conformal_level, scaled, temperature
from lowres.scoring.metrics import calibration_error
from lowres.scoring.operating import operating_point, operating_steps
from lowres.study.runner import Outcome
from tests.analysis.synthetic import made_outcome
from tests.conftest import toy_rows, write_table

SHARES = {"shop": 0.995, "film": 0.7, "chat": 0.6}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Enough test rows for a promise at .9: 29 right ones are needed."""
    return load_task(write_table(tmp_path_factory.mktemp("many") / "toy.csv", toy_rows(400)))


@pytest.fixture(scope="module")
def outcome(task: Task) -> Outcome:
    return made_outcome(task, lambda method, source, target: SHARES[target])


@pytest.fixture(scope="module")
def scores(outcome: Outcome) -> Scores:
    return Scores(outcome)


def source_only(outcome: Outcome, source: str, domain: str) -> list[np.ndarray]:
    return [
        outcome.probabilities[fit.content, domain]
        for cell, fit in outcome.plan.fits.items()
        if cell.method == "source-only" and cell.source == source and cell.target == domain
    ]


def test_halves_keep_groups_whole_and_are_halves() -> None:
    groups = [f"g{number // 3}" for number in range(90)]
    first = seeds.first_half(groups, "a", "b")
    assert first.sum() == 45
    assert {group for group, here in zip(groups, first, strict=True) if here}.isdisjoint(
        group for group, here in zip(groups, first, strict=True) if not here
    )
    assert (first == seeds.first_half(groups, "a", "b")).all()
    assert (first != seeds.first_half(groups, "a", "c")).any()
    assert seeds.first_half(["x", "y"], "any").sum() == 1


def test_calibration_is_cross_fitted_in_the_source(outcome: Outcome, scores: Scores) -> None:
    found = {(one.source, one.target): one for one in trust.calibration(outcome, scores)}
    assert set(found) == set(outcome.plan.pairs)
    one = found["shop", "film"]
    groups = outcome.plan.test_rows["shop"].groups
    first = seeds.first_half(groups, "trust", outcome.plan.task.name, "shop")
    truth, there = outcome.targets("shop"), outcome.targets("film")
    heats, before, after, moved = [], [], [], []
    for own, other in zip(source_only(outcome, "shop", "shop"), source_only(outcome, "shop", "film"), strict=True):
        heats.append(temperature(truth, own))
        cross = np.where(
            first[:, None],
            scaled(own, temperature(truth[~first], own[~first])),
            scaled(own, temperature(truth[first], own[first])),
        )
        before.append(calibration_error(truth, own))
        after.append(calibration_error(truth, cross))
        moved.append(calibration_error(there, scaled(other, heats[-1])))
    assert len(heats) == 3
    assert one.temperature == pytest.approx(np.mean(heats))
    assert one.source_before == pytest.approx(np.mean(before))
    assert one.source_after == pytest.approx(np.mean(after))
    assert one.target_after == pytest.approx(np.mean(moved))
    # confidences average .75: too low where nearly all are right, too high where 60 % are
    assert one.source_after < one.source_before
    assert found["shop", "chat"].target_after > found["shop", "chat"].target_before


def test_risk_curves_end_at_the_error_and_say_where(outcome: Outcome, scores: Scores) -> None:
    found = trust.risks(outcome, scores)
    places = {(one.method, one.source, one.target, one.shots, one.domain) for one in found}
    assert len(places) == len(found)
    assert ("source-only", "shop", "film", 0, "shop") in places
    assert ("source-only", "shop", "film", 0, "film") in places
    assert ("target-only", None, "film", 4, "film") in places
    assert ("source-then-target", "shop", "film", 4, "shop") not in places
    for one in found:
        coverage = [point[0] for point in one.points]
        assert len(one.points) <= 40
        assert coverage == sorted(set(coverage))
        assert coverage[-1] == 1.0
    one = next(one for one in found if (one.method, one.source, one.domain) == ("source-only", "shop", "film"))
    errors = [(own.argmax(axis=1) != outcome.targets("film")).mean() for own in source_only(outcome, "shop", "film")]
    assert one.points[-1][1] == pytest.approx(np.mean(errors), abs=1e-6)
    rows = len(outcome.targets("film"))
    count = round(one.points[9][0] * rows)
    surest = []
    for own in source_only(outcome, "shop", "film"):
        ranked = np.argsort(-own.max(axis=1))[:count]
        surest.append((own.argmax(axis=1) != outcome.targets("film"))[ranked].mean())
    assert one.points[9][1] == pytest.approx(np.mean(surest), abs=1e-6)


def test_a_promise_is_fitted_on_one_half_and_measured_on_the_other(outcome: Outcome, scores: Scores) -> None:
    found = {
        (one.method, one.source, one.target, one.precision, one.fitted_on, one.measured_on): one
        for one in trust.promises(outcome, scores)
    }
    inside = found["source-only", "shop", "film", 0.9, "shop", "shop"]
    outside = found["source-only", "shop", "film", 0.9, "shop", "film"]
    rows = outcome.plan.test_rows["shop"]
    first = seeds.first_half(rows.groups, "trust", outcome.plan.task.name, "shop")
    truth, there = outcome.targets("shop"), outcome.targets("film")
    thresholds, covered, kept, moved = [], [], [], []
    for own, other in zip(source_only(outcome, "shop", "shop"), source_only(outcome, "shop", "film"), strict=True):
        steps = operating_steps(truth[first], own[first], [str(number) for number in range(first.sum())])
        point = operating_point(steps, 0.9)
        assert point is not None
        thresholds.append(point.threshold)
        sure = own.max(axis=1) >= point.threshold
        covered.append(sure[~first].mean())
        kept.append((own.argmax(axis=1) == truth)[sure & ~first])
        moved.append((other.argmax(axis=1) == there)[other.max(axis=1) >= point.threshold])
    assert inside.threshold == outside.threshold == pytest.approx(np.mean(thresholds))
    assert inside.coverage is not None
    assert inside.coverage.mean == pytest.approx(np.mean(covered))
    assert inside.coverage.low <= inside.coverage.mean <= inside.coverage.high
    assert inside.kept == pytest.approx(np.concatenate(kept).mean())
    assert outside.kept == pytest.approx(np.concatenate(moved).mean())
    assert inside.kept > 0.9 > 0.75 > outside.kept  # the promise breaks under shift, and that is shown
    assert inside.reason is None


def test_what_saw_target_shots_is_fitted_on_the_target_alone(outcome: Outcome, scores: Scores) -> None:
    for one in trust.promises(outcome, scores):
        if one.method != "source-only":
            assert (one.fitted_on, one.measured_on) == (one.target, one.target)
        assert (one.coverage is None) == (one.threshold is None)
        assert one.coverage is not None or one.reason


def test_a_promise_that_labels_cannot_support_is_refused(outcome: Outcome, scores: Scores) -> None:
    refused = [one for one in trust.promises(outcome, scores) if one.fitted_on == "film" and one.precision == 0.95]
    assert refused
    for one in refused:
        assert (one.threshold, one.coverage, one.kept) == (None, None, None)
        assert one.reason
        assert "labelled rows" in one.reason


def test_sets_are_measured_where_they_were_not_fitted(outcome: Outcome, scores: Scores) -> None:
    found = {(one.method, one.source, one.target, one.shots): one for one in trust.sets(outcome, scores)}
    one = found["source-only", "shop", "film", 0]
    first = seeds.first_half(outcome.plan.test_rows["shop"].groups, "trust", outcome.plan.task.name, "shop")
    truth, there = outcome.targets("shop"), outcome.targets("film")
    inside, outside, sizes = [], [], []
    for own, other in zip(source_only(outcome, "shop", "shop"), source_only(outcome, "shop", "film"), strict=True):
        level = conformal_level(truth[first], own[first], 0.9)
        inside.append((own[~first, truth[~first]] >= level).mean())
        outside.append((other[np.arange(len(there)), there] >= level).mean())
        sizes.append((other >= level).sum(axis=1).mean())
    assert one.in_source == pytest.approx(np.mean(inside))
    assert one.in_target == pytest.approx(np.mean(outside))
    assert one.size == pytest.approx(np.mean(sizes))
    assert one.in_target < 0.7 < one.in_source
    own = found["target-only", None, "film", 4]
    assert own.in_source is None
    assert own.reason is None
    assert own.in_target == pytest.approx(0.9, abs=0.08)


def test_few_rows_promise_nothing_and_say_so(toy_task: Task) -> None:
    outcome = made_outcome(toy_task, lambda method, source, target: 1.0, limit=6)
    scores = Scores(outcome)
    assert all(
        one.coverage is None and one.reason and "too few" in one.reason for one in trust.promises(outcome, scores)
    )
    assert all(
        one.in_target is None and one.reason and "9 are needed" in one.reason for one in trust.sets(outcome, scores)
    )


def test_two_groups_are_no_crash(tmp_path: Path) -> None:
    rows = [{**row, "group": f"{row['domain']}{number % 60 // 5}"} for number, row in enumerate(toy_rows(60))]
    task = load_task(write_table(tmp_path / "toy.csv", rows), group_column="group")
    outcome = made_outcome(task, lambda method, source, target: 0.9)
    assert trust.promises(outcome, Scores(outcome))

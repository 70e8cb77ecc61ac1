"""Costs, laws, aggregates and choices of a small study, against its records."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from lowres.analysis.aggregates import aggregates, choices
from lowres.analysis.costs import Bills, costs, learning_laws
from lowres.analysis.measure import Scores
from lowres.analysis.reach import with_asked
from lowres.analysis.summary import Estimate
from lowres.errors import UserError
from lowres.library import Study
from lowres.results import StudyResult
from lowres.stats.laws import fit_law
from lowres.stats.paired import interquartile_mean, probability_of_improvement
from lowres.stats.variance import Interval
from lowres.study.runner import Outcome

METHODS = ["target-only", "probe", "tfidf", "source-then-target"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, toy_table: Path, encoder: Path) -> StudyResult:
    place = tmp_path_factory.mktemp("costs")
    return Study(
        str(toy_table), sources=["shop", "chat"], targets=["film"], shots=[0, 2, 4, 8], seeds=3, source_rows=30, precision="fp32",
        recipe={"min_steps": 6, "epochs": 1, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2},
        backbone=str(encoder), store=str(place / "store"), out=str(place / "out"), methods=METHODS,
    ).run()  # fmt: skip


@pytest.fixture(scope="module")
def scores(result: StudyResult) -> Scores:
    return Scores(result.outcome)


@pytest.fixture(scope="module")
def bills(result: StudyResult, scores: Scores) -> Bills:
    return Bills(scores, result.backbone, result.store)


@pytest.fixture(scope="module")
def frame(result: StudyResult) -> pd.DataFrame:
    """One row a cell between domains; cells without a source stand for both."""
    cells = result.to_frame()
    return cells[cells.source != cells.target]


def test_costs_are_those_of_the_records(result: StudyResult, scores: Scores, bills: Bills, frame: pd.DataFrame) -> None:
    found = {(one.method, one.shots): one for one in costs(scores, bills)}
    assert {key: one.labels for key, one in found.items()} == {
        ("source-only", 0): 0,
        ("target-full", None): 30,
        **{(method, shots): 2 * shots for method in METHODS for shots in (2, 4, 8)},
    }

    def seconds(key: str) -> float:
        return float(json.loads((result.store.fit_folder(key) / "fit.json").read_text())["seconds"])

    for (method, shots), one in found.items():
        cells = frame[(frame.method == method) & (frame.shots.isna() if shots is None else frame.shots == shots)]
        assert one.score == pytest.approx(cells["metrics.macro_f1"].mean())
        paid = [sum(map(seconds, [cell.key, *cell.starts])) for cell in cells.itertuples()]
        assert one.seconds == pytest.approx(np.mean(paid), abs=1e-9)
    assert found["tfidf", 4].flops == 0
    both = found["source-only", 0].flops + found["target-only", 8].flops
    assert found["source-then-target", 8].flops == pytest.approx(both, rel=1e-12)


def test_flops_by_hand(result: StudyResult, scores: Scores, bills: Bills) -> None:
    """Two layers, 32 and 64 wide: 2 · 2 · (4 · 32² + 2 · 32 · 64) a token and pass; 4 rows make batches of 4, 6 steps."""
    found = {(one.method, one.shots): one for one in costs(scores, bills)}
    per_token = 2 * 2 * (4 * 32**2 + 2 * 32 * 64)
    tokens, frozen = [], []
    for cell, fit in result.plan.fits.items():
        if (cell.shots, cell.method) == (2, "target-only"):
            lengths = [min(24, 2 + len(text) / 4.2) for text in fit.texts]
            assert len(lengths) == 4
            tokens.append(2 * 6 * 4 * np.mean(lengths))
            frozen.append(sum(lengths))
    assert found["target-only", 2].flops == pytest.approx(per_token * np.mean(tokens))
    assert found["probe", 2].flops == pytest.approx(per_token * np.mean(frozen))


def test_the_floor_of_a_plan_counts_the_same(result: StudyResult, bills: Bills) -> None:
    plan = result.plan
    fit = next(fit for cell, fit in plan.fits.items() if cell.method == "target-full")
    others = set(plan.distinct) - {fit.content}
    per_token = result.backbone.flops_per_token()
    tested = sum(min(24, 2 + len(text) / 4.2) for text in plan.test_rows["film"].texts)
    floor = plan.estimate(1.0, per_token, others).floor
    assert floor == pytest.approx((bills._work[fit.content][1] + tested * per_token) / 1e9)


def test_laws_are_drawn_where_there_are_three_budgets(scores: Scores, bills: Bills, frame: pd.DataFrame) -> None:
    found = {(one.method, one.source, one.target, one.against): one for one in learning_laws(scores, bills)}
    assert {key for key in found if key[2]} == {
        *((method, None, "film", "labels") for method in METHODS[:3]),
        *(("source-then-target", source, "film", "labels") for source in ("shop", "chat")),
    }
    alone = found["target-only", None, "film", "labels"]
    assert [point.x for point in alone.points] == [4, 8, 16, 30]
    cells = frame[frame.method == "target-only"].groupby("shots")["metrics.macro_f1"].mean()
    assert [point.mean for point in alone.points][:3] == pytest.approx(cells.tolist())
    assert alone.reason is None
    assert (alone.curve[0].x, alone.curve[-1].x) == pytest.approx((4, 120))
    assert all(point.low <= point.high <= 1 for point in alone.curve)
    means = [point.mean for point in alone.curve]
    assert means == sorted(means)
    no_flops = found["tfidf", None, None, "flops"]
    assert (no_flops.curve, no_flops.reason) == ([], "the budgets do not cost more and more")
    assert learning_laws(scores, bills) == list(found.values())


def test_labels_to_the_ceiling_less_a_point(result: StudyResult, frame: pd.DataFrame) -> None:
    """By a law fitted here, from the records alone, and its root."""
    found = {(one.method, one.source): one for one in result.evidence.reaches if one.measured != 0}
    start = {one.source for one in result.evidence.reaches if one.measured == 0}
    assert set(found) == {
        ("target-only", None),
        ("probe", None),
        ("tfidf", None),
        *((METHODS[3], s) for s in ("shop", "chat")),
    }
    top = frame[frame.method == "target-full"].drop_duplicates("draw").set_index("draw")["metrics.macro_f1"]
    ceiling = top.mean()
    begun = (
        frame[(frame.method == "source-only") & (frame.target == "film")].groupby("source")["metrics.macro_f1"].mean()
    )
    assert start == set(begun.index[begun >= ceiling - 0.01])
    laws = {(one.method, one.source): one for one in result.evidence.laws if one.target and one.against == "labels"}
    for place, one in found.items():
        assert (one.target, one.wanted, one.score) == ("film", "ceiling less a point", pytest.approx(ceiling - 0.01))
        cells = frame[frame.method == place[0]]
        cells = cells[cells.source.isna() if place[1] is None else cells.source == place[1]]
        own = (
            cells[cells.shots > 0]
            .drop_duplicates(["shots", "draw"])
            .pivot(index="draw", columns="shots", values="metrics.macro_f1")
        )
        if place[0] == "target-only":
            own[15] = top
        assert laws[place].draws == own.to_numpy().tolist()
        paired = own.sub(top - top.mean(), axis=0)
        law = fit_law([2 * float(shots) for shots in own], paired.to_numpy(), np.random.default_rng(0))
        enough = [shots for shots in own if own[shots].mean() >= one.score]
        assert one.measured == (enough[0] if enough else None)
        edge = float(law.at(np.array([law.smallest]))[0]), float(law.at(np.array([4 * law.largest]))[0])
        assert (one.labels is not None) == (edge[0] <= one.score <= edge[1])
        if one.labels is None:
            assert one.reason
            assert (one.low, one.high) == (None, None)
        else:
            assert law.at(np.array([2 * one.labels]))[0] == pytest.approx(one.score)
            assert (one.low or 0) <= one.labels <= (one.high or np.inf)


def test_a_score_is_asked_of_a_finished_run(result: StudyResult) -> None:
    target_only = next(one for one in result.evidence.laws if one.method == "target-only" and one.target)
    score = target_only.curve[12].mean
    more = with_asked(result.evidence, result.summary, score)
    asked = [one for one in more.reaches if one.wanted == "asked"]
    by_law = [one for one in asked if one.measured != 0]
    assert len(by_law) == len({(one.method, one.source, one.target) for one in by_law}) == 5
    assert len(more.reaches) - len(asked) == len(result.evidence.reaches)
    easy = [one for one in with_asked(result.evidence, result.summary, 1e-3).reaches if one.wanted == "asked"]
    assert {(one.method, one.source) for one in easy if one.measured == 0} == {
        ("source-only", "shop"),
        ("source-only", "chat"),
    }
    assert all(one.labels is None for one in easy)
    one = next(one for one in asked if one.method == "target-only")
    assert one.labels is None or 2 * one.labels == pytest.approx(target_only.curve[12].x)
    assert {one.score for one in asked} == {score}
    for wrong in (85.0, 0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(UserError, match="above 0 and below 1"):
            with_asked(result.evidence, result.summary, wrong)
    old = result.evidence.model_copy(update={"classes": None})
    with pytest.raises(UserError, match="earlier version"):
        with_asked(old, result.summary, 0.8)
    with pytest.raises(UserError, match="no learning curve"):
        with_asked(result.evidence.model_copy(update={"laws": []}), result.summary, 0.8)


def test_aggregates_are_the_functions_over_all_pairs(scores: Scores, frame: pd.DataFrame) -> None:
    found = {(one.method, one.shots): one for one in aggregates(scores)}
    assert set(found) == {("source-only", 0), *((method, shots) for method in METHODS for shots in (2, 4, 8))}

    def values(method: str, shots: int) -> np.ndarray:
        cells = frame[(frame.method == method) & (frame.shots == shots)].sort_values("draw")
        return np.stack([cells[cells.source == one]["metrics.macro_f1"] for one in ("shop", "chat")])

    one = found["source-then-target", 4]
    own = values("source-then-target", 4)
    alone = (
        frame[(frame.method == "target-only") & (frame.shots == 4)].sort_values("draw")["metrics.macro_f1"].to_numpy()
    )
    assert one.interquartile_mean.mean == pytest.approx(interquartile_mean(own))
    assert one.against == "target-only"
    assert one.improvement is not None
    assert one.improvement.mean == pytest.approx(probability_of_improvement(own, np.stack([alone, alone])))
    assert one.interquartile_mean.low <= one.interquartile_mean.mean <= one.interquartile_mean.high
    assert found["target-only", 4].against is None


def test_choices_follow_their_rules(result: StudyResult, scores: Scores, frame: pd.DataFrame) -> None:
    found = {(one.rule, one.source, one.shots): one for one in choices(scores)}
    assert len(found) == 2 * 3 * 2
    for (rule, source, shots), one in found.items():
        cells = frame[(frame.shots == shots) & (frame.source.isna() | (frame.source == source))]
        means = cells.groupby("method")["metrics.macro_f1"].mean()
        assert one.best == means.idxmax()
        assert one.regret == pytest.approx(means.max() - means[one.picked])
        if rule == "forecast":
            sure: dict[str, list[float]] = {}
            for cell, fit in result.plan.fits.items():
                if cell.shots == shots and cell.source in (None, source):
                    answers = result.outcome.probabilities[fit.content, "film"]
                    sure.setdefault(cell.method, []).append(float(answers.max(axis=1).mean()))
            assert one.picked == max(sure, key=lambda method: np.mean(sure[method]))
        else:
            assert one.picked == "source-then-target"


def test_models_that_fell_behind_are_those_measured_worse(result: StudyResult) -> None:
    from dataclasses import replace

    def handed(outcome: Outcome) -> dict[int, float]:
        truth = outcome.targets("film")
        return {
            cell.shots: float(
                f1_score(truth, outcome.probabilities[fit.content, "film"].argmax(axis=1), average="macro")
            )
            for cell, fit in result.plan.fits.items()
            if (cell.source, cell.target, cell.draw) == ("shop", "film", 0)
            and cell.method == ("source-then-target" if cell.shots else "source-only")
        }

    spoiled = dict(result.outcome.probabilities)
    worst = next(
        f for c, f in result.plan.fits.items() if (c.method, c.source, c.shots, c.draw) == (METHODS[3], "shop", 4, 0)
    )
    spoiled[worst.content, "film"] = spoiled[worst.content, "film"][:, ::-1] * 0 + np.float32([1, 0])
    for probabilities in (result.outcome.probabilities, spoiled):
        changed = replace(result, scores=Scores(replace(result.outcome, probabilities=probabilities)))
        scored = handed(changed.outcome)
        behind = [(f"film-{shots}", scored[shots], scored[0]) for shots in (2, 4, 8) if scored[shots] < scored[0]]
        assert changed.falling_behind() == [
            (name, pytest.approx(own), pytest.approx(start)) for name, own, start in behind
        ]
    assert behind


def test_differences_keep_to_their_range() -> None:
    from lowres.analysis.measure import difference_of
    from lowres.scoring.metrics import find_metric

    wide = Interval(0.4, -1.7, 2.5, 0.3, 1.0)
    assert difference_of(wide, find_metric("accuracy")) == Estimate(mean=0.4, low=-1.0, high=1.0)
    assert difference_of(wide, find_metric("matthews")) == Estimate(mean=0.4, low=-1.7, high=2.0)


def test_few_draws_give_no_aggregates_and_no_bands(small: Callable[..., Study]) -> None:
    result = small(seeds=1, shots=[0, 2, 4, 8]).run()
    assert result.evidence.aggregates == []
    assert {law.reason for law in result.evidence.laws if law.method == "target-only" and law.target} == {
        "one draw, a band needs two"
    }


def test_a_failed_fit_leaves_out_its_costs(result: StudyResult) -> None:
    """A chain whose source failed, while what starts from it was answered from the store."""
    from dataclasses import replace

    start = next(
        fit.start.content for cell, fit in result.plan.fits.items() if cell.method == "source-then-target" and fit.start
    )
    outcome = replace(result.outcome, failed={start: "FitError: no memory"})
    scores = Scores(outcome)
    bills = Bills(scores, result.backbone, result.store)
    known = {(one.method, one.shots) for one in costs(scores, bills)}
    assert ("target-only", 8) in known
    assert ("source-then-target", 8) not in known
    assert learning_laws(scores, bills)


def test_a_part_that_fails_costs_no_other(result: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowres.analysis import gather

    def broken(*_: object) -> None:
        raise ValueError("no such words")

    monkeypatch.setattr(gather.diagnosis, "words", broken)
    found = gather.gather(result.scores, result.engine, result.store)
    assert found.notes == ["words could not be made: ValueError: no such words"]
    assert found.words == []
    assert found.forecasts == result.evidence.forecasts != []


def test_rows_that_bear_the_name_of_their_domain_are_no_labels(small: Callable[..., Study]) -> None:
    """The domain classifier of ``select-source`` sees unlabelled target rows, called target."""
    result = small(methods=["select-source"], targets=["film"], seeds=1).run()
    found = {one.shots: one.labels for one in result.evidence.costs if one.method == "select-source"}
    assert found == {0: 0.0, 4: 8.0}

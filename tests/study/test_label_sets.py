"""Studies of domains that differ in labels: what is refused, what is said, and what their evidence is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lowres.data.task import Task, load_task
from lowres.errors import UserError
from lowres.library import Study, score
from lowres.report import html, markdown
from lowres.results import StudyResult
from lowres.scoring.metrics import find_metric
from lowres.study.config import build_config
from lowres.study.plan import make_plan
from lowres.study.validation import validation
from tests.conftest import toy_rows, write_table
from tests.study.conftest import SMALL

NEVER = "source-only has never seen class"


@pytest.fixture(scope="module")
def result(uneven_file: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    place = tmp_path_factory.mktemp("uneven-study")
    given = SMALL | {
        "sources": ["shop", "film"],
        "targets": ["film", "shop"],
        "methods": ["source-then-target", "joint"],
    }
    return Study(
        str(uneven_file), **given, backbone=str(encoder), store=str(place / "store"), out=str(place / "out")
    ).run()


@pytest.fixture
def apart(tmp_path: Path) -> Task:
    """Two domains without a common label, and one that has labels of both."""
    names = {("film", "negative"): "dull", ("film", "positive"): "witty", ("chat", "negative"): "dull"}
    rows = [row | {"label": names.get((row["domain"], row["label"]), row["label"])} for row in toy_rows(30)]
    write_table(tmp_path / "apart.csv", rows)
    (tmp_path / "apart.yaml").write_text(
        "name: apart\nlabels: [negative, positive, dull, witty]\nlabel_sets: differ\n"
        "source: {kind: files, parts: [{path: apart.csv}]}"
    )
    return load_task(tmp_path / "apart.yaml")


def test_what_a_source_has_never_seen_is_said_with_its_share(result: StudyResult) -> None:
    rows = result.plan.test_rows["shop"]
    share = f"{rows.labels.count('neutral') / len(rows):.0%}"
    (said,) = [line for line in result.summary.warnings if NEVER in line]
    assert said.startswith(f"film → shop: {NEVER} neutral, {share} of the test rows")
    assert "domain 'film' has no rows of class 'neutral'" in result.summary.warnings
    for text in (markdown.render(result.summary, result.evidence), html.render(result.summary, result.evidence, [])):
        assert NEVER in text


def test_rows_of_a_new_class_count_as_wrong(result: StudyResult) -> None:
    outcome = result.outcome
    truth, neutral = outcome.targets("shop"), outcome.plan.task.labels.index("neutral")
    for cell, fit in outcome.plan.fits.items():
        if (cell.method, cell.source, cell.target) == ("source-only", "film", "shop"):
            values = outcome.probabilities[fit.content, "shop"]
            assert not values[:, neutral].any()
            assert find_metric("accuracy").score(truth, values) <= (truth != neutral).mean()


def test_the_score_is_over_classes_in_truth_or_answers(result: StudyResult) -> None:
    """Of two classes whose rows are all found, with a third that nobody has, macro-F1 is 1."""
    truth = result.outcome.targets("film")
    assert find_metric("macro_f1").score(truth, np.eye(3)[truth]) == 1.0
    assert {
        record["metrics"]["recall"]["neutral"] for record in result.outcome.records() if record["target"] == "film"
    } == {None}


def test_every_part_of_the_evidence_is_made(result: StudyResult) -> None:
    found = result.evidence
    assert found.notes == []
    assert "nan" not in found.to_json().lower()
    explained = {(one.source, one.target): one.of_labels for one in found.distances}
    assert explained["film", "shop"] is None  # a label of the target has no row in the source
    assert explained["shop", "film"] is not None
    assert {one.label for one in found.words} <= {"negative", "positive"}
    assert found.classes_in == {"film": 2, "shop": 3}
    for one in found.sets:
        assert one.in_target is None or 0 <= one.in_target <= 1
    assert len(found.calibration) == len(result.plan.pairs)


def test_an_expected_score_counts_no_class_that_a_model_cannot_answer(result: StudyResult) -> None:
    """``film`` has two classes; a third with probability 0 must not pull the mean of the expected F1 down by a third."""
    one = next(
        one for one in result.evidence.forecasts
        if (one.source, one.target, one.metric) == ("film", "shop", "macro_f1")
    )  # fmt: skip
    values = [
        result.outcome.probabilities[fit.content, "shop"]
        for cell, fit in result.plan.fits.items()
        if (cell.method, cell.source, cell.target) == ("source-only", "film", "shop")
    ]
    assert one.predicted.mean > 1 / 3 * max(value.max(axis=1).mean() for value in values)


def test_a_saved_model_is_scored_on_a_domain_with_a_class_it_has_not_seen(
    result: StudyResult, uneven_task: Task
) -> None:
    rows = uneven_task.domains["shop"].test
    model = result.best("shop", shots=0, source="film")
    assert model.labels == ("negative", "positive")
    with pytest.raises(UserError, match="another label set"):
        score(model, rows)
    found = score(model, rows, uneven_task.labels)
    assert isinstance(found["recall"], dict)
    assert found["recall"]["neutral"] == 0.0
    with pytest.raises(UserError, match=r"another label set\ngot strange"):
        score(model, rows.labelled(["strange"] * len(rows)), uneven_task.labels)


def test_pairs_without_a_common_label_need_shots(apart: Task) -> None:
    def config(**given: object) -> object:
        return build_config(
            {"task": "apart", "source": ["shop"], "target": ["film"], "seeds": 2, "source_rows": 12, **given}
        )

    with pytest.raises(UserError, match=r"without a common label: shop and film\ngot 0 shots(.|\n)*--shots"):
        make_plan(config(shots=[0]), apart)
    with pytest.raises(UserError, match="without a common label"):
        validation(config(shots=[0]), apart, ["source-only"])
    plan = make_plan(config(shots=[0, 4], methods=["source-then-target"]), apart)
    onward = {fit.labels for cell, fit in plan.fits.items() if cell.method == "source-then-target" and cell.shots}
    assert onward == {apart.labels}
    make_plan(config(shots=[0], target=["chat"]), apart)


def test_a_pair_without_a_common_label_is_said_to_be_wrong_by_construction(
    apart: Task, small: Callable[..., Study]
) -> None:
    study = small(targets=["film"], seeds=1)
    study.__dict__["task"] = apart
    found = study.run()
    assert (
        "shop → film: no class in common, so source-only is wrong on every row by construction"
        in found.summary.warnings
    )
    assert {one.mean for one in found.summary.scores if (one.method, one.target) == ("source-only", "film")} == {0.0}


def test_a_domain_of_one_class_is_refused(tmp_path: Path) -> None:
    rows = [row for row in toy_rows(30) if row["domain"] != "film" or row["label"] == "positive"]
    write_table(tmp_path / "one.csv", rows)
    (tmp_path / "one.yaml").write_text(
        "name: one\nlabels: [negative, positive]\nlabel_sets: differ\nsource: {kind: files, parts: [{path: one.csv}]}"
    )
    with pytest.raises(UserError, match="film: rows of class positive alone, two classes are needed"):
        make_plan(
            build_config({"task": "one", "source": ["shop"], "target": ["film"]}), load_task(tmp_path / "one.yaml")
        )

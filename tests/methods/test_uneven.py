"""Every method where domains differ in labels: classes that the target lacks, and classes that the source has never seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowres import seeds
from lowres.data.task import Task
from lowres.library import Study
from lowres.methods.catalogue import METHODS
from lowres.methods.cell import Cell
from lowres.results import StudyResult
from lowres.study.config import build_config
from lowres.study.plan import Plan, make_plan
from lowres.training.fit import Environment, Fit
from lowres.training.picks import PseudoLabels
from tests.methods.follow import leaks

ALL = ("negative", "neutral", "positive")
SEEN = {"shop": ALL, "film": ("negative", "positive"), "chat": ("negative", "neutral")}
FIT = {"min_steps": 3, "epochs": 1, "max_length": 24, "learning_rate": 5e-3, "head_learning_rate": 5e-2}


@pytest.fixture(scope="module")
def plan(uneven_task: Task) -> Plan:
    given = {"task": "uneven", "shots": [0, 4], "seeds": 2, "methods": list(METHODS), "source_rows": 30}
    return make_plan(build_config(given), uneven_task)


@pytest.fixture(scope="module")
def result(uneven_file: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    """Every method, with ``film`` that lacks a class of ``shop``, and ``shop`` that has one ``film`` has not."""
    place = tmp_path_factory.mktemp("uneven-run")
    return Study(
        str(uneven_file), backbone=str(encoder), shots=[0, 4], seeds=1, methods=list(METHODS), source_rows=16, recipe=FIT,
        targets=["film", "shop"], precision="fp32", store=str(place / "store"), out=str(place / "out"),
    ).run()  # fmt: skip


def union(*names: str) -> tuple[str, ...]:
    return tuple(label for label in ALL if any(label in SEEN[name] for name in names))


def wanted(cell: Cell) -> tuple[str, ...]:
    """The labels that a method's rows and what it starts from have, by what it declares to use."""
    uses = METHODS[cell.method].uses
    own = (cell.target,) if cell.shots or "pool" in uses else ()
    if "others" in uses:
        return union(*(name for name in SEEN if name != cell.target), *own)
    if "S" in uses:
        assert cell.source is not None
        return union(cell.source, *own)
    return ALL if "names" in uses else union(*own)


def test_a_fit_has_the_labels_that_it_has_seen(plan: Plan) -> None:
    for cell, fit in plan.fits.items():
        if cell.method != "keywords":
            assert fit.labels == wanted(cell), cell
    weak = [fit.labels for cell, fit in plan.fits.items() if cell.method == "keywords" and cell.target == "film"]
    assert set(weak) == {SEEN["film"]}


def test_no_fit_sees_a_row_or_label_it_may_not_use(plan: Plan, uneven_task: Task) -> None:
    assert not [fault for cell, fit in plan.fits.items() for fault in leaks(uneven_task, cell, fit)]


def test_without_shots_labels_of_the_target_change_nothing(plan: Plan, uneven_task: Task) -> None:
    """What is trained at 0 shots is the same if the rows of the target have other labels."""
    film = uneven_task.domains["film"]
    swapped = {"negative": "positive", "positive": "negative"}
    train = film.train.labelled([swapped[label] for label in film.train.labels])
    other = replace(uneven_task, domains=uneven_task.domains | {"film": replace(film, train=train)})
    config = plan.config
    again = make_plan(config, other)
    for cell, fit in plan.fits.items():
        if cell.target == "film" and cell.shots == 0 and "film" not in plan.origins.members(cell.source or ""):
            assert again.fits[cell].content == fit.content, cell


def test_pseudo_labels_are_those_of_the_shots(plan: Plan) -> None:
    for cell, fit in plan.fits.items():
        if cell.method == "self-train":
            (by,) = (part.by for part in fit.parts if part.by is not None)
            assert isinstance(by, PseudoLabels)
            assert by.labels == (SEEN[cell.target] if cell.shots else SEEN[str(cell.source)]), cell


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_on_both(method: str, result: StudyResult) -> None:
    outcome = result.outcome
    assert not outcome.failed
    places = {label: place for place, label in enumerate(ALL)}
    found = {
        (cell, fit.content): fit for cell, fit in outcome.plan.fits.items()
        if cell.method == method and cell.target not in outcome.plan.origins.members(cell.source or "")
    }  # fmt: skip
    assert {cell.target for cell, _ in found} == {"film", "shop"}
    for (cell, content), fit in found.items():
        values = outcome.probabilities[content, cell.target]
        assert values.shape == (len(outcome.plan.test_rows[cell.target]), len(ALL))
        assert np.allclose(values.sum(1), 1.0, atol=1e-5)
        never = [places[label] for label in ALL if label not in fit.labels]
        assert not values[:, never].any()
        assert (values[:, [places[label] for label in fit.labels]] > 0).any(0).all() or not fit.is_encoder


def head(result: StudyResult, fit: Fit) -> dict[str, np.ndarray]:
    fitted = result.store.read_fit(fit.key(result.outcome.environment))
    assert fitted is not None
    return dict(zip(fit.labels, fitted.head["weight"], strict=True))


def test_a_mean_of_heads_takes_a_new_class_from_those_that_know_it(result: StudyResult) -> None:
    fit = next(
        fit for cell, fit in result.plan.fits.items()
        if (cell.method, cell.source, cell.target, cell.shots) == ("interpolate", "film", "shop", 4)
    )  # fmt: skip
    source, target = (head(result, one) for one in fit.ingredients)
    mean = head(result, fit)
    assert mean["neutral"] == pytest.approx(target["neutral"], abs=1e-6)
    assert mean["positive"] == pytest.approx((source["positive"] + target["positive"]) / 2, abs=1e-6)


def test_keys_of_tasks_with_one_label_set_stay(hinted_task: Task) -> None:
    """Keys of the fits of every method but ``self-train``, then of all."""
    methods = [name for name in METHODS if name != "self-train"]
    given = {"task": "toy", "shots": [0, 4, 8], "seeds": 2, "methods": methods, "source_rows": 30}
    plan = make_plan(build_config(given), hinted_task)
    assert hinted_task.fingerprint == "bad931d1b1153557946c5e79c4591a9db391f0a2"
    assert seeds.digest("pin", sorted(plan.distinct)) == "b714bd191a8062220dbac79c54d2fb397aa9185d"
    assert plan.hash(Environment("b", "fleet", "fp32", "n")) == "d86d06a024e38374560b9d21053a4de59cf4f0ce"
    everything = make_plan(build_config(given | {"methods": list(METHODS)}), hinted_task)
    assert seeds.digest("pin", sorted(everything.distinct)) == "033bfed5cec610fc4dac8e121eda19cabb15d6ef"

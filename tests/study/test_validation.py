"""Scores for a choice: what they are, and which rows they never look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from lowres.data import splits
from lowres.data.rows import UNLABELLED, Rows
from lowres.data.task import Domain, Task
from lowres.errors import UserError
from lowres.methods.catalogue import METHODS
from lowres.models.backbone import Backbone
from lowres.models.device import numerics
from lowres.stats.variance import interval
from lowres.study.config import StudyConfig, build_config
from lowres.study.store import Store
from lowres.study.validation import Candidate, Validated, Validation, folds, validate, validation
from lowres.training.engines import make_engine
from lowres.training.fit import Engine, Environment, Fit, Part

RECIPE = {"min_steps": 8, "epochs": 1, "max_length": 24, "learning_rate": 5e-3}
CHOOSABLE = sorted(name for name, method in METHODS.items() if "pool" not in method.uses)


class Poison:
    """Rows that nobody may touch."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"a row that may not be read was asked for its {name}")

    def __len__(self) -> int:
        raise AssertionError("rows that may not be read were counted")


def poisoned(task: Task, dev: tuple[str, ...]) -> Task:
    """A task of which no test row can be read, and dev rows of some domains only."""
    poison: Any = Poison()
    domains = {
        name: Domain(name, domain.train, domain.dev if name in dev else poison, poison)
        for name, domain in task.domains.items()
    }
    return replace(task, domains=domains)


def config(**changes: object) -> StudyConfig:
    given = {"task": "toy", "source": ["shop"], "target": ["film"], "shots": [6], "seeds": 2, "source_rows": 30}
    return build_config({**given, "recipe": RECIPE, **changes})


def engine_of(backbone: Backbone) -> tuple[Engine, Environment]:
    engine = make_engine("fleet", backbone, backbone.tokens(), "cpu", "fp32")
    return engine, Environment(backbone.fingerprint, "fleet", "fp32", numerics())


def run(how: Validation, backbone: Backbone, folder: Path, *names: str, **changes: object) -> list[Validated]:
    engine, environment = engine_of(backbone)
    candidates = [Candidate(name, config(**changes)) for name in names]
    found, _ = validate(how, candidates, engine, environment, Store(folder), {})
    assert all(isinstance(one, Validated) for one in found), found
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("by", ["few-shot", "source-dev"])
@pytest.mark.parametrize("name", CHOOSABLE)
def test_no_method_is_chosen_by_a_row_that_it_may_not_see(name: str, by: str, hinted_task: Task) -> None:
    """Follows the row ids of every fit and of every row that is scored; no other row can be touched at all."""
    sources = ("shop", "chat")
    own = config(source=list(sources))
    how = validation(own, poisoned(hinted_task, sources), [name], by=by, folds=3)
    forbidden = {
        row for domain in hinted_task.domains.values() for part in (domain.dev, domain.test) for row in part.ids
    }
    scored: dict[int, list[str]] = {}
    for exam in how.exams(Candidate(name, own)):
        held = set(exam.rows.ids)
        scored.setdefault(exam.draw, []).extend(exam.rows.ids)
        shots = set(splits.shots(hinted_task.name, hinted_task.domains["film"].train, 6, exam.draw).ids)
        if by == "few-shot":
            assert held <= shots
        else:
            assert exam.rows.domain in sources
            assert held <= set(hinted_task.domains[exam.rows.domain].dev.ids)
        for fit in exam.fit.lineage():
            for part in fit.parts:
                ids = set(part.rows.ids)
                assert not ids & forbidden
                assert not ids & held, "a fit sees a row that it is scored on"
                if part.rows.domain == "film" and set(part.rows.labels) & set(hinted_task.labels):
                    assert ids <= shots, "target labels beyond the shots"
                    assert UNLABELLED not in part.rows.labels
    if by == "few-shot":
        pairs = 2 if METHODS[name].uses_source else 1
        for draw, ids in scored.items():
            shots = splits.shots(hinted_task.name, hinted_task.domains["film"].train, 6, draw)
            assert sorted(ids) == sorted([*shots.ids] * pairs), "every shot is scored once a pair"


def test_the_score_of_few_shot_cross_validation(hinted_task: Task, backbone: Backbone, tmp_path: Path) -> None:
    """By hand: out-of-fold answers of all shots, macro-F1 by scikit-learn, mean over draws."""
    own = config()
    how = validation(own, poisoned(hinted_task, ()), ["target-only"], folds=3)
    (found,) = run(how, backbone, tmp_path / "store", "target-only")
    engine, _ = engine_of(backbone)
    wanted = []
    for draw in range(2):
        shots = splits.shots(hinted_task.name, hinted_task.domains["film"].train, 6, draw)
        truth, said = [], []
        for held in folds(shots, 3, "folds", hinted_task.name, "film", draw):
            rest = shots.take([at for at, row in enumerate(shots.ids) if row not in held.ids])
            fit = Fit((Part(rest),), hinted_task.labels, hinted_task.name, draw, recipe=own.recipe)
            ((_, fitted),) = engine.fit_many([fit], {})
            assert not isinstance(fitted, Exception)
            answers = engine.predict(fit, fitted, list(held.texts)).argmax(1)
            truth += [hinted_task.labels.index(label) for label in held.labels]
            said += answers.tolist()
        wanted.append(f1_score(truth, said, average="macro"))
    assert found.draws == pytest.approx(wanted, abs=1e-12)
    difference = np.ptp(wanted) / 2 * 12.7062047  # t(0.975) with one degree of freedom, times half the range
    assert interval(found.quantity).high - found.mean == pytest.approx(difference, rel=1e-6)


def test_the_score_on_source_dev_rows(hinted_task: Task, backbone: Backbone, tmp_path: Path) -> None:
    own = config(source=["shop", "chat"])
    how = validation(own, poisoned(hinted_task, ("shop", "chat")), ["tfidf"], by="source-dev")
    (found,) = run(how, backbone, tmp_path / "store", "tfidf", source=["shop", "chat"])
    from lowres.training import closed_form

    engine, _ = engine_of(backbone)
    wanted = []
    for draw in range(2):
        fit = next(exam.fit for exam in how.exams(Candidate("tfidf", own)) if exam.draw == draw)
        fitted = closed_form.solve(fit, engine, {})
        both = []
        for name in ("shop", "chat"):
            dev = hinted_task.domains[name].dev
            answers = closed_form.answer(fit, fitted, list(dev.texts), engine).argmax(1)
            both.append(f1_score([hinted_task.labels.index(one) for one in dev.labels], answers, average="macro"))
        wanted.append(np.mean(both))
    assert found.draws == pytest.approx(wanted, abs=1e-12)


def test_methods_with_and_without_a_source_can_be_compared(
    hinted_task: Task, backbone: Backbone, tmp_path: Path
) -> None:
    how = validation(config(), hinted_task, ["target-only", "source-then-target"], folds=2)
    found = run(how, backbone, tmp_path / "store", "target-only", "source-then-target", "source-only")
    assert len({one.quantity[0].pseudo.shape for one in found}) == 1
    assert len({tuple(one.draws) for one in found}) > 1


@st.composite
def few_rows(draw: st.DrawFn) -> Rows:
    labels = draw(st.lists(st.sampled_from("ab"), min_size=4, max_size=30))
    groups = draw(st.lists(st.integers(0, 12), min_size=len(labels), max_size=len(labels)))
    ids = tuple(f"r{place}" for place in range(len(labels)))
    return Rows("d", ids, ids, tuple(labels), tuple(f"g{group}" for group in groups))


@given(few_rows(), st.integers(2, 4))
def test_folds_part_the_rows_and_keep_groups_whole(rows: Rows, count: int) -> None:
    try:
        parts = folds(rows, count, "n")
    except UserError:
        return
    assert sorted(row for part in parts for row in part.ids) == sorted(rows.ids)
    assert len(parts) == count
    for part in parts:
        rest = [other for other in parts if other is not part]
        assert not set(part.groups) & {group for other in rest for group in other.groups}
        assert {label for other in rest for label in other.labels} == set(rows.labels)


def test_folds_of_single_rows_are_balanced(hinted_task: Task) -> None:
    shots = splits.shots(hinted_task.name, hinted_task.domains["film"].train, 8, 0)
    parts = folds(shots, 4, "n")
    assert [{label: part.labels.count(label) for label in hinted_task.labels} for part in parts] == [
        {"negative": 2, "positive": 2}
    ] * 4
    assert [part.ids for part in folds(shots, 4, "n")] == [part.ids for part in parts]
    assert [part.ids for part in folds(shots, 4, "m")] != [part.ids for part in parts]


def test_rows_of_one_group_cannot_be_cut() -> None:
    with pytest.raises(UserError, match="cannot be cut into 2 folds"):
        folds(Rows("d", ("1", "2", "3"), ("x", "y", "z"), ("a", "a", "b"), ("g", "g", "h")), 2, "n")


@pytest.mark.parametrize(
    ("changes", "methods", "more", "said"),
    [
        ({"shots": [0, 8]}, ["target-only"], {}, "one budget"),
        ({"shots": [0]}, ["target-only"], {}, "needs target labels"),
        ({"shots": [1]}, ["target-only"], {}, "two rows a class"),
        ({}, ["target-full"], {}, "ceiling"),
        ({}, ["target-onyl"], {}, "target-only"),
        ({}, ["target-only"], {"by": "source_dev"}, "source-dev"),
        ({}, ["target-only"], {"folds": 1}, "two folds"),
        ({"source": ["film"]}, ["target-only"], {}, "no pair"),
        ({"source": ["flim"]}, ["target-only"], {}, "film"),
        ({}, ["target-only"], {"dev_rows": 1}, "dev-rows"),
        ({}, ["target-only"], {"dev_rows": 50}, "dev-rows has no use"),
    ],
)
def test_requests_that_do_not_go_together(
    changes: dict[str, Any], methods: list[str], more: dict[str, Any], said: str, hinted_task: Task
) -> None:
    with pytest.raises(UserError, match=said):
        validation(config(**changes), hinted_task, methods, **more)

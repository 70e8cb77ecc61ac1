"""Doubted labels: the rule by hand, folds without leaks, no test row, and what is refused."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from lowres import seeds
from lowres.analysis.noise import FOLDS, Doubted, _cleanlab, by_chance, find_suspects, unseen
from lowres.data.rows import Rows
from lowres.data.task import Task
from lowres.errors import UserError
from lowres.training.fit import Engine
from lowres.training.recipe import Recipe
from tests.conftest import BAD, GOOD

RECIPE = Recipe()


class Moods:
    """Features that count the mood words of a text, and which texts were asked for."""

    def __init__(self) -> None:
        self.seen: set[str] = set()

    def features(self, texts: list[str], recipe: Recipe) -> npt.NDArray[np.float32]:
        self.seen |= set(texts)
        found = [[float(word in text.split()) for word in (*GOOD, *BAD)] for text in texts]
        return np.array(found, dtype=np.float32)


@pytest.fixture
def moods() -> Moods:
    return Moods()


@pytest.fixture
def engine(moods: Moods) -> Engine:
    return moods  # type: ignore[return-value]


@pytest.fixture
def cleanlab() -> None:
    pytest.importorskip("cleanlab", reason="cleanlab is not installed: pip install lowres[noise]")


def flipped(rows: Rows, every: int) -> tuple[Rows, set[str]]:
    """Every so many labels of two are the other one."""
    other = {"negative": "positive", "positive": "negative"}
    labels = [other[label] if at % every == 0 else label for at, label in enumerate(rows.labels)]
    return rows.labelled(labels), set(rows.ids[::every])


def with_train(task: Task, name: str, train: Rows) -> Task:
    return replace(task, domains=task.domains | {name: replace(task.domain(name), train=train)})


def test_the_rule_by_hand(cleanlab: None) -> None:
    """Thresholds: of label 0 (.9 + .2) / 2 = .55, of label 1 (.9 + .4 + .7) / 3 = .667. Row 1 is labelled 0 and reaches
    .8 ≥ .667 for label 1 (margin .2 − .8), row 3 is labelled 1 and reaches .6 ≥ .55 for label 0 (margin .4 − .6).
    """
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.1, 0.9], [0.6, 0.4], [0.3, 0.7]])
    assert _cleanlab()(np.array([0, 0, 1, 1, 1]), probabilities).tolist() == [1, 3]
    assert _cleanlab()(np.array([0, 1, 1, 1, 1]), probabilities).tolist() == []


def test_a_group_is_judged_by_other_groups_alone() -> None:
    """Features that only name the group teach nothing about a group that was not seen: one answer a fold. With a group
    in two folds each would be told by its own label.
    """
    groups = [f"g{number // 4}" for number in range(80)]
    features = np.eye(20, dtype=np.float32)[[number // 4 for number in range(80)]]
    targets = np.array([number // 4 % 2 for number in range(80)])
    assert len(np.unique(unseen(features, targets, groups, 2, 1), axis=0)) <= FOLDS
    alone = unseen(features, targets, [str(number) for number in range(80)], 2, 1)
    assert len(np.unique(alone, axis=0)) > FOLDS


def test_chance_is_what_the_probabilities_expect() -> None:
    """Where each of 400 rows is sure to .75 and three quarters of the labels agree, 100 disagree by chance."""
    probabilities = np.tile([0.75, 0.25], (400, 1))
    targets = np.repeat([0, 1], [300, 100])
    found = by_chance(
        targets, probabilities, lambda given, p: np.flatnonzero(given != p.argmax(1)), seeds.generator("x")
    )
    assert found == pytest.approx(100, abs=8)
    sure = np.tile([0.99, 0.01], (400, 1))  # too sure by far: the temperature brings it back to .75
    found = by_chance(targets, sure, lambda given, p: np.flatnonzero(given != p.argmax(1)), seeds.generator("x"))
    assert found == pytest.approx(100, abs=8)


def test_flipped_labels_are_found_and_the_same_again(cleanlab: None, toy_task: Task, engine: Engine) -> None:
    train, wrong = flipped(toy_task.domain("shop").train, 8)
    task = with_train(toy_task, "shop", train)
    found = find_suspects(task, engine, RECIPE)
    assert [one.domain for one in found] == list(task.domains)
    doubted = found[list(task.domains).index("shop")]
    assert doubted.rows == len(train) + len(task.domain("shop").dev)
    ids = [suspect.id for suspect in doubted.suspects]
    doubted_train = set(ids) & set(train.ids)
    assert doubted_train <= wrong  # no right label
    assert len(doubted_train) >= 0.8 * len(wrong)
    agreed = [bool(suspect.agreed) for suspect in doubted.suspects]
    assert agreed == sorted(agreed, reverse=True)
    given = dict(zip(train.ids, train.labels, strict=True))
    for suspect in doubted.suspects:
        assert suspect.suggested != suspect.label == given.get(suspect.id, suspect.label)
        assert suspect.probability > suspect.label_probability
    assert find_suspects(task, engine, RECIPE) == found


def test_no_test_row_is_looked_at(cleanlab: None, toy_task: Task, engine: Engine, moods: Moods) -> None:
    found = find_suspects(toy_task, engine, RECIPE)
    parts = list(toy_task.domains.values())
    assert moods.seen == {text for domain in parts for rows in (domain.train, domain.dev) for text in rows.texts}
    hidden = {row for domain in parts for row in domain.test.ids}
    assert not hidden & {suspect.id for one in found for suspect in one.suspects}
    shuffled = {name: replace(domain, test=domain.test.without_labels()) for name, domain in toy_task.domains.items()}
    assert find_suspects(replace(toy_task, domains=shuffled), engine, RECIPE) == found


def test_a_label_of_few_rows_is_left_alone(cleanlab: None, toy_task: Task, engine: Engine) -> None:
    train = toy_task.domain("shop").train
    rare = train.labelled(["rare" if at < FOLDS - 1 else label for at, label in enumerate(train.labels)])
    task = with_train(replace(toy_task, labels=(*toy_task.labels, "rare")), "shop", rare)
    doubted = {one.domain: one for one in find_suspects(task, engine, RECIPE)}["shop"]
    assert doubted.too_few == {"rare": FOLDS - 1}
    assert doubted.rows == len(train) + len(task.domain("shop").dev) - FOLDS + 1
    assert "rare" not in {label for one in doubted.suspects for label in (one.label, one.suggested)}
    one_label = train.labelled(["negative"] * len(train))
    bare = replace(task.domain("shop"), train=one_label, dev=task.domain("shop").dev.take([]))
    alone = replace(task, domains={"shop": bare})
    with pytest.raises(UserError, match="no domain of toy has enough rows"):
        find_suspects(alone, engine, RECIPE)
    beside = find_suspects(replace(task, domains={"shop": bare, "film": task.domain("film")}), engine, RECIPE)
    assert beside[0] == Doubted("shop", 0, {}, (), 0.0)
    assert {suspect.agreed for suspect in beside[1].suspects} <= {None}


@pytest.mark.parametrize("kind", ["tokens", "multilabel", "regression"])
def test_other_kinds_are_refused(kind: str, toy_task: Task, engine: Engine) -> None:
    other = replace(toy_task, spec=toy_task.spec.model_copy(update={"type": kind}))
    with pytest.raises(UserError, match=rf"one label\ngot type {kind} .*expected type classification or pair"):
        find_suspects(other, engine, RECIPE)


def test_without_cleanlab_it_says_how_to_get_it(
    toy_task: Task, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cleanlab.filter", None)
    with pytest.raises(UserError, match=r"pip install 'lowres\[noise\]'"):
        find_suspects(toy_task, engine, RECIPE)

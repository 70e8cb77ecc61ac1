from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.data.rows import Rows
from lowres.training.fit import Environment, Fit, Part
from lowres.training.recipe import Logistic, LoRA, MostFrequent, Recipe, Words

ENVIRONMENT = Environment("weights", "loop", "fp32", "torch-2.13")


def rows(count: int, domain: str = "shop") -> Rows:
    ids = tuple(f"{domain}/{number}" for number in range(count))
    return Rows(
        domain, ids, tuple(f"text {name}" for name in ids), tuple("ab"[number % 2] for number in range(count)), ids
    )


def fit(count: int = 10, **changes: object) -> Fit:
    return dataclasses.replace(Fit((Part(rows(count)),), ("a", "b"), "toy", 0), **changes)


def test_same_content_same_key_wherever_it_comes_from() -> None:
    assert fit().key(ENVIRONMENT) == fit().key(ENVIRONMENT)


@pytest.mark.parametrize(
    "other",
    [
        fit(9),
        fit(draw=1),
        fit(task="another"),
        fit(labels=("a", "b", "c")),
        fit(labels=("b", "a")),
        fit(adapter=LoRA(rank=4)),
        fit(recipe=Recipe(learning_rate=1e-4)),
        fit(objective=Logistic(), adapter=None),
        fit(start=fit()),
        fit(start=Words(), objective=Logistic(), adapter=None),
        fit(parts=(Part(rows(10)), Part(rows(4, "film")))),
    ],
)
def test_whatever_may_change_a_number_is_in_the_key(other: Fit) -> None:
    assert other.key(ENVIRONMENT) != fit().key(ENVIRONMENT)


def test_every_setting_is_in_the_spec() -> None:
    spec = fit().spec()
    assert set(spec["recipe"]) | {"truncation"} == {
        item.name for item in dataclasses.fields(Recipe)
    }  # named if not head
    assert set(spec["adapter"]["LoRA"]) == {item.name for item in dataclasses.fields(LoRA)}


def test_a_changed_text_or_label_changes_the_key() -> None:
    ten = rows(10)
    other = Rows(ten.domain, ten.ids, ("edited", *ten.texts[1:]), ten.labels, ten.groups)
    flipped = Rows(ten.domain, ten.ids, ten.texts, ("b", *ten.labels[1:]), ten.groups)
    keys = {fit(parts=(Part(part),)).content for part in (ten, other, flipped)}
    assert len(keys) == 3


@pytest.mark.parametrize("field", ["backbone", "engine", "precision", "numerics"])
def test_environment_is_in_the_key(field: str) -> None:
    assert fit().key(dataclasses.replace(ENVIRONMENT, **{field: "x"})) != fit().key(ENVIRONMENT)


def test_word_floors_do_not_depend_on_the_backbone() -> None:
    other = dataclasses.replace(ENVIRONMENT, backbone="x", engine="y", precision="bf16")
    for floor in (fit(start=Words(), objective=Logistic(), adapter=None), fit(objective=MostFrequent(), adapter=None)):
        assert floor.key(ENVIRONMENT) == floor.key(other)
    probe = fit(objective=Logistic(), adapter=None)
    assert probe.key(ENVIRONMENT) != probe.key(dataclasses.replace(ENVIRONMENT, backbone="x"))


def test_steps_and_rates() -> None:
    recipe = Recipe(min_steps=60, epochs=3, batch=16, warmup=0.1)
    assert recipe.steps(32) == 60
    assert recipe.steps(1000) == 188  # ceil(3 * 1000 / 16)
    rates = [recipe.rate(step, 60) for step in range(60)]
    assert rates[0] == pytest.approx(1 / 6)
    assert max(rates) == rates[5] == pytest.approx(1.0)
    assert rates[59] == pytest.approx(1 / 54)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[5:]))


@given(st.integers(2, 80), st.integers(1, 32), st.integers(0, 5))
def test_batches_pass_over_all_rows_before_any_comes_again(count: int, batch: int, draw: int) -> None:
    one = fit(count, draw=draw, recipe=Recipe(batch=batch, min_steps=7, epochs=2))
    batches = one.batches()
    assert len(batches) == one.steps
    seen = np.concatenate([positions for positions, _ in batches])
    counts = np.bincount(seen, minlength=count)
    assert counts.max() - counts.min() <= 1
    assert all(len(positions) == min(batch, count) for positions, _ in batches)
    assert all(weights.sum() == pytest.approx(1.0) for _, weights in batches)


def test_every_part_gives_its_share_of_every_batch() -> None:
    both = fit(parts=(Part(rows(100)), Part(rows(4, "film"))), recipe=Recipe(batch=16, min_steps=10, epochs=1))
    for positions, weights in both.batches():
        film = positions >= 100
        assert film.sum() == 4  # eight were wanted, four there are
        assert (~film).sum() == 8
        assert weights[film].sum() == pytest.approx(0.5)
    assert both.unit_weights[100:].sum() == pytest.approx(both.unit_weights[:100].sum())
    assert both.unit_weights.mean() == pytest.approx(1.0)


def test_order_depends_on_draw_and_content_only() -> None:
    first = [positions.tolist() for positions, _ in fit(30).batches()]
    assert first == [positions.tolist() for positions, _ in fit(30).batches()]
    assert first != [positions.tolist() for positions, _ in fit(30, draw=1).batches()]


def test_chain_goes_back_to_the_first_start() -> None:
    first = fit(10)
    second = fit(4, start=first)
    assert [link.content for link in second.lineage()] == [first.content, second.content]

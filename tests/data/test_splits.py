"""Splits and draws: complete, disjoint, grouped, nested, and blind to other rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowres import seeds
from lowres.data.rows import Rows
from lowres.data.splits import cap, limit_test, permutation, shots, split
from lowres.errors import UserError


def make_rows(count: int, domain: str = "d", labels: str = "ab", groups: list[str] | None = None) -> Rows:
    ids = tuple(f"{domain}/{number}" for number in range(count))
    texts = tuple(f"text {number}" for number in range(count))
    named = tuple(labels[number % len(labels)] for number in range(count))
    return Rows(domain, ids, texts, named, tuple(groups) if groups else ids)


grouped = st.lists(st.integers(0, 12).map(str), max_size=60).map(lambda groups: make_rows(len(groups), groups=groups))
givens = st.sampled_from([("train", "test"), ("train", "dev"), ("train", "dev", "test"), ("train",)])


@given(grouped)
def test_split_is_complete_disjoint_and_keeps_groups_together(rows: Rows) -> None:
    parts = split(rows)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(rows)))
    held = [{rows.groups[place] for place in part} for part in parts]
    assert sum(map(len, held)) == len(set.union(*held))


def test_split_follows_the_hash_of_the_group() -> None:
    rows = make_rows(40)
    parts = split(rows)
    for place, group in enumerate(rows.groups):
        point = seeds.uniform("split", group)
        wanted = 0 if point < 0.6 else 1 if point < 0.75 else 2
        assert place in parts[wanted]


def test_shares_are_60_15_25() -> None:
    sizes = [len(part) / 4000 for part in split(make_rows(4000))]
    assert sizes == pytest.approx([0.60, 0.15, 0.25], abs=0.03)  # 4 standard errors


@given(st.data(), givens, st.integers(1, 50))
def test_given_parts_are_respected_and_missing_ones_carved_from_train(
    data: st.DataObject, names: tuple[str, ...], count: int
) -> None:
    places = ["train", *data.draw(st.lists(st.sampled_from(names), min_size=count - 1, max_size=count - 1))]
    parts = split(make_rows(count), places)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    for name, part in parts._asdict().items():
        held = {place for place, value in enumerate(places) if value == name}
        if name != "train" and name in places:
            assert set(part.tolist()) == held
        if name == "train":
            assert set(part.tolist()) <= held


def test_dev_is_a_fifth_of_a_given_train() -> None:
    parts = split(make_rows(3000), ["train"] * 2900 + ["test"] * 100)
    assert len(parts.test) == 100
    assert len(parts.dev) / 2900 == pytest.approx(15 / 75, abs=0.03)


def test_a_domain_given_without_train_can_only_be_tested_on() -> None:
    parts = split(make_rows(3), ["test", "dev", "test"])
    assert [part.tolist() for part in parts] == [[], [1], [0, 2]]


@given(st.integers(1, 40), st.integers(0, 3), st.randoms(use_true_random=False))
def test_split_and_order_do_not_depend_on_other_rows(count: int, draw: int, random: object) -> None:
    rows = make_rows(count)
    few = sorted(random.sample(range(count), random.randint(1, count)))  # type: ignore[attr-defined]
    some = rows.take(few)
    for whole, part in zip(split(rows), split(some), strict=True):
        assert {rows.ids[place] for place in whole} & set(some.ids) == {some.ids[place] for place in part}
    ordered = [rows.ids[place] for place in permutation("t", rows, draw)]
    assert [row for row in ordered if row in some.ids] == [some.ids[place] for place in permutation("t", some, draw)]


@settings(max_examples=30)
@given(st.integers(0, 6), st.integers(0, 6), st.integers(0, 4))
def test_shots_are_per_class_nested_and_from_the_permutation(one: int, two: int, draw: int) -> None:
    rows = make_rows(24, labels="abc")
    small, large = sorted((one, two))
    few, many = shots("t", rows, small, draw), shots("t", rows, large, draw)
    assert {label: len(places) for label, places in few.by_label().items()} == (
        dict.fromkeys("abc", small) if small else {}
    )
    assert set(few.ids) <= set(many.ids)
    order = [rows.ids[place] for place in permutation("t", rows, draw)]
    for label in "abc":
        first = [row for row in order if rows.labels[rows.ids.index(row)] == label][:small]
        assert [row for row, name in zip(few.ids, few.labels, strict=True) if name == label] == first


def test_draws_and_tasks_differ() -> None:
    rows = make_rows(50)
    orders = {tuple(permutation(task, rows, draw)) for task in "tu" for draw in range(3)}
    assert len(orders) == 6
    with pytest.raises(ValueError, match="read-only"):
        permutation("t", rows, 0)[0] = 1


def test_too_few_rows_of_a_class() -> None:
    with pytest.raises(UserError, match=r"domain 'd' .* class 'b' for 3 shots\ngot 2 rows; expected at least 3"):
        shots("t", make_rows(5), 3, 0)
    with pytest.raises(UserError, match="negative"):
        shots("t", make_rows(5), -1, 0)


def test_cap_is_a_prefix() -> None:
    rows = make_rows(20)
    order = [rows.ids[place] for place in permutation("t", rows, 1)]
    assert list(cap("t", rows, 7, 1).ids) == order[:7]
    assert list(cap("t", rows, 99, 1).ids) == order
    with pytest.raises(UserError, match="positive"):
        cap("t", rows, 0, 1)


def test_limit_keeps_the_order_of_the_data_and_nests() -> None:
    rows = make_rows(30)
    few, more = limit_test("t", rows, 5), limit_test("t", rows, 12)
    assert len(few) == 5
    assert set(few.ids) < set(more.ids)
    assert list(few.ids) == sorted(few.ids, key=rows.ids.index)
    assert limit_test("t", rows, None) is rows
    assert limit_test("t", rows, 30).fingerprint == rows.fingerprint
    with pytest.raises(UserError, match="positive"):
        limit_test("t", rows, 0)


def test_fingerprint_is_content_in_order() -> None:
    rows = make_rows(4)
    assert rows.take([0, 1]).fingerprint == make_rows(2).fingerprint
    assert rows.take([1, 0]).fingerprint != make_rows(2).fingerprint
    with pytest.raises(ValueError, match="different lengths"):
        Rows("d", ("1",), (), (), ())

"""Leak rules on cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowres.data.leaks import MIN_GRAMS, Finding, gram_matrix, nearly_same, normalise, partners, remove
from lowres.data.rows import Rows
from lowres.data.spec import Overlap
from lowres.data.splits import Parts

PLACES = ("train", "dev", "test")


def words(start: int, count: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + count))


def domain(name: str, *rows: tuple[str, str, str]) -> tuple[Rows, Parts]:
    ids = tuple(f"{name}/{number}" for number in range(len(rows)))
    made = Rows(name, ids, tuple(row[1] for row in rows), tuple(row[2] for row in rows), ids)
    parts = (np.array([at for at, row in enumerate(rows) if row[0] == part], dtype=np.int64) for part in PLACES)
    return made, Parts(*parts)


def kept(
    *domains: tuple[Rows, Parts], overlap: Overlap = "leaves-train"
) -> tuple[list[list[list[int]]], list[Finding]]:
    parts, findings = remove({rows.domain: (rows, part) for rows, part in domains}, overlap)
    return [[part.tolist() for part in parts[rows.domain]] for rows, _ in domains], findings


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Hello,  World!", "hello world"),
        ("Straße\n", "STRASSE"),
        ("ﬁne １", "Fine 1"),
        ("a—b", "a b"),
        ("x\u00a0y", "X y"),
    ],
)
def test_normalised_alike(left: str, right: str) -> None:
    assert normalise(left) == normalise(right)


def test_punctuation_and_symbols_alone_stay_apart() -> None:
    assert normalise(":)") != normalise(":(")
    assert normalise("good 👍") != normalise("good 👎")


def test_train_and_dev_leave_test_stays_also_across_domains() -> None:
    one = domain("one", ("train", "Same text!", "p"), ("train", "other", "p"), ("test", "third", "n"))
    two = domain("two", ("dev", "THIRD", "n"), ("test", "same text", "p"), ("test", "same  text", "n"))
    assert kept(one, two) == (
        [[[1], [], [2]], [[], [], [1, 2]]],
        [
            Finding("test overlap", "one", "train", "two", 1),
            Finding("test overlap", "two", "dev", "one", 1),
            Finding("test duplicate", "two", "test", "two", 1),
        ],
    )


def test_test_rows_of_its_own_domain_leave_where_the_task_says_so() -> None:
    """Equal and nearly equal ones; what then stands in no test part stays in train and dev."""
    one = domain(
        "one",
        ("train", "Same text!", "p"), ("train", words(0, 24), "n"), ("dev", "third", "p"), ("dev", "same text", "p"),
        ("test", "same text", "n"), ("test", "SAME TEXT", "p"), ("test", words(0, 22) + " q q2", "n"),
        ("test", "third", "n"), ("test", "fourth", "n"),
    )  # fmt: skip
    two = domain("two", ("train", "fourth", "p"), ("train", "same text", "p"), ("test", "fifth", "p"))
    assert kept(one, two, overlap="leaves-test") == (
        [[[1], [3], [7, 8]], [[], [], [2]]],
        [
            Finding("train overlap", "one", "test", "one", 3),
            Finding("test overlap", "one", "dev", "one", 1),
            Finding("test overlap", "two", "train", "one", 1),
            Finding("dev overlap", "one", "train", "one", 1),
            Finding("dev overlap", "two", "train", "one", 1),
        ],
    )
    assert kept(one, two)[0] == [[[], [], [4, 5, 6, 7, 8]], [[], [], [2]]]


def test_train_leaves_for_dev_but_not_for_a_dev_row_that_left() -> None:
    base = words(0, 40)
    near = base + " x"
    one = domain("one", ("train", "a b", "p"), ("dev", "A b", "p"), ("train", "c", "p"))
    assert kept(one) == ([[[2], [1], []]], [Finding("dev overlap", "one", "train", "one", 1)])
    chain = domain("one", ("test", base, "p"), ("dev", near, "p"), ("train", near + " y z u v", "p"))
    (parts,), findings = kept(chain)
    assert parts == [[], [], [0]]  # the train row is 36 of 36 grams of the test row
    assert {found.kind for found in findings} == {"test overlap"}


def test_conflicts_leave_altogether_and_repeats_leave_one_within_a_domain() -> None:
    one = domain(
        "one", ("train", "x", "p"), ("train", "X!", "n"), ("train", "y", "p"), ("train", "Y", "p"), ("train", "z", "p")
    )
    two = domain("two", ("train", "z", "n"), ("train", "y", "p"))
    assert kept(one, two) == (
        [[[2, 4], [], []], [[0, 1], [], []]],
        [Finding("conflict", "one", "train", "one", 2), Finding("duplicate", "one", "train", "one", 1)],
    )


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (words(0, 24), words(0, 22) + " q q2", True),  # 18 of 20 grams
        (words(0, 24), words(0, 21) + " q q2 q3", False),  # 17 of 20
        (words(0, 12), words(0, 300), True),  # a sentence of 8 grams inside a document
        (words(0, 11), words(0, 300), False),  # a stock phrase of 7 grams inside a document
        (words(0, 8), words(0, 9), True),  # 4 of 4 grams, and of like size
        (words(0, 4), words(0, 5), False),  # under five words only exact
        (words(0, 30), words(30, 30), False),
    ],
)
def test_five_gram_rule_in_both_directions(left: str, right: str, same: bool) -> None:
    for one, two in ((left, right), (right, left)):
        grams = gram_matrix([one, two])
        assert (nearly_same(grams[[0]], grams[[1]]).tolist() == [0]) is same


texts = st.lists(st.lists(st.sampled_from("abc"), max_size=16).map(" ".join), min_size=1, max_size=8)


def rule(one: str, two: str) -> bool:
    """The rule in its plainest form."""
    sets = [{tuple(row[at : at + 5]) for at in range(len(row) - 4)} for row in (one.split(), two.split())]
    small, large = sorted(map(len, sets))
    shared = len(sets[0] & sets[1])
    return small > 0 and 10 * shared >= 9 * small and (small >= MIN_GRAMS or 2 * small >= large)


@given(texts, texts)
def test_nearly_same_agrees_with_the_plain_rule(left: list[str], right: list[str]) -> None:
    grams = gram_matrix(left + right)
    found = nearly_same(grams[: len(left)], grams[len(left) :])
    for text, hit in zip(left, found, strict=True):
        assert (hit >= 0) == any(rule(text, other) for other in right)
        assert hit < 0 or rule(text, right[hit])


rows_of = st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(["a", "b", "c", "A."]), st.sampled_from("pn")))


@pytest.mark.parametrize("overlap", ["leaves-train", "leaves-test"])
@given(one=rows_of, two=rows_of)
def test_nothing_leaks_and_tests_are_whole(
    overlap: Overlap, one: list[tuple[str, str, str]], two: list[tuple[str, str, str]]
) -> None:
    before = [domain("one", *one), domain("two", *two)]
    parts, findings = kept(*before, overlap=overlap)
    held = [
        {normalise(rows.texts[place]) for (rows, _), part in zip(before, parts, strict=True) for place in part[at]}
        for at in range(3)
    ]
    assert sum(map(len, held)) == len(set.union(*held))
    for (rows, old), part in zip(before, parts, strict=True):
        given_train = {normalise(rows.texts[place]) for place in old.train} if overlap == "leaves-test" else set()
        assert part[2] == [place for place in old.test.tolist() if normalise(rows.texts[place]) not in given_train]
        trained = [normalise(rows.texts[place]) for place in part[0]]
        assert len(trained) == len(set(trained))
    gone = sum(len(old) for _, parts_ in before for old in parts_) - sum(len(x) for part in parts for x in part)
    assert gone == sum(found.rows for found in findings if found.kind != "test duplicate")


def test_no_rows_at_all() -> None:
    assert kept(domain("one")) == ([[[], [], []]], [])


def test_partners_of_texts() -> None:
    long = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
    left = ["Good, day!", "other words", long + " seventeen"]
    assert partners(left, ["x", "good day", long, "GOOD DAY"]).tolist() == [1, -1, 2]
    assert partners([], ["x"]).tolist() == []

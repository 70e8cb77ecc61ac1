"""Two texts as one row: from task file and table to rows, ids, leaks and views."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as some
from pyarrow import parquet

from lowres.data.rows import Rows
from lowres.data.spec import TaskSpec
from lowres.data.task import Task, draft_task, load_task
from lowres.data.texts import read_texts
from lowres.data.views import with_deletions
from lowres.errors import DataError, UserError
from lowres.kinds import PAIR, WORD, join_pair, pair_of, rows_of
from tests.conftest import pair_rows, write_table

LONG = "one two three four five six seven eight nine ten eleven twelve"
NAMES = [
    ("premise", "hypothesis"), ("text_a", "text_b"), ("Text1", "Text2"), ("sentence1", "sentence2"),
    ("sentenceA", "sentenceB"), ("question1", "question2"), ("Sentence_1", "sentence_2"),
]  # fmt: skip


def named(first: str, second: str) -> list[dict[str, str]]:
    return [
        {first: row["premise"], second: row["hypothesis"], "label": row["label"], "domain": row["domain"]}
        for row in pair_rows(10)
    ]


def every(task: Task) -> list[str]:
    return [text for one in task.domains.values() for part in (one.train, one.dev, one.test) for text in part.texts]


@pytest.mark.parametrize(("first", "second"), NAMES)
def test_a_table_of_pairs_is_guessed_by_its_names(first: str, second: str, tmp_path: Path) -> None:
    task = load_task(write_table(tmp_path / "t.csv", named(first, second)))
    assert task.kind == "pair"
    assert set(every(task)) == {join_pair(row["premise"], row["hypothesis"]) for row in pair_rows(10)}
    assert (task.columns["text_column"], task.columns["pair_column"]) == (first, second)
    assert f"text column {first!r}" in task.notes[0]
    assert f"pair column {second!r}" in task.notes[0]
    assert task.notes[0].endswith("to change: --text-column, --pair-column")


def test_columns_of_pairs_can_be_named(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", named("here", "there"))
    task = load_task(path, text_column="there", pair_column="here")
    assert (task.kind, task.notes) == ("pair", ())
    assert {pair_of(text) for text in every(task)} == {(row["hypothesis"], row["premise"]) for row in pair_rows(10)}
    with pytest.raises(DataError, match=r"no column 'their'\n.*\ndid you mean 'there'.*--pair-column"):
        load_task(path, text_column="there", pair_column="their")
    with pytest.raises(DataError, match="text and pair are the same column"):
        load_task(path, text_column="here", pair_column="here")


def test_a_text_that_was_named_stands_alone_and_the_other_is_pointed_out(tmp_path: Path) -> None:
    path = write_table(tmp_path / "t.csv", named("premise", "hypothesis"))
    task = load_task(path, text_column="premise")
    assert task.kind == "classification"
    assert task.notes == ("column 'hypothesis' may be the second text of a pair: --pair-column hypothesis",)
    assert not any(PAIR in text for text in every(task))


def test_names_of_two_pairs_are_no_guess(tmp_path: Path) -> None:
    rows = [row | {"text_a": f"{row['premise']} a", "text_b": f"{row['premise']} b"} for row in pair_rows(10)]
    with pytest.raises(DataError, match="the text could be in column"):
        load_task(write_table(tmp_path / "t.csv", rows))


def test_a_task_file_of_pairs_is_the_table_it_was_made_from(pair_table: Path, pair_task: Task, tmp_path: Path) -> None:
    text = draft_task(pair_table, folder=tmp_path)
    assert "\ntype: pair    # one label for two texts: " in text
    assert "\n  pair: hypothesis    # guessed: by its name\n" in text
    (tmp_path / "pairs.yaml").write_text(text, encoding="utf-8")
    task = load_task(tmp_path / "pairs.yaml")
    assert (task.kind, task.fingerprint) == ("pair", pair_task.fingerprint)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "pair"}, "needs the column of the second text"),
        ({"columns": {"pair": "b"}}, "goes with type: pair"),
        ({"type": "pair", "columns": {"text": "b", "pair": "b"}}, "are the same column, 'b'"),
        (
            {"type": "pairs", "columns": {"pair": "b"}},
            "'classification', 'pair', 'tokens', 'multilabel' or 'regression'",
        ),
    ],
)
def test_faults_of_a_task_file(fields: dict[str, object], message: str) -> None:
    given = {"name": "t", "source": {"kind": "files", "parts": [{"path": "t.csv"}]}}
    with pytest.raises(ValueError, match=message):
        TaskSpec.model_validate(given | fields)


def test_an_empty_second_text_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = pair_rows(10)
    rows[2]["hypothesis"] = " "
    with pytest.raises(DataError, match=r"line 4: empty second text \(1 such rows\)"):
        load_task(write_table(tmp_path / "t.csv", rows))


def test_marks_in_texts_are_blanks_and_other_texts_keep_their_ids(tmp_path: Path) -> None:
    plain = [{"text": f"{row['premise']} {row['hypothesis']}", "label": row["label"], "domain": row["domain"]} for row in pair_rows(10)]  # fmt: skip
    marked = [row | {"text": row["text"].replace(" ", PAIR, 1).replace(" ", WORD, 1)} for row in plain[:3]] + plain[3:]
    one, other = (
        load_task(write_table(tmp_path / f"{name}.csv", rows)) for name, rows in (("t", plain), ("u", marked))
    )
    assert other.kind == "classification"
    assert every(one) == every(other)
    assert [d.train.ids for d in one.domains.values()] == [d.train.ids for d in other.domains.values()]
    pairs = pair_rows(10)
    pairs[0]["hypothesis"] += f"{PAIR}more"
    assert all(text.count(PAIR) == 1 for text in every(load_task(write_table(tmp_path / "p.csv", pairs))))


def test_ids_and_leaks_follow_both_texts_together(tmp_path: Path) -> None:
    """The same premise twice is no overlap, the same pair is; the order of the two texts counts in ids."""
    shared = [
        {"text_a": LONG, "text_b": f"it is {number} {number + 1} {number + 2} of them in the box", "split": split}
        for number, split in enumerate(["train", "test", "train"])
    ]
    same = [{"text_a": f"{LONG}!", "text_b": shared[1]["text_b"].upper(), "split": "train"}]
    other = [{"text_a": f"a {place} b {place} c", "text_b": f"d {place} e", "split": split} for place, split in enumerate(["train", "test"] * 4)]  # fmt: skip
    rows = [
        row | {"label": "yn"[place % 2], "domain": domain}
        for domain in "ab"
        for place, row in enumerate([*shared, *same, *other] if domain == "a" else other)
    ]
    task = load_task(write_table(tmp_path / "t.csv", [*rows[:11], *[row | {"text_a": f"{row['text_a']} of b"} for row in rows[12:]]]))  # fmt: skip
    kept = {pair_of(text) for part in (task.domain("a").train, task.domain("a").dev) for text in part.texts}
    assert {(row["text_a"], row["text_b"]) for row in (shared[0], shared[2])} <= kept
    assert (same[0]["text_a"], same[0]["text_b"]) not in kept
    assert task.findings.total("test overlap") == 1
    turned = [row | {"text_a": row["text_b"], "text_b": row["text_a"]} for row in named("text_a", "text_b")]
    straight = load_task(write_table(tmp_path / "u.csv", named("text_a", "text_b")))
    swapped = load_task(write_table(tmp_path / "v.csv", turned))
    assert not set(straight.domain("film").train.ids) & set(swapped.domain("film").train.ids)


@given(some.lists(some.text(some.characters(codec="utf-8"), min_size=1), min_size=2, max_size=2))
def test_views_of_a_pair_are_pairs(sides: list[str]) -> None:
    row = join_pair(*sides)
    (view,) = with_deletions(Rows("a", ("a/1",), [row], ("x",), ("g",))).texts
    found = pair_of(view)
    assert found is not None
    for side, words in zip(pair_of(row) or (), found, strict=True):
        left = iter(side.split())
        assert all(word in left for word in words.split())
        assert bool(words) == bool(side.split())


def test_views_of_single_texts_are_those_of_before() -> None:
    """Computed with the rule before pairs: one draw a word, those from 0.3 on stay."""
    text = "the box was good and the price was very fine"
    (view,) = with_deletions(Rows("a", ("a/1",), [text], ("x",), ("g",))).texts
    from lowres import seeds

    drawn = seeds.generator("deletion", "a/1").random(10)
    assert view == " ".join(word for word, chance in zip(text.split(), drawn, strict=True) if chance >= 0.3)


def test_rows_of_what_users_give() -> None:
    assert rows_of("pair", [("a", "b"), ["c", "d"], f"e{PAIR}f"]) == [f"a{PAIR}b", f"c{PAIR}d", f"e{PAIR}f"]
    assert rows_of("classification", ["a", f"b{PAIR}c"]) == ["a", "b c"]
    for kind, item in (("pair", "a"), ("pair", ("a",)), ("pair", ("a", 1)), ("pair", None), ("classification", ("a", "b")), ("classification", 1)):  # fmt: skip
        with pytest.raises(UserError, match="item 1 is no"):
            rows_of(kind, [("a", "b") if kind == "pair" else "a", item])  # type: ignore[list-item]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_pairs_of_a_file(ending: str, tmp_path: Path) -> None:
    rows = [{"n": 1, "a": "x, y", "b": "z"}, {"n": 2, "a": f"u{PAIR}v", "b": "w"}, {"n": 3, "a": "t", "b": " "}]
    path = tmp_path / f"t.{ending}"
    if ending == "csv":
        write_table(path, [{name: str(value) for name, value in row.items()} for row in rows])
    elif ending == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"n": 4, "a": "only"}]))
    else:
        parquet.write_table(pa.Table.from_pylist(rows), path)
    with ExitStack() as files:
        found = list(read_texts(str(path), "auto", ["a", "b"], files))
    assert found[:3] == [(1, join_pair("x, y", "z"), None), (2, join_pair("u v", "w"), None), (3, "", "empty")]
    assert found[3:] == ([(4, "", "no 'b'")] if ending == "jsonl" else [])
    with ExitStack() as files, pytest.raises(DataError, match=r"no column 'c'(.|\n)*--pair-column"):
        list(read_texts(str(path), "auto", ["a", "c"], files))


def test_lines_hold_no_pairs(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b\n")
    with ExitStack() as files, pytest.raises(DataError, match="plain text, and a line is one text\nexpected pairs"):
        list(read_texts(str(tmp_path / "t.txt"), "auto", ["a", "b"], files))

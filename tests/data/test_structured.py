"""Task files of words, of several labels and of numbers: reading, budgets, refusals."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lowres.data import splits
from lowres.data.rows import Rows
from lowres.data.spec import parse_spec
from lowres.data.task import Task, load_task
from lowres.data.tokens import LOST
from lowres.errors import DataError, UserError
from lowres.kinds import entities, join_words, words_of
from lowres.models.backbone import Backbone
from lowres.study.validation import folds

SOURCE = {"kind": "files", "parts": [{"path": "rows.jsonl"}]}


def task_of(tmp_path: Path, rows: list[dict[str, Any]], **fields: Any) -> Task:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    content = {"name": "own", "source": SOURCE, **fields}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return load_task(tmp_path / "own.yaml")


def sentences(count: int = 40) -> list[dict[str, Any]]:
    return [
        {
            "tokens": ["Ada", "met", f"Bob{number}", "in", domain],
            "tags": ["B-per", "O", "B-per", "O", "B-city"],
            "domain": domain,
        }
        for domain in ("Rome", "Oslo")
        for number in range(count)
    ]


TOKENS: dict[str, Any] = {"type": "tokens", "columns": {"text": "tokens", "label": "tags"}}


def test_words_and_tags(tmp_path: Path) -> None:
    task = task_of(tmp_path, sentences(), **TOKENS)
    assert (task.kind, task.metric, task.labels) == ("tokens", "entity_f1", ("B-city", "B-per", "O"))
    rows = task.domains["Rome"].train
    assert words_of(rows.texts[0])[0] == "Ada"
    assert rows.units == 5 * len(rows)
    assert [task.labels[tag] for tag in rows.targets(task.labels)[:5]] == ["B-per", "O", "B-per", "O", "B-city"]
    assert rows.take([1, 0]).unit_groups.tolist() == [rows.groups[1]] * 5 + [rows.groups[0]] * 5


def test_types_are_renamed_and_taken_out(tmp_path: Path) -> None:
    values = {"per": {"label": "person"}, "city": {"label": "O"}}
    task = task_of(tmp_path, sentences(), **TOKENS, values=values)
    assert task.labels == ("B-person", "O")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "2 words, 1 tags"),
        ({"tokens": [], "tags": []}, "0 words"),
        ({"tokens": [""], "tags": ["O"]}, "no word that is not empty"),
        ({"tokens": ["a", "b"], "tags": ["O", " "]}, "line 81: the word 'b' has no tag"),
        ({"tokens": ["a", "b"], "tags": ["O", None]}, r'skip_words: \{tags: ""\} in a task file'),
        ({"tokens": "a b", "tags": ["O", "O"]}, "list of texts"),
        ({"tokens": [["a"]], "tags": ["O"]}, "list of texts"),
    ],
)
def test_words_that_cannot_be_read(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        task_of(tmp_path, [*sentences(), {**row, "domain": "Rome"}], **TOKENS)


def test_words_that_are_skipped(tmp_path: Path) -> None:
    marked = {
        "tokens": ["don't", "do", "n't", "go", "again"],
        "tags": ["_", "AUX", "PART", "VERB", "VERB"],
        "head": ["_", "3", "3", "0", " None"],
        "domain": "Rome",
    }
    rows = [marked | {"domain": domain, "id": f"{domain}{n}"} for domain in ("Rome", "Oslo") for n in range(10)]
    skip = {"skip_words": {"tags": "_", "head": "None"}}
    kept = task_of(tmp_path, rows, **TOKENS, metric="accuracy", **skip).domains["Rome"].test
    assert words_of(kept.texts[0]) == ["do", "n't", "go"]
    assert words_of(kept.labels[0]) == ["AUX", "PART", "VERB"]
    for odd, message in (
        ({"head": ["0"]}, "5 words, 5 tags, 1 of 'head'"),
        ({"tags": ["_"] * 5}, r"line 2: no word that is not empty is left\nsee skip_words"),
        ({"tags": ["_", "AUX", "", "VERB", "X"]}, 'line 2: the word "n\'t" has no tag'),
    ):
        with pytest.raises(DataError, match=message):
            task_of(tmp_path, [rows[0], rows[1] | odd], **TOKENS, **skip)
    with pytest.raises(DataError, match=r"has no column 'heads'(.|\n)*did you mean 'head'"):
        task_of(tmp_path, rows, **TOKENS, skip_words={"heads": "None"})


def test_an_unknown_tag(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"unknown label[\s\S]*B-city"):
        task_of(tmp_path, sentences(), **TOKENS, labels=["O", "B-per"])


CONLL = "-DOCSTART- O\n\nAda\tB-per\nran\tO\n\n# a comment\nBob\tB-per\n\n\n"


def test_conll(tmp_path: Path) -> None:
    (tmp_path / "a.train.txt").write_text(CONLL * 20, encoding="utf-8")
    (tmp_path / "a.test.txt").write_text("Eve\tB-per\r\nsat\tO\r\n\r\nhere\tO", encoding="utf-8")
    parts = [{"path": f"a.{split}.txt", "domain": "a", "split": split} for split in ("train", "test")]
    content = {"name": "own", "source": {"kind": "files", "parts": parts}, "table": {"format": "conll"}, **TOKENS}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    rows = load_task(tmp_path / "own.yaml").domains["a"].test
    assert [words_of(text) for text in rows.texts] == [["Eve", "sat"], ["here"]]
    assert [words_of(label) for label in rows.labels] == [["B-per", "O"], ["O"]]
    (tmp_path / "a.test.txt").write_text(
        "# newdoc\n# O\nAda B-per\n# O\n\n# two words more\nBob B-per\n", encoding="utf-8"
    )
    rows = load_task(tmp_path / "own.yaml").domains["a"].test
    assert [words_of(text) for text in rows.texts] == [["Ada", "#"], ["Bob"]]
    (tmp_path / "a.test.txt").write_text("Eve\tB-per\nsat\tO\tX\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 2: wrong number of fields"):
        load_task(tmp_path / "own.yaml")


CONLLU = """# sent_id = {0}
# text = Ada's cat sleeps and {0} too
1-2	Ada's	_	_	_	_	_	_	_	_
1	Ada	Ada	PROPN	_	_	3	nmod	_	_
2	's	's	PART	_	_	1	case	_	_
3	cat	cat	NOUN	_	_	4	nsubj	_	_
4	sleeps	sleep	VERB	_	_	0	root	_	_
5	and	and	CCONJ	_	_	6	cc	_	_
6	{0}	{0}	PROPN	_	_	4	conj	_	_
6.1	sleeps	sleep	VERB	_	_	_	_	_	CopyOf=4
7	too	too	ADV	_	_	6	orphan	_	_

"""


def test_the_words_of_conllu(tmp_path: Path) -> None:
    for domain in "ab":
        (tmp_path / f"{domain}.conllu").write_text("".join(CONLLU.format(f"{domain}{n}") for n in range(12)))
    header = ["number", "tokens", "lemma", "tags", "xpos", "feats", "head", "deprel", "deps", "misc"]
    content = {
        **TOKENS, "name": "own", "metric": "accuracy", "skip_words": {"tags": "_", "head": "_"},
        "source": {"kind": "files", "parts": [{"path": f"{domain}.conllu", "domain": domain} for domain in "ab"]},
        "table": {"format": "conll", "header": header},
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    task = load_task(tmp_path / "own.yaml")
    assert task.labels == ("ADV", "CCONJ", "NOUN", "PART", "PROPN", "VERB")
    texts = {tuple(words_of(text)) for one in (task.domains["a"].train, task.domains["a"].test) for text in one.texts}
    assert {text[5] for text in texts} <= {f"a{n}" for n in range(12)}
    assert {(*text[:5], *text[6:]) for text in texts} == {("Ada", "'s", "cat", "sleeps", "and", "too")}


def test_several_labels(tmp_path: Path) -> None:
    rows = [
        {"text": f"text {number} {domain}", "label": [["x", "y"], ["y"], []][number % 3], "domain": domain}
        for domain in "ab"
        for number in range(60)
    ]
    task = task_of(tmp_path, rows, type="multilabel")
    assert (task.labels, task.metric) == (("x", "y"), "macro_f1")
    train = task.domains["a"].train
    assert {tuple(words_of(label)) for label in train.labels} == {("x", "y"), ("y",), ()}
    assert train.targets(task.labels).sum(0).tolist() == [len(train.by_label()["x"]), len(train.by_label()["y"])]
    joined = [{**row, "label": ";".join(row["label"])} for row in rows]
    again = task_of(tmp_path, joined, type="multilabel", columns={"label_separator": ";"})
    assert again.domains["a"].train.labels == train.labels
    five = splits.shots(task.name, train, 5, 0)
    counted = Counter(one for label in five.labels for one in words_of(label) or [""])
    assert all(5 <= counted[one] <= 10 for one in ("x", "y", ""))


def test_numbers(tmp_path: Path) -> None:
    rows = [
        {"text": f"text {number} {domain}", "label": number / 12, "domain": domain}
        for domain in "ab"
        for number in range(60)
    ]
    task = task_of(tmp_path, rows, type="regression", range=[0, 5])
    train = task.domains["a"].train
    assert (task.labels, task.metric, task.counted) == (("0", "5"), "spearman", 1)
    assert train.targets(task.labels) == pytest.approx([float(label) / 5 for label in train.labels])
    assert len(splits.shots(task.name, train, 7, 0)) == 7
    with pytest.raises(UserError, match="at most"):
        splits.shots(task.name, train, len(train) + 1, 0)
    with pytest.raises(DataError, match="no number of the scale"):
        task_of(tmp_path, [*rows, {"text": "x", "label": 5.5, "domain": "a"}], type="regression", range=[0, 5])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "regression"}, "range"),
        ({"range": [0, 5]}, "range"),
        ({"type": "regression", "range": [5, 0]}, "lower to a higher"),
        ({"type": "regression", "range": [0, 5], "labels": ["a", "b"]}, "no place"),
        ({"type": "tokens", "bands": [{"label": "a"}]}, "no place"),
        ({"columns": {"label_separator": ";"}}, "multilabel"),
        ({"skip_words": {"head": "_"}}, "skip_words goes with type: tokens"),
        ({"type": "token"}, "tokens"),
    ],
)
def test_fields_that_do_not_go_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_spec(yaml.safe_dump({"name": "own", "source": SOURCE, **fields}).encode(), "own.yaml")


def _tagged(rows: list[list[str]]) -> Rows:
    ids = tuple(f"a/{number}" for number in range(len(rows)))
    texts = [join_words(f"w{place}" for place in range(len(tags))) for tags in rows]
    return Rows("a", ids, texts, tuple(join_words(tags) for tags in rows), ids, "tokens")


def _counts(rows: Rows) -> Counter[str]:
    return Counter(found for label in rows.labels for found, _, _ in entities(words_of(label)))


def test_shots_of_entities() -> None:
    rows = _tagged([["B-per", "O"], ["B-loc", "B-per", "B-per"], ["O", "O"], ["B-org", "B-per"], ["B-loc"]] * 20)
    held = [splits.shots("own", rows, k, 3) for k in (1, 2, 5)]
    for k, chosen in zip((1, 2, 5), held, strict=True):
        assert all(count >= k for count in _counts(chosen).values())
        assert _counts(chosen)["loc"] <= 2 * k
    assert [set(one.ids) < set(other.ids) for one, other in itertools.pairwise(held)] == [True, True]
    assert splits.shots("own", rows, 2, 3).ids == held[1].ids != splits.shots("own", rows, 2, 4).ids


@pytest.mark.parametrize("kind", ["tokens", "multilabel"])
def test_folds_of_rows_with_several_labels(kind: str) -> None:
    rows = _tagged([["B-per", "O", "O"], ["B-loc", "O"], ["B-per", "B-loc"], ["O"]] * 3)
    rows = rows if kind == "tokens" else Rows("a", rows.ids, ["text"] * len(rows), rows.labels, rows.ids, kind)
    held = folds(rows, 3, "folds", 0)
    assert sorted(row for part in held for row in part.ids) == sorted(rows.ids)
    assert all(2 <= len(part) <= 6 for part in held)


def test_a_rare_type_gives_all_it_has() -> None:
    rows = _tagged([["B-per"]] * 30 + [["B-loc"]] * 2)
    assert _counts(splits.shots("own", rows, 8, 0)) == {"per": 8, "loc": 2}


def test_shots_of_tags_that_name_no_entities_are_sentences() -> None:
    rows = _tagged([["NOUN", "VERB"]] * 30)
    assert len(splits.shots("own", rows, 8, 0)) == 8


HARD = ["", "a" * 300, "\u200d", "👩‍👩‍👧", "שלום", "مرحبا", "ok", "e\u0301", "\x00", "\x1f", "日本語", " "]


def test_first_tokens_of_hard_words(backbone: Backbone) -> None:
    tokens = backbone.tokens()
    text = join_words(HARD)
    assert len(words_of(text)) == len(HARD)
    (firsts,), (ids,) = tokens.firsts([text], 64), tokens.encode([text], 64)
    assert len(firsts) == len(HARD)
    there = firsts[firsts != LOST]
    assert (np.diff(there) > 0).all()
    assert there.max() < len(ids) - 1  # the tokenizer's last mark is no word
    assert firsts[0] == LOST


def test_words_beyond_the_limit_are_lost_and_counted(backbone: Backbone) -> None:
    tokens, words = backbone.tokens(), ["good", "day"] * 10
    short, long = join_words(words[:4]), join_words(words)
    (first,), (second,) = tokens.firsts([short], 10), tokens.firsts([long], 10)
    assert (first != LOST).all()
    assert (second != LOST).sum() == 8
    assert tokens.truncated([short, long], 10) == 0.5

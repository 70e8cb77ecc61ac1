"""Which kind of task a table holds: by hand-made columns, and the draft that says so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from lowres.data.likely import joined_by, joined_labels, likely_kind, looks_like_conll, marked
from lowres.data.profile import SAMPLE, Column, Profile
from lowres.data.task import draft_task, load_task
from lowres.errors import DataError
from lowres.kinds import KINDS

ROWS = 60
TEXTS = [f"a text about thing {number} and more of it" for number in range(ROWS)]
WORDS = [[f"word{number}", "sat", f"in{number % 7}"] for number in range(ROWS)]
TAGS = [["B-PER", "O", "B-LOC" if number % 2 else "O"] for number in range(ROWS)]
TOPICS = [["sport", "money"] if number % 3 == 0 else ["money"] if number % 3 == 1 else [] for number in range(ROWS)]
JOINED = [";".join(labels) or "none" for labels in TOPICS]
SCORES = [round(number * 0.07 + 0.5, 2) for number in range(ROWS)]
MOODS = ["good" if number % 2 else "bad" for number in range(ROWS)]
DOMAINS = ["shop" if number // 2 % 2 else "film" for number in range(ROWS)]


def profile(**columns: Sequence[Any]) -> Profile:
    made = {name: Column(name) for name in columns}
    for name, values in columns.items():
        made[name].add(values)
    return Profile("x.jsonl", made)


@pytest.mark.parametrize(
    ("columns", "chosen", "kind", "evidence"),
    [
        ({"words": WORDS, "ner": TAGS}, {}, "tokens", "'words' and 'ner' hold lists of the same length in each of 60 rows, 3 different tags"),
        ({"text": TEXTS, "label": TOPICS}, {"label": "label"}, "multilabel", "'label' holds lists of up to 2 labels, 2 different ones"),
        ({"text": TEXTS, "label": JOINED}, {"label": "label"}, "multilabel", "'label' holds 3 labels joined by ';', as in 'sport;money'"),
        ({"text": TEXTS, "score": SCORES}, {"label": "score"}, "regression", "'score' holds 60 different numbers from 0.5 to 4.63"),
        ({"premise": TEXTS, "claim": TEXTS}, {"text": "premise", "pair": "claim"}, "pair", "'premise' and 'claim' hold two texts a row"),
        ({"text": TEXTS, "label": MOODS}, {"label": "label"}, "classification", "one text and one label a row"),
        # a label of whole numbers under a name for classes counts classes
        ({"text": TEXTS, "class": [str(n % 30) for n in range(ROWS)]}, {"label": "class"}, "classification", "one text"),
        # lists that are not as long in every row are no tags of these words
        ({"words": WORDS, "ner": [*TAGS[:-1], ["O"]]}, {}, "classification", "one text"),
        # one value in 60 has the mark, or labels that are sentences: no joined labels
        ({"text": TEXTS, "label": ["a;b", *["a", "b"] * 29, "a"]}, {"label": "label"}, "classification", "one text"),
        ({"text": TEXTS, "label": ["yes, I do think that it is", "no"] * 30}, {"label": "label"}, "classification", "one text"),
    ],
)  # fmt: skip
def test_kinds(columns: dict[str, Any], chosen: dict[str, str], kind: str, evidence: str) -> None:
    found = likely_kind(profile(**columns), chosen)
    assert found.kind == kind
    assert found.evidence.startswith(evidence)


def test_the_usual_names_decide_between_columns_of_tags() -> None:
    kinds = [["NOUN", "VERB", "X"] for _ in range(ROWS)]
    assert likely_kind(profile(chunk=kinds, tokens=WORDS, ner_tags=TAGS), {}).columns == {
        "text": "tokens",
        "label": "ner_tags",
    }
    assert (
        likely_kind(profile(chunk=kinds, tokens=WORDS, ner_tags=TAGS), {"label": "chunk"}).columns["label"] == "chunk"
    )


def test_what_joins_labels() -> None:
    column = profile(topic=["a|b", "a", "b", "a|b", "", "b|a"]).columns["topic"]
    assert joined_by(column) == "|"
    assert joined_labels(column, "|") == {"a": 4, "b": 4}
    assert joined_by(profile(n=["1,5", "2,5"] * 9).columns["n"]) is None  # decimal commas
    assert joined_by(profile(topic=[["a"], ["b"]]).columns["topic"]) is None


def test_labels_in_columns_of_their_own() -> None:
    marks = {
        f"is_{name}": [str(int(n % step == 0)) for n in range(ROWS)] for name, step in (("a", 2), ("b", 3), ("c", 5))
    }
    assert marked(profile(text=TEXTS, **marks)) == ("is_a", "is_b", "is_c")
    one_of_three = {f"is_{place}": [str(int(n % 3 == place)) for n in range(ROWS)] for place in range(3)}
    assert marked(profile(text=TEXTS, **one_of_three)) == ()
    assert marked(profile(text=TEXTS, seen=marks["is_a"], label=MOODS)) == ()


def test_lists_are_counted_up_to_a_bound_and_not_where_anything_else_is() -> None:
    column = profile(x=[["a"], ["b", "a"]] * SAMPLE).columns["x"]
    assert (len(column.lists), column.items.total()) == (SAMPLE, 1.5 * SAMPLE)
    for odd in ({"a": 1}, "a", [["a"]]):
        mixed = profile(x=[["a"], odd, ["b"]]).columns["x"]
        assert (mixed.nested, mixed.lists, mixed.items) == (True, [], {})


CONLL = "".join(f"# sent {n}\nword{n}\tO\nsat\tO\nLima{n}\tB-LOC\n\n" for n in range(6))


@pytest.mark.parametrize(
    ("text", "is_tagged"),
    [
        (CONLL, True),
        (CONLL.replace("\t", " "), True),
        (CONLL.replace("\tO", "\tNOUN\tO").replace("\tB-", "\tPROPN\tB-"), True),
        (CONLL.replace("\n\n", "\n"), False),  # one long table
        (CONLL.replace("sat\tO", "sat"), False),
        ("a text of words\n\nand another one here\n\n" * 5, False),
        ("text\tlabel\na text\tpos\n" * 9, False),
        ("", False),
    ],
)
def test_words_a_line(text: str, is_tagged: bool) -> None:
    assert looks_like_conll(text.splitlines(keepends=True)) is is_tagged


def test_a_file_of_tagged_words_is_told_from_a_table(tmp_path: Path) -> None:
    for name in ("x.conll", "x.tsv"):
        (tmp_path / name).write_text(CONLL)
        with pytest.raises(DataError, match="holds words with their tags") as caught:
            draft_task(tmp_path / name)
        assert "format: conll" in str(caught.value)


def drafted(folder: Path, **columns: Sequence[Any]) -> str:
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    (folder / "x.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return draft_task(folder / "x.jsonl", folder=folder)


def test_a_draft_says_its_kind_and_why(tmp_path: Path) -> None:
    text = drafted(tmp_path, text=TEXTS, label=MOODS, domain=DOMAINS)
    assert "type: classification    # one label a text: one text and one label a row" in text.splitlines()


@pytest.mark.parametrize(
    ("kind", "columns", "expected", "hint"),
    [
        ("multilabel", {"text": TEXTS, "label": JOINED, "domain": DOMAINS},
         {"columns": {"text": "text", "label": "label", "label_separator": ";", "domain": "domain"}, "labels": ["money", "none", "sport"]},
         "# If each of these values is one label"),
        ("regression", {"text": TEXTS, "score": SCORES, "domain": DOMAINS},
         {"range": [0.5, 4.63], "columns": {"text": "text", "label": "score", "domain": "domain"}}, "#   - {label: low, at_most"),
        ("multilabel", {"text": TEXTS, "topics": TOPICS, "domain": DOMAINS},
         {"columns": {"text": "text", "label": "topics", "domain": "domain"}}, "# labels: those that occur; in the first 60 rows money 40, sport 20"),
        ("tokens", {"tokens": WORDS, "ner_tags": TAGS, "domain": DOMAINS},
         {"columns": {"text": "tokens", "label": "ner_tags", "domain": "domain"}}, "# labels: those that occur; in the first 60 rows O "),
    ],
)  # fmt: skip
def test_a_draft_of_another_kind(
    kind: str, columns: dict[str, Any], expected: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    text = drafted(tmp_path, **columns)
    written = yaml.safe_load(text)
    assert written["type"] == kind
    assert {key: written[key] for key in expected} == expected
    assert hint in text
    if any(isinstance(values[0], list) for values in columns.values()):
        with pytest.raises(
            DataError, match=rf"this is a task of type {kind}\ngot .*\n`lowres tasks init \S+` writes one"
        ):
            load_task(tmp_path / "x.jsonl")
    (tmp_path / "t.yaml").write_text(text)
    task = load_task(tmp_path / "t.yaml")
    assert (task.kind, task.metric) == (kind, KINDS[kind].metric)
    assert sum(len(rows) for one in task.domains.values() for rows in (one.train, one.dev, one.test)) == ROWS


def test_labels_in_columns_of_their_own_are_refused_with_what_to_do(tmp_path: Path) -> None:
    marks = {f"is_{name}": [n % step == 0 for n in range(ROWS)] for name, step in (("a", 2), ("b", 3), ("c", 5))}
    with pytest.raises(
        DataError, match=r"columns of their own, with 0 and 1\ngot 'is_a', 'is_b', 'is_c'; expected one"
    ):
        drafted(tmp_path, text=TEXTS, domain=DOMAINS, **marks)
    text = drafted(tmp_path, text=TEXTS, domain=DOMAINS, sentiment=MOODS, **marks)
    assert yaml.safe_load(text)["columns"]["label"] == "sentiment"


def test_a_name_of_a_label_wins_over_a_list_beside_it(tmp_path: Path) -> None:
    text = drafted(tmp_path, text=TEXTS, domain=DOMAINS, sentiment=MOODS, topics=TOPICS)
    assert yaml.safe_load(text)["columns"]["label"] == "sentiment"

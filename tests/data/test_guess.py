"""Guessed columns: what is found, what is said, and what is refused rather than guessed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lowres.data import draft as draft_module
from lowres.data import profile as module
from lowres.data.guess import guess, lookalikes
from lowres.data.sources import Piece
from lowres.data.spec import parse_spec
from lowres.data.task import draft_task, load_task
from lowres.errors import DataError, UserError

TEXTS = [
    f"{this} {thing} was {mood} {when}"
    for this in ("this", "that", "my")
    for thing in ("box", "plot", "phone")
    for mood in ("good", "bad")
    for when in ("today", "yesterday", "again", "at last")
]
COUNT = len(TEXTS)
LABELS = ["pos" if "good" in text else "neg" for text in TEXTS]
DOMAINS = [("shop", "app")[number // 2 % 2] for number in range(COUNT)]
NUMBERS = [str(number) for number in range(COUNT)]
STARS = [str(1 + number % 5) for number in range(COUNT)]
PLAIN = {"text": TEXTS, "label": LABELS, "domain": DOMAINS}

Columns = dict[str, Sequence[Any]]


def written(columns: Columns, *, delimiter: str = ",", end: str = "\n", header: bool = True) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    if header:
        writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def found(columns: Columns, wanted: Sequence[str] = (), **given: str) -> tuple[str, str, str]:
    piece = Piece("x.csv", written(columns).encode(), None, None)
    result = guess([piece], given, wanted).columns
    return result.text, result.label, result.domain


@pytest.mark.parametrize(
    ("columns", "wanted", "expected"),
    [
        (PLAIN, (), ("text", "label", "domain")),
        ({"Text": TEXTS, " LABEL": LABELS, "Domain ": DOMAINS}, (), ("Text", "LABEL", "Domain")),
        ({"Review Text": TEXTS, "Star Rating": STARS, "Product": DOMAINS}, (), ("Review Text", "Star Rating", "Product")),
        ({"reviewText": TEXTS, "sentiment": LABELS, "country": DOMAINS}, (), ("reviewText", "sentiment", "country")),
        # an exact name before a word of it, whatever else is there
        ({"review": TEXTS, "review_date": NUMBERS, "intent": LABELS, "site": DOMAINS}, (), ("review", "intent", "site")),
        # no name: content, and the domains asked for
        ({"Wort": TEXTS, "Urteil": LABELS, "Ort": DOMAINS}, ("shop", "app"), ("Wort", "Urteil", "Ort")),
        ({"Ort": DOMAINS, "Urteil": LABELS, "": NUMBERS, "Wort": TEXTS}, ("app",), ("Wort", "Urteil", "Ort")),
        # the domains asked for win over a name, also in other case, and show what was mistyped
        ({"text": TEXTS, "category": DOMAINS, "rating": STARS, "genre": LABELS}, ("shop", "app"), ("text", "rating", "category")),
        ({"text": TEXTS, "label": LABELS, "Ort": DOMAINS}, ("Shop", "APP"), ("text", "label", "Ort")),
        ({"text": TEXTS, "label": LABELS, "Ort": DOMAINS}, ("shpo", "app"), ("text", "label", "Ort")),
        # names of columns that pandas makes for a table without names
        ({"0": TEXTS, "1": LABELS, "2": DOMAINS}, ("shop",), ("0", "1", "2")),
        # a name does not help a column that cannot be it
        ({"comment": NUMBERS, "Wort": TEXTS, "label": LABELS, "domain": DOMAINS}, (), ("Wort", "label", "domain")),
        ({"text": TEXTS, "class": ["a"] * COUNT, "tag": LABELS, "domain": DOMAINS}, (), ("text", "tag", "domain")),
        # languages that put no spaces between words
        ({"文": ["这部电影真的非常好看" + chr(0x4E00 + n) for n in range(COUNT)], "label": LABELS, "lang": DOMAINS}, (), ("文", "label", "lang")),
        # much longer than another running text
        ({"title": [text[:14] + " x" for text in TEXTS], "long": [text * 3 for text in TEXTS], "label": LABELS, "domain": DOMAINS}, (), ("long", "label", "domain")),
        # class numbers are classes, however many
        ({"text": TEXTS, "intent": [number % 24 for number in range(COUNT)], "domain": DOMAINS}, (), ("text", "intent", "domain")),
    ],
)  # fmt: skip
def test_found(columns: Columns, wanted: Sequence[str], expected: tuple[str, str, str]) -> None:
    assert found(columns, wanted) == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        # two as good as each other
        ({"text": TEXTS, "domain": DOMAINS, "Sentiment": LABELS, "rating": STARS},
         "the label could be in column 'Sentiment' or 'rating'\ngot 'Sentiment': 2 values; 'rating': 5 values\n.*--label-column Sentiment"),
        ({"review": TEXTS, "my comment": LABELS, "body": TEXTS[::-1], "label": LABELS, "domain": DOMAINS},
         "the text could be in column 'review' or 'body'\n.*\n.*--text-column review"),
        ({"one thing": TEXTS, "other": TEXTS[::-1], "label": LABELS, "domain": DOMAINS},
         "the text could be in column 'one thing' or 'other'\n.*\n.*--text-column 'one thing'"),
        ({"text": TEXTS, "label": LABELS, "country": DOMAINS, "platform": DOMAINS[::-1]},
         "the domain could be in column 'country' or 'platform'"),
        ({"text": TEXTS, "a": LABELS, "b": LABELS[::-1], "domain": DOMAINS}, "the label could be in column 'a' or 'b'"),
        # none
        ({"text": TEXTS, "label": LABELS}, "within one domain there is no shift\n.*\n.*--domain-column, or give a folder"),
        ({"text": TEXTS, "label": LABELS, "Ort": DOMAINS}, r"no column names the domain.*\n.*\n.*--domain-column \(Ort\?\)"),
        ({"review": NUMBERS, "label": LABELS, "domain": DOMAINS}, "surely the text\ngot 'review' holds numbers"),
        ({"review": [f"A-{n}x" for n in NUMBERS], "label": LABELS, "domain": DOMAINS}, "'review' holds no running text"),
        ({"text": TEXTS, "rating": NUMBERS, "domain": DOMAINS},
         "'rating' has 72 different numbers\n`lowres tasks init x.csv --label-column rating` writes a task file for such numbers"),
        ({"text": TEXTS, "label": [f"{n}.5" for n in NUMBERS], "domain": DOMAINS}, "'label' has 72 different numbers"),
        ({"text": TEXTS, "label": TEXTS[::-1], "domain": DOMAINS}, "'label' has nearly as many values as rows"),
        ({"text": TEXTS, "tag": [f"t{n}" for n in NUMBERS], "domain": DOMAINS}, "'tag' has 72 values in 72 rows"),
        ({"text": TEXTS, "label": LABELS, "platform": ["web", "web", *DOMAINS[2:]]},
         r"'platform' has 2 rows of 'web'\n.*--domain-column \(platform\?\)"),
        ({"text": TEXTS, "label": LABELS, "country": ["de"] * COUNT}, "'country' holds one value only"),
    ],
)  # fmt: skip
def test_refused(columns: Columns, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        found(columns)
    assert len(str(caught.value).splitlines()) <= 3


def test_named_columns_are_taken_as_they_are() -> None:
    both: Columns = {"text": TEXTS, "a": LABELS, "b": STARS, "domain": DOMAINS}
    assert found(both, label="b") == ("text", "b", "domain")
    assert (
        found({"text": TEXTS, "level": [n % 24 for n in range(COUNT)], "domain": DOMAINS}, label="level")[1] == "level"
    )  # numbers of classes
    with pytest.raises(DataError, match=r"text and label are the same column\ngot 'label'"):
        found(PLAIN, text="label")
    with pytest.raises(DataError, match=r"no column 'lable'\n.*\ndid you mean 'label'\?.*--label-column"):
        found(PLAIN, label="lable")


@pytest.mark.parametrize(
    "columns",
    [
        {"a": TEXTS, "b": LABELS, "c": DOMAINS},
        {"a": STARS, "b": TEXTS},
        {"a": [f"well, on the whole {text}" for text in TEXTS], "b": [f"l{number}" for number in NUMBERS]},
    ],
)
def test_a_first_row_is_no_header(columns: Columns) -> None:
    piece = Piece("x.csv", written(columns, header=False).encode(), None, None)
    with pytest.raises(DataError, match=r"no header: its first line looks like a row\ngot .*\n.*header: \[text"):
        guess([piece], {})


def load(folder: Path, name: str, data: bytes, **options: Any) -> Any:
    (folder / name).write_bytes(data)
    return load_task(folder / name, **options)


RENAMED = {"Review": TEXTS, "Rating": LABELS, "Shop": DOMAINS}
OBJECTS = [dict(zip(RENAMED, row, strict=True)) for row in zip(*RENAMED.values(), strict=True)]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bom.csv", b"\xef\xbb\xbf" + written(RENAMED).encode()),
        ("crlf.csv", written(RENAMED, end="\r\n").encode()),
        ("semicolons.csv", written(RENAMED, delimiter=";").encode()),
        ("tabs.csv", written(RENAMED, delimiter="\t").encode()),
        ("excel.csv", b"sep=;\r\n" + written(RENAMED, delimiter=";", end="\r\n").encode()),
        ("blank.csv", written(RENAMED).encode() + b"\n\r\n\n"),
        ("index.csv", written({"": NUMBERS} | RENAMED).encode()),
        ("rows.tsv", written(RENAMED, delimiter="\t").encode()),
        ("rows.jsonl", "\n\n".join(json.dumps({"extra": {"a": []}} | row) for row in OBJECTS).encode()),
        ("rows.json", json.dumps(OBJECTS, indent=1).encode()),
    ],
)
def test_odd_tables_are_the_plain_table(tmp_path: Path, name: str, data: bytes) -> None:
    plain = load(tmp_path, "plain.csv", written(PLAIN).encode())
    task = load(tmp_path, name, data, wanted=("shop", "app"))
    assert [part.fingerprint for part in (task.domain("app").train, task.domain("shop").test)] == [
        part.fingerprint for part in (plain.domain("app").train, plain.domain("shop").test)
    ]
    assert task.notes[0] == (
        "guessed: text column 'Review' (5 words on average), label column 'Rating' (2 values), domain column 'Shop'"
        " (2 domains); to change: --text-column, --label-column, --domain-column"
    )
    assert task.columns == {"text_column": "Review", "label_column": "Rating", "domain_column": "Shop"}
    assert load_task(tmp_path / name, **task.columns).fingerprint == task.fingerprint
    assert load_task(tmp_path / name, **task.columns).notes == ()
    assert (plain.notes, set(plain.columns.values())) == ((), {"text", "label", "domain"})


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("latin-1", "é"), ("cp1252", "“déjà vu” für 5 €"), ("cp1252", "¿qué tal, señor?"), ("utf-16", "é“ 👍 привет")],
)
def test_an_encoding_that_is_sure_is_read_and_said(tmp_path: Path, encoding: str, mark: str) -> None:
    read_as = "cp1252" if encoding == "latin-1" else encoding
    data = written(PLAIN | {"text": [f"{text} {mark}" for text in TEXTS]}).encode(encoding)
    task = load(tmp_path, "x.csv", data)
    assert task.notes[0].startswith(f"guessed: x.csv is not UTF-8 but {read_as};")
    assert task.domain("shop").test.texts[0].endswith(mark)
    (tmp_path / "t.yaml").write_text(draft_task(tmp_path / "x.csv", folder=tmp_path), encoding="utf-8")
    drafted = load_task(tmp_path / "t.yaml")
    assert drafted.spec.table.encoding == read_as
    assert drafted.domain("shop").test.texts[0].endswith(mark)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("koi8-r", "привет"),
        ("cp1251", "очень хорошо"),
        ("cp1250", "była łąka"),
        ("shift-jis", "とても良い"),
        ("cp1253", "καλημέρα"),
    ],
)
def test_an_encoding_that_is_not_sure_is_refused(tmp_path: Path, encoding: str, mark: str) -> None:
    data = written(PLAIN | {"text": [f"{text} {mark}" for text in TEXTS]}).encode(encoding)
    with pytest.raises(DataError, match=r"not utf-8\n.*looks like"):
        load(tmp_path, "x.csv", data)


def test_labels_that_are_no_strings(tmp_path: Path) -> None:
    values = [(True, False)[number % 2] for number in range(COUNT)]
    lines = [json.dumps({"Text": t, "ok": v, "lang": d}) for t, v, d in zip(TEXTS, values, DOMAINS, strict=True)]
    task = load(tmp_path, "x.jsonl", "\n".join(lines).encode())
    assert task.labels == ("false", "true")
    mixed = [(1, 1.0, "1", 0)[number // 4 % 4] for number in range(COUNT)]
    lines = [json.dumps({"text": t, "label": v, "domain": d}) for t, v, d in zip(TEXTS, mixed, DOMAINS, strict=True)]
    task = load(tmp_path, "y.jsonl", "\n".join(lines).encode())
    assert task.labels == ("0", "1", "1.0")
    assert "labels '1' and '1.0' may be meant as one; they count as 2" in task.findings.warnings


def test_every_command_finds_the_column_that_holds_the_domains_asked_for(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text(written({"text": TEXTS, "label": LABELS, "category": DOMAINS}))
    for refused in (load_task, draft_task):
        with pytest.raises(DataError, match="no column names the domain"):
            refused(table)
    (tmp_path / "t.yaml").write_text(draft_task(table, wanted=("shop", "app"), folder=tmp_path))
    drafted, loaded = load_task(tmp_path / "t.yaml"), load_task(table, wanted=("shop", "app"))
    assert drafted.spec.columns.domain == loaded.spec.columns.domain == "category"
    assert [part.train.fingerprint for part in drafted.domains.values()] == [
        part.train.fingerprint for part in loaded.domains.values()
    ]


def test_the_command_of_a_hint_finds_the_domain_too(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text(written({"text": TEXTS, "rating": NUMBERS, "Ort": DOMAINS}))
    with pytest.raises(DataError, match=r"`lowres tasks init \S+ --label-column rating --domain-column Ort` writes"):
        load_task(table, wanted=("shop", "app"))
    assert "domain: Ort" in draft_task(table, label_column="rating", domain_column="Ort")


def test_names_that_look_alike(tmp_path: Path) -> None:
    assert list(lookalikes("label", ["a", "b", "A", "x  y", "X y"])) == [
        "labels 'a' and 'A' may be meant as one; they count as 2",
        "labels 'x  y' and 'X y' may be meant as one; they count as 2",
    ]
    assert list(lookalikes("label", ["a", "b", "1", "10", "nan"])) == []
    spaced = [f"{label} " if number < 9 else label for number, label in enumerate(LABELS)]
    cased = [domain.upper() if number % 5 == 0 else domain for number, domain in enumerate(DOMAINS)]
    task = load(tmp_path, "x.csv", written(PLAIN | {"label": spaced, "domain": cased}).encode())
    assert task.findings.warnings[:3] == (
        "label 'pos ' is read as 'pos', without the space around it",
        "domains 'APP' and 'app' may be meant as one; they count as 2",
        "domains 'SHOP' and 'shop' may be meant as one; they count as 2",
    )
    assert list(task.domains) == ["APP", "SHOP", "app", "shop"]


def test_a_split_in_other_case_is_used_and_a_group_is_only_named(tmp_path: Path) -> None:
    splits = [("Train", "test", "Train")[number % 3] for number in range(COUNT)]
    groups = [str(number // 3) for number in range(COUNT)]
    task = load(tmp_path, "x.csv", written(PLAIN | {"Split": splits, "Review ID": groups}).encode())
    assert task.spec.columns.split == "Split"
    assert sum(len(domain.test) for domain in task.domains.values()) == COUNT / 3
    assert task.spec.columns.group is None
    assert task.notes == (
        "guessed: split column 'Split' (2 values)",
        "column 'Review ID' may say which rows belong together: --group-column 'Review ID'",
    )
    kept = load_task(tmp_path / "x.csv", group_column="Review ID")
    assert kept.columns["group_column"] == "Review ID"
    assert kept.notes == task.notes[:1]


def test_a_folder_needs_no_domain_column(tmp_path: Path) -> None:
    for domain in ("shop", "app"):
        rows = [place for place, name in enumerate(DOMAINS) if name == domain]
        columns = {"Tweet": [TEXTS[place] for place in rows], "class": [LABELS[place] for place in rows]}
        (tmp_path / f"{domain}.csv").write_text(written(columns))
    task = load_task(tmp_path, wanted=("shop", "app"))
    assert task.columns == {"text_column": "Tweet", "label_column": "class"}
    assert "domain" not in task.notes[0]
    (tmp_path / "web.csv").write_text(written({"Post": TEXTS, "class": LABELS}))
    with pytest.raises(DataError, match=r"surely the text\ngot columns 'class'\n"):
        load_task(tmp_path)


def test_a_table_is_read_only_in_part_where_nothing_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def pieces(*args: Any) -> Any:
        yield from real(*args, rows=10)

    real = module.read_tables
    monkeypatch.setattr(module, "read_tables", pieces)
    for columns, rows in ((PLAIN, 10), (RENAMED, COUNT)):
        read = guess([Piece("x.csv", written(columns).encode(), None, None)], {})
        assert read.column("label").rows == rows


def test_a_draft_is_the_table_and_says_what_was_counted(tmp_path: Path) -> None:
    columns = {
        "Review": TEXTS,
        "stars": STARS,
        "Shop": DOMAINS,
        "review_id": [str(number // 2) for number in range(COUNT)],
    }
    task = load(tmp_path, "my table.csv", written(columns).encode())
    (tmp_path / "tasks").mkdir()
    text = draft_task(tmp_path / "my table.csv", folder=tmp_path / "tasks")
    (tmp_path / "tasks" / "t.yaml").write_text(text)
    assert load_task(tmp_path / "tasks" / "t.yaml").fingerprint == task.fingerprint
    for line in (
        "    - path: ../my table.csv",
        "  - '1'    # 15 rows",
        "  - app    # 36 rows",
        "  text: Review    # guessed: by its name",
        "  # group: review_id    # rows with the same value stay together",
        "#   - {label: low, at_most: 2}",
        "#   - {label: high, at_least: 4}",
    ):
        assert line in text.splitlines()
    start, stop = text.index("labels:"), text.index("domains:")
    bands = "\n".join(line.removeprefix("# ") for line in text[start:stop].splitlines() if line.startswith("#"))
    banded = text[:start] + bands.split("\n", 1)[1] + "\n" + text[stop:]
    assert parse_spec(banded.encode(), "x").bands[1].at_least == 4


def as_its_comments_say(text: str) -> str:
    """A draft of a regression with the bands of its comments in the place of its range."""
    lines = [line for line in text.splitlines() if not line.startswith(("range:", "metric:"))]
    bands = ("# labels:", "# bands:", "#   - {label")
    lines = [line.removeprefix("# ") if line.startswith(bands) else line for line in lines]
    return "\n".join("type: classification" if line.startswith("type:") else line for line in lines)


@pytest.mark.parametrize(
    "numbers", [[f"{n / 7:.3f}" for n in range(COUNT)], [str(max(0, n - 40)) for n in range(COUNT)]]
)
def test_a_draft_of_many_numbers_has_bands(tmp_path: Path, numbers: list[str]) -> None:
    domains = [("shop", "app")[number % 2] for number in range(COUNT)]
    (tmp_path / "x.csv").write_text(written({"text": TEXTS, "score": numbers, "domain": domains}))
    with pytest.raises(DataError, match=r"tasks init .*x\.csv --label-column score"):
        load_task(tmp_path / "x.csv")
    text = draft_task(tmp_path / "x.csv", label_column="score", folder=tmp_path)
    (tmp_path / "t.yaml").write_text(as_its_comments_say(text))
    task = load_task(tmp_path / "t.yaml")
    assert task.labels == ("low", "high")
    assert task.findings.total("left out") == 0
    sizes = [len(part) for domain in task.domains.values() for part in (domain.train, domain.dev, domain.test)]
    assert sum(sizes) == COUNT


def test_a_draft_is_refused_where_it_would_be_wrong(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(written(PLAIN))
    with pytest.raises(UserError, match="cannot be the name of a task\nit could be my-task"):
        draft_task(tmp_path / "x.csv", name="my task")
    (tmp_path / "t.yaml").write_text(draft_task(tmp_path / "x.csv", folder=tmp_path))
    with pytest.raises(UserError, match="is a task file already"):
        draft_task(tmp_path / "t.yaml")
    (tmp_path / "cut.csv").write_bytes(written(PLAIN).encode() + b"caf\xc3")
    with pytest.raises(DataError, match="ends within a character"):
        draft_task(tmp_path / "cut.csv")


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda name: name.strip())


@given(st.lists(NAMES.map(str.strip), min_size=2, max_size=4, unique=True), NAMES.map(str.strip))
def test_no_name_breaks_out_of_a_draft(names: list[str], column: str) -> None:
    quoted = [draft_module._quoted(name) for name in names]
    assert all(len(text.splitlines()) == 1 and text.isprintable() for text in quoted)
    assert yaml.safe_load("\n".join(f"  - {text}    # 3 rows" for text in quoted)) == names
    assert yaml.safe_load(f"columns:\n  text: {draft_module._quoted(column)}    # guessed") == {
        "columns": {"text": column}
    }

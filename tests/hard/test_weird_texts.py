"""Texts that no tidy example has, through every door: none is lost, moved, or given another label, and nothing breaks."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import lowres
from lowres.analysis import explain
from lowres.cli import predict
from lowres.data import mapped, tokens
from lowres.data.leaks import normalise
from lowres.data.spec import TableFormat
from lowres.data.tables import read_tables
from lowres.data.task import Task, load_task
from lowres.data.texts import read_texts
from lowres.data.tokens import Tokens
from lowres.models.backbone import Backbone
from lowres.models.classifier import load_classifier
from lowres.report import attributions
from tests.conftest import toy_rows
from tests.hard.conftest import QUICK, Answer, call
from tests.hard.test_properties import examples

FAMILY: Final = "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
WEIRD: Final = {
    "NUL": "good\0plot \0",
    "escapes of a terminal": "good \x1b[31mplot\x1b[0m \x1b]8;;http://evil.example\x07x \x9b2J",
    "all controls but those that structure": "".join(map(chr, (*range(1, 9), 11, 12, *range(14, 30), 127, *range(128, 160)))) + "plot",
    "backspaces and bells": "good\b\b\b\bbad \a\v\f plot",
    "ends of lines of Unicode": "good\u2028plot\u2029bad\x85film\x0bx\x0cy\x1cz\x1dw",
    "a mark of byte order before and inside": "\ufeffgood \ufeffplot\ufeff",
    "no character at all": "good \uffff\ufffe\U0010ffff plot",
    "private use": "good \ue000\U000f0000 plot",
    "joined emoji": f"good {FAMILY} plot \U0001f3f3\ufe0f\u200d\U0001f308",
    "skin tones, flags and keycaps": "\U0001f44d\U0001f3ff \U0001f1f3\U0001f1ec 1\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e007f good",
    "emoji alone": "\U0001f62d\U0001f62d",
    "right to left": "\u05d8\u05d5\u05d1 good \u0645\u0645\u062a\u0627\u0632 plot",
    "turned around": "good \u202eplot\u202c \u2066bad\u2069 \u200ffilm\u061c",
    "mixed scripts": "g\u043e\u043ed \u03c1l\u03bft \u4f60\u597d \u0e14\u0e35 \u1230\u120b\u121d \u0928\u092e\u0938\u094d\u0924\u0947 \uff47\uff4f\uff4f\uff44",
    "composed": "caf\u00e9 plot",
    "decomposed": "cafe\u0301 scene",
    "marks on marks": "g" + "\u0301\u0317\u0360" * 50 + "ood",
    "a mark without a letter": "\u0301",
    "nothing to see": "\u200b",
    "nothing to see, joined": "\u200d\u2060\ufeff\u00ad",
    "a filler that is a letter": "\u3164",
    "blank of Braille": "\u2800",
    "blanks of every width": "good\u00a0\u2003\u3000\u205f scene\u00a0",
    "blanks around": "  \t good film \t ",
    "quotes": "\"good\" ''plot'' \"\" \u201cx\u201d \u00abbad\u00bb `film`",
    "a quote before": '"good movie',
    "a quote behind": 'good actor"',
    "a formula": "=HYPERLINK(\"http://evil.example\";\"good\")",
    "markup": "<script>alert(1)</script> [red]good[/red] &amp; &#0; {{ plot }} ${x} %s \\n \\u0041 $x_1^2$",
    "CRLF": "bad\r\nscene",
    "ends of lines alone": "bad\rplot\nfilm\n",
    "separators of tables": "good,plot;bad\tfilm|x",
    "words that stand for nothing": "NULL",
    "not a number": "nan",
    "a number": "1e999",
    "a date": "2024-02-30",
    "a line of JSON": '{"text": "bad", "label": "negative"}',
    "a header": "text,label,domain",
    "a comment": "# bad plot",
    "one sign": ".",
    "signs": "?!\u2026 \u2014",
    "a long word": "good" * 25_000,
    "many words": "good plot " * 5_000,
}  # fmt: skip
LONE: Final = {
    "the first half of a pair": "good \ud83d plot",
    "the second half of a pair": "good \udc4d film",
    "halves in the wrong order": "\udc4d\ud83d good",
    "what a broken byte becomes": "good \udce4 x",
}
"""What JSON can spell and UTF-8 cannot: it is read as the sign for a broken character."""
BLANKS: Final = ("", " ", "\t", "\r", "\n", "\u00a0", "\u2003\u3000", "\x1c\x1d", "\x85", "\u2028\u2029")
LINES: Final = {name: text for name, text in WEIRD.items() if "\n" not in text and not text.endswith("\r")}
MEGABYTE: Final = 1_000_000


def mended(text: str) -> str:
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def label_of(place: int) -> str:
    return ("negative", "positive")[place % 2]


def weird_rows(texts: Sequence[str], **columns: Callable[[int], str]) -> list[dict[str, str]]:
    """The texts with labels by turns in one domain, and tame rows around and in a second one."""
    tame = [dict(row) for row in toy_rows(20) if row["domain"] != "chat"]
    rows = [{"text": text, "label": label_of(place), "domain": "shop"} for place, text in enumerate(texts)]
    found = [*tame[:40], *rows, *tame[40:]]
    return [row | {name: make(place) for name, make in columns.items()} for place, row in enumerate(found)]


def write(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """The rows as a table of the kind that the name says."""
    if path.suffix in (".csv", ".tsv"):
        stream = io.StringIO()
        mark = "," if path.suffix == ".csv" else "\t"
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=mark, quoting=csv.QUOTE_ALL)
        writer.writeheader()
        writer.writerows(rows)
        path.write_bytes(stream.getvalue().encode())
    elif path.suffix == ".parquet":
        parquet.write_table(pa.table({name: [row[name] for row in rows] for name in rows[0]}), path)
    else:
        content = json.dumps(rows) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(content, encoding="utf-8")
    return path


def everything(task: Task) -> list[tuple[str, str, str, str]]:
    """Id, domain, text and label of every row of a task."""
    parts = [part for domain in task.domains.values() for part in (domain.train, domain.dev, domain.test)]
    return sorted(
        row for part in parts for row in zip(part.ids, itertools.repeat(part.domain), part.texts, part.labels)
    )


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json", ".parquet"])
def test_a_table_gives_the_texts_as_they_are_with_their_labels(ending: str, tmp_path: Path) -> None:
    lone = LONE if ending.startswith(".json") else {}
    rows = weird_rows([*WEIRD.values(), *lone.values()])
    task = load_task(write(tmp_path / f"t{ending}", rows))
    removed = sum(item.rows for item in task.findings.items if item.kind not in ("test duplicate", "shared group"))
    found = everything(task)
    assert not removed, task.findings.items
    assert sorted(row[1:] for row in found) == sorted(
        (row["domain"], mended(row["text"]), row["label"]) for row in rows
    )
    tidy = everything(load_task(write(tmp_path / "tidy.jsonl", rows)))
    assert found == tidy


TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@examples(150)
@given(rows=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8), ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".json", ".parquet"]))  # fmt: skip
def test_cells_come_back(rows: list[tuple[str, str]], ending: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t{ending}", [{"a": one, "b": other} for one, other in rows])
    tables = list(read_tables(path, path.name, TableFormat(), rows=3))
    assert [cell for table in tables for cell in table.column("a")] == [one for one, _ in rows]
    assert [cell for table in tables for cell in table.column("b")] == [other for _, other in rows]


@examples(150)
@given(rows=st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\t"), max_size=20).map(lambda text: f"x{text}x"), min_size=1, max_size=8))  # fmt: skip
def test_cells_without_quotes_come_back(rows: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_bytes("".join(f"{row}\tz\n" for row in ("text", *rows)).encode())
    (table,) = read_tables(tmp_path / "t.tsv", "t.tsv", TableFormat(quoting=False, header=("a", "b"), skip_lines=1))
    assert table.column("a") == rows


@pytest.mark.parametrize("blank", BLANKS)
def test_a_text_of_blanks_is_said_with_its_line(blank: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", weird_rows([blank]))
    answer = call("tasks", "check", path)
    assert (answer.code, "line 41: empty text" in answer.err) == (2, True)


TWINS: Final = {
    "a blank of no width": ("good", "good\u200b"),
    "a mark of byte order": ("\ufeffgood", "good"),
    "composed and not": ("caf\u00e9", "cafe\u0301"),
    "full width": ("good", "\uff47ood"),
    "a soft hyphen": ("good", "go\u00adod"),
    "another blank": ("so good", "so\u00a0good"),
}


@pytest.mark.parametrize("name", TWINS)
def test_labels_that_look_alike_stay_apart_and_are_named(name: str, tmp_path: Path) -> None:
    one, other = TWINS[name]
    rows = [row | {"label": one if row["label"] == "negative" else other} for row in weird_rows(["x y"])]
    task = load_task(write(tmp_path / "t.csv", rows))
    assert sorted(task.labels) == sorted((one, other))
    assert [row[3] for row in everything(task) if row[2] == "x y"] == [one]
    (said,) = [line for line in task.findings.warnings if "may be meant as one" in line]
    first, second = re.findall(r"'[^']+'", said)
    assert first != second
    assert first.isprintable()
    assert second.isprintable()


def test_labels_and_domains_of_any_signs_are_kept(tmp_path: Path) -> None:
    odd = "\u05d8\u05d5\u05d1 \U0001f44d\U0001f3ff\0\x1b[31m\u202e"
    rows = [
        row | {"label": row["label"].replace("positive", odd), "domain": odd + row["domain"]} for row in weird_rows([])
    ]
    task = load_task(write(tmp_path / "t.csv", rows))
    assert set(task.labels) == {"negative", odd}
    assert set(task.domains) == {odd + "shop", odd + "film"}


def test_what_is_the_same_but_for_marks_and_blanks_leaks_in_no_spelling(tmp_path: Path) -> None:
    spellings = ["Good,  Plot!", "\ufb01ne film".replace("fine film", "fine film"), "good\u2028plot", '"good" plot', "good\tplot\r\n", "\uff47ood plot", "good\u00a0plot"]  # fmt: skip
    assert len({normalise(text) for text in spellings if "film" not in text}) == 1
    tests = [{"text": "good plot", "label": "positive", "domain": "film", "split": "test"}]
    rows = [row | {"split": ("train", "dev", "test")[place % 3]} for place, row in enumerate(weird_rows([]))]
    same = [{"text": text, "label": "positive", "domain": "shop", "split": "train"} for text in spellings if "film" not in text]  # fmt: skip
    task = load_task(write(tmp_path / "t.jsonl", [*rows, *same, *tests]))
    assert task.findings.total("test overlap") == len(same)


@examples(200)
@given(text=st.text(st.characters(codec=None), max_size=30))
def test_normalising_is_steady(text: str) -> None:
    found = normalise(text)
    assert normalise(f"  {text}\n") == found
    assert normalise(found) == found


@pytest.mark.parametrize("name", [*WEIRD, *LONE])
def test_every_text_becomes_tokens(name: str, backbone: Backbone) -> None:
    text, known = (WEIRD | LONE)[name], backbone.tokens()
    (ids,) = known.encode([text], 24)
    (pieces,) = known.pieces(text, 24)
    assert 2 <= len(ids) <= 24
    assert (ids[0], ids[-1]) == (2, 3)
    assert pieces.ids.tolist() == ids.tolist()
    assert known.encode([mended(text)], 24)[0].tolist() == ids.tolist()
    assert known.truncated([text], 24) == float(pieces.cut)
    assert all(0 <= begin <= end <= len(text) for begin, end in pieces.spans)


def answers(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.out.split("\n") if line]


def expected_answers(texts: Sequence[str]) -> list[dict[str, Any]]:
    model = load_classifier("best")
    rows = model.predict_proba(texts)
    return [{"label": model.labels[int(row.argmax())], "probabilities": dict(zip(model.labels, row.tolist(), strict=True))} for row in rows]  # fmt: skip


def agree(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert [row.get("label") for row in found] == [row["label"] for row in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet", ".txt"])
def test_predict_gives_a_row_for_a_row(ending: str, work: Path) -> None:
    texts = list((LINES if ending == ".txt" else WEIRD).values()) + list(LONE.values()) * (ending == ".jsonl")
    order = np.random.default_rng(5).permutation(len(texts) * 3) % len(texts)
    texts = [texts[place] for place in order]
    path = work / f"in{ending}"
    if ending == ".txt":
        path.write_bytes("\n".join(texts).encode())
    else:
        write(path, [{"n": str(number), "text": text} for number, text in enumerate(texts)])
    broken = [place for place, text in enumerate(texts) if re.search("[\udc80-\udcff]", text)]
    answer = call("predict", "best", "--input", path)
    assert answer.code == (1 if broken else 0), answer.err
    found = answers(answer)
    assert len(found) == len(texts)
    assert [place for place, row in enumerate(found) if "error" in row] == broken
    whole = [place for place in range(len(texts)) if place not in broken]
    agree([found[place] for place in whole], expected_answers([texts[place] for place in whole]))
    if ending != ".parquet":
        assert call("predict", "best", "--format", {".txt": "lines"}.get(ending, ending[1:]), given=path.read_bytes()).out == answer.out  # fmt: skip


def test_halves_of_pairs_are_the_sign_for_a_broken_character(tmp_path: Path) -> None:
    """The same one as in a table, so that an answer is that of what was trained on."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "?": 1, "\ufffd": 2, "good": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    found = Tokens(tmp_path / "tokenizer.json", pad_id=0, rows=4).encode(
        ["good \ud83d", "\udc4d good", "good ?", "\U0001f44d"], 8
    )
    assert [ids.tolist() for ids in found] == [[3, 2], [2, 3], [3, 1], [0]]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('text,n\n"good plot,1\nbad plot,2\n', [None]),
        ('text,n\ngood plot,1\n"bad plot"x,2\nbad film,3\n', ["good plot", None, "bad film"]),
        ('text,n\n"good\nplot" ,1\nbad film,3\n', [None, "bad film"]),
        ('text,n\ngood plot,1\n"bad,2\ngood "film",3\ngood scene,4\n', ["good plot", None, "good scene"]),
        ('text,n\n5" good,1\n"a ""good"" plot",2\nbad "film",3\n', ['5" good', 'a "good" plot', 'bad "film"']),
        ('text,n\r\n"good\r\nplot",1\r\n"bad\rfilm\n",2\r\n', ["good\r\nplot", "bad\rfilm\n"]),
        ('text\n"good\n\nplot"\n\nbad\n', ["good\n\nplot", "bad"]),
    ],
)
def test_quotes_that_close_no_cell_are_marked(content: str, texts: list[str | None], tmp_path: Path) -> None:
    """What such a quote takes in is no answer to the rows that stand in it."""
    (tmp_path / "t.csv").write_bytes(content.encode())
    with contextlib.ExitStack() as files:
        found = list(read_texts(str(tmp_path / "t.csv"), "auto", ("text",), files))
    assert [number for number, _, _ in found] == list(range(1, len(texts) + 1))
    assert [None if fault else text for _, text, fault in found] == texts
    assert all(re.match(r"quotes that close no cell, lines \d to \d$", fault) for _, _, fault in found if fault)


def test_a_header_that_cannot_be_read_is_said(work: Path) -> None:
    (work / "t.csv").write_text('"text"x,n\ngood,1\n')
    answer = call("predict", "best", "--input", "t.csv")
    assert (answer.code, answer.out, "the header cannot be read" in answer.err) == (2, "", True)


LARGE: Final = {
    "words": "good plot " * (MEGABYTE // 10),
    "one word": "g" * MEGABYTE,
    "signs": ".," * (MEGABYTE // 2),
    "Chinese": "\u4f60\u597d" * (MEGABYTE // 6),
    "joined emoji": FAMILY * (MEGABYTE // 25),
    "marks": "a" + "\u0301" * (MEGABYTE // 2),
    "controls": "\0\x1b" * (MEGABYTE // 2) + "good",
    "blanks and a word": " \u3000" * (MEGABYTE // 4) + "good",
    "quotes": '"' * MEGABYTE,
    "no width": "\u200b" * (MEGABYTE // 3),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_megabyte_is_read_cleaned_and_answered_in_seconds(name: str, work: Path) -> None:
    text = LARGE[name]
    (work / "in.jsonl").write_text(json.dumps({"text": text}) + "\n" + json.dumps({"text": "good plot"}) + "\n")
    began = time.process_time()
    answer = call("predict", "best", "--input", "in.jsonl")
    assert time.process_time() - began < 10
    assert answer.code == 0, answer.err
    agree(answers(answer), expected_answers([text, "good plot"]))
    began = time.process_time()
    rows = [
        row | {"split": ("train", "test")[place % 2]} for place, row in enumerate(weird_rows([text, text + " good"]))
    ]
    task = load_task(write(work / "t.csv", rows))
    assert time.process_time() - began < 10
    assert sum(text in row[2] for row in everything(task)) >= 1


@pytest.fixture(scope="module")
def studied(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study of such texts, with such row ids, was run."""
    place = tmp_path_factory.mktemp("studied")
    ids = [*WEIRD.values(), *LONE.values()]
    rows = weird_rows(ids, id=lambda place: (ids[place % len(ids)][:40] + f" {place}"), split=lambda place: ("test", "train", "test")[place % 3])  # fmt: skip
    write(place / "toy.jsonl", rows)
    shutil.copytree(finished / "encoder", place / "encoder")
    with contextlib.chdir(place):
        answer = call(*STUDY)
    assert answer.code == 0, answer.err
    return place


STUDY: Final = (
    "run", "toy.jsonl", "--shots", "0,2", "--seeds", "2", "--methods", "source-then-target,tfidf,tree,nearest",
    "--backbone", "encoder", "--out", "out", *QUICK,
)  # fmt: skip


def test_a_study_of_such_texts_is_kept_and_found_again(studied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studied)
    answer = call("store", "check")
    assert answer.code == 0, answer.err
    facts = json.loads(call(*("plan", *STUDY[1:]), "--json").out)
    assert facts["stored_fits"] == facts["distinct_fits"] > 0
    task = load_task("toy.jsonl")
    tests = {domain.test.fingerprint: domain.test for domain in task.domains.values()}
    paths = [path for path in Path("runs/store/predictions").glob("*/*.safetensors") if path.stem in tests]
    assert {path.stem for path in paths} == set(tests)
    for path in paths:
        with safetensors.safe_open(path, framework="np") as stream:
            assert tuple(json.loads(stream.metadata()["ids"])) == tests[path.stem].ids
            assert stream.get_tensor("probabilities").shape == (len(tests[path.stem]), 2)


@pytest.mark.parametrize("format", ["table", "markdown", "json", "html", "latex", "csv"])
def test_a_report_of_such_texts_steers_nothing(format: str, studied: Path) -> None:
    answer = call("report", studied / "out", "--format", format)
    assert answer.code == 0, answer.err
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", answer.out)
    assert "<script>alert" not in answer.out


def test_texts_on_disk_are_those_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "t.jsonl", weird_rows([*WEIRD.values(), *LONE.values()]))
    held = load_task(path)
    monkeypatch.setattr(mapped, "MAP_FROM", 100)
    lying = load_task(path)
    assert isinstance(lying.domains["shop"].train.texts, mapped.MappedTexts)
    assert lying.fingerprint == held.fingerprint
    assert everything(lying) == everything(held)


def test_a_forecast_for_such_texts(studied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(studied)
    texts = [*WEIRD.values(), *LONE.values()]
    write(studied / "new.jsonl", [{"text": text} for text in texts])
    answer = call("forecast", "toy.jsonl", "--source", "shop", "--seeds", "2", "--backbone", "encoder", "--target-texts", "new.jsonl", *QUICK, "--json")  # fmt: skip
    assert answer.code == 0, answer.err
    assert f"left out, could not be read: 1 of {len(texts)} rows" in answer.err
    assert {row["target"] for row in json.loads(answer.out)["forecasts"]} == {"new"}


@pytest.mark.parametrize("name", [*WEIRD, *LONE])
def test_an_explanation_of_such_a_text(name: str, studied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("captum")
    monkeypatch.chdir(studied)
    text = (WEIRD | LONE)[name]
    model = load_classifier(next(Path("out/best").iterdir()))
    (found,) = explain.explain(model, [text])
    assert found.probability == pytest.approx(model.predict_proba([text]).max(), abs=1e-4)
    assert all(word.word in mended(text) for word in found.words)
    assert json.loads(attributions.lines([found]).encode())["text"] == mended(text)
    shown = attributions.plain(found) + attributions.title(found) + attributions.page([found])
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", shown)


@pytest.mark.parametrize("odd", ["b\0a\x1bd\u2028", "\U0001f44e\U0001f3ff\u200d", "\u200b"])
def test_an_estimator_takes_labels_of_any_signs(odd: str, encoder: Path, tmp_path: Path) -> None:
    texts = [*WEIRD.values(), *LONE.values()]
    labels = [odd if place % 2 else "good" for place in range(len(texts))]
    fitted = lowres.Classifier(backbone=encoder, recipe={"min_steps": 2, "epochs": 0.1, "max_length": 24}, precision="fp32").fit(texts, labels)  # fmt: skip
    assert set(fitted.predict(texts)) <= {odd, "good"}
    again = lowres.load(fitted.save(tmp_path / "adapter"))
    assert set(again.labels) == {odd, "good"}
    assert again.predict_proba(texts) == pytest.approx(fitted.predict_proba(texts), abs=1e-6)
    write(tmp_path / "t.jsonl", [{"text": "good plot"}])
    answer = call("predict", tmp_path / "adapter", "--input", tmp_path / "t.jsonl")
    assert answer.code == 0, answer.err
    assert answers(answer)[0]["label"] in {odd, "good"}


def test_an_estimator_refuses_a_label_that_cannot_be_written(encoder: Path) -> None:
    with pytest.raises(ValueError, match=r"got 'bad\\ud800'"):
        lowres.Classifier(backbone=encoder).fit(["a", "b"], ["good", "bad\ud800"])


def test_long_texts_are_held_and_tokenised_a_few_at_a_time(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same answers, in order."""
    texts = [f"good {'plot ' * place} bad {place}" for place in range(30)]
    write(work / "in.jsonl", [{"text": text} for text in texts])
    whole = call("predict", "best", "--input", "in.jsonl")
    held: list[int] = []
    answer_many = predict._answers

    def answering(model: Any, chunk: list[Any], threshold: float) -> Any:
        held.append(sum(len(text) for _, text, _ in chunk))
        return answer_many(model, chunk, threshold)

    monkeypatch.setattr(predict, "_answers", answering)
    monkeypatch.setattr(predict, "CHARACTERS", 400)
    monkeypatch.setattr(tokens, "AT_ONCE", 100)
    parted = call("predict", "best", "--input", "in.jsonl")
    assert len(held) > 5
    assert max(held) < 400 + max(map(len, texts))
    agree(answers(parted), answers(whole))
    blocks = list(tokens._blocks(texts))
    assert [text for block in blocks for text in block] == texts
    assert all(len(block) == 1 or sum(map(len, block)) <= 100 for block in blocks)
    assert len(blocks) < len(texts)

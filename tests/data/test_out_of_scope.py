"""Rows that belong to no class: what becomes of them, and that all else stays as it is without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lowres.data.leaks import Finding
from lowres.data.task import Task, load_task
from lowres.errors import DataError
from lowres.kinds import join_pair
from tests.conftest import write_table

Row = dict[str, str]
FILE = "name: small\nsource: {kind: files, parts: [{path: rows.csv}]}\n"
SCOPE = "out_of_scope: none of them\n"


def rows(count: int = 40) -> list[Row]:
    return [
        {"text": f"{domain} number {number}", "label": ("neg", "pos")[number % 2], "domain": domain}
        for domain in "ab"
        for number in range(count)
    ]


def outer(*texts: str, **more: str) -> list[Row]:
    return [{"text": text, "label": "none of them", "domain": "", **more} for text in texts]


def loaded(folder: Path, content: list[Row], file: str = FILE + SCOPE) -> Task:
    write_table(folder / "rows.csv", content)
    (folder / "small.yaml").write_text(file, encoding="utf-8")
    return load_task(folder / "small.yaml")


def parts(task: Task) -> dict[str, list[tuple[str, ...]]]:
    return {name: [part.ids for part in (one.train, one.dev, one.test)] for name, one in task.domains.items()}


def test_they_are_no_domains_rows_and_change_nothing_else(tmp_path: Path) -> None:
    plain = loaded(tmp_path, rows(), FILE)
    task = loaded(tmp_path, [*outer("who knows"), *rows(), *outer("what else", domain="c")])
    assert plain.outside is None
    assert task.outside is not None
    assert list(task.outside.texts) == ["who knows", "what else"]
    assert (task.outside.domain, task.labels, list(task.domains)) == ("out of scope", ("neg", "pos"), ["a", "b"])
    assert all(row.startswith("out of scope/#") for row in task.outside.ids)
    assert parts(task) == parts(plain)
    assert task.findings.items == ()
    assert task.fingerprint != plain.fingerprint
    other = loaded(tmp_path, [*outer("who knows"), *rows()])
    assert other.fingerprint not in (task.fingerprint, plain.fingerprint)


def test_those_given_for_training_are_left_out_and_counted(tmp_path: Path) -> None:
    content = [row | {"split": ("train", "train", "test", "dev")[number % 4]} for number, row in enumerate(rows())]
    given = [
        *outer("one", "two", split="train"), *outer("three", split="dev"), *outer("four", "five", split="test"),
    ]  # fmt: skip
    task = loaded(tmp_path, content + given)
    assert task.outside is not None
    assert list(task.outside.texts) == ["four", "five"]
    assert task.findings.items == (
        Finding("left out", "out of scope", "dev", "out of scope", 1),
        Finding("left out", "out of scope", "train", "out of scope", 2),
    )
    assert [len(part) for part in parts(task)["a"]] == [20, 10, 10]


def test_those_that_equal_a_train_row_are_removed_and_counted(tmp_path: Path) -> None:
    plain = loaded(tmp_path, rows(), FILE)
    trained, tested = plain.domains["b"].train.texts[0], plain.domains["a"].test.texts[0]
    task = loaded(tmp_path, rows() + outer("who knows", f"  {trained.upper()}!", tested))
    assert task.outside is not None
    assert list(task.outside.texts) == ["who knows", tested]
    assert task.findings.items == (Finding("train overlap", "out of scope", "test", "b", 1),)
    assert parts(task) == parts(plain)


def test_none_left_is_a_warning(tmp_path: Path) -> None:
    plain = loaded(tmp_path, rows(), FILE)
    task = loaded(tmp_path, rows() + outer(plain.domains["b"].train.texts[0]))
    assert task.outside is None
    assert task.findings.warnings == ("no row of 'none of them' is left to test with",)
    assert task.fingerprint == plain.fingerprint


def test_values_name_them(tmp_path: Path) -> None:
    """Domains come with the values of the classes; a row out of scope needs none."""
    names = {"a": "app", "b": "web"}
    values = ", ".join(
        f"{label} {name}: {{label: {label}, domain: {name}}}" for label in ("neg", "pos") for name in names.values()
    )
    content = [{"text": row["text"], "label": f"{row['label']} {names[row['domain']]}"} for row in rows()]
    file = FILE + f"values: {{{values}, spam: {{label: oos}}, noise: {{label: oos}}}}\nout_of_scope: oos\n"
    strange = [{"text": "buy", "label": "spam"}, {"text": "xyz", "label": "noise"}, {"text": "abc", "label": "?"}]
    task = loaded(tmp_path, content + strange, file)
    assert task.outside is not None
    assert (list(task.outside.texts), set(task.outside.labels)) == (["buy", "xyz"], {"oos"})
    assert list(task.domains) == ["app", "web"]
    assert task.findings.items == (Finding("left out", "(none)", "", "(none)", 1),)


def test_bands_name_them(tmp_path: Path) -> None:
    file = (
        FILE + "bands: [{label: neg, at_most: 0}, {label: pos, at_least: 1, at_most: 9}, {label: odd, at_least: 10}]\n"
    )
    content = [row | {"label": str(number % 2)} for number, row in enumerate(rows())]
    task = loaded(tmp_path, [*content, *outer("much", label="99")], file + "out_of_scope: odd\n")
    assert task.outside is not None
    assert list(task.outside.texts) == ["much"]


def test_pairs_of_texts_have_them_too(tmp_path: Path) -> None:
    file = FILE + SCOPE + "type: pair\ncolumns: {pair: second}\n"
    content = [row | {"second": "so it is"} for row in [*rows(), *outer("who knows")]]
    task = loaded(tmp_path, content, file)
    assert task.outside is not None
    assert (list(task.outside.texts), task.outside.kind) == ([join_pair("who knows", "so it is")], "pair")


@pytest.mark.parametrize(
    ("content", "file", "message"),
    [
        (rows(), FILE + "out_of_scope: nag", "no row has the label 'nag'\ngot labels neg, pos\\n.*did you mean 'neg'"),
        (
            [*rows(), *({**row, "domain": "out of scope"} for row in rows()), *outer("who")],
            FILE + SCOPE,
            "a domain is called 'out of scope'",
        ),
        ([*rows(), {"text": "x", "label": "neg", "domain": ""}, *outer("who")], FILE + SCOPE, "line 82: empty domain"),
    ],
)
def test_mistakes(tmp_path: Path, content: list[Row], file: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, content, file)

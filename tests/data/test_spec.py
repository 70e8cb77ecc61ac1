"""Task files: strict, all faults at once, safe to load."""

from __future__ import annotations

import pytest

from lowres.data.spec import MAX_SPEC_BYTES, parse_spec
from lowres.data.task import load_task, shipped_tasks
from lowres.errors import DataError, UserError

GOOD = "name: x\nsource: {kind: files, parts: [{path: a.csv}]}\n"


def test_minimal() -> None:
    spec = parse_spec(GOOD.encode(), "x.yaml")
    assert (spec.name, spec.version, spec.metric, spec.labels) == ("x", 1, "macro_f1", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "lables: [a, b]", r"unknown key 'lables' \(did you mean 'labels'\?\)"),
        (GOOD + "table: {formt: csv}", r"unknown key 'table.formt' \(did you mean 'format'\?\)"),
        (
            "name: x\nsource: {kind: files, parts: [{pth: a}]}",
            r"'source.parts.0.path' is missing; unknown key .*'path'",
        ),
        ("name: x\nsource: {kind: pypy}", "source: .*'files', 'pypi'"),
        ("source: {kind: files, parts: []}\nversion: no", "'name' is missing; version: .*; source.parts: "),
        (GOOD + "labels: [yes, no]", "labels.0: YAML reads yes.*labels.1"),
        (GOOD + "labels: [a, a]", "labels holds a name twice"),
        (GOOD + "labels: [a, b]\nbands: [{label: c}]", "no such label in labels: c"),
        (GOOD + "columns: {group_pattern: '('}", "no regular expression"),
        (GOOD + "columns: {group_pattern: 'a'}", "captures the group"),
        (GOOD + "table: {encoding: utf-9}", "unknown encoding 'utf-9'"),
        (GOOD + "name: y", "has the key 'name' twice"),
        ("a: &x [1]\nb: *x", "uses YAML aliases"),
        ("!!python/object/apply:os.getcwd []", "no valid YAML"),
        ("a: [", "no valid YAML"),
        ("- a", "no list of keys and values\ngot list"),
        ("", "no list of keys and values"),
        ("[" * 5000, "nested too deeply"),
        ("#" * (MAX_SPEC_BYTES + 1), "too big"),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_spec(text.encode(), "x.yaml")
    assert len(str(caught.value).splitlines()) <= 3


def test_numbers_are_names() -> None:
    assert parse_spec((GOOD + "labels: [0, 1]").encode(), "x").labels == ("0", "1")
    assert parse_spec((GOOD + "values: {0: {label: a}}").encode(), "x").values["0"].label == "a"


def test_not_utf8() -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        parse_spec(b"name: \xff", "x")


def test_every_shipped_task_is_valid_and_named_after_its_file() -> None:
    shipped = shipped_tasks()
    assert len(shipped) == 7
    for name, path in shipped.items():
        spec = parse_spec(path.read_bytes(), name)
        assert spec.name == name
        assert spec.licence
        assert spec.citation
        assert len(spec.labels) == 2


def test_newsgroups_domains_are_disjoint_and_hold_both_labels() -> None:
    for name, path in shipped_tasks().items():
        spec = parse_spec(path.read_bytes(), name)
        for domain in "ab" if spec.values else "":
            assert {meaning.label for meaning in spec.values.values() if meaning.domain == domain} == set(spec.labels)
        assert all(group.startswith(meaning.label + ".") for group, meaning in spec.values.items())


def test_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown task 'vader-sentimen'(.|\n)*did you mean 'vader-sentiment'"):
        load_task("vader-sentimen")

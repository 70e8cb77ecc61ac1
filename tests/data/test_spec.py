"""Task files: strict, all faults at once, safe to load."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from lowres.data.sources import OPENERS
from lowres.data.spec import parse_spec
from lowres.data.task import load_task, shipped_tasks
from lowres.errors import DataError, UserError
from lowres.settings import MAX_YAML_BYTES

GOOD = "name: x\nsource: {kind: files, parts: [{path: a.csv}]}\n"
COMMIT, SHA = "0123456789" * 4, "0" * 64
DOCS = Path(__file__).parent.parent.parent / "docs" / "tasks.md"


def github(path: str = "a.csv", owner: str = "o", repository: str = "r", commit: str = COMMIT) -> str:
    part = {"path": path, "sha256": SHA}
    source = {"kind": "github", "owner": owner, "repository": repository, "commit": commit, "parts": [part]}
    return json.dumps({"name": "x", "source": source})


def hub(**fields: object) -> str:
    return json.dumps({"name": "x", "source": {"kind": "hub", "parts": [{"hub_split": "train"}]} | fields})


def test_minimal() -> None:
    spec = parse_spec(GOOD.encode(), "x.yaml")
    assert (spec.name, spec.version, spec.metric, spec.labels) == ("x", 1, "macro_f1", ())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "label_sets: differ", "label_sets: differ needs the list labels"),
        (GOOD + "type: tokens\nlabels: [a, b]\nlabel_sets: differ", "are for one label a text, not for type tokens"),
        (GOOD + "type: multilabel\nvalues_by_domain: {x: {q: a}}", "are for one label a text, not for type multilabel"),
        (GOOD + "label_sets: diffr", "label_sets: got 'diffr'"),
        (GOOD + "labels: [a, b]\nvalues_by_domain: {x: {q: c}}", "no such label in labels: c"),
        (GOOD + "domains: [x, y]\nvalues_by_domain: {z: {q: c}}", "values_by_domain: no such domain in domains: z"),
        (
            GOOD + "values: {q: {label: a, domain: x}}\nvalues_by_domain: {x: {q: a}}",
            "values_by_domain goes with domains that the rows name",
        ),
        (GOOD + "lables: [a, b]", r"unknown key 'lables' \(did you mean 'labels'\?\)"),
        (GOOD + "table: {formt: csv}", r"unknown key 'table.formt' \(did you mean 'format'\?\)"),
        (
            "name: x\nsource: {kind: files, parts: [{pth: a}]}",
            r"'source.parts.0.path' is missing; unknown key .*'path'",
        ),
        ("name: x\nsource: {kind: pypy}", "source: .*'files', 'pypi'"),
        (GOOD + "source2: {}", "unknown key 'source2'"),
        ("name: x\nsource: {kind: github, ownr: a, parts: [{pth: a}]}", "key 'source.ownr' .*did you mean 'owner'"),
        (
            "name: x\nsource: {kind: hub, parts: [{hub_spit: a}]}",
            "'source.parts.0.hub_spit' .*did you mean 'hub_split'",
        ),
        (github(commit="main"), "source.commit: needs the 40 hex digits of a commit, .* got 'main'"),
        (github(owner="a/b"), "source.owner: is no name of an account, got 'a/b'"),
        (github(repository=".."), "source.repository: is no name of a repository"),
        (hub(dataset="owner/name"), "source: revision is missing"),
        (hub(dataset="owner/name", revision="v1"), "source.revision: needs the 40 hex digits"),
        (hub(dataset="./folder", revision=COMMIT), "source: a folder has no revision"),
        (hub(dataset="../a/b", config="../c"), "source.config: "),
        (hub(dataset="name", revision=COMMIT), "dataset has to be owner/name"),
        (hub(dataset="owner/../name", revision=COMMIT), "dataset has to be owner/name"),
        (hub(dataset="./folder")[:-1] + ', "table": {"format": "csv"}}', "a dataset of the hub has its own format"),
        ("source: {kind: files, parts: []}\nversion: no", "'name' is missing; version: .*; source.parts: "),
        (GOOD + "labels: [yes, no]", "labels.0: YAML reads yes.*labels.1"),
        (GOOD + "overlap: leaves-tset", "overlap: .*'leaves-train' or 'leaves-test'"),
        (GOOD + "labels: [a, b]\nout_of_scope: b", "out_of_scope: 'b' is no class, take it out of labels"),
        (GOOD + "out_of_scope: ''", "out_of_scope: "),
        (GOOD + "type: tokens\nout_of_scope: o", "out_of_scope has no place in a task of type tokens"),
        (GOOD + "type: multilabel\nout_of_scope: o", "out_of_scope has no place in a task of type multilabel"),
        (GOOD + "values: {q: {label: a}}\nout_of_scope: o", "nothing becomes 'o', list under values what does"),
        (GOOD + "bands: [{label: a}]\nout_of_scope: o", "nothing becomes 'o', list under bands what does"),
        (GOOD + "values: {q: {label: o, domain: x}}\nout_of_scope: o", "'o' is of no domain"),
        (GOOD + "labels: [a, a]", "labels holds a name twice"),
        (GOOD + "labels: [a, b]\nbands: [{label: c}]", "no such label in labels: c"),
        (GOOD + "columns: {group_pattern: '('}", "no regular expression"),
        (GOOD + "columns: {group_pattern: 'a'}", "captures the group"),
        (GOOD + "columns: {domain_pattern: '('}", "columns.domain_pattern: is no regular expression"),
        (GOOD + "columns: {domain_pattern: 'a'}", "columns.domain_pattern: needs one .* captures the domain"),
        (GOOD + "columns: {domain_patern: '(a)'}", "did you mean 'domain_pattern'"),
        (
            GOOD + "columns: {domain_pattern: '(a)'}\nvalues: {1: {label: a, domain: x}}",
            "domain_pattern has no place where parts or values name the domains",
        ),
        (
            "name: x\nsource: {kind: files, parts: [{path: a, domain: x}]}\ncolumns: {domain_pattern: '(a)'}",
            "domain_pattern has no place",
        ),
        (hub(dataset="./a", config="b", folder="c"), "source: config and folder exclude each other"),
        (hub(dataset="./a", folder="../c"), "source.folder: has to stay inside"),
        (GOOD + "table: {encoding: utf-9}", "unknown encoding 'utf-9'"),
        (GOOD + "name: y", "has the key 'name' twice"),
        ("a: &x [1]\nb: *x", "uses YAML aliases"),
        ("!!python/object/apply:os.getcwd []", "no valid YAML"),
        ("a: [", "no valid YAML"),
        ("- a", "no list of keys and values\ngot a list"),
        ("", "no list of keys and values"),
        ("[" * 5000, "nested too deeply"),
        ("#" * (MAX_YAML_BYTES + 1), "too big"),
    ],
)
def test_faults(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        parse_spec(text.encode(), "x.yaml")
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a//b", "a/", ".", "a/../b", "../a", "a/./b", "a\\b", "..\\a", "C:/a", "c:a", "a\0b", "a\nb", "a\x7fb"],
)
def test_paths_that_leave_the_repository(path: str) -> None:
    with pytest.raises(DataError, match=r"source\.parts\.0\.path: has to stay inside the repository") as caught:
        parse_spec(github(path).encode(), "x.yaml")
    assert len(str(caught.value).splitlines()) <= 3


def test_paths_and_names_that_do_no_harm() -> None:
    for path in ("a", "a b/..c/d...e.csv", "ü/%2e%2e/a?b#c"):
        assert parse_spec(github(path, "a-b", "x.y_z").encode(), "x").source.parts[0].path == path
    spec = parse_spec(hub(dataset="a.b/c_d", revision=COMMIT).encode(), "x")
    assert spec.source.kind == "hub"
    assert not spec.source.local


def test_numbers_are_names() -> None:
    assert parse_spec((GOOD + "labels: [0, 1]").encode(), "x").labels == ("0", "1")
    assert parse_spec((GOOD + "values: {0: {label: a}}").encode(), "x").values["0"].label == "a"


def test_not_utf8() -> None:
    with pytest.raises(DataError, match="not UTF-8"):
        parse_spec(b"name: \xff", "x")


def test_every_shipped_task_is_valid_and_named_after_its_file() -> None:
    shipped = shipped_tasks()
    assert len(shipped) == len(list(Path("tasks").glob("*.yaml"))) >= 14
    for name, path in shipped.items():
        spec = parse_spec(path.read_bytes(), name)
        assert spec.name == name
        assert spec.licence
        assert spec.citation
        assert spec.domains
        assert spec.labels or spec.source.kind == "hub"


def test_newsgroups_domains_are_disjoint_and_hold_both_labels() -> None:
    shipped = {name: path for name, path in shipped_tasks().items() if name.startswith("newsgroups")}
    assert len(shipped) == 6
    for name, path in shipped.items():
        spec = parse_spec(path.read_bytes(), name)
        for domain in "ab" if spec.values else "":
            assert {meaning.label for meaning in spec.values.values() if meaning.domain == domain} == set(spec.labels)
        assert all(group.startswith(meaning.label + ".") for group, meaning in spec.values.items())


def test_clinc_domains_are_disjoint_and_hold_five_intents_of_every_topic() -> None:
    spec = parse_spec(shipped_tasks()["clinc150"].read_bytes(), "clinc150")
    meanings = [
        (meaning.label, meaning.domain) for meaning in spec.values.values() if meaning.label != spec.out_of_scope
    ]
    assert len(meanings) == 150
    assert {place: meanings.count(place) for place in meanings} == {
        (label, domain): 5 for label in spec.labels for domain in spec.domains
    }


@pytest.mark.parametrize("name", [name for name, path in shipped_tasks().items() if "kind: hub" in path.read_text()])
def test_tasks_of_the_hub_say_that_they_were_not_run(name: str) -> None:
    spec = parse_spec(shipped_tasks()[name].read_bytes(), name)
    assert spec.source.kind == "hub"
    assert spec.source.revision
    by_part = {part.domain for part in spec.source.parts}
    assert by_part == (set(spec.domains) if spec.columns.domain == "domain" else {None})
    assert {part.split for part in spec.source.parts} >= {"train", "test"}
    assert "not run by this project" in spec.description


def test_every_example_of_the_docs_is_a_valid_task_file() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.S)
    specs = [parse_spec(block.encode(), "docs") for block in blocks]
    assert {spec.source.kind for spec in specs} == set(OPENERS)


def test_the_docs_list_every_shipped_task() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", DOCS.read_text(encoding="utf-8"), flags=re.M)
    listed = dict(rows)
    assert set(listed) >= {name for name in shipped_tasks() if not name.startswith("newsgroups")}
    for name, path in shipped_tasks().items():
        if name in listed:
            said = yaml.safe_load(path.read_text(encoding="utf-8"))
            assert said["source"]["kind"] in listed[name]
            assert said["licence"] in listed[name]


def test_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(UserError, match=r"unknown task 'vader-sentimen'(.|\n)*did you mean 'vader-sentiment'"):
        load_task("vader-sentimen")

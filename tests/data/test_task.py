"""From files to a task: own tables, folders, task files, ids, groups, findings, and every refusal."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from lowres.data import prepare
from lowres.data.leaks import Finding
from lowres.data.task import Size, Task, check_counts, load_task
from lowres.errors import DataError, UserError

Row = dict[str, str]


def rows(count: int = 40, domains: str = "ab", labels: tuple[str, ...] = ("neg", "pos")) -> list[Row]:
    return [
        {"text": f"{domain} number {number}", "label": labels[number % len(labels)], "domain": domain}
        for domain in domains
        for number in range(count)
    ]


def table(path: Path, content: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as target:
        writer = csv.DictWriter(target, list(content[0]))
        writer.writeheader()
        writer.writerows(content)
    return path


def ids(task: Task) -> dict[str, list[list[str]]]:
    return {name: [sorted(part.ids) for part in (d.train, d.dev, d.test)] for name, d in task.domains.items()}


def test_a_table(tmp_path: Path) -> None:
    task = load_task(table(tmp_path / "my table.csv", rows()))
    assert (task.name, task.version, task.metric, task.labels) == ("my-table", 1, "macro_f1", ("neg", "pos"))
    assert list(task.domains) == ["a", "b"] == list(task.spec.domains)
    assert all(sum(map(len, parts)) == 40 for parts in ids(task).values())
    assert task.findings.items == ()
    assert task.domain("a").train.ids[0].startswith("a/#")
    with pytest.raises(UserError, match="unknown domain 'c'"):
        task.domain("c")


def test_formats_and_order_of_rows_give_the_same_task(tmp_path: Path) -> None:
    content = [*rows(), rows()[0]]
    one = load_task(table(tmp_path / "x.csv", content))
    lines = "\n".join(json.dumps(row) for row in content)
    (tmp_path / "x.jsonl").write_text(lines, encoding="utf-8")
    assert load_task(tmp_path / "x.jsonl").fingerprint == one.fingerprint
    assert ids(load_task(table(tmp_path / "y.csv", content[::-1]))) == ids(one)


def test_columns_and_groups(tmp_path: Path) -> None:
    content = [
        {"body": row["text"], "stars": row["label"], "shop": row["domain"], "who": str(number % 7)}
        for number, row in enumerate(rows())
    ]
    path = table(tmp_path / "x.csv", content)
    task = load_task(path, text_column="body", label_column="stars", domain_column="shop", group_column="who")
    parts = [{group for d in task.domains.values() for group in getattr(d, part).groups} for part in ("train", "test")]
    assert parts[0] | parts[1] <= set("0123456")
    assert not parts[0] & parts[1]  # the same group is in the same part of every domain
    for role, wrong in (("text", "bodi"), ("label", "star"), ("domain", "shopp"), ("group", "whom")):
        with pytest.raises(DataError, match=f"no column '{wrong}'\n.*\n.*--{role}-column"):
            load_task(path, **{f"{role}_column": wrong})


def test_given_ids_and_splits(tmp_path: Path) -> None:
    content = [
        row | {"id": str(number), "split": ("train", "validation", "test", "train")[number // 2 % 4]}
        for number, row in enumerate(rows(40, "ab"))
    ]
    task = load_task(table(tmp_path / "x.csv", content))
    assert task.domains["a"].dev.ids[:2] == ("a/2", "a/3")
    assert [len(part) for part in ids(task)["b"]] == [20, 10, 10]


def test_a_folder(tmp_path: Path) -> None:
    for domain in ("film", "book.club"):
        for split, count in (("train", 30), ("test", 6)):
            lines = [json.dumps({"text": f"{domain} {split} {n}", "label": n % 2}) for n in range(count)]
            (tmp_path / f"{domain}.{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "notes.txt").write_text("left alone")
    task = load_task(tmp_path)
    assert list(task.domains) == ["book.club", "film"]
    assert task.labels == ("0", "1")
    for domain in task.domains.values():
        assert len(domain.test) == 6
        assert len(domain.train) + len(domain.dev) == 30


def test_the_folder_one_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for domain in "ab":
        table(
            tmp_path / f"{domain}.csv", [{key: row[key] for key in ("text", "label")} for row in rows(domains=domain)]
        )
    monkeypatch.chdir(tmp_path)
    assert load_task(".").fingerprint == load_task(tmp_path).fingerprint


def test_a_folder_of_splits(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        table(tmp_path / f"{split}.csv", rows()[number::3])
    task = load_task(tmp_path)
    assert list(task.domains) == ["a", "b"]
    assert [[len(part) for part in parts] for parts in ids(task).values()] == [[14, 13, 13], [13, 14, 13]]


COLUMNS = """
name: one
source: {kind: files, parts: [{path: one.csv}, {path: other.csv, domain: other}]}
columns: {domain: source, domain_pattern: '^([a-z]*)(?:-|$)'}
"""


def test_the_domain_is_found_in_a_column_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(COLUMNS, encoding="utf-8")
    named = [
        {"text": row["text"], "label": row["label"], "source": f"{row['domain']}-{n}"} for n, row in enumerate(rows())
    ]
    table(tmp_path / "other.csv", [{**row, "text": f"another {row['text']}", "source": "A"} for row in named])
    table(tmp_path / "one.csv", named)
    parts = {name: (one.train, one.dev, one.test) for name, one in load_task(tmp_path / "t.yaml").domains.items()}
    assert {name: sum(map(len, found)) for name, found in parts.items()} == {"a": 40, "b": 40, "other": 80}
    for wrong in ("A-1", "", "-1"):
        table(tmp_path / "one.csv", [named[0], named[1] | {"source": wrong}])
        with pytest.raises(
            DataError, match=rf"one.csv, line 3: no domain is found\ngot '{wrong}'; expected .*\(\?:"
        ) as caught:
            load_task(tmp_path / "t.yaml")
        assert len(str(caught.value).splitlines()) == 2


TASK = """
name: bands
labels: [neg, pos]
source: {kind: files, parts: [{path: one.tsv, domain: one}, {path: two.tsv, domain: two}]}
table: {header: [id, score, text], quoting: false, unescape_html: 2}
columns: {label: score, group: id, group_pattern: '^(.+)_'}
bands: [{label: neg, at_most: -0.5}, {label: pos, at_least: 0.5}]
"""


def test_a_task_file_with_bands_and_groups(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK, encoding="utf-8")
    for name in ("one", "two"):
        lines = [f"{n // 4}_{n % 4}\t{(-0.5, 0.5, 0.49, -3)[n % 4]}\t{name} &amp;lt; {n}" for n in range(160)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(lines), encoding="utf-8")
    task = load_task(tmp_path / "t.yaml")
    assert task.findings.items == tuple(Finding("left out", name, "", name, 40) for name in ("one", "two"))
    domain = task.domains["one"]
    parts = [set(part.groups) for part in (domain.train, domain.dev, domain.test)]
    assert set.union(*parts) == {f"one/{n}" for n in range(40)}
    assert sum(map(len, parts)) == 40
    assert domain.train.texts[0].startswith("one < ")
    sizes = check_counts(task).sizes
    assert sizes[0] == Size("one", "train", "neg", 2 * len(parts[0]), len(parts[0]))
    assert sum(size.rows for size in sizes) == 240
    with pytest.raises(UserError, match="--text-column only go"):
        load_task(tmp_path / "t.yaml", text_column="x")


def test_findings_and_the_kept_result_agree(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = [*rows(60), *rows(12), {"text": "A NUMBER 7!", "label": "neg", "domain": "b"}]
    path = table(tmp_path / "x.csv", content)
    first = load_task(path)
    assert not list(cache.rglob("*.json"))
    monkeypatch.setattr(prepare, "KEEP_FROM", -1.0)
    load_task(path)
    (kept,) = cache.rglob("*.json")
    monkeypatch.setattr(prepare.leaks, "remove", lambda *_: pytest.fail("was kept"))
    again = load_task(path)
    assert (again.fingerprint, again.findings) == (first.fingerprint, first.findings)
    assert first.findings.total("duplicate", "test duplicate", "test overlap", "dev overlap", "conflict") > 20
    monkeypatch.undo()
    monkeypatch.setenv("LOWRES_CACHE", str(cache))
    kept.write_text(kept.read_text().replace("r", "v", 1))
    assert load_task(path).fingerprint == first.fingerprint


def test_what_is_kept_of_one_rule_of_overlap_is_not_taken_for_the_other(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "KEEP_FROM", -1.0)
    fresh = [row | {"text": f"fresh {row['text']}"} for row in rows(4)]
    dev = [row | {"text": f"dev {row['text']}"} for row in rows(2)]
    parts = {"train": rows(), "dev": dev, "test": [*rows(12), *fresh]}
    table(tmp_path / "x.csv", [row | {"split": part} for part, some in parts.items() for row in some])
    source = "name: t\nsource: {kind: files, parts: [{path: x.csv}]}\n"
    found = {}
    for overlap in ("", "overlap: leaves-train", "overlap: leaves-test"):
        (tmp_path / "t.yaml").write_text(source + overlap)
        found[overlap] = load_task(tmp_path / "t.yaml")
    assert len(list(cache.rglob("*.json"))) == 2
    plain, same, other = found.values()
    assert (plain.fingerprint, plain.findings) == (same.fingerprint, same.findings)
    assert other.fingerprint != plain.fingerprint
    assert plain.findings.total("train overlap") == 0
    assert other.findings.total("train overlap") == 24
    assert [len(domain.test) for domain in plain.domains.values()] == [16, 16]
    assert [len(domain.test) for domain in other.domains.values()] == [4, 4]
    (said,) = [line for line in other.findings.warnings if "not tested on" in line]
    assert said.startswith("24 given test rows")
    assert said.endswith("a 12, b 12")


def change(**cells: str) -> list[Row]:
    content = rows()
    content[4] = content[4] | cells
    return content


def test_what_a_domain_lacks_is_a_warning(tmp_path: Path) -> None:
    task = load_task(table(tmp_path / "x.csv", [row | {"split": "test"} for row in rows()]))
    assert {f"domain {name!r} has no train rows" for name in task.domains} <= set(task.findings.warnings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (change(text=" "), r"line 6: empty text \(1 such rows\)"),
        (change(label=""), "line 6: empty label"),
        (change(domain=" "), "line 6: empty domain"),
        ([{"text": "a", "label": "b"}], r"no column names the domain(.|\n)*--domain-column"),
        (rows(labels=("one",)), "all rows have one label\ngot one"),
        (change(label="negg"), "labels differ between domains: domain 'b' has no row of 'negg'\ngot a: neg, negg, pos"),
        ([row | {"split": "tset"} for row in rows()], r"line 2: unknown split\n.*\ndid you mean 'test'"),
        (
            [row | {"id": "7"} for row in rows()],
            r"line 3: the id '7' occurs twice in domain 'a'\ngot first in .*line 2",
        ),
    ],
)
def test_refused(tmp_path: Path, content: list[Row], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_task(table(tmp_path / "x.csv", content))
    assert len(str(caught.value).splitlines()) <= 3


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("labels: [neg, poss]", r"no row has the label 'poss'\n.*\ndid you mean 'pos'"),
        ("domains: [a, bb]", "no row has the domain 'bb'"),
        ("bands: [{label: pos, at_least: 1}]", "line 2: 'neg' is no number"),
        ("columns: {label: lab}", r"no column 'lab'\n.*\ndid you mean 'label'"),
        ("labels: [neg, other, pos]", "no row has the label 'other'"),
        ("labels: [neg, poss]\nlabel_sets: differ", r"no row has the label 'poss'\n.*\ndid you mean 'pos'"),
        ("values_by_domain: {aa: {neg: pos}}", r"no row has the domain 'aa'\n.*\ndid you mean 'a'"),
    ],
)
def test_task_file_and_table_disagree(tmp_path: Path, extra: str, message: str) -> None:
    table(tmp_path / "x.csv", rows())
    (tmp_path / "t.yaml").write_text(f"name: t\nsource: {{kind: files, parts: [{{path: x.csv}}]}}\n{extra}")
    with pytest.raises(DataError, match=message):
        load_task(tmp_path / "t.yaml")


UNEVEN = [row for row in rows(labels=("neg", "odd", "pos")) if (row["domain"], row["label"]) != ("b", "odd")]


def test_labels_differ_where_a_task_file_says_so(tmp_path: Path) -> None:
    table(tmp_path / "x.csv", UNEVEN)
    text = "name: t\nsource: {kind: files, parts: [{path: x.csv}]}\nlabels: [neg, odd, pos]\n"
    (tmp_path / "t.yaml").write_text(text)
    for path in ("x.csv", "t.yaml"):
        with pytest.raises(DataError, match=r"domain 'b' has no row of 'odd'\n.*\n.*label_sets: differ"):
            load_task(tmp_path / path)
    (tmp_path / "t.yaml").write_text(text + "label_sets: differ")
    task = load_task(tmp_path / "t.yaml")
    assert task.labels_of == {"a": ("neg", "odd", "pos"), "b": ("neg", "pos")}
    assert "domain 'b' has no rows of class 'odd'" in task.findings.warnings


def test_a_slip_of_spelling_is_no_new_label(tmp_path: Path) -> None:
    table(tmp_path / "x.csv", [*UNEVEN, UNEVEN[0] | {"label": "negg"}])
    (tmp_path / "t.yaml").write_text(
        "name: t\nsource: {kind: files, parts: [{path: x.csv}]}\nlabels: [neg, odd, pos]\nlabel_sets: differ"
    )
    with pytest.raises(DataError, match=r"unknown label\n.*\ndid you mean 'neg'"):
        load_task(tmp_path / "t.yaml")


def test_a_domain_may_write_labels_in_its_own_way(tmp_path: Path) -> None:
    """``1`` is good in one domain and bad in the other, which ``values`` cannot say."""
    content = [row | {"label": {"neg": "0", "pos": "1"}[row["label"]]} for row in rows()]
    content += [row | {"label": "?", "text": row["text"] + " ?"} for row in content[:1]]
    table(tmp_path / "x.csv", content)
    text = "name: t\nsource: {kind: files, parts: [{path: x.csv}]}\nlabels: [bad, good]\n"
    values = 'values: {"0": {label: bad}, "1": {label: good}}\n'
    (tmp_path / "t.yaml").write_text(text + values + 'values_by_domain: {b: {"0": good, "1": bad}}')
    task = load_task(tmp_path / "t.yaml")
    given = {row["text"]: row["label"] for row in content}
    for name, meaning in {"a": {"0": "bad", "1": "good"}, "b": {"0": "good", "1": "bad"}}.items():
        parts = (task.domains[name].train, task.domains[name].dev, task.domains[name].test)
        found = {text: label for part in parts for text, label in zip(part.texts, part.labels, strict=True)}
        assert found
        assert found == {text: meaning[given[text]] for text in found}
    assert task.findings.total("left out") == 1


def test_domains_that_are_not_listed_are_left_out_and_counted(tmp_path: Path) -> None:
    table(tmp_path / "x.csv", rows(domains="abc"))
    (tmp_path / "t.yaml").write_text("name: t\nsource: {kind: files, parts: [{path: x.csv}]}\ndomains: [c, a]")
    task = load_task(tmp_path / "t.yaml")
    assert list(task.domains) == ["c", "a"]
    assert task.findings.items == (Finding("left out", "b", "", "b", 40),)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_task(tmp_path / "gone.csv")
    with pytest.raises(DataError, match="holds no table"):
        load_task(tmp_path)
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match="is no task"):
        load_task(tmp_path / "x.txt")


def test_a_group_on_both_sides_of_a_given_split_is_counted(tmp_path: Path) -> None:
    content = [
        row | {"who": str(number % 20), "split": "test" if number % 40 < 15 or number % 40 == 39 else "train"}
        for number, row in enumerate(rows())
    ]
    task = load_task(table(tmp_path / "x.csv", content), group_column="who")
    # tested: groups 0-14 and 19; of the 24 train rows (15-38) those of groups 0-14 and 19 are 20-34 and 19
    # a name of a group column is one group in every domain
    assert task.findings.items == tuple(
        Finding("shared group", name, "train", other, 16) for name in "ab" for other in "ab"
    )

"""Generated tables, task files, settings, archives and folders: only the errors of this package leave, and none hangs."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import re
import signal
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lowres.data.sources import read_member
from lowres.data.spec import TaskSpec, parse_spec
from lowres.data.task import load_task
from lowres.data.texts import FORMATS, read_texts
from lowres.errors import LowresError, UserError, clean
from lowres.models.classifier import load_classifier
from lowres.settings import as_dict
from lowres.study.config import StudyConfig, build_config, safe_stem
from tests.conftest import toy_rows
from tests.hard.conftest import call

PATIENCE = 20
"""Seconds that one example may take, on a busy machine."""
ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet")


def examples(count: int) -> settings:
    return settings(
        max_examples=count,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


class HungError(BaseException):
    """No ``Exception``: nothing takes it for an answer."""


@contextlib.contextmanager
def bounded(*allowed: type[Exception]) -> Iterator[None]:
    """Nothing but the allowed errors leaves, and within seconds."""

    def late(*_: object) -> None:
        raise HungError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(PATIENCE)
    try:
        with contextlib.suppress(*allowed):
            yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


TEXT = st.text(st.characters(codec=None), max_size=12)
ODD = st.sampled_from(
    ["", " ", "\0", "\x1b[31m", "\u202e", "\ud800", "\r", "a\nb", "=1", "nan", "1e999", "x" * 50_000, "名", "no"]
)
CELL = TEXT | ODD
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT | ODD
NESTED = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CELL, inner, max_size=3), max_leaves=6
)
COLUMNS = st.sampled_from(["text", "label", "domain", "id", "split", "group"]) | CELL


@examples(100)
@given(data=st.binary(max_size=400), ending=st.sampled_from(ENDINGS))
def test_any_bytes_as_a_table(data: bytes, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    path.write_bytes(data)
    with bounded(LowresError):
        load_task(path)


@examples(100)
@given(
    header=st.lists(COLUMNS, min_size=1, max_size=5),
    rows=st.lists(st.lists(CELL, min_size=1, max_size=5), max_size=12),
    mark=st.sampled_from(",;\t|"),
    coding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
)
def test_any_delimited_text(header: list[str], rows: list[list[str]], mark: str, coding: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    csv.writer(stream, delimiter=mark).writerows([header, *rows])
    path = tmp_path / "t.csv"
    path.write_bytes(stream.getvalue().encode(coding, "replace"))
    with bounded(LowresError):
        load_task(path)


@examples(100)
@given(rows=st.lists(st.dictionaries(COLUMNS, NESTED, max_size=4) | NESTED, max_size=10), ending=st.sampled_from([".jsonl", ".json"]))  # fmt: skip
def test_any_json(rows: list[Any], ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"t{ending}"
    path.write_text(json.dumps(rows) if ending == ".json" else "\n".join(map(json.dumps, rows)))
    with bounded(LowresError):
        load_task(path)


@examples(100)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 119), st.sampled_from(["text", "label", "domain", "split", "id", "group"]), CELL),
        max_size=8,
    ),
    group=st.booleans(),
)
def test_a_sound_table_with_odd_cells(changes: list[tuple[int, str, str]], group: bool, tmp_path: Path) -> None:
    """What such a table gives is a task whose parts are disjoint and whose texts are those of the table."""
    rows = toy_rows(20)
    for place, column, cell in changes:
        for number, row in enumerate(rows):
            row.setdefault(column, "train" if column == "split" else f"{number}")
        rows[place][column] = cell
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with bounded(LowresError):
        task = load_task(path, group_column="group" if group and "group" in rows[0] else None)
        parts = [part for domain in task.domains.values() for part in (domain.train, domain.dev, domain.test)]
        ids = list(itertools.chain.from_iterable(part.ids for part in parts))
        assert len(set(ids)) == len(ids)
        assert len(ids) <= len(rows)
        texts = {re.sub("[\ud800-\udfff]", "�", row["text"]) for row in rows}
        assert all(set(part.texts) <= texts and len(part.texts) == len(part) for part in parts)


VALID = {
    "name": "toy", "version": 1, "title": "t", "metric": "macro_f1", "labels": ["negative", "positive"],
    "domains": ["shop", "film"], "table": {"format": "csv", "encoding": "utf-8", "skip_lines": 0},
    "source": {"kind": "files", "parts": [{"path": "toy.csv", "domain": "shop", "split": "train"}]},
    "columns": {"text": "text", "label": "label", "group": "text", "group_pattern": "(a)"},
    "bands": [{"label": "negative", "at_most": 2}], "values": {"1": {"label": "positive", "domain": "film"}},
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """A document in which something was left out, replaced or added."""
    found = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(found))))
        value = draw(NESTED)
        if not path:
            found = value if draw(st.integers(0, 9)) == 0 else found
            continue
        place = found
        for step in path[:-1]:
            place = place[step]
        action = draw(st.sampled_from(["drop", "replace", "add"]))
        if action == "drop":
            del place[path[-1]]
        elif action == "replace" or not isinstance(place[path[-1]], dict):
            place[path[-1]] = value
        else:
            place[path[-1]][draw(CELL)] = value
    return found


@examples(150)
@given(content=changed(VALID))
def test_a_task_file_with_something_changed(content: Any) -> None:
    with bounded(UserError):
        assert isinstance(parse_spec(json.dumps(content).encode(), "t.yaml"), TaskSpec)


@examples(100)
@given(
    content=NESTED | st.dictionaries(st.sampled_from(list(VALID)), NESTED), style=st.sampled_from([None, True, False])
)
def test_any_yaml(content: Any, style: bool | None) -> None:
    with bounded(UserError):
        parse_spec(
            yaml.safe_dump(content, default_flow_style=style, allow_unicode=True).encode("utf-8", "replace"), "t.yaml"
        )


@examples(100)
@given(data=st.binary(max_size=60) | st.text("&*!|>%@`{}[]:-?,#'\"\\ \n\tab<=1~.", max_size=60).map(str.encode))
def test_any_bytes_as_yaml(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_bytes(data)
    with bounded(UserError):
        parse_spec(data, "t.yaml")
    with bounded(UserError):
        build_config({}, file=tmp_path / "c.yaml")


KEYS = st.sampled_from([*as_dict(StudyConfig()), "live-layers", "recipe.batch", "lora.rank", "recipe.learning_rate"])
VALUES = (
    st.sampled_from(["0", "1", "-1", "2.5", "nan", "inf", "1e400", "0,0", "all", "auto", "true", ",", "{}", "[1]"])
    | CELL
)


@examples(150)
@given(
    given_=st.dictionaries(KEYS.filter(lambda name: "." not in name), VALUES, max_size=3),
    file=changed(as_dict(StudyConfig())),
    sets=st.lists(st.tuples(KEYS | CELL, VALUES).map("=".join) | CELL, max_size=3),
)
def test_any_settings(given_: dict[str, str], file: Any, sets: list[str], tmp_path: Path) -> None:
    """What is taken is taken again when it is written down."""
    (tmp_path / "c.yaml").write_text(json.dumps(file))
    with bounded(UserError):
        config = build_config(given_, file=tmp_path / "c.yaml", sets=sets)
        assert build_config(as_dict(config)) == config


FLAGS = (
    "--source", "--target", "--shots", "--methods", "--source-rows", "--limit", "--engine", "--precision", "--device",
    "--live-layers", "--set", "--config", "--text-column", "--label-column", "--domain-column", "--group-column",
    "--backbone", "--revision", "--out", "--store", "--seeds",
)  # fmt: skip
TYPED = st.text(st.characters(codec="utf-8", exclude_characters="\0/~"), max_size=8)
NEAR = st.sampled_from(["shop", "film", "shop,film", "0,1", "1", "2", "0", "-1", "fp32", "cpu", "all", "text", "label", "domain", "encoder", "toy.csv", "x=1", "lora.rank=4", "out", "a/b", "."])  # fmt: skip


@examples(80)
@given(
    words=st.lists(st.tuples(st.sampled_from(FLAGS), NEAR | TYPED), max_size=3),
    task=st.sampled_from(["toy.csv", "out", "encoder"]) | TYPED,
)
def test_any_flags(words: list[tuple[str, str]], task: str, finished: Path) -> None:
    flags = [word for pair in words for word in pair]
    with contextlib.chdir(finished), bounded():
        for line in (
            ["plan", task, "--backbone", "encoder", "--shots", "0,1", *flags],
            ["tasks", "check", task, *flags],
        ):
            answer = call(*line)
            assert answer.code in (0, 1, 2)
            assert "Traceback" not in answer.err
            assert "not expected" not in answer.err


PACKINGS = {
    "stored": zipfile.ZIP_STORED,
    "deflated": zipfile.ZIP_DEFLATED,
    "bzip2": zipfile.ZIP_BZIP2,
    "lzma": zipfile.ZIP_LZMA,
}


def packed(packing: str) -> bytes:
    stream = io.BytesIO()
    if packing in PACKINGS:
        with zipfile.ZipFile(stream, "w", PACKINGS[packing]) as archive:
            archive.writestr(zipfile.ZipInfo("a.csv"), b"text,label\n" * 20, PACKINGS[packing])
    else:
        with tarfile.open(fileobj=stream, mode=f"w:{packing}") as archive:  # type: ignore[call-overload]
            info = tarfile.TarInfo("a.csv")
            info.size = 220
            archive.addfile(info, io.BytesIO(b"text,label\n" * 20))
    return stream.getvalue()


@pytest.mark.parametrize("packing", ["stored", "deflated", "bzip2", "lzma", "", "gz", "bz2", "xz"])
@examples(100)
@given(
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
    cut=st.just(1.0) | st.floats(0, 1),
)
def test_any_archive(packing: str, changes: list[tuple[float, int]], cut: float, tmp_path: Path) -> None:
    """Bytes of a zip or tar are changed, and its end is cut off."""
    data = bytearray(packed(packing))
    for place, value in changes:
        data[int(place * len(data))] = value
    (tmp_path / "x.zip").write_bytes(data[: round(cut * len(data))])
    with bounded(LowresError):
        assert isinstance(read_member(tmp_path / "x.zip", "a.csv"), bytes)


@examples(100)
@given(
    data=st.binary(max_size=200) | CELL.map(lambda cell: cell.encode("utf-8", "replace")),
    format=st.sampled_from(FORMATS),
)
def test_any_bytes_to_predict(data: bytes, format: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with bounded(LowresError), contextlib.ExitStack() as files:
        for number, text, fault in read_texts(str(tmp_path / "t.csv"), format, ["text"], files):
            assert number >= 1
            assert bool(text.strip()) != bool(fault)


@pytest.fixture(scope="module")
def adapter(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of an adapter, under other names so that each example begins with the sound ones."""
    place = tmp_path_factory.mktemp("adapter")
    for path in (finished / "best").iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


@examples(80)
@given(data=st.data(), name=st.sampled_from(["lowres.json", "adapter_config.json"]))
def test_any_json_in_an_adapter(data: st.DataObject, name: str, adapter: Path) -> None:
    sound = (adapter / name).read_bytes()
    (adapter / name).write_text(json.dumps(data.draw(changed(json.loads(sound)))))
    try:
        with bounded(UserError):
            found = load_classifier(adapter).predict_proba(["good plot"])
            assert found.shape == (1, 2)
            assert found.sum() == pytest.approx(1, abs=1e-5)
    finally:
        (adapter / name).write_bytes(sound)


@examples(100)
@given(
    name=st.sampled_from(["head.safetensors", "adapter_model.safetensors"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.none() | st.integers(0, 400),
)
def test_any_bytes_in_an_adapter(name: str, changes: list[tuple[int, int]], cut: int | None, adapter: Path) -> None:
    sound = (adapter / name).read_bytes()
    broken = bytearray(sound)
    for place, value in changes:
        broken[place % len(broken)] = value
    (adapter / name).write_bytes(broken[:cut])
    try:
        with bounded(UserError):
            assert load_classifier(adapter).predict_proba(["good plot"]).shape == (1, 2)
    finally:
        (adapter / name).write_bytes(sound)


@examples(100)
@given(data=st.data(), format=st.sampled_from(["table", "markdown", "json", "html", "latex", "csv"]))
def test_any_summary(data: st.DataObject, format: str, finished: Path, tmp_path: Path) -> None:
    content = data.draw(changed(json.loads((finished / "out" / "summary.json").read_text())))
    (tmp_path / "summary.json").write_text(json.dumps(content))
    with bounded():
        answer = call("report", tmp_path, "--format", format)
    assert answer.code in (0, 2), answer.err
    assert not {"\x1b", "\u202e"} & set(answer.out if format != "json" else "")


@examples(100)
@given(name=CELL | st.sampled_from(["..", ".", "con", "NUL.txt", "aux.", "a/b", "a\\b", "C:x", "~", "-x"]))
def test_names_stay_below_a_folder(name: str, tmp_path: Path) -> None:
    stem = safe_stem(name)
    assert (tmp_path / stem).resolve().parent == tmp_path.resolve()
    assert os.path.normpath(stem) == stem
    assert 0 < len(stem) <= 100
    assert stem.isascii()
    assert stem[0] != "-"
    assert stem.split(".")[0].upper() not in {"CON", "PRN", "AUX", "NUL", "COM1", "LPT9"}
    assert safe_stem(name) == stem


@examples(100)
@given(one=CELL, other=CELL)
def test_other_names_are_other_folders(one: str, other: str) -> None:
    assert (safe_stem(one) == safe_stem(other)) == (one == other)


@examples(100)
@given(text=CELL)
def test_clean_text_is_one_line_that_steers_nothing(text: str) -> None:
    found = clean(text)
    assert len(found) == len(text)
    assert len(found.splitlines()) <= 1
    assert clean(found) == found
    assert all(mine == theirs or mine == "�" for mine, theirs in zip(found, text, strict=True))
    assert all(part.isprintable() or part.isspace() for part in found)

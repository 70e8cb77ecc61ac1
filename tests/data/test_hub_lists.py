"""Datasets of the hub as it lays them out: a folder of Parquet files a config, lists, class labels by number."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lowres.data.sources import read_pieces
from lowres.data.spec import HubSource, TableFormat, read_spec
from lowres.data.tables import read_table
from lowres.data.task import Task, load_task, shipped_tasks
from lowres.errors import DataError
from lowres.kinds import words_of

TAGS = ["NOUN", "_", "VERB"]
STRING = {"dtype": "string", "_type": "Value"}


def write(path: Path, rows: list[dict[str, Any]], labels: dict[str, list[str]], form: str) -> Path:
    """Rows as ``datasets`` writes them: the features stand in the metadata of the schema.

    Args:
        path: The file.
        rows: Strings, and lists of strings or of numbers of labels.
        labels: Of columns of labels their names.
        form: What the metadata call a list: ``List``, and ``Sequence`` up to 2024.
    """
    more = {"length": -1, "id": None} if form == "Sequence" else {}
    features = {}
    for name, value in rows[0].items():
        inner = {"names": labels[name], "_type": "ClassLabel"} if name in labels else STRING
        features[name] = {"feature": inner, "_type": form, **more} if isinstance(value, list) else inner
    many = pa.large_list if form == "LargeList" else pa.list_
    kinds = {
        name: many(pa.int64() if name in labels else pa.string()) if isinstance(value, list) else pa.string()
        for name, value in rows[0].items()
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(kinds.items(), metadata)), path)
    return path


def hub(**fields: Any) -> HubSource:
    return HubSource.model_validate({"kind": "hub", "dataset": "./set"} | fields)


@pytest.mark.parametrize("form", ["List", "Sequence", "LargeList"])
def test_lists_of_class_labels_come_out_by_name(tmp_path: Path, form: str) -> None:
    rows = [{"tokens": ["the", "cat"], "upos": [1, 0]}, {"tokens": ["sat"], "upos": [-1]}, {"tokens": [], "upos": None}]
    write(tmp_path / "set" / "train.parquet", rows, {"upos": TAGS}, form)
    (table,) = (
        read_table(piece.data, piece.name, TableFormat())
        for piece in read_pieces(hub(parts=[{"hub_split": "train"}]), tmp_path)
    )
    assert table.columns == {"tokens": [["the", "cat"], ["sat"], []], "upos": [["_", "NOUN"], [None], None]}


def test_a_folder_of_a_dataset_that_lists_no_configs(tmp_path: Path) -> None:
    for name in ("en_x", "de_x"):
        for split in ("train", "test"):
            row = {"tokens": [f"{name} {split}"], "upos": [0]}
            write(tmp_path / "set" / name / f"owner-{split}.parquet", [row], {"upos": TAGS}, "Sequence")
    parts = [
        {"hub_split": "test", "folder": "en_x"},
        {"hub_split": "train"},
        {"hub_split": "train", "folder": "en_x"},
    ]
    found = {}
    for piece in read_pieces(hub(parts=parts, folder="de_x"), tmp_path):
        found[piece.name] = read_table(piece.data, piece.name, TableFormat()).lists("tokens")
    assert found == {
        "./set/en_x/test.parquet": [["en_x test"]],
        "./set/de_x/train.parquet": [["de_x train"]],
        "./set/en_x/train.parquet": [["en_x train"]],
    }
    for wrong, message in (
        ({"folder": "fr_x"}, "dataset ./set, folder fr_x cannot be loaded"),
        ({"config": "en_x"}, "dataset ./set, config en_x cannot be loaded"),
    ):
        with pytest.raises(DataError, match=message):
            list(read_pieces(hub(parts=[{"hub_split": "train"}], **wrong), tmp_path))


def test_what_came_from_a_folder_of_the_hub_is_kept_apart_from_configs(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    write(tmp_path / "set" / "en_x" / "train.parquet", [{"tokens": ["a"], "upos": [0]}], {"upos": TAGS}, "List")
    load, asked = datasets.load_dataset_builder, []

    def builder(path: str, config: str | None, *, data_dir: str, revision: str, cache_dir: str) -> Any:
        asked.append((path, config, data_dir, revision))
        return load(str(tmp_path / "set"), config, data_dir=data_dir, cache_dir=cache_dir)

    monkeypatch.setattr(datasets, "load_dataset_builder", builder)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *names, **fields: None)
    commit = "0123456789" * 4
    source = hub(dataset="owner/set", revision=commit, folder="en_x", parts=[{"hub_split": "train"}])
    for _ in range(2):
        (piece,) = read_pieces(source, tmp_path)
        assert piece.data == cache / "datasets" / "owner" / "set" / commit / "folder=en_x" / "train.parquet"
    assert asked == [("owner/set", None, "en_x", commit)]


# The script of the dataset names its labels in this order.
UPOS = [
    "NOUN",
    "PUNCT",
    "ADP",
    "NUM",
    "SYM",
    "SCONJ",
    "ADJ",
    "PART",
    "DET",
    "CCONJ",
    "PROPN",
    "PRON",
    "X",
    "_",
    "ADV",
    "INTJ",
    "VERB",
    "AUX",
]


def treebank(tmp_path: Path, changes: dict[str, Any]) -> Task:
    """The shipped task on a folder of the same layout: all tags in a sentence a document, with an omitted verb."""
    words = [tag for tag in UPOS if tag != "_"]
    spec = read_spec(shipped_tasks()["ud-ewt"])
    assert isinstance(spec.source, HubSource)
    for folder, genres in (("en_ewt", spec.domains), ("de_gsd", ("news",))):
        for part in spec.source.parts:
            rows = []
            for genre in genres:
                for place in range(3):
                    tokens = [f"{part.hub_split}-{genre}-{place}", "do-n't", "again", *words]
                    row = {"idx": f"{genre}-doc_{part.hub_split}-{place // 2}-000{place}", "text": " ".join(tokens)}
                    tags = [UPOS.index(tag) for tag in ("X", "_", "VERB", *words)]
                    heads = ["0", "None", "None", *["1"] * len(words)]
                    rows.append({**row, "tokens": tokens, "upos": tags, "head": heads})
            if folder == "en_ewt" and part.hub_split == "test":
                rows[1] |= changes
            path = tmp_path / "set" / folder / f"universal_dependencies-{part.hub_split}.parquet"
            write(path, rows, {"upos": UPOS}, "Sequence")
    text = shipped_tasks()["ud-ewt"].read_text(encoding="utf-8")
    text = re.sub(r"^  revision: .*\n", "", text, flags=re.M).replace(spec.source.dataset, "./set")
    (tmp_path / "task.yaml").write_text(text, encoding="utf-8")
    return load_task(tmp_path / "task.yaml")


def test_the_treebank_on_a_folder_of_the_same_layout(tmp_path: Path) -> None:
    task = treebank(tmp_path, {})
    assert (task.kind, task.metric) == ("tokens", "accuracy")
    assert tuple(task.domains) == ("answers", "email", "newsgroup", "reviews", "weblog")
    for domain in task.domains.values():
        rows = domain.test
        assert rows.ids[0] == f"{domain.name}/{domain.name}-doc_test-0-0000"
        assert rows.groups == tuple(f"{domain.name}/{domain.name}-doc_test-{number}" for number in (0, 0, 1))
        first = [f"test-{domain.name}-0", *(tag for tag in UPOS if tag != "_")]
        assert words_of(rows.texts[0]) == first  # neither the word in one piece nor the verb that was put in
        assert words_of(rows.labels[0]) == ["X", *first[1:]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": ["a"], "head": ["0"], "upos": [-1]}, "test.parquet, line 2: the word 'a' has no tag"),
        (
            {"tokens": ["a"], "head": ["0"], "upos": [0, 0]},
            "line 2: words and tags do not match\ngot 1 words, 2 tags, ",
        ),
        ({"idx": "doc 1"}, "test.parquet, line 2: no domain is found\ngot 'doc 1'; expected .*domain_pattern"),
    ],
)
def test_a_treebank_that_cannot_be_used(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        treebank(tmp_path, changes)
    assert len(str(caught.value).splitlines()) <= 3

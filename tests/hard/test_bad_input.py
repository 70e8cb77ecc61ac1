"""Bad input of every kind, through the command line: a few plain lines, exit code 2, and nothing is changed."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
import shlex
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from lowres.cli.main import app
from tests.conftest import toy_rows
from tests.hard.conftest import QUICK, call, listing

RUN = [
    "run",
    "toy.csv",
    "--source",
    "shop",
    "--target",
    "film",
    "--shots",
    "0,2",
    "--seeds",
    "1",
    "--backbone",
    "encoder",
    *QUICK,
]
OWN = ["--backbone", "encoder", "--shots", "0,2", "--seeds", "1", *QUICK]
FIT = ["fit", "toy.csv", "--backbone", "encoder", "--out", "new", *QUICK]
RAW = re.compile(
    r"Traceback| should (?:be|match|have)|Unable to|Input tag|pydantic|site-packages|<class|object at 0x|\(\)|\('|, \)|',\)|\bNone\b|Error:|Errno|\bdict\b|NoneType"
)
"""What only a programmer has a use for."""


@dataclass(frozen=True)
class Case:
    """What is typed, what is said, and what lies in the folder before."""

    name: str
    words: list[str]
    said: tuple[str, ...]
    files: dict[str, str | bytes] = field(default_factory=dict)
    change: Callable[[Path], object] = Path.exists


def case(name: str, words: str | list[str], *said: str, **more: Any) -> Case:
    return Case(name, shlex.split(words) if isinstance(words, str) else words, said, **more)


def table(*rows: dict[str, Any], **changes: Any) -> str:
    """CSV of rows, of the toy task unless they are given; ``changes`` are columns that are the same in every row."""
    found = [dict(row, **changes) for row in (rows or toy_rows(20))]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(found[0]))
    writer.writeheader()
    writer.writerows(found)
    return stream.getvalue()


def lines(*rows: object) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows or toy_rows(20))


def parquet(*columns: Any) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pa.table(dict(zip(("text", "label", "domain"), columns, strict=True))), stream)
    return stream.getvalue()


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("toy.csv", table())
    return stream.getvalue()


def edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of keys of a JSON file; those that get ``...`` are removed."""

    def change(place: Path) -> None:
        content = json.loads((place / name).read_text()) | changes
        (place / name).write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))

    return change


def cut(name: str, to: int) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        (place / name).write_bytes((place / name).read_bytes()[:to])

    return change


def without(*names: str) -> Callable[[Path], None]:
    def change(place: Path) -> None:
        for name in names:
            (place / name).unlink()

    return change


def tensors(name: str, **changes: Any) -> Callable[[Path], None]:
    """A change of tensors of a safetensors file; those that get ``...`` are removed."""

    def change(place: Path) -> None:
        from safetensors.numpy import load_file, save_file

        found = load_file(place / name) | changes
        save_file({key: value for key, value in found.items() if value is not ...}, place / name)

    return change


def shrunk(name: str) -> Callable[[Path], None]:
    """Only the embeddings are left of the weights."""

    def change(place: Path) -> None:
        from safetensors.numpy import load_file, save_file

        found = {key: value for key, value in load_file(place / name).items() if "embeddings" in key}
        save_file(found, place / name, metadata={"format": "pt"})

    return change


def spec(**changes: Any) -> dict[str, str | bytes]:
    """A task file; keys that get ``...`` are removed. JSON is YAML."""
    whole = {"name": "t", "source": {"kind": "files", "parts": [{"path": "toy.csv"}]}} | changes
    return {"t.yaml": json.dumps({key: value for key, value in whole.items() if value is not ...})}


def bands(*found: dict[str, Any], **columns: str) -> dict[str, str | bytes]:
    rows = [dict(row, stars=place % 5 + 1) for place, row in enumerate(toy_rows(20))]
    return spec(bands=list(found), columns={"label": "stars"} | columns) | {"toy.csv": table(*rows)}


GOOD = toy_rows(20)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in itertools.pairwise("abcdefghij")
)

# fmt: off
TABLES = [
    case("missing file", "run gone.csv", "gone.csv"),
    case("missing folder", "run nowhere/toy.csv", "no such file"),
    case("a folder without tables", "run box", "holds no table", files={"box/notes.txt": "x"}),
    case("an ending that is no table", "run notes.docx", "notes.docx", ".csv", files={"notes.docx": "x"}),
    case("a folder named like a table", "run box.csv", "holds no table", files={"box.csv/notes.txt": "x"}),
    case("a name that is too long", ["run", "x" * 5000 + ".csv"], "too long"),
    case("the home of nobody", "run ~nobody-here/toy.csv", "no such file"),
    case("a link to itself", "run loop.csv", "loop.csv", change=lambda place: (place / "loop.csv").symlink_to("loop.csv")),
    case("wrong text column", [*RUN, "--text-column", "txt"], "'txt'", "'text'"),
    case("wrong label column", [*RUN, "--label-column", "lable"], "'lable'", "'label'"),
    case("wrong domain column", [*RUN, "--domain-column", "domian"], "'domian'", "'domain'"),
    case("wrong group column", [*RUN, "--group-column", "review"], "'review'"),
    case("one column for two roles", [*RUN, "--label-column", "text"], "text"),
    case("no columns that could be meant", RUN, "header", files={"toy.csv": "1,2,3\n4,5,6\n"}),
    case("header only", RUN, "no rows", files={"toy.csv": "text,label,domain\n"}),
    case("empty file", RUN, "no rows", files={"toy.csv": ""}),
    case("blank lines only", RUN, "no rows", files={"toy.csv": "\n\n\n"}),
    case("binary file", RUN, "toy.csv", files={"toy.csv": bytes(range(256)) * 20}),
    case("zip renamed to csv", RUN, "zip archive", files={"toy.csv": zipped()}),
    case("gzip renamed to csv", RUN, "gzip file", files={"toy.csv": b"\x1f\x8b\x08\x00" + bytes(range(200, 256)) * 9}),
    case("a web page", RUN, "toy.csv", files={"toy.csv": "<!doctype html>\n<html><body>Sign in</body></html>\n"}),
    case("quote that is not closed", RUN, "truncated", files={"toy.csv": table()[:-1] + '"'}),
    case("quote that opens and ends the file", RUN, "truncated", files={"toy.csv": table() + 'good,"posi'}),
    case("ragged rows", RUN, "line 122", files={"toy.csv": table() + "good,positive\n"}),
    case("column names twice", RUN, "twice", files={"toy.csv": "text,label,label,domain\na,b,b,c\n"}),
    case("broken UTF-8", RUN, "line 3", "iconv", files={"toy.csv": b"text,label,domain\na,b,c\n\xff\x81\xfe,d,c\n"}),
    case("half of UTF-16", RUN, "truncated", files={"toy.csv": table().encode("utf-16")[:-1]}),
    case("UTF-16 without a mark", RUN, "toy.csv", files={"toy.csv": table().encode("utf-16-le")}),
    case("a file that ends in NUL", RUN, "line 122", files={"toy.csv": table() + "\0" * 4096}),
    case("JSONL with half a last line", "run t.jsonl", "truncated", files={"t.jsonl": lines() + '{"text": "goo'}),
    case("JSONL of lists", "run t.jsonl", "object", files={"t.jsonl": lines(["a", "b", "c"])}),
    case("JSONL with a nested text", "run t.jsonl", "line 121", files={"t.jsonl": lines(*GOOD, GOOD[0] | {"text": {"body": "x"}})}),
    case("JSONL a thousand levels deep", "run t.jsonl", "line 1", files={"t.jsonl": '{"text":' * 100_000 + "\n"}),
    case("JSON that is a number", "run t.json", "list", files={"t.json": "7"}),
    case("JSON with rows under a key", "run t.json", "list", files={"t.json": json.dumps({"data": GOOD})}),
    case("JSON that ends early", "run t.json", "truncated", files={"t.json": json.dumps(GOOD)[:-9]}),
    case("Parquet that is truncated", "run t.parquet", "Parquet", files={"t.parquet": parquet(["a"], ["b"], ["c"])[:-9]}),
    case("Parquet that is text", "run t.parquet", "Parquet", files={"t.parquet": table()}),
    case("Parquet with lists", "run t.parquet", "text", files={"t.parquet": parquet([["a"]] * 9, ["b"] * 9, ["c"] * 9)}),
    case("empty texts", RUN, "line 122", "empty text", files={"toy.csv": table() + ",positive,film\n"}),
    case("texts of spaces", RUN, "empty text", files={"toy.csv": table() + '"  \t",positive,film\n'}),
    case("empty labels", RUN, "empty label", files={"toy.csv": table() + "good,,film\n"}),
    case("empty domains", RUN, "empty domain", files={"toy.csv": table() + "good,positive,\n"}),
    case("ratings that are no number", "run t.yaml", "'nan'", files=bands({"label": "bad", "at_most": 2}, {"label": "good", "at_least": 3}) | {"toy.csv": table(*[dict(row, stars="nan") for row in GOOD])}),
    case("unknown split", RUN, "'tset'", "'test'", files={"toy.csv": table(split="tset")}),
    case("an id twice", RUN, "'7'", "twice", files={"toy.csv": table(id="7")}),
    case("one class", RUN, "two labels", files={"toy.csv": table(label="positive")}),
    case("one domain", [*RUN[:2], *OWN], "two domains", "lowres fit toy.csv --on shop", files={"toy.csv": table(domain="shop")}),
    case("every row a domain", [*RUN[:2], *OWN], "'d0' has no row of 'positive'", files={"toy.csv": table(*[dict(row, domain=f"d{place}") for place, row in enumerate(GOOD)])}),
    case("a domain lacks a class", RUN, "positive", files={"toy.csv": table(*[row for row in GOOD if (row["domain"], row["label"]) != ("film", "positive")])}),
    case("labels differ between domains", RUN, "label", files={"toy.csv": table(*[dict(row, label=row["label"].upper() if row["domain"] == "film" else row["label"]) for row in GOOD])}),
    case("all rows the same", RUN, "no domain has training rows", files={"toy.csv": table(text="good day to all of you")}),
    case("all rows in conflict", RUN, "no domain has training rows", files={"toy.csv": table(*[dict(row, text=f"the same text number {place % 20}") for place, row in enumerate(GOOD)])}),
    case("one group of test rows", [*RUN, "--group-column", "page"], "film: one test group", files={"toy.csv": table(*[dict(row, split="test" if place % 3 else "train", page="x" if place % 3 else place) for place, row in enumerate(GOOD)])}),
    case("no training rows", RUN, "no domain has training rows", files={"toy.csv": table(split="test")}),
]

NAMES = [
    case("no task", "run", "no task given", "lowres tasks ls"),
    case("unknown task", "run vader-sentimant", "'vader-sentiment'"),
    case("unknown command", "runn", "run"),
    case("unknown source", [*RUN, "--source", "shpo"], "'shop'"),
    case("unknown target", [*RUN, "--target", "flim"], "'film'"),
    case("unknown method", [*RUN, "--methods", "prob"], "'probe'"),
    case("unknown device", [*RUN, "--device", "cpuu"], "'cpu'"),
    case("unknown precision", [*RUN, "--precision", "fp16"], "fp32", "'bf16'"),
    case("unknown engine", [*RUN, "--engine", "lopp"], "'loop'"),
    case("unknown adapter", [*RUN, "--adapter", "dorra"], "'dora'"),
    case("a rank of factors", [*RUN, "--adapter", "ia3", "--set", "lora.rank=4"], "no use for lora.rank"),
    case("an average of no LoRA", [*RUN, "--adapter", "dora", "--methods", "soup"], "averages the updates of plain LoRA"),
    case("unknown backbone", [*RUN, "--backbone", "minilmm"], "'minilm'"),
    case("unknown linears", [*RUN, "--set", "lora.linears=attenton"], "'attention'"),
    case("unknown key", [*RUN, "--set", "recipe.learning_rat=1"], "learning_rate"),
    case("unknown section", [*RUN, "--set", "recip.batch=1"], "recipe"),
    case("unknown task to check", "tasks check vader", "vader-sentiment"),
    case("unknown task to show", "tasks show vader", "vader-sentiment"),
    case("unknown task to fetch", "tasks fetch vader", "vader-sentiment"),
    case("unknown model", "models fetch minlm", "'minilm'"),
    case("unknown method to show", "methods show prob", "'probe'"),
    case("unknown report format", "report out --format markdwon", "'markdown'"),
    case("unknown split", "evaluate best toy.csv --on film --split tset", "'test'"),
    case("unknown domain to evaluate", "evaluate best toy.csv --on flim", "'film'"),
    case("unknown domain to fit", [*FIT, "--on", "flim"], "'film'"),
    case("unknown domain to start from", [*FIT, "--on", "film", "--shots", "2", "--start-from", "shpo"], "'shop'"),
    case("unknown input format", "predict best --input toy.csv --format cvs", "'csv'"),
    case("a name of 5000 letters", [*RUN, "--source", "s" * 5000], "unknown source domain"),
    case("a revision of a folder", [*RUN, "--revision", "main"], "hub id"),
    case("a device that is not here", [*RUN, "--device", "mps"], "--device cpu"),
]

NUMBERS = [
    case("shots below zero", [*RUN, "--shots", "-1"], "shots", "at least 0"),
    case("shots that are words", [*RUN, "--shots", "0,eight"], "shots", "'eight'", "whole number"),
    case("shots with a fraction", [*RUN, "--shots", "2.5"], "shots", "whole number"),
    case("shots twice", [*RUN, "--shots", "2,2"], "2, 2 repeats"),
    case("shots left empty", [*RUN, "--shots", ""], "shots"),
    case("more shots than rows", [*RUN, "--shots", "0,5000"], "too few", "at most"),
    case("no draws", [*RUN, "--seeds", "0"], "seeds", "at least 1"),
    case("draws without end", [*RUN, "--seeds", "100000000"], "seeds", "at most"),
    case("draws in words", [*RUN, "--seeds", "many"], "seeds", "'many'", "whole number"),
    case("a number of 5000 digits", [*RUN, "--seeds", "9" * 5000], "seeds"),
    case("limit 0", [*RUN, "--limit", "0"], "limit", "at least 2"),
    case("limit 1", [*RUN, "--limit", "1"], "limit", "at least 2"),
    case("one source row", [*RUN, "--source-rows", "1"], "source-rows", "at least 2"),
    *(case(f"learning rate {value}", [*RUN, "--set", f"recipe.learning_rate={value}"], "learning_rate", said) for value, said in (("0", "more than 0"), ("-1", "more than 0"), ("nan", "more than 0"), ("inf", "more than 0"), ("fast", "a number"))),
    case("epochs without end", [*RUN, "--set", "recipe.epochs=1e300"], "epochs", "at most"),
    case("rank 0", [*RUN, "--set", "lora.rank=0"], "rank", "at least 1"),
    case("rank beyond memory", [*RUN, "--set", "lora.rank=1000000000"], "rank", "at most"),
    case("live layers 0", [*RUN, "--live-layers", "0"], "live-layers", "at least 1"),
    case("live layers 99", [*RUN, "--live-layers", "99"], "1 to 2, or all"),
    case("live layers some", [*RUN, "--live-layers", "some"], "live_layers", "whole number"),
    case("tokens beyond the position table", [*RUN, "--set", "recipe.max_length=512"], "max_length", "at most 64"),
    case("two tokens", [*RUN, "--set", "recipe.max_length=2"], "max_length", "at least 4"),
    case("warm-up beyond the end", [*RUN, "--set", "recipe.warmup=2"], "warmup", "0 up to 1"),
    case("a batch of none", [*RUN, "--set", "recipe.batch=0"], "batch", "more than 0"),
    case("neither true nor false", [*RUN, "--set", "recipe.normalise=maybe"], "normalise", "true or false"),
    case("draw -1", [*FIT, "--on", "film", "--draw", "-1"], "draw"),
]

SETTINGS = [
    case("--set without =", [*RUN, "--set", "rubbish"], "no '='", "key=value"),
    case("--set without a key", [*RUN, "--set", "=1"], "no key", "key=value"),
    case("--set of a section", ["run", "toy.csv", "--set", "recipe=fast"], "recipe", "keys with values"),
    case("--set below a value", [*RUN, "--set", "seeds.x=1"], "setting seeds", "seeds.x"),
    case("--set twice in two ways", [*RUN, "--set", "recipe=fast"], "setting recipe", "recipe.min_steps"),
    case("config missing", [*RUN, "--config", "gone.yaml"], "gone.yaml"),
    case("config a folder", [*RUN, "--config", "out"], "out"),
    case("config no YAML", [*RUN, "--config", "c.yaml"], "line 1", files={"c.yaml": "a: [1, 2"}),
    case("config with tabs", [*RUN, "--config", "c.yaml"], "line 2", "spaces", files={"c.yaml": "recipe:\n\tbatch: 4\n"}),
    case("config a list", [*RUN, "--config", "c.yaml"], "a list", files={"c.yaml": "- shots\n"}),
    case("config a table", [*RUN, "--config", "toy.csv"], "toy.csv"),
    case("config empty", [*RUN, "--config", "c.yaml"], "nothing", files={"c.yaml": ""}),
    case("config unknown key", [*RUN, "--config", "c.yaml"], "shotz", "shots", files={"c.yaml": "shotz: [0]\n"}),
    case("config unknown inner key", [*RUN, "--config", "c.yaml"], "recipe.batch", files={"c.yaml": "recipe: {bach: 4}\n"}),
    case("config inner value of a wrong kind", [*RUN, "--config", "c.yaml"], "recipe.batch", "whole number", files={"c.yaml": "recipe: {batch: [1]}\n"}),
    case("config section of a wrong kind", ["run", "--config", "c.yaml"], "recipe", "keys with values", files={"c.yaml": "recipe: 5\n"}),
    case("config key twice", [*RUN, "--config", "c.yaml"], "'batch' twice", files={"c.yaml": "recipe:\n  batch: 4\n  batch: 5\n"}),
    case("config with aliases", [*RUN, "--config", "c.yaml"], "aliases", files={"c.yaml": BOMB}),
    case("config with tags", [*RUN, "--config", "c.yaml"], "not allowed: the tag", files={"c.yaml": "seeds: !!python/name:os.system\n"}),
    case("config with a truth value", [*RUN[:4], *OWN, "--config", "c.yaml"], "in quotes", files={"c.yaml": "target: no\n"}),
    case("config with numbers for names", [*RUN[:4], *OWN, "--config", "c.yaml"], "target", "text", files={"c.yaml": "target: [2019]\n"}),
    case("config in UTF-16", [*RUN, "--config", "c.yaml"], "UTF-8", files={"c.yaml": "seeds: 1\n".encode("utf-16")}),
    case("config with a date that is none", [*RUN, "--config", "c.yaml"], "c.yaml", files={"c.yaml": "seeds: 2020-99-99\n"}),
    case("config with an endless number", [*RUN[:4], "--config", "c.yaml"], "seeds", "at most", files={"c.yaml": f"seeds: 0x{'f' * 9000}\n"}),
    case("config too big", [*RUN, "--config", "c.yaml"], "too big", files={"c.yaml": "#" * 300_000}),
    case("source is target", [*RUN, "--source", "film"], "source film; target film"),
    case("a domain twice", [*RUN, "--source", "shop,shop"], "shop, shop repeats"),
    case("a method twice", [*RUN, "--methods", "probe,probe"], "probe, probe repeats"),
    case("out is a file", [*RUN, "--out", "toy.csv"], "toy.csv", "--out"),
    case("out is below a file", [*RUN, "--out", "toy.csv/x"], "toy.csv", "--out"),
    case("store is a file", [*RUN, "--store", "toy.csv"], "toy.csv", "--store"),
    case("store is below a file", [*RUN, "--store", "toy.csv/x"], "toy.csv"),
    case("columns of a task file", "run t.yaml --text-column text", "--text-column", files=spec()),
]

SPECS = [
    case(f"task file: {name}", "tasks check t.yaml", *said, **more)
    for name, said, more in [
        ("broken", ("line 1",), {"files": {"t.yaml": "a: [1, 2"}}),
        ("tabs", ("line 2",), {"files": {"t.yaml": "source:\n\tkind: files\n"}}),
        ("a list", ("keys and values",), {"files": {"t.yaml": "- name\n"}}),
        ("empty", ("keys and values",), {"files": {"t.yaml": ""}}),
        ("unknown key", ("'label'", "'labels'"), {"files": spec(label=["a"])}),
        ("wrong type", ("version",), {"files": spec(version="one")}),
        ("a list for a name", ("name",), {"files": spec(name=["t"])}),
        ("a path for a name", ("name",), {"files": spec(name="../t")}),
        ("aliases", ("aliases",), {"files": {"t.yaml": BOMB}}),
        ("tags", ("tag",), {"files": {"t.yaml": "name: !!python/object/apply:os.getcwd []\n"}}),
        ("key twice", ("'name' twice",), {"files": {"t.yaml": "name: a\nname: b\n"}}),
        ("too deep", ("deep",), {"files": {"t.yaml": "a: " + "[" * 3000}}),
        ("too big", ("too big",), {"files": {"t.yaml": "#" * 300_000}}),
        ("not UTF-8", ("UTF-8",), {"files": {"t.yaml": b"name: \xff\n"}}),
        ("no source", ("source",), {"files": spec(source=...)}),
        ("source of no kind", ("kind",), {"files": spec(source={})}),
        ("source of a wrong kind", ("files",), {"files": spec(source={"kind": "file"})}),
        ("source without parts", ("parts",), {"files": spec(source={"kind": "files", "parts": []})}),
        ("source that is not there", ("gone.csv",), {"files": spec(source={"kind": "files", "parts": [{"path": "gone.csv"}]})}),
        ("unknown metric", ("macro_f1",), {"files": spec(metric="f1")}),
        ("bad expression", ("group_pattern",), {"files": spec(columns={"group": "text", "group_pattern": "("})}),
        ("expression without a group", ("group_pattern",), {"files": spec(columns={"group": "text", "group_pattern": "a"})}),
        ("unknown encoding", ("utf-9",), {"files": spec(table={"encoding": "utf-9"})}),
        ("encoding of bytes", ("encoding",), {"files": spec(table={"encoding": "base64"})}),
        ("labels twice", ("twice",), {"files": spec(labels=["positive", "positive"])}),
        ("one label", ("two",), {"files": spec(labels=["positive"])}),
        ("labels not in the data", ("'neutral'",), {"files": spec(labels=["positive", "negative", "neutral"])}),
        ("domains not in the data", ("'flim'", "'film'"), {"files": spec(domains=["shop", "flim"])}),
        ("labels not listed", ("positive",), {"files": spec(labels=["good", "negative"])}),
        ("values for no label", ("good",), {"files": spec(labels=["positive", "negative"], values={"1": {"label": "good"}})}),
        ("bands that overlap", ("overlap",), {"files": bands({"label": "bad", "at_most": 3}, {"label": "good", "at_least": 2})}),
        ("bands upside down", ("band",), {"files": bands({"label": "bad", "at_least": 3, "at_most": 1}, {"label": "good", "at_least": 4})}),
        ("bands for words", ("'negative'", "number"), {"files": bands({"label": "bad", "at_most": 3}, {"label": "good", "at_least": 4}, label="label")}),
        ("bands that hold nothing", ("row",), {"files": bands({"label": "bad", "at_most": -3}, {"label": "good", "at_least": 400})}),
        ("bands and values", ("exclude",), {"files": spec(bands=[{"label": "a"}], values={"1": {"label": "a"}})}),
        ("a band that is no number", ("bands",), {"files": bands({"label": "bad", "at_most": "low"}, {"label": "good"})}),
        ("a number without end", ("version",), {"files": {"t.yaml": f"name: t\nversion: 0x{'f' * 9000}\nsource: {{kind: files, parts: [{{path: toy.csv}}]}}\n"}}),
        ("code of a hub dataset", ("revision",), {"files": spec(source={"kind": "hub", "dataset": "a/b", "parts": [{"hub_split": "x"}]})}),
    ]
]

LOWRES, CONFIG, ADAPTER, HEAD = (f"best/{name}" for name in ("lowres.json", "adapter_config.json", "adapter_model.safetensors", "head.safetensors"))
ORIGIN = {"name": "x", "hub_id": None, "revision": None, "folder": None, "weights_sha256": "0" * 64}
ADAPTERS = [
    case(f"adapter: {name}", "predict best --input texts.txt", *said, files={"texts.txt": "good plot\n"}, **more)
    for name, said, more in [
        ("no lowres.json", ("no adapter folder",), {"change": without(LOWRES)}),
        ("broken JSON", ("damaged", "lowres.json"), {"change": cut(LOWRES, 60)}),
        ("JSON that is a list", ("damaged", "a list"), {"change": lambda place: (place / LOWRES).write_text("[]")}),
        ("JSON too deep", ("damaged", "deep"), {"change": lambda place: (place / LOWRES).write_text('{"a":' * 200_000)}),
        ("JSON in binary", ("damaged",), {"change": lambda place: (place / LOWRES).write_bytes(b"\xff\x00\x93" * 99)}),
        ("schema of the future", ("schema 2", "schema 1"), {"change": edit(LOWRES, schema=2)}),
        ("a key is missing", ("labels", "missing"), {"change": edit(LOWRES, labels=...)}),
        ("an unknown key", ("poolin",), {"change": edit(LOWRES, poolin="mean")}),
        ("labels in one word", ("labels", "a list"), {"change": edit(LOWRES, labels="ab")}),
        ("the same label twice", ("labels", "different"), {"change": edit(LOWRES, labels=["a", "a"])}),
        ("other labels than the head", ("head does not fit", "3 labels"), {"change": edit(LOWRES, labels=["a", "b", "c"])}),
        ("pooling that is not built", ("pooling", "mean or cls"), {"change": edit(LOWRES, pooling="max")}),
        ("no tokens", ("max_length",), {"change": edit(LOWRES, max_length=0)}),
        ("too many tokens", ("at most 64",), {"change": edit(LOWRES, max_length=4096)}),
        ("a backbone that is not here", ("not here", "--backbone"), {"change": edit(LOWRES, backbone=ORIGIN)}),
        ("a hub id", ("not here: a/b", "--backbone"), {"change": edit(LOWRES, backbone=ORIGIN | {"hub_id": "a/b"})}),
        ("a backbone elsewhere", ("has no config.json",), {"change": edit(LOWRES, backbone=ORIGIN | {"folder": "../.."})}),
        ("other weights", ("other weights",), {"change": edit(LOWRES, backbone=ORIGIN | {"folder": "./encoder"})}),
        ("no encoder of its own", ("best/encoder has no config.json",), {"change": edit(LOWRES, backbone=ORIGIN | {"folder": "encoder"})}),
        ("truncated tensors", ("damaged", "adapter_model"), {"change": cut(ADAPTER, 300)}),
        ("truncated head", ("damaged", "head"), {"change": cut(HEAD, 20)}),
        ("a header without end", ("damaged", "head"), {"change": lambda place: (place / HEAD).write_bytes(struct.pack("<Q", 1 << 62) + b"{}")}),
        ("empty head", ("damaged", "head"), {"change": cut(HEAD, 0)}),
        ("no head", ("no head.safetensors",), {"change": without(HEAD)}),
        ("no weight in the head", ("head does not fit",), {"change": tensors(HEAD, weight=...)}),
        ("head that is not finite", ("finite",), {"change": tensors(HEAD, bias=np.full(2, float("nan"), "float32"))}),
        ("head of another shape", ("head does not fit", "weight 2 × 7"), {"change": tensors(HEAD, weight=np.zeros((2, 7), "float32"))}),
        ("pickles for tensors", ("adapter_model.bin", "never read"), {"change": lambda place: (place / ADAPTER).rename(place / "best/adapter_model.bin")}),
        ("broken settings", ("adapter_config.json",), {"change": cut(CONFIG, 40)}),
        ("another kind", ("not read", "got peft_type VERA;"), {"change": edit(CONFIG, peft_type="VERA")}),
        ("another LoRA", ("not read", "use_qalora"), {"change": edit(CONFIG, use_qalora=True)}),
        ("a kind that it is not", ("differ", "ia3_l"), {"change": edit(CONFIG, peft_type="IA3")}),
        ("a DoRA without lengths", ("differ", "no .lora_magnitude_vector"), {"change": edit(CONFIG, use_dora=True)}),
        ("another rank", ("differ", "of rank 8; expected rank 4"), {"change": edit(CONFIG, r=4)}),
        ("a rank beyond memory", ("differ",), {"change": edit(CONFIG, r=1 << 40)}),
        ("no rank", ("no usable r",), {"change": edit(CONFIG, r=...)}),
        ("a rank in words", ("no usable r",), {"change": edit(CONFIG, r="eight")}),
        ("no linears", ("target_modules",), {"change": edit(CONFIG, target_modules=...)}),
        ("linears that are not there", ("does not fit this backbone", "nowhere"), {"change": edit(CONFIG, target_modules=["nowhere"])}),
        ("an expression for linears", ("not read",), {"change": edit(CONFIG, target_modules=".*")}),
        ("broken tokenizer", ("tokenizer.json",), {"change": cut("best/tokenizer.json", 99)}),
    ]
]

BACKBONES = [
    case(f"backbone: {name}", RUN, *said, **more)
    for name, said, more in [
        ("no tokenizer", ("no tokenizer",), {"change": without("encoder/tokenizer.json", "encoder/tokenizer_config.json")}),
        ("no config", ("no config.json",), {"change": without("encoder/config.json")}),
        ("config no JSON", ("config.json",), {"change": cut("encoder/config.json", 30)}),
        ("config a list", ("config.json",), {"change": lambda place: (place / "encoder/config.json").write_text("[]")}),
        ("unknown model type", ("model_type",), {"change": edit("encoder/config.json", model_type="bertt")}),
        ("no model type", ("model_type",), {"change": edit("encoder/config.json", model_type=...)}),
        ("no width", ("config.json",), {"change": edit("encoder/config.json", hidden_size=...)}),
        ("a decoder", ("no encoder",), {"change": edit("encoder/config.json", is_decoder=True)}),
        ("a language model", ("no width",), {"change": edit("encoder/config.json", model_type="gpt2", n_embd=32, n_layer=2, hidden_size=..., num_hidden_layers=...)}),
        ("its own code", ("own folder",), {"change": edit("encoder/config.json", auto_map={"AutoModel": "evil.Model"})}),
        ("numbers of few bits", ("quantization_config",), {"change": edit("encoder/config.json", quantization_config={"quant_method": "gptq", "bits": 4})}),
        ("truncated weights", ("damaged",), {"change": cut("encoder/model.safetensors", 3000)}),
        ("weights without a header", ("model.safetensors",), {"change": cut("encoder/model.safetensors", 4)}),
        ("half of the weights", ("weights",), {"change": shrunk("encoder/model.safetensors")}),
        ("pickled weights", ("pytorch_model.bin", "not read"), {"change": lambda place: (place / "encoder/model.safetensors").rename(place / "encoder/pytorch_model.bin")}),
        ("broken tokenizer", ("tokenizer",), {"change": cut("encoder/tokenizer.json", 99)}),
        ("another tokenizer", ("not the tokenizer of its encoder",), {"change": edit("encoder/config.json", vocab_size=40)}),
        ("another pooling", ("pooling",), {"files": {"encoder/1_Pooling/config.json": '{"pooling_mode_max_tokens": true}'}}),
        ("broken pooling", ("1_Pooling",), {"files": {"encoder/1_Pooling/config.json": "{"}}),
        ("layers after pooling", ("Dense",), {"files": {"encoder/modules.json": '[{"type": "sentence_transformers.models.Dense"}]'}}),
    ]
]

COMMANDS = [
    case("predict: no adapter", "predict nowhere", "no adapter folder"),
    case("predict: a file for an adapter", "predict toy.csv", "no adapter folder"),
    case("predict: no input", "predict best --input gone.txt", "gone.txt"),
    case("predict: a folder for input", "predict best --input out", "out"),
    case("predict: wrong column", "predict best --input toy.csv --text-column txt", "'txt'", "--text-column"),
    case("predict: no header in UTF-8", "predict best --input t.csv", "UTF-8", files={"t.csv": b"\xfftext\na\n"}),
    case("predict: broken Parquet", "predict best --input t.parquet", "Parquet", files={"t.parquet": "x"}),
    case("predict: output into a missing folder", "predict best --input toy.csv --output no/where.jsonl", "no/where.jsonl"),
    case("predict: output is a folder", "predict best --input toy.csv --output out", "out cannot be written"),
    case("predict: unknown backbone", "predict best --input toy.csv --backbone minlm", "'minilm'"),
    case("predict: another backbone", "predict best --input toy.csv --backbone other", "other weights", change=lambda place: (shutil.copytree(place / "encoder", place / "other"), tensors("other/model.safetensors", x=np.zeros(1))(place))),
    case("report: no run folder", "report runs", "no run folder"),
    case("report: a file", "report toy.csv", "no run folder"),
    case("report: broken summary", "report out", "summary.json", change=cut("out/summary.json", 99)),
    case("report: summary of the future", "report out", "schema", change=edit("out/summary.json", schema=2)),
    case("report: summary lacks a part", "report out", "shift", change=edit("out/summary.json", shift=...)),
    case("report: summary too deep", "report out", "summary.json", change=lambda place: (place / "out/summary.json").write_text('{"a":' * 200_000)),
    case("evaluate: no adapter", "evaluate nowhere toy.csv --on film", "no adapter folder"),
    case("evaluate: other labels", "evaluate best t.csv --on film", "another label set", files={"t.csv": table(*[dict(row, label=row["label"].upper()) for row in GOOD])}),
    case("evaluate: nothing to score", "evaluate best toy.csv --on film --split dev", "no rows of film", files={"toy.csv": table(split="test")}),
    case("fit: shots missing", [*FIT, "--on", "film", "--start-from", "shop"], "--shots"),
    case("fit: start from itself", [*FIT, "--on", "film", "--start-from", "film", "--shots", "2"], "--start-from film"),
    case("fit: start missing", [*FIT, "--on", "film", "--method", "joint", "--shots", "2"], "--start-from"),
    case("fit: start for nothing", [*FIT, "--on", "film", "--method", "target-only", "--shots", "2", "--start-from", "shop"], "no use"),
    case("fit: no adapter in it", [*FIT, "--on", "film", "--method", "probe", "--shots", "2"], "trains no adapter"),
    case("fit: shots for a ceiling", [*FIT, "--on", "film", "--method", "target-full", "--shots", "2"], "no use"),
    case("fit: negative shots", [*FIT, "--on", "film", "--shots", "-2"], "shots"),
    case("fit: too many shots", [*FIT, "--on", "film", "--shots", "5000"], "too few"),
    case("fit: no domain", FIT, "--on"),
    case("fit: out is a file", [*FIT[:-6], "--out", "toy.csv", *QUICK, "--on", "film"], "toy.csv"),
    case("fit: out holds something else", [*FIT, "--out", "out", "--on", "film"], "something else"),
    case("tasks check: a folder of nothing", "tasks check out", "cells.jsonl", "--text-column"),
    case("tasks check: a picture", "tasks check x.png", ".csv", files={"x.png": b"\x89PNG"}),
    case("tasks init: of a task file", "tasks init t.yaml", "already", files=spec()),
    case("tasks init: over a table", "tasks init toy.csv --output toy.csv", "toy.csv"),
    case("tasks init: over a file", "tasks init toy.csv --output t.yaml", "--force", files=spec()),
    case("tasks init: into nowhere", "tasks init toy.csv --output no/t.yaml", "no"),
    case("tasks init: a bad name", "tasks init toy.csv --name ../x", "name"),
    case("store: none", "store ls --store nowhere", "no store"),
    case("store: a file", "store check --store toy.csv", "no store"),
    case("store: no run to keep", "store prune --keep encoder --yes", "no run folder"),
    case("store: a run that is damaged", "store prune --keep out --yes", "cells.jsonl", change=cut("out/cells.jsonl", 99)),
    case("store: nothing to keep", "store prune --yes", "--keep"),
]
# fmt: on

ALL = [*TABLES, *NAMES, *NUMBERS, *SETTINGS, *SPECS, *ADAPTERS, *BACKBONES, *COMMANDS]


def params() -> Iterator[Any]:
    for one in ALL:
        yield pytest.param(one, id=one.name)


@pytest.mark.parametrize("one", params())
def test_bad_input(one: Case, work: Path) -> None:
    for name, content in one.files.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(content.encode() if isinstance(content, str) else content)
    one.change(work)
    before = listing(work)
    answer = call(*one.words)
    said = answer.err
    assert answer.code == 2
    for words in one.said:
        assert words in said
    assert len(said[said.index("error:") :].rstrip("\n").splitlines()) <= 3
    assert not RAW.search(said)
    assert str(Path(typer.__file__).parents[1]) not in said
    assert answer.out == ""
    assert listing(work) == before


def commands(place: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if hasattr(place, "commands"):
        for name, inner in place.commands.items():
            yield from commands(inner, (*words, name))
    else:
        yield words, place


@pytest.mark.parametrize(
    ("words", "command"),
    commands(typer.main.get_command(app)),
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else "",
)
def test_every_misspelt_flag_is_put_right(words: tuple[str, ...], command: Any, work: Path) -> None:
    before = listing(work)
    flags = [flag for parameter in command.params for flag in parameter.opts if flag.startswith("--")]
    for flag in flags:
        for wrong in {flag[:4] + flag[3:], flag[:-1]} - {*flags, "--"}:
            answer = call(*words, wrong, "1")
            assert (answer.code, answer.out) == (2, "")
            what, hint = answer.err.splitlines()
            assert what == f"error: unknown option {wrong}"
            assert re.search(rf"{flag}\b", hint), answer.err
    assert listing(work) == before


def test_one_domain_can_be_fitted_as_the_message_says(work: Path) -> None:
    (work / "toy.csv").write_text(table(domain="shop"))
    refused = call(*RUN[:2], *OWN)
    hint = refused.err.splitlines()[-1].partition("lowres ")[2].replace("FOLDER", "new")
    assert call(*hint.split(), "--backbone", "encoder", *QUICK).code == 0
    assert (work / "new" / "lowres.json").is_file()

"""Files from strangers: nothing of them is run, fetched, followed out of a folder, or taken for markup."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import pickle
import re
import resource
import shutil
import socket
import struct
import sys
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt
from pydantic import ValidationError

from lowres.analysis.summary import Summary
from lowres.cli import talk
from lowres.cli.main import main
from lowres.data.sources import read_member
from lowres.data.spec import ArchivePart, parse_spec
from lowres.data.task import load_task
from lowres.errors import DataError, LowresError, UserError, unknown_name
from lowres.files import SUMS, holds_nothing_else, holds_sums, write_sums
from lowres.models.backbone import find_backbone
from lowres.models.classifier import load_classifier
from lowres.report import csv as report_csv
from lowres.report import html, latex, markdown
from lowres.study.config import build_config, safe_stem
from tests.conftest import toy_rows
from tests.hard.conftest import QUICK, call, listing


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what would have gone out."""
    tried: list[str] = []

    def refuse(*words: Any, **_: Any) -> None:
        tried.append(str(words))
        raise OSError("no network in this test")

    import huggingface_hub

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    return tried


# YAML


TAGS = (
    "!!python/object/apply:os.system ['touch pwned']", "!!python/object/apply:pathlib.Path.touch [pwned]",
    "!!python/object/new:os.system ['touch pwned']", "!!python/name:os.system", "!!python/module:os", "!!python/tuple [1]",
    "!<tag:yaml.org,2002:python/object/apply:os.system> ['touch pwned']", "!include /etc/passwd", "!ENV ${HOME}",
)  # fmt: skip


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_tags_make_nothing(tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="tag"):
        parse_spec(f"name: {tag}\n".encode(), "t.yaml")
    (tmp_path / "c.yaml").write_text(f"task: {tag}\n")
    with pytest.raises(UserError, match="tag"):
        build_config({}, file="c.yaml")
    assert os.listdir(tmp_path) == ["c.yaml"]


BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{n}: &{n} [{','.join([f'*{o}'] * 9)}]\n" for o, n in zip("abcdefghi", "bcdefghij", strict=True)),
    "keys": "a: &a {x: 1}\n" + "".join(f"{n}: &{n} {{<<: [*{o}, *{o}], {n}: 1}}\n" for o, n in zip("abcdefghi", "bcdefghij", strict=True)),
    "itself": "shots: &a [*a]\nrecipe: &b {batch: *b}\n",
    "depth": "shots: " + "[" * 100_000,
    "blocks": "".join("  " * level + "- \n" for level in range(300)),
    "number": "seeds: " + "1" + ":59" * 15_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_bombs_go_off_nowhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(BOMBS[name])
    began = time.process_time()
    tracemalloc.start()
    for read in (
        lambda: build_config({}, file=tmp_path / "c.yaml"),
        lambda: parse_spec(BOMBS[name].encode(), "t.yaml"),
    ):
        with pytest.raises(UserError) as caught:
            read()
        assert len(str(caught.value)) < 2000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6
    assert time.process_time() - began < 10


# archives


def tarred(*members: tuple[str, bytes, str], mode: str = "w:gz") -> bytes:
    """Members by name, type and link."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, kind, link in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            info.size = 5 if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(b"found") if info.size else None)
    return stream.getvalue()


KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_in_a_tar_is_not_read(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "x.tar").write_bytes(
        tarred(("a", kind, str(tmp_path / "secret")), ("b", tarfile.REGTYPE, ""), mode="w")
    )
    before = listing(tmp_path)
    with pytest.raises(DataError, match="holds no file 'a'"):
        read_member(tmp_path / "x.tar", "a")
    assert read_member(tmp_path / "x.tar", "b") == b"found"
    assert listing(tmp_path) == before


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "..\\out", "C:\\out", "a/./b", "~/out"])
def test_names_in_archives_lead_nowhere(name: str, tmp_path: Path) -> None:
    place = tmp_path / "in" / "side"
    place.mkdir(parents=True)
    with zipfile.ZipFile(place / "x.zip", "w") as archive:
        archive.writestr(name, "found")
    (place / "x.tar").write_bytes(tarred((name, tarfile.REGTYPE, "")))
    before = listing(tmp_path)
    assert {read_member(place / "x.zip", name), read_member(place / "x.tar", name)} == {b"found"}
    assert listing(tmp_path) == before
    assert not Path("/out").exists()


def test_a_link_in_a_zip_is_its_own_text(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("a")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(tmp_path / "secret"))
    assert read_member(tmp_path / "x.zip", "a") == str(tmp_path / "secret").encode()


@pytest.mark.parametrize(
    "packing",
    [
        zipfile.ZIP_DEFLATED,
        zipfile.ZIP_BZIP2,
        zipfile.ZIP_LZMA,
    ],
)
def test_a_zip_bomb_stops_at_the_cap(packing: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", packing) as archive:
        archive.writestr("a", bytes(30_000_000))
    assert (tmp_path / "x.zip").stat().st_size < 60_000
    tracemalloc.start()
    with pytest.raises(DataError):
        read_member(tmp_path / "x.zip", "a", max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_a_bomb_within_an_archive_stops_too(tmp_path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b", bytes(30_000_000))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a", inner.getvalue())
    with pytest.raises(DataError, match="too big"):
        read_member(tmp_path / "x.zip", "a", "b", max_bytes=1_000_000)
    with pytest.raises(ValidationError, match="at most 3"):
        ArchivePart(member=("a", "b", "c", "d"))


def test_a_tar_header_has_a_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lowres.data.sources.MAX_DOWNLOAD_BYTES", 1_000_000)
    stream = io.BytesIO()
    with tarfile.open(
        fileobj=stream, mode="w:gz", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x" * 30_000_000}
    ) as archive:
        archive.addfile(tarfile.TarInfo("a"))
    (tmp_path / "x.tar.gz").write_bytes(stream.getvalue())
    tracemalloc.start()
    with contextlib.suppress(DataError):
        read_member(tmp_path / "x.tar.gz", "a", max_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


# weights and code


def plant(folder: Path, *names: str) -> Path:
    """Puts pickles in both shapes that torch writes under these names; the path that they would make."""
    import torch

    made = folder.parent / "pwned"
    for place, name in enumerate(names):
        if place % 2:
            (folder / name).write_bytes(pickle.dumps(Evil(made)))
        else:
            torch.save(Evil(made), folder / name)
    return made


def test_the_planted_pickle_would_act(tmp_path: Path) -> None:
    import torch

    (tmp_path / "in").mkdir()
    made = plant(tmp_path / "in", "a.bin", "b.bin")
    torch.load(tmp_path / "in" / "a.bin", weights_only=False)
    assert made.exists()
    made.unlink()
    pickle.loads((tmp_path / "in" / "b.bin").read_bytes())  # noqa: S301
    assert made.exists()


@pytest.mark.parametrize("names", [("pytorch_model.bin", "training_args.bin"), ("x.bin", "pytorch_model.bin")])
@pytest.mark.parametrize("safe", [True, False])
def test_pickles_in_a_backbone_are_not_loaded(names: tuple[str, ...], safe: bool, work: Path) -> None:
    made = plant(work / "encoder", *names, "rng_state.pth", "scheduler.pt")
    (work / "encoder" / "pytorch_model.bin.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    if safe:
        find_backbone("encoder").load()
    else:
        (work / "encoder" / "model.safetensors").unlink()
        with pytest.raises(UserError, match=r"pytorch_model\.bin"):
            find_backbone("encoder").load()
    assert not made.exists()


@pytest.mark.parametrize("names", [("adapter_model.bin", "head.pt"), ("head.bin", "adapter_model.bin")])
@pytest.mark.parametrize("missing", [(), ("adapter_model",), ("head",), ("adapter_model", "head")])
def test_pickles_in_an_adapter_are_not_loaded(names: tuple[str, ...], missing: tuple[str, ...], work: Path) -> None:
    made = plant(work / "best", *names, "lowres.pkl", "training_args.bin")
    for name in missing:
        (work / "best" / f"{name}.safetensors").unlink()
    if missing:
        with pytest.raises(UserError, match="never read"):
            load_classifier("best").predict(["good plot"])
    else:
        assert load_classifier("best").predict(["good plot"])
    assert not made.exists()


def test_pickles_in_a_store_are_not_loaded(work: Path) -> None:
    fits = sorted((work / "runs" / "store" / "fits").iterdir())
    made = [plant(fit, "adapter_model.bin", "head.pkl") for fit in fits]
    for fit in fits:
        (fit / "head.safetensors").write_bytes(pickle.dumps(Evil(made[0])))
    assert call("store", "check").code == 1
    assert not any(path.exists() for path in made)


CODE = "from pathlib import Path\nPath('pwned').touch()\nclass Model: pass\nclass Config: pass\nclass Tokenizer: pass\n"
MAP = {"AutoModel": "evil.Model", "AutoConfig": "evil.Config", "AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"]}


def change(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("slow", [True, False])
def test_code_in_a_backbone_is_never_run(name: str, slow: bool, work: Path) -> None:
    (work / "encoder" / "evil.py").write_text(CODE)
    change(work / "encoder" / name, auto_map=MAP, model_type="bert", trust_remote_code=True)
    if slow:
        (work / "encoder" / "tokenizer.json").unlink()
    with pytest.raises(UserError, match="remote code is never run"):
        find_backbone("encoder").load()
    assert not (work / "pwned").exists()
    assert "evil" not in sys.modules


def test_code_in_an_adapter_is_never_run(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(work / "best"))
    (work / "best" / "evil.py").write_text(CODE)
    mapping = {"base_model_class": "Model", "parent_library": "evil"}
    change(work / "best" / "adapter_config.json", auto_mapping=mapping, auto_map=MAP, trust_remote_code=True)
    change(work / "best" / "tokenizer_config.json", auto_map=MAP, tokenizer_class="evil.Tokenizer")
    (work / "best" / "config.json").write_text(json.dumps({"model_type": "bert", "auto_map": MAP}))
    (work / "best" / "modules.json").write_text(json.dumps([{"type": "evil.Model"}]))
    assert load_classifier("best").predict(["good plot"])
    assert not (work / "pwned").exists()
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    "key",
    ["attn_implementation", "_attn_implementation"],
)
def test_a_kernel_that_a_config_names_is_not_fetched(key: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import hub_kernels

    tried: list[str] = []
    for name in ("load_and_register_attn_kernel", "lazy_load_kernel", "get_kernel"):
        monkeypatch.setattr(hub_kernels, name, lambda kernel, *_, **__: tried.append(kernel))
    change(work / "encoder" / "config.json", **{key: "someone/evil-kernel"})
    with contextlib.suppress(Exception):  # it may be refused, in whatever words
        find_backbone("encoder").load()
    assert tried == []


@pytest.mark.parametrize(
    "name", ["someone/evil", "https://example.org/evil", "../../someone/evil", "hf://someone/evil", ""]
)
def test_an_adapter_downloads_nothing_unless_asked(
    name: str, work: Path, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    origin = {"name": name, "hub_id": name, "revision": "main", "folder": name, "weights_sha256": "0" * 64}
    change(work / "best" / "lowres.json", backbone=origin)
    change(work / "best" / "adapter_config.json", base_model_name_or_path=name, revision="main")
    answer = call("predict", "best", "--input", "toy.csv")
    assert (answer.code, "is not here" in answer.err) == (2, True)
    assert no_network == []
    asked = call("predict", "best", "--input", "toy.csv", "--backbone", "someone/evil")
    assert asked.code == 1
    assert len(no_network) == 1


def test_a_sound_adapter_that_names_a_hub_id_downloads_nothing(work: Path, no_network: list[str]) -> None:
    change(work / "best" / "adapter_config.json", base_model_name_or_path="someone/evil", revision="main")
    assert call("predict", "best", "--input", "toy.csv").code == 0
    assert no_network == []


@pytest.mark.parametrize(
    "name", ["/absolute", "../outside", "below/../../outside", "link", "below", "pipe", "gone", "n\0"]
)
def test_names_in_a_list_of_checksums_lead_nowhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside is opened, whether or not its sum is right; a pipe would be waited for without end."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.write_text("secret")
    (folder / "below").mkdir(parents=True)
    (folder / "own").write_text("own")
    write_sums(folder)
    assert holds_nothing_else(folder)
    (folder / "link").symlink_to(outside)
    os.mkfifo(folder / "pipe")
    name = str(outside) if name == "/absolute" else name
    sums = (folder / SUMS).read_text() + f"{hashlib.sha256(b'secret').hexdigest()}  {name}\n"
    (folder / SUMS).write_text(sums)
    opened: list[Path] = []
    monkeypatch.setattr(
        "lowres.files._sha256", lambda path: opened.append(path) or hashlib.sha256(b"secret").hexdigest()
    )
    assert not holds_sums(folder)
    assert not opened
    (folder / SUMS).unlink()
    (folder / SUMS).symlink_to(tmp_path / "list")
    (tmp_path / "list").write_text("")
    assert not holds_sums(folder)


def test_links_in_an_adapter_folder_show_nothing(work: Path) -> None:
    (work / "secret").write_text("precious words")
    for name in ("lowres.json", "adapter_config.json", "head.safetensors"):
        with contextlib.ExitStack() as stack:
            kept = (work / "best" / name).read_bytes()
            stack.callback((work / "best" / name).write_bytes, kept)
            (work / "best" / name).unlink()
            (work / "best" / name).symlink_to(work / "secret")
            stack.callback((work / "best" / name).unlink)
            answer = call("predict", "best", "--input", "toy.csv")
            assert (answer.code, "precious" in answer.err) == (2, False)


@pytest.mark.parametrize("length", [1 << 62, 1 << 63, (1 << 64) - 1, 1 << 33])
def test_a_header_bomb_in_an_adapter(length: int, work: Path) -> None:
    (work / "best" / "head.safetensors").write_bytes(struct.pack("<Q", length) + b'{"a":' * 10_000)
    with pytest.raises(UserError, match="damaged"):
        load_classifier("best")


@pytest.mark.parametrize("length", [1 << 62, (1 << 64) - 1, 9])
def test_a_header_bomb_in_a_backbone(length: int, work: Path) -> None:
    (work / "encoder" / "model.safetensors").write_bytes(struct.pack("<Q", length) + b'{"a":' * 10_000)
    with pytest.raises(LowresError):
        assert find_backbone("encoder").parameters


# names from data, in everything that is written and shown

DOMAINS = (
    "../../../evil\x1b[2J",
    "<script>alert(1)</script>[red]x[/red]\x1b]8;;http://evil.example\x07click\x1b]8;;\x07",
    "=1+1|`x`![i](javascript:alert(1)) [l](http://evil.example) www.evil.example\r\n---\nlicense: evil\n\n# Big\n\u202egro",
)
LABELS_ = (
    "[link=http://evil.example]neg[/link]<img src=x onerror=alert(1)>\x9b31m",
    '@SUM(1)" onmouseover="alert(1)\n\n<b>pos</b>\t',
)
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


@pytest.fixture(scope="module")
def evil(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a study with such names was run."""
    place = tmp_path_factory.mktemp("evil") / "a" / "b" / "c" / "work"
    place.mkdir(parents=True)
    shutil.copytree(finished / "encoder", place / "encoder")
    names = dict(zip(("shop", "film", "chat"), DOMAINS, strict=True)) | dict(
        zip(("negative", "positive"), LABELS_, strict=True)
    )
    rows = [row | {"domain": names[row["domain"]], "label": names[row["label"]]} for row in toy_rows(20)]
    (place / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with contextlib.chdir(place):
        answer = call(
            "run",
            "toy.jsonl",
            "--shots",
            "0,2",
            "--seeds",
            "2",
            "--methods",
            "joint",
            "--backbone",
            "encoder",
            "--out",
            "out",
            *QUICK,
        )
    assert answer.code == 0, answer.err
    (place / "said.txt").write_text(answer.out + answer.err)
    yield place
    around = [path for path in place.parents[3].rglob("*") if not path.is_relative_to(place)]
    assert sorted(path.name for path in around) == ["a", "b", "c"]


def test_folders_stay_below_out(evil: Path) -> None:
    best = sorted(path.name for path in (evil / "out" / "best").iterdir())
    assert len(best) == 6
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*-[0-9a-f]{6}-[02]", name) for name in best)
    assert sorted(path.name for path in evil.iterdir()) == ["encoder", "out", "runs", "said.txt", "toy.jsonl"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", "toy.jsonl", "--shots", "0,2", "--seeds", "2", "--methods", "joint", "--backbone", "encoder", "--out", "out", *QUICK),
        ("plan", "toy.jsonl", "--shots", "0,2", "--backbone", "encoder", *QUICK),
        ("report", "out"),
        ("report", "out", "--format", "markdown"),
        ("report", "out", "--format", "html"),
        ("report", "out", "--format", "latex"),
        ("report", "out", "--format", "csv"),
        ("tasks", "check", "toy.jsonl"),
        ("tasks", "init", "toy.jsonl"),
        ("tasks", "show", "toy.jsonl"),
        ("store", "ls"),
        ("run", "toy.jsonl", "--source", "nope", "--backbone", "encoder"),
        ("run", "toy.jsonl", "--shots", "5000", "--backbone", "encoder"),
        ("run", "toy.jsonl", "--source", DOMAINS[0], "--target", DOMAINS[0], "--backbone", "encoder"),
        ("run", "toy.jsonl", "--methods", DOMAINS[1]),
        ("run", "toy.jsonl", "--text-column", DOMAINS[1]),
        ("run", DOMAINS[1]),
        ("run", DOMAINS[1] + ".csv"),
        ("run", "toy.jsonl", "--set", DOMAINS[2]),
        ("run", "toy.jsonl", "--config", DOMAINS[1]),
        ("run", "toy.jsonl", "--backbone", DOMAINS[1]),
        ("run", "toy.jsonl", "--out", DOMAINS[1] + "\ufeff" * 3, "--shots", "bad"),
        ("evaluate", "encoder", "toy.jsonl", "--on", DOMAINS[2]),
        ("evaluate", "encoder", "toy.jsonl", "--on", "nope"),
        ("predict", DOMAINS[1]),
        ("report", DOMAINS[1]),
        ("methods", "show", DOMAINS[2]),
        ("models", "fetch", DOMAINS[1]),
        ("store", "ls", "--store", DOMAINS[1]),
    ],
)  # fmt: skip
def test_nothing_that_is_shown_steers_a_terminal(
    words: tuple[str, ...], evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evil)
    answer = call(*words)
    assert answer.code in (0, 2), answer.err
    assert not STEERS.search(answer.out + answer.err)
    if answer.code == 2:
        assert len(answer.err[answer.err.index("error:") :].rstrip("\n").splitlines()) <= 3


def test_markup_of_rich_is_shown_as_it_is(evil: Path) -> None:
    said = (evil / "said.txt").read_text()
    assert "[red]" in said
    assert "[red]" in call("report", evil / "out").out
    assert "[link=http://evil.example]" in call("tasks", "check", evil / "toy.jsonl").out


def test_errors_are_clean_in_a_library_too() -> None:
    error = unknown_name("domain", "x", [*DOMAINS, *LABELS_])
    assert not STEERS.search(str(error).replace("\n", ""))
    assert len(str(error).splitlines()) <= 3
    several = UserError("one\ntwo\u2028three", got=("a\x1b", "b"), expected=["c"], hint="d\r\ne")
    assert str(several) == "one two three\ngot a�, b; expected c\nd e"


def test_downloads_are_named_without_escapes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = talk.DownloadProgress()
    times = iter([0.0, 100.0])
    monkeypatch.setattr(talk.time, "monotonic", lambda: next(times))
    progress(DOMAINS[1], 0, 100)
    progress(DOMAINS[1], 50, 100)
    shown = capsys.readouterr().err
    assert "fetching <script>" in shown
    assert not STEERS.search(shown)


def everywhere(content: Any, text: str) -> Any:
    """A document with a text in place of every other text but the words of a fixed set."""
    if isinstance(content, dict):
        return {key: everywhere(value, text) for key, value in content.items()}
    if isinstance(content, list):
        return [everywhere(value, text) for value in content]
    fixed = {"better", "worse", "no difference shown", "classic", "observed", "unobserved", "none"}
    return text if isinstance(content, str) and content not in fixed else content


def summaries(finished: Path) -> Iterator[Summary]:
    """A summary that a stranger wrote: every text in it is one of those, also names of methods, metric and version."""
    content = json.loads((finished / "out" / "summary.json").read_text())
    for text in (*DOMAINS, *LABELS_):
        yield Summary.model_validate(everywhere(content, text))
        mixed = content | {"warnings": [text], "lowres": text}
        yield Summary.model_validate(
            mixed | {"study": content["study"] | {"task": text, "backbone": text, "metric": text}}
        )


class Page(HTMLParser):
    """Collects tags, attributes and text; of links, where they lead."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.links: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links |= {value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_holds_no_tag_of_a_stranger(evil: Path, finished: Path) -> None:
    from tests.report import studies

    sound = Page()
    sound.feed(html.render(*studies.study()))
    strange = studies.study(DOMAINS, labels=LABELS_, texts=(*DOMAINS, *LABELS_))
    pages = [(evil / "out" / "report.html").read_text(), html.render(*strange), *map(html.render, summaries(finished))]
    assert len(pages) == 12
    for text in pages:
        page = Page()
        page.feed(text)
        assert set(page.tags) <= set(sound.tags)
        assert page.attributes <= sound.attributes
        assert (page.tags.count("script"), page.tags.count("style")) == (1, 1)
        assert all(link.startswith("#") for link in page.links)
        assert not {"img", "iframe", "link", "base", "form", "object", "image", "use", "foreignobject"} & set(page.tags)
        assert not STEERS.search(text)
    page = Page()
    page.feed(pages[0])
    assert "<script>alert(1)</script>" in page.text


def kinds(text: str) -> set[str]:
    """Kinds of elements that Markdown makes of a text."""
    found = set()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        found |= {token.type, *(inner.type for inner in token.children or ())}
    return found


HARMFUL = {"html_block", "html_inline", "link_open", "image", "code_inline", "fence", "code_block", "hr"}


def test_markdown_holds_no_link_of_a_stranger(evil: Path, finished: Path) -> None:
    texts = [(evil / "out" / "report.md").read_text(), *map(markdown.render, summaries(finished))]
    for text in texts:
        assert not kinds(text) & HARMFUL
        assert not re.search(r"(?<!\\)://|www\.(?!\\)", text)
        assert sum(line.startswith("# ") for line in text.splitlines()) == 1
        assert not STEERS.search(text)


def test_a_model_card_holds_no_link_of_a_stranger(evil: Path) -> None:
    for path in sorted((evil / "out" / "best").glob("*/README.md")):
        _, _, body = path.read_text().split("---\n", 2)
        assert kinds(body) & HARMFUL <= {"fence", "code_inline"}
        assert body.count("```") == 2
        assert not STEERS.search(body)


def test_the_head_of_a_model_card_is_what_was_meant(evil: Path) -> None:
    cards = sorted((evil / "out" / "best").glob("*/README.md"))
    assert len(cards) == 6
    for path in cards:
        text = path.read_text()
        assert text.startswith("---\n")
        head = yaml.safe_load(text.split("\n---\n")[0])
        assert set(head) == {"library_name", "tags", "model-index"}
        assert head["model-index"][0]["results"][0]["dataset"]["name"].startswith("toy (")


def test_latex_holds_no_command_of_a_stranger(finished: Path) -> None:
    content = json.loads((finished / "out" / "summary.json").read_text())
    for text in (r"\input{/etc/passwd}", "}\\write18{touch pwned}{", "^^5cinput", "$\\def\\x{}$ & % # _ ~"):
        page = latex.render(Summary.model_validate(everywhere(content, text)))
        assert not re.search(r"\\(input|write|def)\b|\^\^5c|(?<!\\)\$\\def", page.split("\n", 2)[2])


@pytest.mark.parametrize("start", [*"=+-@\t\r\n＝＋－＠", " =", "\t=", "\u200b=", "\ufeff+"])
def test_csv_holds_no_formula(start: str, finished: Path) -> None:
    content = json.loads((finished / "out" / "summary.json").read_text())
    found = Summary.model_validate(everywhere(content, f"{start}HYPERLINK(1)"))
    cells = [cell for row in list(csv.reader(io.StringIO(report_csv.render(found))))[1:] for cell in row]
    texts = [cell for cell in cells if "HYPERLINK" in cell]
    assert texts
    for cell in texts:
        assert unicodedata.normalize("NFKC", cell.lstrip())[0] not in "=+-@\t\r\n"


def test_what_a_run_wrote_of_strangers_is_read_again(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(evil)
    facts = json.loads(call("plan", "--config", "out/study.yaml", "--json").out)
    assert facts["stored_fits"] == facts["distinct_fits"] > 0
    assert set(facts["sources"]) == {name.strip() for name in DOMAINS}
    best = sorted((evil / "out" / "best").iterdir())[0]
    answer = call("predict", best, "--input", "toy.jsonl")
    assert answer.code == 0
    assert set(json.loads(answer.out.splitlines()[0])["probabilities"]) == {label.strip() for label in LABELS_}


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/b", "..", "con", "a\0b", "x" * 5000, "", "a\nb", "-x", "\u202ex"]
)
def test_a_task_name_is_no_path(name: str) -> None:
    source = {"kind": "files", "parts": [{"path": "toy.csv"}]}
    if name == "con":
        assert not safe_stem(name).startswith("con")
        return
    with pytest.raises(UserError, match="name"):
        parse_spec(json.dumps({"name": name, "source": source}).encode(), "t.yaml")


def test_names_that_differ_in_case_have_folders_of_their_own() -> None:
    assert len({safe_stem(name).casefold() for name in ("Film", "film", "FILM")}) == 3


def test_a_terminal_that_lacks_signs_is_no_fault(evil: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "argv", ["lowres", "report", str(evil / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    out.flush()
    assert b"How far it falls" in out.buffer.getvalue()  # type: ignore[attr-defined]


# sizes


def test_many_labels_in_an_adapter(work: Path) -> None:
    change(work / "best" / "lowres.json", labels=[f"label {number}" for number in range(200_000)])
    began = time.process_time()
    answer = call("predict", "best", "--input", "toy.csv")
    assert (answer.code, "200000 labels" in answer.err) == (2, True)
    assert time.process_time() - began < 10


def test_many_labels_in_a_table(tmp_path: Path) -> None:
    rows = [
        {"text": f"text number {number} of {label}", "label": f"l{label}", "domain": domain}
        for domain in ("a", "b")
        for label in range(4000)
        for number in range(3)
    ]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    began = time.process_time()
    load_task(tmp_path / "t.jsonl")
    assert time.process_time() - began < 6


def test_memory_of_this_room_stays_small() -> None:
    """After all bombs above: nothing has taken gigabytes."""
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4_000_000


def test_heads_with_odd_numbers_are_refused(work: Path) -> None:
    from safetensors.numpy import load_file, save_file

    sound = load_file(work / "best" / "head.safetensors")
    odd: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "inf": lambda value: np.full_like(value, np.inf),
        "int": lambda value: value.astype(np.int64),
        "scalar": lambda value: np.float32(1).reshape(()),
        "empty": lambda value: value[:0],
    }
    for make in odd.values():
        save_file(
            {name: np.ascontiguousarray(make(value)) for name, value in sound.items()},
            work / "best" / "head.safetensors",
        )
        with pytest.raises(UserError):
            load_classifier("best")
